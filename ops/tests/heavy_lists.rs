//! Who gets no mail, and what came back without proof: as an operator has it in hand.

use std::net::Ipv4Addr;
use std::time::Duration;

use mail::event::EventKind;
use mail::{Category, Event, Phase, Reply, Timestamp};
use serde_json::Value;

use crate::support::{Desk, until};

const INTERNET: &str = r#"
name = "one site"
record = "identity"

[manner.plain]
tls = "none"

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.32" }]
manner = "plain"
tail = true
"#;
const REPORT: &str = include_str!("../../mail/tests/returned/postfix/postfix-unknown-user.eml");

#[test]
fn heavy_lists_are_shown_changed_exported_and_imported() {
    let desk = Desk::start(INTERNET, Ipv4Addr::new(127, 0, 1, 10), "", "");
    suppressions(&desk);
    unmatched(&desk);
    learn(&desk);
    desk.ends_within(Duration::from_secs(20));
}

fn suppressions(desk: &Desk) {
    const ANN: &str = "ann@a.pretend.example";
    let (is_good, out, _) = desk.ask(&["suppressions", "show", ANN]);
    assert!(!is_good && out.contains("is not suppressed"), "{out}");
    desk.well(&["suppressions", "add", "Ann@A.Pretend.example", "--why", "asked by telephone"]);
    let shown = desk.well(&["suppressions", "show", ANN]);
    assert!(shown.starts_with(&format!("{ANN}: operator, since 20")), "{shown}");
    assert!(shown.contains("asked by telephone"), "{shown}");

    let file = desk.file("old.csv");
    let rows = format!(
        "email,reason\n{ANN},bounced\nbob@a.pretend.example,bounced\nnobody,bounced\n\
         \"eve@a.pretend.example\",\"said: \"\"no, never\"\"\"\n"
    );
    std::fs::write(&file, rows).unwrap();
    let (is_good, out, err) = desk.ask(&["suppressions", "import", file.to_str().unwrap()]);
    assert!(!is_good && err.contains("row 4: address \"nobody\""), "{err}");
    assert_eq!(out, "2 suppressed, 1 were already, 1 rows are no suppressions.\n");
    let (_, out, _) = desk.ask(&["suppressions", "import", file.to_str().unwrap()]);
    assert_eq!(out, "0 suppressed, 3 were already, 1 rows are no suppressions.\n");

    let csv = desk.well(&["suppressions", "export"]);
    let mut lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.remove(0), "address,reason,category,at,expires_at,evidence");
    lines.sort_unstable();
    let begins: Vec<&str> = lines.iter().map(|line| line.split(",,").next().unwrap()).collect();
    let expected = [
        "ann@a.pretend.example,operator",
        "bob@a.pretend.example,bounced",
        "eve@a.pretend.example,\"said: \"\"no, never\"\"\"",
    ];
    assert_eq!(begins, expected);
    // What was exported is what is imported elsewhere.
    std::fs::write(&file, &csv).unwrap();
    let words = ["suppressions", "import", "--platform", file.to_str().unwrap()];
    assert!(desk.well(&words).starts_with("3 suppressed, 0 were already"));

    let out = desk.well(&["suppressions", "remove", ANN]);
    assert!(out.contains("on the platform's list"), "{out}");
    desk.well(&["suppressions", "remove", "--platform", ANN]);
    assert!(!desk.ask(&["suppressions", "show", ANN]).0);
    let (_, _, err) = desk.ask(&["suppressions", "add", ANN, "--until", "2001-01-01T00:00:00Z"]);
    assert!(err.contains("has passed"), "{err}");
    let (_, _, err) = desk.ask(&["suppressions", "export", "--tenant", "*"]);
    assert!(err.contains("is no tenant"), "{err}");
}

fn unmatched(desk: &Desk) {
    assert_eq!(desk.well(&["bounces", "unmatched"]), "No report is unmatched.\n");
    let place = format!("postmaster@{}", crate::support::RETURNS);
    desk.bring(&place, REPORT.as_bytes());
    let listed = desk.well(&["bounces", "unmatched", "--json"]);
    let listed: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!((&listed["kind"], &listed["category"]), (&"failure".into(), &"no-mailbox".into()));
    let name = listed["name"].as_str().unwrap();
    let text = desk.well(&["bounces", "unmatched"]);
    assert!(text.starts_with(&format!("{name} failure no-mailbox of ")), "{text}");
    assert!(
        desk.well(&["bounces", "unmatched", "show", name]).contains("X-Delivered-To: postmaster")
    );
    assert_eq!(desk.well(&["bounces", "unmatched", "again"]), "0 of 1 are placed.\n");
    let (is_good, _, err) = desk.ask(&["bounces", "unmatched", "drop", "nothing"]);
    assert!(!is_good && err.contains("no unmatched report \"nothing\""), "{err}");
    desk.well(&["bounces", "unmatched", "drop", name]);
    assert_eq!(desk.well(&["bounces", "unmatched"]), "No report is unmatched.\n");

    // The same in a file among others: it is told, and nothing follows from it.
    let mbox = desk.file("old.mbox");
    let answer =
        "From ann Fri Nov 27 00:00:00 2026\nFrom: ann@a.pretend.example\nSubject: hello\n\nhello\n";
    let report = REPORT.replace("\r\n", "\n");
    std::fs::write(&mbox, format!("From MAILER-DAEMON Fri\n{report}\n{answer}")).unwrap();
    let mbox = mbox.to_str().unwrap();
    let told = desk.well(&["bounces", "import", mbox]);
    let expected = format!(
        "{mbox}: failure: it does not prove which message it is about\n\
         {mbox}:2: other: for a person to read\n\
         2 mails; placed: none; 1 unmatched, 0 answers of people, 1 for people to read, 0 unreadable\n"
    );
    assert_eq!(told, expected);
    let (is_good, out, _) = desk.ask(&["bounces", "import", "--json", mbox, "none.eml"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!is_good && lines.len() == 3, "{out}");
    assert_eq!(lines[0]["fate"], "unmatched");
    assert!(lines[2]["error"].as_str().unwrap().contains("cannot be read"), "{out}");
}

/// What no rule knows is listed, named, and forgotten again.
fn learn(desk: &Desk) {
    let known = desk.well(&["bounces", "learn"]);
    assert_eq!(known, "Whatever was said in the last 30 days is known.\n");
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let at = Timestamp(u64::try_from(since.as_millis()).unwrap());
    for who in ["ann", "bob"] {
        desk.tell(&Event {
            recipient: format!("{who}@a.pretend.example"),
            category: Some(Category::Undetermined),
            phase: Some(Phase::Rcpt),
            rule: "none".into(),
            reply: Reply::parse(&format!(
                "550 Sorry, the box of <{who}@a.pretend.example> hibernates"
            )),
            ..Event::new(EventKind::Failed, at)
        });
    }
    let listed = until(Duration::from_secs(30), "history has them", || {
        let listed = desk.well(&["bounces", "learn", "--json"]);
        let first: Value = serde_json::from_str(listed.lines().next()?).unwrap();
        (first["count"] == 2).then_some(first)
    });
    let id = listed["id"].as_str().unwrap();
    assert_eq!(listed["words"], "sorry, the box of");
    assert!(!listed.to_string().contains("ann@"), "{listed}");
    let text = desk.well(&["bounces", "learn"]);
    assert!(text.contains(id) && text.contains("at a.pretend.example"), "{text}");

    let name = |more: &[&str]| desk.ask(&[&["bounces", "learn", id, "--category"], more].concat());
    let (_, _, err) = name(&["asleep"]);
    assert!(err.contains("\"asleep\" is none of those"), "{err}");
    let (_, _, err) = name(&["mailbox-disabled", "--words", "not in it"]);
    assert!(err.contains("does not claim"), "{err}");
    let (is_good, out, err) = name(&["mailbox-disabled", "--words", "The box of .. hibernates"]);
    assert!(is_good && out.contains("is mailbox-disabled from now on"), "{out}{err}");
    let rules = desk.well(&["bounces", "learn", "--rules"]);
    assert!(rules.contains("category = \"mailbox-disabled\""), "{rules}");
    let (is_good, _, err) = name(&["mailbox-full"]);
    assert!(!is_good && err.contains("two rules of this id"), "{err}");
    desk.well(&["bounces", "learn", "--forget", id]);
    assert_eq!(desk.well(&["bounces", "learn", "--rules"]), "");
    let (_, _, err) = desk.ask(&["bounces", "learn", "--forget", id]);
    assert!(err.contains("no rule"), "{err}");
}
