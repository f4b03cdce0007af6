//! A site that takes no more than so much, as its operator meets it: shown and explained, fixed and let
//! go, a change undone, history added up; and a recipient that waits there says what for.

use std::net::Ipv4Addr;
use std::time::Duration;

use ops::demo::SENDER;
use serde_json::{Value, json};

use crate::support::{Desk, until};

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
    let desk = Desk::start(INTERNET, Ipv4Addr::new(127, 0, 1, 8), "", "rate_max = 60.0\n");

    assert!(desk.well(&["site"]).starts_with("no site is known yet"));
    let (_, _, err) = desk.ask(&["site", "show", "nowhere.invalid"]);
    assert!(err.contains("\"nowhere.invalid\" is no site that is known"), "{err}");

    let campaign = desk.customer().send("a.pretend.example", 3000);
    let shown = until(Duration::from_secs(60), "a limit is found", || {
        let shown = desk.json(&["site", "show", SITE, "--json"]);
        (shown["sources"][0]["refused"]["rate"].is_number()
            && shown["sources"][0]["changes"].to_string().contains("too-fast"))
        .then_some(shown)
    });
    let source = &shown["sources"][0];
    assert_eq!((&source["standing"], &source["source"]), (&json!("limited"), &json!("one")));
    let text = desk.well(&["site", "show", "a.pretend.example"]);
    assert!(text.starts_with(&format!("{SITE}\n  no provider's file applies\n")), "{text}");
    for part in ["source one: at a limit found, since ", "the site last objected at ", "too-fast"] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    let binds = until(Duration::from_secs(20), "the rate binds", || {
        let shown = desk.json(&["site", "show", SITE, "--json"]);
        (shown["sources"][0]["binds"] == "rate").then_some(shown)
    });
    assert!(binds["sources"][0]["waiting"].as_u64().unwrap() > 0, "{binds}");

    // Of the last recipients of the list nobody has tried any yet.
    let why = desk.json(&["why", "u2999@a.pretend.example", "--json"]);
    assert!(["waits", "in-hand"].contains(&why["stands"].as_str().unwrap()), "{why}");
    assert_eq!(why["campaign"], json!(campaign), "{why}");
    assert!(why["waits_for"].to_string().contains("\"for\":\"pace\""), "{why}");
    assert_eq!(why["when"]["kind"], "between", "{why}");
    let delivery = why["delivery"].as_str().unwrap();
    let by_id = desk.well(&["why", &format!("<{delivery}.{campaign}@{SENDER}>"), "--lang", "fr"]);
    assert!(by_id.contains("u2999@a.pretend.example") && by_id.contains("son tour"), "{by_id}");
    let nobody = desk.well(&["why", "nobody@b.pretend.example"]);
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
        let (is_good, out, err) = desk.ask(&words);
        assert!(!is_good && err.contains(says), "{words:?}: {out}{err}");
    }
    let fixed = ["site", "fix", SITE, "--rate", "4", "--for", "2h"];
    let told = desk.well(&fixed.iter().chain(&signed).copied().collect::<Vec<_>>());
    assert!(told.starts_with(&format!("order 1 holds: fix site {SITE} at 4/s")), "{told}");
    let listed = desk.well(&["site"]);
    assert!(listed.contains("fixed by hand, order 1"), "{listed}");
    assert!(listed.contains("1 in all: 0 held, 1 fixed by hand, 0 at a limit found"), "{listed}");
    assert!(
        desk.well(&["queue", "orders"]).contains(&format!("   1  fix site {SITE} at 4/s  by ann"))
    );
    std::thread::sleep(Duration::from_secs(3));
    let found = desk.json(&["site", "show", SITE, "--json"]);
    let kept = found["sources"][0]["found"]["rate"].as_f64().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let later = desk.json(&["site", "show", SITE, "--json"]);
    assert_eq!(later["sources"][0]["found"]["rate"].as_f64(), Some(kept), "nothing is learnt");
    assert_eq!(later["sources"][0]["rate"], json!(4.0));

    // While nothing moves: history adds up, and what an operator does to it is a part of it.
    let replayed = desk.well(&["site", "replay", SITE]);
    assert!(replayed.contains("history adds up to the state"), "{replayed}");
    let changes = later["sources"][0]["changes"].as_array().unwrap();
    let is_cut = |c: &&Value| c["change"].as_str().unwrap().contains("too-fast");
    let cut = changes.iter().find(is_cut).unwrap()["number"].as_str().unwrap();
    let undo = ["site", "undo", SITE, cut];
    let undone = desk.well(&undo.iter().chain(&signed).copied().collect::<Vec<_>>());
    assert!(undone.contains("one at mx.a.pretend.test: rate ") && undone.contains("undone"));
    let replayed = desk.well(&["site", "replay", SITE]);
    assert!(replayed.contains("history adds up to the state"), "{replayed}");
    until(Duration::from_secs(10), "the undoing is told", || {
        desk.well(&["site", "show", SITE]).contains(": undone, by ann: ticket 7").then_some(())
    });

    let suspend = ["queue", "suspend", "site", SITE];
    desk.well(&suspend.iter().chain(&signed).copied().collect::<Vec<_>>());
    let why = desk.well(&["why", "u2998@a.pretend.example"]);
    assert!(
        why.contains("It does not go before somebody does this: malleposte queue undo 2"),
        "{why}"
    );
    desk.ends_within(Duration::from_secs(30));
}
