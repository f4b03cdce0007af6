//! A mail of the platform's own to somebody who runs it: a line of subject, some lines of text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::Timestamp;

use crate::header::{mailbox, unstructured};

/// A line of base64 (RFC 2045, 6.8), in octets that it stands for.
const LINE_OCTETS: usize = 57;

/// What it says, from whom and to whom.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The address that it comes from.
    pub from: &'a str,
    /// The address that it goes to.
    pub to: &'a str,
    /// One line.
    pub subject: &'a str,
    /// What stands before the @ of its Message-ID, and behind it: the same whenever it is sent again.
    pub id: (&'a str, &'a str),
    /// When.
    pub date: Timestamp,
    /// Whether mail programs shall show that it is urgent.
    pub is_urgent: bool,
    /// Lines, LF between them.
    pub text: &'a str,
}

/// The whole message, unsigned. No line of what stands in it can begin a header.
#[must_use]
pub fn notice_mail(notice: &Notice<'_>) -> Vec<u8> {
    let Notice { from, to, subject, id: (left, right), date, is_urgent, text } = notice;
    let mut out = Vec::new();
    mailbox(&mut out, "From", None, from);
    mailbox(&mut out, "To", None, to);
    unstructured(&mut out, "Subject", subject);
    unstructured(&mut out, "Date", &date.rfc5322());
    unstructured(&mut out, "Message-ID", &format!("<{left}@{right}>"));
    if *is_urgent {
        unstructured(&mut out, "Importance", "high");
    }
    // Nobody's holiday is to be told of (RFC 3834, 5).
    unstructured(&mut out, "Auto-Submitted", "auto-generated");
    unstructured(&mut out, "MIME-Version", "1.0");
    unstructured(&mut out, "Content-Type", "text/plain; charset=utf-8");
    unstructured(&mut out, "Content-Transfer-Encoding", "base64");
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(base64_lines(text.replace('\n', "\r\n").as_bytes()).as_bytes());
    out
}

pub(crate) fn base64_lines(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() / 3 * 4 + octets.len() / 20 + 4);
    for line in octets.chunks(LINE_OCTETS) {
        STANDARD.encode_string(line, &mut text);
        text.push_str("\r\n");
    }
    text
}
