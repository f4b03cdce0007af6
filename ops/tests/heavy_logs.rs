//! One id leads from the call to the delivery, and nothing at `info` and above holds an address.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Desk, until};

const INTERNET: &str = r#"
name = "some fail"

[manner.plain]
tls = "offered"
fates = { no_mailbox = 0.2, full = 0.1, busy = 0.2 }

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.33" }]
manner = "plain"
tail = true
"#;

#[test]
fn heavy_one_id_leads_from_the_call_to_the_delivery() {
    let log = "log = { format = 'json', level = 'info,campaign_api=debug,relay=debug,ledger=debug,store=debug' }\n";
    let desk = Desk::start(INTERNET, Ipv4Addr::new(127, 0, 1, 16), log, "");
    let customer = desk.customer();
    let campaign = customer.send("a.pretend.example", 200);
    let request = customer.campaign(&campaign)["request"].as_str().unwrap().to_owned();
    assert!(request.starts_with("r-"), "{request}");
    let ends = until(Duration::from_secs(60), "all are at rest", || {
        let progress = customer.campaign(&campaign)["progress"].clone();
        let n = |name: &str| progress[name].as_u64();
        (n("waiting")? == 0).then_some(n("delivered")? + n("failed")?)
    });
    let told = until(Duration::from_secs(10), "each end is a line", || {
        let told = desk.up.told();
        let lines: Vec<Value> =
            told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let ours = |words: &[&str]| {
            let fits = |line: &&Value| {
                line["request"] == request.as_str()
                    && words.contains(&line["message"].as_str().unwrap_or_default())
            };
            lines.iter().filter(fits).count() as u64
        };
        let is_whole = ours(&["delivered", "failed"]) == ends
            && ours(&["answered"]) == 1
            && ours(&["recipients accepted"]) == 1
            && ours(&["campaign changed"]) >= 2;
        is_whole.then_some(told)
    });
    for line in told.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is one object");
        let text = line.to_string();
        assert!(!text.contains("a.pretend.example") || !text.contains('@'), "{text}");
    }
    desk.ends_within(Duration::from_secs(20));
}
