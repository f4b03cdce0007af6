//! What `ops/fuzz.sh` does ten million times, some hundred times and by chance: so it is compiled with
//! everything else, and what breaks all of it is found before the fuzzer is run again.

use std::path::Path;

use proptest::prelude::*;

#[path = "../../fuzz/bodies/messages.rs"]
mod messages;
#[path = "../../fuzz/bodies/paths.rs"]
mod paths;
#[path = "../../fuzz/bodies/replies.rs"]
mod replies;
#[path = "../../fuzz/bodies/reports.rs"]
mod reports;
#[path = "../../fuzz/bodies/returned.rs"]
mod returned;

/// Octets with words among them that mean something to whoever reads them.
fn octets(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    let long = (any::<u8>(), 900..1100usize).prop_map(|(octet, n)| vec![octet; n]);
    let piece = prop_oneof![12 => word, 4 => noise, 1 => long];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// What broke once.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let entries = std::fs::read_dir(folder).expect("the seeds");
    entries.map(|entry| std::fs::read(entry.expect("a seed").path()).expect("a seed")).collect()
}

#[test]
fn what_broke_once_does_not_break_again() {
    let again = |target: &str, run: fn(&[u8])| {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target}");
        seeds.iter().for_each(|octets| run(octets));
    };
    again("replies", replies::run);
    again("messages", messages::run);
    again("returned", returned::run);
    again("reports", reports::run);
    again("paths", paths::run);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn replies_are_read_whole_however_they_come(octets in octets(&[
        "250", "550", "421", "354", "99", "600", "-", " ", "\r\n", "\r\n", "\n", "\r", " 5.1.1 ", "2.0.0",
        "250-mx.example\r\n", "250 ok\r\n", "550 5.1.1 no such user\r\n", "221", "\0", "é",
    ])) {
        replies::run(&octets);
    }

    #[test]
    fn messages_are_what_they_should_be_whatever_stands_in_them(octets in octets(&[
        "|", "\r\n.\r\n", "\n.\n", ".", "\r", "\n", "\r\n", "=?utf-8?B?", "?=", "é", "漢", "😀", "\0", " ",
        "\r\nBcc: x@example.net\r\n", "--=_3-1f40", "{{ a }}", "\"", "<", "&", ":", "=", "\t", ", ",
    ])) {
        messages::run(&octets);
    }

    #[test]
    fn returned_mail_is_read_within_bounds(octets in octets(&[
        "From: MAILER-DAEMON@a.example\n", "Return-Path: <>\n", "\n", "\n\n", "--b\n", "--b--\n", " ", "\0",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n", "é", "=E9", "\u{1b}$B",
        "Content-Type: message/delivery-status\n\n", "Content-Type: message/feedback-report\n\n",
        "Content-Type: message/rfc822\n\n", "Content-Transfer-Encoding: base64\n", "charset=koi8-r",
        "Final-Recipient: rfc822; a@b.example\n", "Action: failed\n", "Action: delayed\n", "Status: 5.1.1\n",
        "Diagnostic-Code: smtp; 550 5.1.1 user unknown\n", "Feedback-Type: abuse\n", "<a@b.example>: ", "@",
        "could not be delivered", "Subject: Out of office\n", "no longer works here", "In-Reply-To: <x@y>\n",
    ])) {
        returned::run(&octets);
    }

    #[test]
    fn the_formats_inside_returned_mail_are_read_within_bounds(octets in octets(&[
        "\0", "\u{1}", "\u{2}", "\u{4}", "\u{7}", "\u{9}", "\u{a}", "\n", "\n\n", " ", "é", "<", "&lt;", "@",
        "Final-Recipient: rfc822; a@b.example\n", "Status: 4.2.2\n", "Action: delayed\n", "550 5.1.1 ",
        "Diagnostic-Code: smtp; 552 5.2.2 full\n", "Original-Rcpt-To: a@b.example\n", "!1!2.xml.gz", "\n--b\n",
        "Content-Type: message/rfc822\n\n", "Message-ID: <a@b.example>\n", "user unknown", "mailbox is full",
    ])) {
        reports::run(&octets);
    }

    #[test]
    fn nothing_that_strangers_write_opens_a_path(octets in octets(&[
        "b-a", "b-", "550", "421", " ", "-", "5.1.1 ", "user unknown", "quota", "a@b.example", "\r\n", "é",
        "23456789bcdefghijkmnpqrstuvwxyz", "\0",
    ])) {
        paths::run(&octets);
    }
}
