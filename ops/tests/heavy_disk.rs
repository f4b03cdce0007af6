//! A full disk stops history, and says so; mail goes on, and history catches up once there is room.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use crate::others::is_here;
use crate::support::{Desk, one_site, until};

/// A disk of its own for the history, seen by this process alone, so that it goes with it.
const PLACE: &[&str] = &[
    "unshare",
    "--mount",
    "--propagation=private",
    "sh",
    "-c",
    "mkdir history && mount -t tmpfs -o size=4m tmpfs history && exec \"$@\"",
    "sh",
];
const RECIPIENTS: u64 = 500;

#[test]
fn heavy_a_full_disk_stops_history_and_never_the_mail() {
    if !is_here(rustix::process::geteuid().is_root(), "root, who alone mounts disks") {
        return;
    }
    let own = "ledger = { folder = 'history', balance_every_s = 1 }\nlog.level = 'info'\n";
    let desk =
        Desk::start_within(PLACE, &one_site("127.0.0.35"), Ipv4Addr::new(127, 0, 1, 17), own, "");
    let customer = desk.customer();
    let inside = |line: &str| {
        let pid = desk.up.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--mount", "sh", "-c", line]);
        let output = command.current_dir(desk.file("")).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let history = desk.file("history");
    let ballast = history.join("ballast");
    let (is_filled, why) = inside(&format!("head -c 8m /dev/zero > {}", ballast.display()));
    assert!(!is_filled && why.contains("No space left"), "{why}");

    let campaign = customer.send("a.pretend.example", RECIPIENTS as usize);
    until(Duration::from_secs(60), "all mail is delivered all the same", || {
        let shown = customer.campaign(&campaign);
        let delivered = shown["progress"]["delivered"].as_u64()?;
        (delivered == RECIPIENTS && shown["status"] == "finished").then_some(())
    });
    let stats = format!("/stats?campaign={campaign}&since=1h");
    let told = || customer.get(&stats)["total"]["delivered"].as_u64();
    assert_ne!(told(), Some(RECIPIENTS), "history had no room");
    let alarms = until(Duration::from_secs(30), "an alarm comes up", || {
        let alarms = desk.json(&["alarms", "--json"]);
        let of = |name: &str| {
            let all = alarms["alarms"].as_array()?;
            all.iter().find(|alarm| alarm["condition"] == name).cloned()
        };
        Some((of("HistoryStalled")?, of("DiskFull")?))
    });
    // They are raised when they last for a minute or two; that this is so, `mail::alarm` tries.
    assert!(alarms.0["says"].as_str().unwrap().contains("disk is full"), "{alarms:?}");
    assert!(alarms.1["subject"].as_str().unwrap().ends_with("history"), "{alarms:?}");
    assert!(desk.up.told().contains("history waits, mail goes on"), "{}", desk.up.told());

    let (is_freed, why) = inside(&format!("rm {}", ballast.display()));
    assert!(is_freed, "{why}");
    until(Duration::from_secs(40), "history has caught up", || {
        (told() == Some(RECIPIENTS)).then_some(())
    });
    until(Duration::from_secs(20), "queue and history agree", || {
        let page = ureq::get(&format!("http://{}/metrics", desk.metrics())).call().unwrap();
        let page = page.into_body().read_to_string().unwrap();
        let is_zero = |name: &str| {
            let of = |line: &&str| line.split(['{', ' ']).next() == Some(name);
            page.lines().find(of).is_some_and(|line| line.ends_with(" 0"))
        };
        (is_zero("malleposte_imbalance") && is_zero("malleposte_ledger_stalled")).then_some(())
    });
    desk.ends_within(Duration::from_secs(20));
}
