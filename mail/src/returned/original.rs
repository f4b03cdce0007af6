//! What a returned mail says about the message that it concerns. All of it can be
//! forged except a return path that our key opens, so this only collects.

use serde::Serialize;

use super::fields::{self, Field};
use super::mime::Parts;
use super::section;
use crate::reply::clean_text;
use crate::verp::{RETURN_PATH_PREFIX, RETURN_PATH_TOKEN_CHARS};

/// Tokens kept: a report quotes one return path, rarely two.
const TOKENS_MAX: usize = 8;
/// Octets searched for return paths.
const SEARCHED_OCTETS_MAX: usize = 256 * 1024;
/// Fields of ours that are kept.
const OURS: &[&str] = &["feedback-id", "list-id", "list-unsubscribe", "x-campaign-id"];

/// References to the original message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OriginalRefs {
    /// Its Message-ID, without angle brackets.
    pub message_id: Option<String>,
    /// Message-IDs that a reply refers to (In-Reply-To, References).
    pub references: Vec<String>,
    /// Its return path, as quoted.
    pub return_path: Option<String>,
    /// Whatever in the mail looks like the local part of a return path made here.
    pub tokens: Vec<String>,
    /// `Original-Envelope-Id` (RFC 3461).
    pub envelope_id: Option<String>,
    /// Its recipients by its header.
    pub to: Vec<String>,
    /// Its sender by its header.
    pub from: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// Header fields that we put in, name in lower case.
    pub ours: Vec<(String, String)>,
}

/// Collects the references.
pub(super) fn refs(parts: &Parts, status: &[Field], raw: &[u8]) -> OriginalRefs {
    let quoted = parts.original.as_deref().or_else(|| section::quoted_header(parts));
    let header = fields::parse_header(quoted.unwrap_or_default());
    let header = header.as_slice();
    let one = |name| fields::get(header, name);
    let ours = |f: &&Field| OURS.iter().any(|name| f.is(name)) || f.begins("x-malleposte");
    OriginalRefs {
        message_id: one("message-id").and_then(|v| ids(v).into_iter().next()),
        references: ["in-reply-to", "references"]
            .iter()
            .filter_map(|name| parts.field(name))
            .flat_map(ids)
            .take(TOKENS_MAX)
            .collect(),
        return_path: one("return-path").and_then(fields::address),
        tokens: tokens(parts, raw),
        envelope_id: fields::get(status, "original-envelope-id").map(clean_text),
        to: one("to").map(all_addresses).unwrap_or_default(),
        from: one("from").and_then(fields::address),
        subject: one("subject").map(clean_text),
        ours: header
            .iter()
            .filter(ours)
            .map(|f| (f.name.to_ascii_lowercase(), clean_text(&f.value)))
            .collect(),
    }
}

fn ids(value: &str) -> Vec<String> {
    let id = |word: &str| word.trim_matches(['<', '>', ',', ';']).to_owned();
    let fits = |id: &String| id.contains('@') && id.len() <= 250;
    value.split_whitespace().map(id).filter(fits).take(TOKENS_MAX).collect()
}

pub(super) fn all_addresses(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((at, address)) = fields::find_address(rest).filter(|_| found.len() < 50) {
        found.push(address.to_owned());
        rest = &rest[at + address.len()..];
    }
    found
}

/// What looks like a return path of ours: in the mail as it came, and in the parts
/// that had to be decoded.
fn tokens(parts: &Parts, raw: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    collect_tokens(&raw[..raw.len().min(SEARCHED_OCTETS_MAX)], &mut found);
    let decoded = parts.original.iter().chain(&parts.delivery_status).chain(&parts.texts);
    for text in decoded.take(8) {
        collect_tokens(text.as_bytes(), &mut found);
    }
    found
}

/// The prefix and as many letters or digits as we make, with none before or after.
fn collect_tokens(raw: &[u8], found: &mut Vec<String>) {
    let prefix = RETURN_PATH_PREFIX.as_bytes();
    let whole = prefix.len() + RETURN_PATH_TOKEN_CHARS;
    // Its dash is rarer than its letter.
    for at in memchr::memchr_iter(prefix[1], raw).filter_map(|dash| dash.checked_sub(1)) {
        let Some(candidate) = raw.get(at..at + whole) else { break };
        let fits = candidate[0].eq_ignore_ascii_case(&prefix[0])
            && candidate[2..].iter().all(u8::is_ascii_alphanumeric)
            && (at == 0 || !raw[at - 1].is_ascii_alphanumeric())
            && raw.get(at + whole).is_none_or(|b| !b.is_ascii_alphanumeric());
        if fits {
            if found.len() >= TOKENS_MAX {
                break;
            }
            let token = String::from_utf8_lossy(candidate).to_ascii_lowercase();
            if !found.contains(&token) {
                found.push(token);
            }
        }
    }
}
