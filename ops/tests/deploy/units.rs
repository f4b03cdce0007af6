//! systemd's units: their commands, credentials and times against the program, the sandbox
//! by `systemd-analyze` where it is, and the words that a service says to systemd.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ops::config::{Config, Sources};
use ops::run::frame::BLOCKING_ENDS_WITHIN;
use ops::wiring::RELAY_GRACE;
use rustix::process::{Pid, Signal, kill_process};

use crate::deploy::assert_command;
use crate::deploy::compose::{root, text};
use crate::others::program_or_skip;

const SANDBOX: &str = "ops/deploy/systemd/malleposte-.service.d/10-sandbox.conf";

fn units() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("ops/deploy/systemd")).unwrap();
    let mut units: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    units.retain(|p| p.extension().is_some_and(|e| e == "service"));
    units.sort();
    units
}

fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let pairs = text.lines().filter_map(|l| l.split_once('='));
    pairs.filter(|(k, _)| *k == key).map(|(_, v)| v).collect()
}

#[test]
fn units_start_commands_that_exist_and_give_them_credentials_that_are_read() {
    assert_eq!(units().len(), 5);
    for unit in units() {
        let text = std::fs::read_to_string(&unit).unwrap();
        let name = unit.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("malleposte-"), "{name}: the sandbox would not hold for it");
        let start = values(&text, "ExecStart");
        let words: Vec<String> = start[0].split(' ').map(str::to_owned).collect();
        assert_eq!((start.len(), words[0].as_str()), (1, "/usr/local/bin/malleposte"));
        assert_command(&name, &words[1..]);
    }
    let sandbox = text(SANDBOX);
    let credentials = tempfile::tempdir().unwrap();
    for line in values(&sandbox, "LoadCredential") {
        let (name, _) = line.split_once(':').unwrap();
        let value =
            if name == "secrets.platform" { format!("a:{}", "7".repeat(64)) } else { "pw".into() };
        std::fs::write(credentials.path().join(name), value).unwrap();
    }
    let credentials = Some(credentials.path().to_owned());
    let config = Config::read(&Sources { credentials, ..Sources::default() }).unwrap();
    assert_eq!((config.secrets.platform.len(), config.store.password.as_str()), (1, "pw"));
    let stop: u64 = values(&sandbox, "TimeoutStopSec")[0].parse().unwrap();
    assert!(Duration::from_secs(stop) >= RELAY_GRACE + BLOCKING_ENDS_WITHIN);
    assert_eq!(values(&sandbox, "Type"), ["notify"]);
}

/// The units as they would lie in /etc/systemd/system, with a program that is there.
fn installed(folder: &Path) -> Vec<PathBuf> {
    let program = env!("CARGO_BIN_EXE_malleposte");
    let drop_in = folder.join("malleposte-.service.d");
    std::fs::create_dir(&drop_in).unwrap();
    std::fs::write(drop_in.join("10-sandbox.conf"), text(SANDBOX)).unwrap();
    let copy = |unit: PathBuf| {
        let text = std::fs::read_to_string(&unit).unwrap();
        let text = text.replace("/usr/local/bin/malleposte", program);
        // A unit by name: a template is verified as an instance of it.
        let name = unit.file_name().unwrap().to_str().unwrap().replace("@.", "@1.");
        let file = folder.join(name);
        std::fs::write(&file, text.replace("file:///usr/share", "file:/usr/share")).unwrap();
        file
    };
    units().into_iter().map(copy).collect()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_calls_them_safe() {
    let Some(program) = program_or_skip("systemd-analyze") else { return };
    let folder = tempfile::tempdir().unwrap();
    for unit in installed(folder.path()) {
        let analyze = |words: &[&str]| {
            let path = format!("{}:", folder.path().display());
            let mut command = Command::new(&program);
            let output = command.args(words).arg(&unit).env("SYSTEMD_UNIT_PATH", path);
            let output = output.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            (output.status.success(), said)
        };
        let (good, said) = analyze(&["verify", "--man=no", "--recursive-errors=no"]);
        let ours: Vec<&str> = said.lines().filter(|l| l.contains("malleposte")).collect();
        assert!(good && ours.is_empty(), "{}: {said}", unit.display());
        // Exposure from 0 to 10, times ten; sshd as it comes has 9.6.
        let (good, said) = analyze(&["security", "--offline=true", "--threshold=25", "--no-pager"]);
        assert!(good, "{}: {said}", unit.display());
    }
}

/// A service that runs with a socket to systemd and a watchdog of a second.
#[test]
fn heavy_a_service_says_ready_alive_and_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_malleposte"))
        .args(["up", "--no-relay"])
        .current_dir(dir.path())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .env_remove("WATCHDOG_PID")
        .env("MALLEPOSTE_METRICS__LISTEN", "off")
        .env("MALLEPOSTE_API__LISTEN", "127.0.0.1:0")
        .env("MALLEPOSTE_BOUNCES__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let next = || {
        let mut told = [0; 256];
        let n = socket.recv(&mut told).expect("systemd is told something");
        String::from_utf8_lossy(&told[..n]).trim().to_owned()
    };
    let (began, mut ready, mut beats) = (Instant::now(), false, 0);
    while beats < 3 || !ready {
        match next().as_str() {
            "READY=1" => ready = true,
            "WATCHDOG=1" => beats += 1,
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{beats} beats, ready: {ready}");
    }
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM).unwrap();
    while next() != "STOPPING=1" {}
    assert!(child.wait().unwrap().success());
}
