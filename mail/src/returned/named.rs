//! The recipients that a plain-text report names, each with the lines that are about it.

use super::fields::{self, find_address};
use super::mime::Parts;
use super::original::{OriginalRefs, all_addresses};
use super::section::SECTION_OCTETS_MAX;
use crate::category::Phase;
use crate::classify::{self, EXAMINED_OCTETS_MAX, Said, cut, fold};

/// Lines that belong to one recipient at most.
const LINES_OF_ONE_MAX: usize = 40;
/// Recipients read out of one text.
const RECIPIENTS_MAX: usize = 200;

/// A recipient as the text names it, with the lines that belong to it.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) address: Option<String>,
    pub(super) lines: String,
}

/// Addresses at the head of a line; else those in a sentence about delivery; else
/// what the header says; else to whom the original went.
pub(super) fn recipients(parts: &Parts, original: &OriginalRefs, section: &str) -> Vec<Named> {
    let strangers = |a: &str| !is_own(a, parts, original);
    let mut named = at_line_heads(section, &strangers);
    let failed: Vec<String> =
        parts.field("x-failed-recipients").map(all_addresses).unwrap_or_default();
    if !failed.is_empty() {
        let known = |a: &str| {
            named.iter().any(|n| n.address.as_deref().is_some_and(|x| x.eq_ignore_ascii_case(a)))
        };
        if !failed.iter().all(|f| known(f)) || named.len() > failed.len() {
            let lines = if failed.len() == 1 {
                named.first().map_or(section, |n| n.lines.as_str())
            } else {
                ""
            };
            let lines = lines.to_owned();
            named = failed
                .iter()
                .map(|f| Named { address: Some(f.clone()), lines: lines.clone() })
                .collect();
        }
        return named;
    }
    if named.is_empty() {
        named = in_sentences(section, &strangers);
    }
    if named.is_empty() {
        let to = original.to.iter().filter(|a| strangers(a)).take(1);
        named = to.map(|a| Named { address: Some(a.clone()), lines: section.to_owned() }).collect();
    }
    named
}

/// Whether an address is the sender's or a mail system's rather than a recipient's.
fn is_own(address: &str, parts: &Parts, original: &OriginalRefs) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_lowercase();
    if matches!(local.as_str(), "mailer-daemon" | "abuse" | "mail-daemon") {
        return true;
    }
    let same = |other: Option<&str>| other.is_some_and(|o| o.eq_ignore_ascii_case(address));
    let to_original = original.to.iter().any(|t| t.eq_ignore_ascii_case(address));
    if to_original {
        return false;
    }
    let to = parts.field("to").and_then(fields::address);
    let from = parts.field("from").and_then(fields::address);
    same(original.from.as_deref())
        || same(original.return_path.as_deref())
        || same(to.as_deref())
        || (local == "postmaster" && same(from.as_deref()))
}

fn at_line_heads(section: &str, strangers: &dyn Fn(&str) -> bool) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    let mut lines_of_one = 0;
    // In a transcript the server's answer stands above the line that names the recipient.
    let mut answered = "";
    for line in section.lines() {
        if let Some(answer) = line.trim_start_matches(['>', ' ']).strip_prefix("<<< ") {
            answered = cut(answer, 1000);
        }
        match head_address(line).filter(|(a, _)| strangers(a)) {
            Some((address, rest)) => {
                let same = |n: &&mut Named| {
                    n.address.as_deref().is_some_and(|x| x.eq_ignore_ascii_case(address))
                };
                let told = format!("{answered}\n{rest}");
                answered = "";
                if let Some(known) = named.iter_mut().find(same) {
                    if known.lines.len() < SECTION_OCTETS_MAX {
                        known.lines.push('\n');
                        known.lines.push_str(&told);
                    }
                } else if named.len() < RECIPIENTS_MAX {
                    named.push(Named { address: Some(address.to_owned()), lines: told });
                    lines_of_one = 0;
                }
            }
            None => {
                if let Some(last) = named.last_mut()
                    && lines_of_one < LINES_OF_ONE_MAX
                {
                    last.lines.push('\n');
                    last.lines.push_str(cut(line, 1000));
                    lines_of_one += 1;
                }
            }
        }
    }
    named
}

/// What stands between an address and the time at which it failed, in Exchange's languages.
const DATED: [&str; 7] = ["on ", "le ", "am ", "el ", "il ", "em ", "op "];

/// `19/11/2026 09:13`, `Thu, 19 Nov 2026 09:13`: a number soon, and a time of day.
fn is_date(text: &str) -> bool {
    text.chars().take(8).any(|c| c.is_ascii_digit()) && text.contains(':')
}

/// The one stranger that a text names, wherever it stands; `None` when there are none or several.
pub(super) fn lonely(parts: &Parts, original: &OriginalRefs, section: &str) -> Option<String> {
    let mut one: Option<String> = None;
    for line in cut(section, EXAMINED_OCTETS_MAX).lines() {
        let Some((at, address)) = find_address(line) else { continue };
        let before = fold(&line[..at]);
        let is_known = one.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(address));
        let is_contact = NOT.iter().any(|word| before.contains(word));
        if is_known || is_contact || is_own(address, parts, original) {
            continue;
        }
        if one.replace(address.to_owned()).is_some() {
            return None;
        }
    }
    one
}

/// `<a@b>: …`, `a@b`, `a@b... …`, `a@b on Thu`, `* [a@b]: …`, `a@b<mailto:a@b>`.
pub(super) fn head_address(line: &str) -> Option<(&str, &str)> {
    let ornament = |c: char| c.is_whitespace() || "<>*[('\"-|•".contains(c);
    let mut bare = line.trim_start_matches(ornament);
    if let Some((code, after)) = bare.split_at_checked(3)
        && code.bytes().all(|b| b.is_ascii_digit())
        && after.contains(">...")
    {
        // `550 5.1.1 <a@b>... User unknown`
        let after = after.trim_start();
        bare = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || ornament(c));
    }
    let (at, address) = find_address(bare)?;
    if at != 0 && !bare[..at].eq_ignore_ascii_case("mailto:") {
        return None;
    }
    let rest = &bare[at + address.len()..];
    let tail = rest.trim_start_matches(['>', ']', ')', '\'', '"']).trim_start();
    let told = tail.is_empty()
        || tail.starts_with([':', '(', ';'])
        || tail.starts_with("...")
        || tail.starts_with("<mailto:")
        || tail.starts_with("- ")
        || tail.starts_with(", ")
        || (tail.len() < 60 && DATED.iter().any(|on| tail.strip_prefix(on).is_some_and(is_date)))
        || tail == "."
        || tail.strip_prefix('<').is_some_and(|t| t.starts_with(address))
        || (!tail.is_empty() && tail.len() < 300 && explains(tail))
        || tail.starts_with("failed")
        || tail.starts_with("[");
    told.then_some((address, tail.trim_start_matches([':', ';', ' ', '.'])))
}

/// Whether what follows an address is a reason that a rule knows.
fn explains(tail: &str) -> bool {
    let said = Said { phase: Phase::Returned, code: None, status: None, text: tail };
    classify::classify(&said).confidence > 60
}

/// What stands before an address that is no recipient, folded.
const NOT: &[&str] = &[
    "contact",
    "from:",
    "mail from",
    "reply to",
    "reply-to",
    "sender",
    "questions",
    "message-id",
    "assistance",
    "helo",
    "return-path",
];

/// A sentence that names a recipient: what stands before the address decides.
fn in_sentences(section: &str, strangers: &dyn Fn(&str) -> bool) -> Vec<Named> {
    const BEFORE: &[&str] = &[
        "deliver",
        "recipient",
        "undeliverable",
        "unknown user",
        "userid",
        "mailbox",
        "rcpt to",
        "addressed to",
        "address:",
        "failed to",
        "your message to",
        "your mail to",
        "to:",
        "destinataire",
        "message to",
        "user ",
        "mail to",
        "user:",
        "email to",
        "account ",
        "adresse",
        "sent to",
    ];
    let mut named: Vec<Named> = Vec::new();
    for line in section.lines().filter(|l| l.contains('@')).take(200) {
        let line = cut(line, 1000);
        let Some((at, address)) = find_address(line).filter(|(_, a)| strangers(a)) else {
            continue;
        };
        let before = fold(&line[..at]);
        let hit =
            BEFORE.iter().any(|b| before.contains(b)) && !NOT.iter().any(|n| before.contains(n));
        let known =
            |n: &Named| n.address.as_deref().is_some_and(|x| x.eq_ignore_ascii_case(address));
        if hit && !named.iter().any(known) && named.len() < RECIPIENTS_MAX {
            named.push(Named { address: Some(address.to_owned()), lines: String::new() });
        }
    }
    if let [one] = named.as_mut_slice() {
        one.lines = section.to_owned();
    }
    named
}
