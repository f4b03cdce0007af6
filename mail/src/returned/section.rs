//! The part of a mail that is the report: up to where the original begins. What
//! stands after that is somebody else's text and proves nothing.

use super::fields;
use super::mime::Parts;
use super::named::head_address;
use crate::classify::{cut, fold};

/// Octets of the report that are read; the original below may be long.
pub(super) const SECTION_OCTETS_MAX: usize = 16 * 1024;
/// Heads of lines that say: here the original begins. Folded, without ornament.
const ORIGINAL_BEGINS: &[&str] = &[
    "this is a copy of",
    "below this line is a copy",
    "below the next line is a copy",
    "original message follows",
    "original message attached",
    "original message headers",
    "original message header",
    "original message details",
    "original message is",
    "original message below",
    "message header follows",
    "original mail headers",
    "original mail info",
    "original headers",
    "headers of your message",
    "headers of the original",
    "message headers:",
    "original email follows",
    "beginning of original message",
    "content of the original message",
    "message headers follow",
    "message text follows",
    "message body follows",
    "returned message",
    "unsent message",
    "undelivered message follows",
    "the header of the original message",
    "header of the original",
    "below is a copy of the original",
    "start of returned message",
    "included is a copy",
    "a copy of the original message",
    "a copy of your message",
    "the body of the message",
    "copy of the original message",
    "copy of message follows",
    "your message reads",
    "message contents follow",
    "the original message follows",
    "attachment is a copy",
    "mensaje original",
    "en-tetes de message",
    "en-tetes du message",
    "en-tete du message",
    "message d'origine",
    "message original",
    "ursprungliche nachricht",
    "ursprungliche nachrichtenkopf",
    "messaggio originale",
    "mensagem original",
    "end of message",
    "message body suppressed",
    "forwarded message",
];

/// What reports of delay say, folded.
const DELAY: &[&str] = &[
    "warning message only",
    "do not need to resend",
    "has been delayed",
    "is delayed",
    "message delayed",
    "delivery attempts will continue",
    "will continue trying",
    "will continue to try",
    "will be retried",
    "still being retried",
    "still awaiting delivery",
    "not yet been delivered",
    "hasn't been delivered yet",
    "has not yet been",
    "will keep trying",
    "only a temporary failure report",
    "delivery delayed",
    "delivery is delayed",
    "delivery status notification (delay",
    "warning: could not send message",
    "warning: message still undelivered",
    "delayed mail",
    "message is still in the queue",
    "no action is required on your part",
    "remise est retardee",
    "remise differee",
    "a ete retarde",
    "nouvelles tentatives",
    "verzogert",
];

/// Whether the report says that it still tries.
pub(super) fn says_delayed(parts: &Parts, section: &str) -> bool {
    let (said, subject) = (fold(section), fold(&parts.subject));
    let given_up = [
        "permanent error",
        "failed permanently",
        "stopped trying",
        "given up",
        "could not be delivered to one or more",
    ];
    DELAY.iter().any(|d| said.contains(d) || subject.contains(d))
        && !given_up.iter().any(|g| said.contains(g))
}

/// The texts of the report up to where the original begins.
pub(super) fn report_section(parts: &Parts) -> String {
    let mut section = String::new();
    for text in parts.texts.iter().take(3) {
        let end = original_begins(text).unwrap_or(text.len());
        section.push_str(cut(&text[..end], SECTION_OCTETS_MAX));
        section.push('\n');
        // A second text is the original's body, unless the first says next to nothing.
        if section.contains('@') || section.len() > 400 {
            break;
        }
    }
    section
}

/// The header of the original as the text quotes it.
pub(super) fn quoted_header(parts: &Parts) -> Option<String> {
    let text = parts.texts.first()?;
    let begins = original_begins(text)?;
    let tail = &text[begins..];
    let header = tail.lines().position(|l| fields::parse(l).len() == 1 && !l.ends_with(':'))?;
    Some(tail.lines().skip(header).collect::<Vec<_>>().join("\n"))
}

fn original_begins(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_matches(|c: char| c.is_whitespace() || "-*|=_>#+".contains(c));
        let starts = |s: &str| line.get(..s.len()).is_some_and(|l| l.eq_ignore_ascii_case(s));
        let header = starts("Received: ") || starts("Return-Path: ") || starts("DKIM-Signature: ");
        if header || (!bare.is_empty() && bare.len() < 200 && names_original(bare)) {
            return Some(at);
        }
        at += line.len();
    }
    None
}

fn names_original(bare: &str) -> bool {
    // Folding each line of a long text would cost more than all the rest.
    let head = bare.as_bytes().get(..3).unwrap_or_default();
    if !ORIGINAL_BEGINS.iter().any(|o| o.as_bytes()[..3].eq_ignore_ascii_case(head)) {
        return false;
    }
    let folded = fold(bare);
    let folded = folded.trim();
    folded == "original message" || ORIGINAL_BEGINS.iter().any(|o| folded.starts_with(o))
}

/// The lines of a section that mention an address, each with the one below it.
pub(super) fn about(section: &str, address: &str) -> String {
    let address = address.to_lowercase();
    let lines: Vec<&str> = section.lines().collect();
    let mut kept = String::new();
    for (i, line) in lines.iter().enumerate() {
        if line.to_lowercase().contains(&address) && kept.len() < 4096 {
            let below = lines.get(i + 1).filter(|l| head_address(l).is_none());
            for line in [Some(line), below].into_iter().flatten() {
                kept.push_str(cut(line, 1000));
                kept.push('\n');
            }
        }
    }
    kept
}
