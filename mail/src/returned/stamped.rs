//! The envelope of a mail that lies in a mailbox, as far as its last stations wrote it above it.

use mail_parser::DateTime;

use super::fields;
use super::original::all_addresses;
use crate::time::Timestamp;

/// Where stations write whom a mail was for, the surest first.
const RECIPIENT_FIELDS: [&str; 7] =
    ["x-original-to", "envelope-to", "x-envelope-to", "delivered-to", "x-delivered-to", "to", "cc"];
/// Octets of a header that are looked at.
const HEADER_OCTETS_MAX: usize = 64 * 1024;

/// An envelope, read from a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamped {
    /// The envelope sender, empty for `<>`; `None` when no station wrote it (RFC 5321, 4.4).
    pub sender: Option<String>,
    /// Whom it may have been for, the surest first.
    pub recipients: Vec<String>,
    /// When it says that it was written (RFC 5322, 3.6.1).
    pub date: Option<Timestamp>,
}

/// Reads it. Anybody can write such fields: they say where to look, and prove nothing.
#[must_use]
pub fn stamped(raw: &[u8]) -> Stamped {
    let head = &raw[..raw.len().min(HEADER_OCTETS_MAX)];
    let end = memchr::memmem::find(head, b"\n\r\n").or_else(|| memchr::memmem::find(head, b"\n\n"));
    let head = String::from_utf8_lossy(&head[..end.unwrap_or(head.len())]);
    let header = fields::parse_header(&head);
    let sender = fields::get(&header, "return-path").and_then(|path| match path.trim() {
        "<>" => Some(String::new()),
        path => fields::address(path),
    });
    let date = fields::get(&header, "date").and_then(|text| DateTime::parse_rfc822(text.trim()));
    let date = date.and_then(|date| u64::try_from(date.to_timestamp()).ok());
    let of = |name: &&str| {
        let fields = header.iter().filter(|field| field.is(name));
        fields.flat_map(|field| all_addresses(&field.value)).collect::<Vec<_>>()
    };
    let recipients = RECIPIENT_FIELDS.iter().flat_map(of).collect();
    Stamped { sender, recipients, date: date.map(|secs| Timestamp(secs.saturating_mul(1000))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_read_from_what_stations_wrote() {
        let mail = b"Return-Path: <>\r\nTo: News <news@example.com>\r\n\
            Delivered-To: b-1@bounces.example.org\r\nDelivered-To: all@example.org\r\n\
            X-Original-To:\r\n b-2@bounces.example.org\r\n\r\nReturn-Path: <x@y.example>\r\n";
        let read = stamped(mail);
        assert_eq!(read.sender.as_deref(), Some(""));
        let expected = [
            "b-2@bounces.example.org",
            "b-1@bounces.example.org",
            "all@example.org",
            "news@example.com",
        ];
        assert_eq!(read.recipients, expected);
        assert_eq!(stamped(b"From: a@b.example\n\nReturn-Path: <>\n"), Stamped::default());
        assert_eq!(stamped(b"Return-Path: <a@b.example>\n").sender.as_deref(), Some("a@b.example"));
        assert_eq!(stamped(b""), Stamped::default());
        assert_eq!(stamped(b"Return-Path: nonsense\n").sender, None);
        let dated = stamped(b"Date: Fri, 27 Nov 2026 10:00:00 +0100\n\n");
        assert_eq!(dated.date.unwrap_or_default().to_string(), "2026-11-27T09:00:00.000Z");
    }
}
