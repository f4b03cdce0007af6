//! An answer as a web service wants it: who wrote it, about which campaign, and what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail::Timestamp;
use mail::returned;
use serde::Serialize;

use crate::returned::{CAMPAIGN_FIELD, DELIVERY_FIELD};

/// A mail that is larger comes without its octets; the mailbox has them.
const MAIL_OCTETS_MAX: usize = 4 * 1024 * 1024;

#[derive(Serialize)]
struct Ticket<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    /// The name of its file in the mailbox.
    id: &'a str,
    /// The campaign and the delivery that it answers, where that is proved.
    campaign: Option<String>,
    delivery: Option<String>,
    from: Option<String>,
    subject: String,
    /// Message-IDs that it refers to.
    references: Vec<String>,
    /// Its first text, at most 64 KiB of it, without what would steer whoever shows it.
    text: String,
    /// All of it in base64; nothing where it is larger than 4 MiB.
    mail: Option<String>,
}

/// The request about an answer, as JSON.
pub(super) fn of(id: &str, kept: &[u8], at: Timestamp) -> Vec<u8> {
    let mail = without_return_path(kept);
    let answer = returned::parse(mail);
    let ticket = Ticket {
        kind: "reply.received",
        timestamp: at.to_string(),
        data: Data {
            id,
            campaign: field(mail, CAMPAIGN_FIELD),
            delivery: field(mail, DELIVERY_FIELD),
            from: answer.from,
            subject: answer.subject,
            references: answer.original.references,
            text: tame(&returned::text(mail)),
            mail: (mail.len() <= MAIL_OCTETS_MAX).then(|| STANDARD.encode(mail)),
        },
    };
    serde_json::to_vec(&ticket).unwrap_or_default()
}

/// Lines without control characters and without what turns a line around; the marks that Persian and
/// Arabic words need stay.
fn tame(text: &str) -> String {
    let steers =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let lines = text
        .lines()
        .map(|line| line.chars().filter(|c| *c == '\t' || !steers(*c)).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

/// What we wrote above the mail: a field of the same name further below is the writer's.
fn field(mail: &[u8], name: &str) -> Option<String> {
    let ours = mail.split(|b| *b == b'\n').take_while(|line| !line.starts_with(b"Received:"));
    let mut lines = ours.filter_map(|line| std::str::from_utf8(line).ok());
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.trim().to_owned()))
}

/// A kept mail without the line that says where reports about it go, which is for its last station
/// to write (RFC 5321, 4.4).
pub(super) fn without_return_path(kept: &[u8]) -> &[u8] {
    let end = kept.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    if kept.starts_with(b"Return-Path:") { &kept[end..] } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &[u8] = b"Return-Path: <ann@example.net>\r\nX-Delivered-To: delivery d1\r\n\
        X-Malleposte-Delivery: d1\r\nX-Malleposte-Campaign: c7\r\n\
        Received: from mx ([127.0.0.1])\r\n\tby b with ESMTP; now\r\n\
        X-Malleposte-Campaign: c666\r\nFrom: Ann <ann@example.net>\r\nSubject: =?utf-8?q?R=C3=A9?=\r\n\
        In-Reply-To: <1@example.org>\r\n\r\nWhen do you open?\r\n";

    #[test]
    fn a_ticket_says_who_wrote_what_about_which_campaign() {
        let ticket = of("1.M2", KEPT, Timestamp(1_700_000_000_000));
        let ticket: serde_json::Value = serde_json::from_slice(&ticket).unwrap();
        assert_eq!(ticket["type"], "reply.received");
        let data = &ticket["data"];
        assert_eq!((&data["id"], &data["campaign"]), (&"1.M2".into(), &"c7".into()));
        assert_eq!((&data["from"], &data["subject"]), (&"ann@example.net".into(), &"Ré".into()));
        assert_eq!(data["references"][0], "1@example.org");
        assert_eq!(data["text"].as_str().unwrap().trim(), "When do you open?");
        let mail = STANDARD.decode(data["mail"].as_str().unwrap()).unwrap();
        assert!(mail.starts_with(b"X-Delivered-To:"), "without its return path");
    }

    #[test]
    fn a_ticket_about_hostile_mail_is_tame_and_bounded() {
        let wild = "<script>\u{202e}\u{1b}[2J\u{7}\u{0}";
        let mail = format!(
            "Received: from x\r\nFrom: {wild} <ann@example.net>\r\nSubject: Re: {wild}{}\r\n\r\nHello {wild}\r\n{}\r\n",
            "x".repeat(100_000),
            "y".repeat(5 << 20),
        );
        let ticket = of("1.M2", mail.as_bytes(), Timestamp(1));
        assert!(ticket.len() < 200_000, "{} octets", ticket.len());
        let ticket: serde_json::Value = serde_json::from_slice(&ticket).unwrap();
        let data = &ticket["data"];
        for name in ["from", "subject", "text"] {
            let text = data[name].as_str().unwrap();
            let is_wild = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(is_wild), "{name}: {:?}", &text[..100.min(text.len())]);
        }
        let text = data["text"].as_str().unwrap();
        assert!(text.starts_with("Hello <script>"), "{:?}", &text[..100.min(text.len())]);
        assert!(data["mail"].is_null(), "it is larger than 4 MiB");
    }

    #[test]
    fn what_a_writer_claims_to_answer_is_not_believed() {
        let mail = b"Received: from x\r\nX-Malleposte-Campaign: c666\r\n\r\nhello\r\n";
        let ticket: serde_json::Value =
            serde_json::from_slice(&of("1", mail, Timestamp(1))).unwrap();
        assert!(ticket["data"]["campaign"].is_null());
    }
}
