//! Whatever arrives is answered, within bounds: random octets, damaged reports, and
//! mails that were built to hurt.

use mail::Report;
use mail::returned::{self, Returned};
use proptest::prelude::*;

/// RFC 3464 by hand, for damage.
const REPORT: &str = include_str!("returned/postfix/postfix-unknown-user.eml");

fn check(raw: &[u8]) -> Returned {
    let returned = returned::parse(raw);
    assert!(returned.failures.len() <= 1000);
    assert!(returned.failures.iter().all(|f| f.diagnostic.len() <= 1024));
    assert!(returned.original.tokens.len() <= 8);
    assert!(returned.original.to.len() <= 50);
    returned
}

#[test]
fn messages_nested_thousands_deep_do_not_exhaust_the_stack() {
    let mut deep = String::from("From: a@example.org\n");
    for _ in 0..30_000 {
        deep.push_str("Content-Type: message/rfc822\n\n");
    }
    check(deep.as_bytes());
    let mut deep = String::from("From: a@example.org\n");
    for i in 0..20_000 {
        deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n"));
    }
    check(deep.as_bytes());
}

#[test]
fn a_million_parts_and_endless_lines_are_cut() {
    let head = "From: mailer-daemon@example.org\nSubject: failure notice\nContent-Type: multipart/mixed; boundary=b\n\n";
    check(format!("{head}{}", "--b\n\nx\n".repeat(1_000_000)).as_bytes());
    check(format!("From: a@example.org\nSubject: {}\n\nx", "x".repeat(64 * 1024)).as_bytes());
    check(format!("{head}--b\n\n{}", "<a@example.org>:\n".repeat(100_000)).as_bytes());
    check(format!("{head}--b\n\nundeliverable {}", "@".repeat(2_000_000)).as_bytes());
    check(format!("{head}--b\n\nundeliverable {}", "550-".repeat(500_000)).as_bytes());
    check(format!("{head}--b\n\nundeliverable {}", "user ".repeat(500_000)).as_bytes());
    check(&vec![0; 3_000_000]);
    check(&vec![b'\n'; 3_000_000]);
}

#[test]
fn a_report_about_a_hundred_thousand_recipients_names_a_thousand() {
    let mut report = String::from(
        "From: mailer-daemon@example.org\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; example.org\n\n",
    );
    for i in 0..100_000 {
        report.push_str(&format!(
            "Final-Recipient: rfc822; a{i}@example.org\nAction: failed\nStatus: 5.1.1\n\n"
        ));
    }
    let returned = check(report.as_bytes());
    assert_eq!(returned.kind, Report::Failure);
    assert!(returned.failures.len() > 100);
}

proptest! {
    #[test]
    fn any_octets_are_answered(raw in prop::collection::vec(any::<u8>(), 0..4096)) {
        check(&raw);
    }

    #[test]
    fn any_text_in_a_report_is_answered(text in "\\PC{0,2000}") {
        let head = "From: MAILER-DAEMON@example.org\nSubject: Undelivered Mail\n\nundeliverable\n";
        check(format!("{head}{text}").as_bytes());
    }

    #[test]
    fn a_damaged_report_is_answered(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        length in any::<prop::sample::Index>(),
    ) {
        let mut raw = REPORT.as_bytes().to_vec();
        for (at, octet) in cuts {
            let at = at.index(raw.len());
            raw[at] = octet;
        }
        raw.truncate(length.index(REPORT.len()));
        check(&raw);
    }
}
