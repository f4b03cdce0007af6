//! What operators look at: every panel and every rule has an answer on a running platform, and every
//! metric that the program tells is in the page about metrics. With Debian's Prometheus.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mail::alarm::Condition;
use serde_json::Value;

use crate::support::{Desk, Process, free_port, until};

const INTERNET: &str = r#"
name = "some of everything"

[returns]
delay_ms = 100
spread_ms = 500
connections = 2

[manner.large]
tls = "offered"
limits = { rate_per_s = 60, connections = 4, messages_per_connection = 20 }
fates = { no_mailbox = 0.05, full = 0.02, busy = 0.05, bounce_no_mailbox = 0.05, complain = 0.02, dialects = 0.1 }
greylist = { share = 0.1, delay_ms = 2000 }

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.31" }]
manner = "large"
tail = true
"#;

fn ops() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn promtool(words: &[&str]) {
    let told = Command::new("promtool").args(words).current_dir(ops()).output().unwrap();
    let text = [told.stdout, told.stderr].concat();
    assert!(told.status.success(), "{words:?}: {}", String::from_utf8_lossy(&text));
}

#[test]
fn alert_rules_fire_when_they_should_and_are_quiet_else() {
    promtool(&["check", "rules", "alerts/malleposte.yml"]);
    promtool(&["test", "rules", "alerts/tests.yml"]);
    let rules = std::fs::read_to_string(ops().join("alerts/malleposte.yml")).unwrap();
    let tests = std::fs::read_to_string(ops().join("alerts/tests.yml")).unwrap();
    let pages = std::fs::read_to_string(ops().join("../docs/ALERTS.md")).unwrap();
    let names: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 20, "{names:?}");
    // Alarms without Prometheus have the same names, and so the same pages.
    for condition in Condition::ALL.iter().filter(|condition| **condition != Condition::Test) {
        assert!(names.contains(&condition.as_str()), "{condition} is no alert");
    }
    for name in names {
        let tested = format!("alertname: {name}\n");
        assert!(tests.matches(&tested).count() >= 2, "{name} has no firing and no quiet case");
        assert!(pages.contains(&format!("## {name}\n")), "{name} has no page in docs/ALERTS.md");
        let page = pages.split(&format!("## {name}\n")).nth(1).unwrap_or_default();
        let page = page.split("\n## ").next().unwrap_or_default();
        for word in ["**See", "**Decide", "**Act"] {
            assert!(page.contains(word), "{name}: its page lacks {word}");
        }
    }
}

/// Every expression of the dashboards and rules, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut boards: Vec<PathBuf> = std::fs::read_dir(ops().join("dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    boards.sort();
    assert!(boards.len() >= 5, "{boards:?}");
    for path in boards {
        let board: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        collect(&board["panels"], &name, &mut found);
    }
    let text = std::fs::read_to_string(ops().join("alerts/malleposte.yml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    for group in rules["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let name = format!("alert {}", rule["alert"].as_str().unwrap());
            found.push((name, rule["expr"].as_str().unwrap().to_owned()));
        }
    }
    found
}

fn collect(panels: &Value, board: &str, into: &mut Vec<(String, String)>) {
    for panel in panels.as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let name = format!("{board}: {}", panel["title"].as_str().unwrap_or("?"));
            into.push((name, target["expr"].as_str().unwrap().to_owned()));
        }
        collect(&panel["panels"], board, into);
    }
}

/// A Prometheus that asks the platform each second.
fn prometheus(folder: &Path, metrics: &str) -> (Process, String) {
    let (config, listen) = (folder.join("prometheus.yml"), free_port());
    let scrape = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         scrape_configs: [{{job_name: malleposte, static_configs: [{{targets: ['{metrics}']}}]}}]\n"
    );
    std::fs::write(&config, scrape).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={listen}"));
    (Process::start(folder.join("prometheus.log"), command), format!("http://{listen}"))
}

fn query(base: &str, expression: &str) -> Value {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{base}/api/v1/query");
    let mut reply = agent.get(&url).query("query", expression).call().unwrap();
    reply.body_mut().read_json().unwrap()
}

#[test]
fn heavy_every_panel_and_rule_has_an_answer_on_a_running_platform() {
    let desk =
        Desk::start(INTERNET, Ipv4Addr::new(127, 0, 1, 14), "api.gates.enabled = false\n", "");
    desk.internet.send_returns_to(desk.bounces().parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (watcher, base) = prometheus(folder.path(), desk.metrics());
    let customer = desk.customer();
    let campaign = customer.send("a.pretend.example", 1500);
    until(Duration::from_secs(60), "half of it is delivered and some came back", || {
        let progress = customer.campaign(&campaign)["progress"].clone();
        let delivered = progress["delivered"].as_u64()? > 700;
        (delivered && progress["returned"].as_u64()? > 5).then_some(())
    });
    until(Duration::from_secs(30), "the platform was watched", || {
        let told = query(&base, "malleposte_queue_recipients");
        (!told["data"]["result"].as_array()?.is_empty()).then_some(())
    });
    // Rates need two samples, and more than one look at the platform.
    std::thread::sleep(Duration::from_secs(12));

    let mut wrong = Vec::new();
    for (name, expression) in expressions() {
        let told = query(&base, &expression);
        if told["status"] != "success" {
            wrong.push(format!("{name}: {}", told["error"]));
            continue;
        }
        let samples = told["data"]["result"].as_array().unwrap();
        // A rule that is quiet has none.
        if samples.is_empty() && !name.starts_with("alert ") {
            wrong.push(format!("{name}: nothing for {expression}"));
        }
        for sample in samples {
            let value = sample["value"][1].as_str().unwrap_or_default();
            if !value.parse::<f64>().is_ok_and(f64::is_finite) {
                wrong.push(format!("{name}: {value} for {expression}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let page = ureq::get(&format!("http://{}/metrics", desk.metrics())).call().unwrap();
    let page = page.into_body().read_to_string().unwrap();
    let known = desk.well(&["check", "--print-metrics"]);
    let names: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        assert!(known.contains(&format!("| `{name}` |")), "{name} is in no page about metrics");
        assert!(page.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
    assert!(!page.contains('@'), "no label holds an address");
    asked_of_history(&desk, &campaign);
    let told = desk.well(&["nagios", "queue"]);
    assert!(told.starts_with("MALLEPOSTE QUEUE OK - "), "{told}");
    watcher.terminate();
    desk.ends_within(Duration::from_secs(20));
}

/// What people ask: sums, and entries by any criterion.
fn asked_of_history(desk: &Desk, campaign: &str) {
    let sums = desk.json(&["stats", "--by", "category,hour", "--campaign", campaign, "--json"]);
    let rows = sums["rows"].as_array().unwrap();
    let sum = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(Some(sum("delivered")), sums["total"]["delivered"].as_u64());
    assert!(sum("delivered") > 700 && sum("returned") > 5 && sum("deferred") > 0, "{sums}");
    assert!(rows.iter().any(|row| row["category"] == "no-mailbox"), "{sums}");
    let by_sender = desk.well(&["stats", "--by", "sender", "--format", "csv"]);
    let mut lines = by_sender.lines();
    assert!(lines.next().unwrap().starts_with("sender,accepted,delivered,"), "{by_sender}");
    assert!(lines.next().unwrap().contains("@"), "{by_sender}");
    let listed =
        desk.well(&["trace", "--category", "no-mailbox", "--site", "PRETEND", "--limit", "3"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.lines().all(|line| line.contains("[no-mailbox]")), "{listed}");
    for (words, why) in [
        (&["trace"][..], "name an address, or a criterion"),
        (&["trace", "--kind", "bounced"], "kind: \"bounced\" is none of accepted"),
        (&["stats", "--by", "planet"], "by: \"planet\" is none of tenant"),
        (&["stats", "--since", "soon"], "since: \"soon\" is no time"),
        (&["nagios", "queue", "--warning", "20:10"], "is no range"),
    ] {
        let (is_well, _, told) = desk.ask(words);
        assert!(!is_well && told.contains(why), "{words:?}: {told}");
    }
}
