//! A campaign with a bad list, as everybody meets it: the platform stops it early and says why, the
//! campaign beside it goes on, and an operator lets it go on.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;

use crate::support::{Desk, until};

const INTERNET: &str = r#"
name = "a bad list"
record = "identity"

[manner.half-forgotten]
tls = "none"
fates = { no_mailbox = 0.2 }

[manner.sink]
tls = "none"

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.21" }]
manner = "half-forgotten"

[[provider]]
name = "b"
domains = ["b.pretend.example"]
mx = [{ host = "mx.b.pretend.test", address = "127.0.0.22" }]
manner = "sink"
tail = true
"#;
const RECIPIENTS: usize = 2000;

#[test]
fn heavy_a_bad_list_is_stopped_early_and_the_others_go_on() {
    let own = "log.level = 'info'\napi.gates.canary_min = 100\n";
    // Slow enough that a second makes a difference.
    let pace = "rate_start = 60.0\nrate_max = 60.0\n";
    let desk = Desk::start(INTERNET, Ipv4Addr::new(127, 0, 1, 9), own, pace);
    let customer = desk.customer();

    let bad = customer.send("a.pretend.example", RECIPIENTS);
    let good = customer.send("b.pretend.example", 300);
    let shown = until(Duration::from_secs(40), "the bad one is paused", || {
        let shown = customer.campaign(&bad);
        (shown["status"] == "paused").then_some(shown)
    });
    assert_eq!(shown["gate"]["paused_by"], "bounces", "{shown}");
    let reason = shown["gate"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(" addresses that answered are dead ("), "{reason}");
    let waiting = shown["progress"]["waiting"].as_u64().unwrap();
    assert!(waiting > RECIPIENTS as u64 * 3 / 4, "early: {waiting} were spared");
    until(Duration::from_secs(40), "the good one goes on", || {
        let shown = customer.campaign(&good);
        (shown["status"] == "finished").then(|| assert_eq!(shown["progress"]["delivered"], 300))
    });

    let listed = desk.well(&["queue", "orders"]);
    assert!(listed.contains(&format!("pause campaign {bad}  by gate bounces at ")), "{listed}");
    assert!(listed.contains(&reason), "{listed}");
    let listed = desk.json(&["queue", "orders", "--json"]);
    assert_eq!((&listed["paused"][0]["campaign"], &listed["holds"]), (&json!(bad), &json!([])));
    assert!(desk.well(&["queue", "show", &bad]).contains("paused by gate bounces at "));

    let before = customer.campaign(&bad)["progress"]["delivered"].as_u64().unwrap();
    let told = desk.well(&["queue", "resume", "campaign", &bad, "--why", "it is an old list"]);
    assert_eq!(told.trim(), format!("campaign {bad} is running"));
    until(Duration::from_secs(20), "it goes on", || {
        let delivered = customer.campaign(&bad)["progress"]["delivered"].as_u64().unwrap();
        (delivered > before + 60).then_some(())
    });
    // As bad as before among those that came since.
    until(Duration::from_secs(30), "it is paused again", || {
        let shown = customer.campaign(&bad);
        let reason = shown["gate"]["reason"].as_str()?;
        reason.ends_with("since it was resumed").then_some(())
    });
    let log = desk.up.told();
    assert!(log.contains("campaign paused: its list is bad"), "{log}");
    assert!(!log.contains("pretend.example"), "addresses stand in no log: {log}");
    desk.ends_within(Duration::from_secs(20));
}
