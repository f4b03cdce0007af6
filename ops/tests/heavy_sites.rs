//! A site that takes no more than so much, as its operator meets it: shown and explained, fixed and let
//! go, a change undone, history added up; and a recipient that waits there says what for.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use loadtests::{Internet, Listen, Scenario};
use ops::demo::SENDER;
use serde_json::{Value, json};

use crate::support::{self, Process, command, free_port, until};

const INTERNET: &str = r#"
name = "a slow site"
record = "identity"

[manner.slow]
tls = "none"
limits = { rate_per_s = 12 }

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.31" }]
manner = "slow"
tail = true
"#;
const SITE: &str = "mx.a.pretend.test";

#[test]
fn heavy_a_site_is_explained_and_in_hand() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let scenario = Scenario::parse(INTERNET).unwrap();
    let internet = runtime.block_on(Internet::start(scenario, Listen::default())).unwrap();
    let config = dir.path().join("malleposte.toml");
    let settings = support::settings(&internet, &free_port(), Ipv4Addr::new(127, 0, 1, 8), "one");
    let own = "api.public_url = 'https://mail.malleposte.test'\n";
    std::fs::write(&config, format!("{own}{settings}rate_max = 60.0\n")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_malleposte"));
    let api = free_port();
    let mut up = command(program, &config, &["up"]);
    up.current_dir(dir.path()).env("MALLEPOSTE_API__LISTEN", &api);
    let mut up = Process::start(dir.path().join("up.log"), up);
    up.await_api(&api);
    let ask = |words: &[&str]| {
        let mut command = command(program, &config, words);
        let output = command.current_dir(dir.path()).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let well = |words: &[&str]| {
        let (is_good, out, err) = ask(words);
        assert!(is_good, "malleposte {}: {out}{err}", words.join(" "));
        out
    };
    let of_json = |words: &[&str]| -> Value { serde_json::from_str(&well(words)).unwrap() };

    assert!(well(&["site"]).starts_with("no site is known yet"));
    let (_, _, err) = ask(&["site", "show", "nowhere.invalid"]);
    assert!(err.contains("\"nowhere.invalid\" is no site that is known"), "{err}");

    support::publish(&well(&["dkim", "add", SENDER]), &internet);
    let key = well(&["key", "add", "a tool"]).trim().to_owned();
    let campaign = send(&api, &key, 3000);
    let shown = until(Duration::from_secs(60), "a limit is found", || {
        let shown = of_json(&["site", "show", SITE, "--json"]);
        (shown["sources"][0]["refused"]["rate"].is_number()
            && shown["sources"][0]["changes"].to_string().contains("too-fast"))
        .then_some(shown)
    });
    let source = &shown["sources"][0];
    assert_eq!((&source["standing"], &source["source"]), (&json!("limited"), &json!("one")));
    let text = well(&["site", "show", "a.pretend.example"]);
    assert!(text.starts_with(&format!("{SITE}\n  no provider's file applies\n")), "{text}");
    for part in ["source one: at a limit found, since ", "the site last objected at ", "too-fast"] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    let binds = until(Duration::from_secs(20), "the rate binds", || {
        let shown = of_json(&["site", "show", SITE, "--json"]);
        (shown["sources"][0]["binds"] == "rate").then_some(shown)
    });
    assert!(binds["sources"][0]["waiting"].as_u64().unwrap() > 0, "{binds}");

    // Of the last recipients of the list nobody has tried any yet.
    let why = of_json(&["why", "u2999@a.pretend.example", "--json"]);
    assert!(["waits", "in-hand"].contains(&why["stands"].as_str().unwrap()), "{why}");
    assert_eq!(why["campaign"], json!(campaign), "{why}");
    assert!(why["waits_for"].to_string().contains("\"for\":\"pace\""), "{why}");
    assert_eq!(why["when"]["kind"], "between", "{why}");
    let delivery = why["delivery"].as_str().unwrap();
    let by_id = well(&["why", &format!("<{delivery}.{campaign}@{SENDER}>"), "--lang", "fr"]);
    assert!(by_id.contains("u2999@a.pretend.example") && by_id.contains("son tour"), "{by_id}");
    let nobody = well(&["why", "nobody@b.pretend.example"]);
    assert!(nobody.contains("Nothing is known of it"), "{nobody}");

    let signed = ["--why", "ticket 7", "--by", "ann"];
    for (words, says) in [
        (&["site", "fix", SITE, "--rate", "NaN"][..], "rate NaN must lie between 0.1"),
        (
            &["site", "fix", SITE, "--rate", "61"],
            "rate 61.0 must lie between 0.1 (rate_min) and 60",
        ),
        (&["site", "fix", SITE, "--rate", "-2"], "rate -2.0 must lie between 0.1"),
        (&["site", "fix", SITE, "--connections", "0"], "connections 0 must lie between 1 and 50"),
        (&["site", "fix", SITE], "nothing is fixed"),
        (&["site", "release", SITE], "the site does not block the source"),
        (&["site", "undo", SITE, "2026-11.999999"], "\"2026-11.999999\" is no change of one"),
    ] {
        let words: Vec<&str> = words.iter().chain(&signed).copied().collect();
        let (is_good, out, err) = ask(&words);
        assert!(!is_good && err.contains(says), "{words:?}: {out}{err}");
    }
    let fixed = ["site", "fix", SITE, "--rate", "4", "--for", "2h"];
    let told = well(&fixed.iter().chain(&signed).copied().collect::<Vec<_>>());
    assert!(told.starts_with(&format!("order 1 holds: fix site {SITE} at 4/s")), "{told}");
    let listed = well(&["site"]);
    assert!(listed.contains("fixed by hand, order 1"), "{listed}");
    assert!(listed.contains("1 in all: 0 held, 1 fixed by hand, 0 at a limit found"), "{listed}");
    assert!(well(&["queue", "orders"]).contains(&format!("   1  fix site {SITE} at 4/s  by ann")));
    std::thread::sleep(Duration::from_secs(3));
    let found = of_json(&["site", "show", SITE, "--json"]);
    let kept = found["sources"][0]["found"]["rate"].as_f64().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let later = of_json(&["site", "show", SITE, "--json"]);
    assert_eq!(later["sources"][0]["found"]["rate"].as_f64(), Some(kept), "nothing is learnt");
    assert_eq!(later["sources"][0]["rate"], json!(4.0));

    // While nothing moves: history adds up, and what an operator does to it is a part of it.
    let replayed = well(&["site", "replay", SITE]);
    assert!(replayed.contains("history adds up to the state"), "{replayed}");
    let changes = later["sources"][0]["changes"].as_array().unwrap();
    let is_cut = |c: &&Value| c["change"].as_str().unwrap().contains("too-fast");
    let cut = changes.iter().find(is_cut).unwrap()["number"].as_str().unwrap();
    let undo = ["site", "undo", SITE, cut];
    let undone = well(&undo.iter().chain(&signed).copied().collect::<Vec<_>>());
    assert!(undone.contains("one at mx.a.pretend.test: rate ") && undone.contains("undone"));
    let replayed = well(&["site", "replay", SITE]);
    assert!(replayed.contains("history adds up to the state"), "{replayed}");
    until(Duration::from_secs(10), "the undoing is told", || {
        well(&["site", "show", SITE]).contains(": undone, by ann: ticket 7").then_some(())
    });

    let suspend = ["queue", "suspend", "site", SITE];
    well(&suspend.iter().chain(&signed).copied().collect::<Vec<_>>());
    let why = well(&["why", "u2998@a.pretend.example"]);
    assert!(
        why.contains("It does not go before somebody does this: malleposte queue undo 2"),
        "{why}"
    );
    up.ends_within(Duration::from_secs(30));
    runtime.block_on(internet.stop());
}

fn send(api: &str, key: &str, recipients: usize) -> String {
    let post = |path: &str, media: &str, body: &str| -> Value {
        let request = ureq::post(&format!("http://{api}/v1{path}"))
            .header("Authorization", format!("Bearer {key}"))
            .header("Content-Type", media)
            .header("Upload-Offset", "0");
        let text = request.send(body).unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    };
    let definition = json!({
        "name": "news",
        "from": { "name": "News", "address": format!("news@{SENDER}") },
        "subject": "News",
        "text": "Good news.\n",
    });
    let created = post("/campaigns", "application/json", &definition.to_string());
    let id = created["id"].as_str().unwrap().to_owned();
    let line = |n| format!("{{\"email\":\"u{n}@a.pretend.example\"}}\n");
    let lines: String = (0..recipients).map(line).collect();
    post(&format!("/campaigns/{id}/recipients"), "application/x-ndjson", &lines);
    post(&format!("/campaigns/{id}/recipients/close"), "application/json", "{}");
    post(&format!("/campaigns/{id}/start"), "application/json", "{}");
    id
}
