//! A campaign with a bad list, as everybody meets it: the platform stops it early and says why, the
//! campaign beside it goes on, and an operator lets it go on.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use loadtests::{Internet, Listen, Scenario};
use ops::demo::SENDER;
use serde_json::{Value, json};

use crate::support::{self, Process, command, free_port, until};

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

/// A customer of the API.
struct Customer {
    api: String,
    key: String,
}

impl Customer {
    fn post(&self, path: &str, media: &str, body: &str) -> Value {
        let request = ureq::post(&format!("http://{}/v1{path}", self.api))
            .header("Authorization", format!("Bearer {}", self.key))
            .header("Content-Type", media)
            .header("Upload-Offset", "0");
        let text = request.send(body).unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    fn campaign(&self, path: &str) -> Value {
        let request = ureq::get(&format!("http://{}/v1/campaigns/{path}", self.api))
            .header("Authorization", format!("Bearer {}", self.key));
        let text = request.call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn send(&self, domain: &str, recipients: usize) -> String {
        let definition = json!({
            "name": domain,
            "from": { "name": "News", "address": format!("news@{SENDER}") },
            "subject": "News",
            "text": "Good news.\n",
        });
        let created = self.post("/campaigns", "application/json", &definition.to_string());
        let id = created["id"].as_str().unwrap().to_owned();
        let line = |n| format!("{{\"email\":\"u{n}@{domain}\"}}\n");
        let lines: String = (0..recipients).map(line).collect();
        self.post(&format!("/campaigns/{id}/recipients"), "application/x-ndjson", &lines);
        self.post(&format!("/campaigns/{id}/recipients/close"), "application/json", "{}");
        self.post(&format!("/campaigns/{id}/start"), "application/json", "{}");
        id
    }
}

fn write_config(file: &Path, internet: &Internet) {
    let own = "log.level = 'info'\napi.public_url = 'https://mail.malleposte.test'\n\
               api.gates.canary_min = 100\n";
    let settings = support::settings(internet, &free_port(), Ipv4Addr::new(127, 0, 1, 9), "one");
    // Slow enough that a second makes a difference.
    let pace = "rate_start = 60.0\nrate_max = 60.0\n";
    std::fs::write(file, format!("{own}{settings}{pace}")).unwrap();
}

#[test]
fn heavy_a_bad_list_is_stopped_early_and_the_others_go_on() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let scenario = Scenario::parse(INTERNET).unwrap();
    let internet = runtime.block_on(Internet::start(scenario, Listen::default())).unwrap();
    let config = dir.path().join("malleposte.toml");
    write_config(&config, &internet);
    let program = Path::new(env!("CARGO_BIN_EXE_malleposte"));
    let api = free_port();
    let mut up = command(program, &config, &["up"]);
    up.current_dir(dir.path()).env("MALLEPOSTE_API__LISTEN", &api);
    let mut up = Process::start(dir.path().join("up.log"), up);
    up.await_api(&api);
    let beside = |words: &[&str]| {
        let mut command = command(program, &config, words);
        let output = command.current_dir(dir.path()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "malleposte {}: {err}", words.join(" "));
        String::from_utf8(output.stdout).unwrap()
    };
    support::publish(&beside(&["dkim", "add", SENDER]), &internet);
    let key = beside(&["key", "add", "a tool"]).trim().to_owned();
    let customer = Customer { api, key };

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

    let listed = beside(&["queue", "orders"]);
    assert!(listed.contains(&format!("pause campaign {bad}  by gate bounces at ")), "{listed}");
    assert!(listed.contains(&reason), "{listed}");
    let listed: Value = serde_json::from_str(&beside(&["queue", "orders", "--json"])).unwrap();
    assert_eq!((&listed["paused"][0]["campaign"], &listed["holds"]), (&json!(bad), &json!([])));
    assert!(beside(&["queue", "show", &bad]).contains("paused by gate bounces at "));

    let before = customer.campaign(&bad)["progress"]["delivered"].as_u64().unwrap();
    let told = beside(&["queue", "resume", "campaign", &bad, "--why", "it is an old list"]);
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
    let log = up.told();
    assert!(log.contains("campaign paused: its list is bad"), "{log}");
    assert!(!log.contains("pretend.example"), "addresses stand in no log: {log}");
    up.ends_within(Duration::from_secs(20));
    runtime.block_on(internet.stop());
}
