//! What an attentive server would hold against a message: its line ends, its dots, its
//! header fields, its signature. Only looks; the session refuses.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::Shared;

/// A rule that a message broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) rule: &'static str,
    pub(super) case: String,
}

/// The header fields of a message, with the CRLF of the last one.
pub(super) fn header_block(message: &[u8]) -> &[u8] {
    memmem::find(message, b"\r\n\r\n").map_or(message, |at| &message[..at + 2])
}

/// The Message-ID, or nothing.
pub(super) fn message_id(headers: &[u8]) -> Cow<'_, str> {
    const NAME: &[u8] = b"message-id:";
    let mut rest = headers;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            return String::from_utf8_lossy(line[NAME.len()..].trim_ascii());
        }
        rest = after;
    }
    Cow::Borrowed("")
}

pub(super) async fn inspect(_shared: &Shared, _octets: &[u8]) -> Result<(), Broken> {
    Ok(())
}
