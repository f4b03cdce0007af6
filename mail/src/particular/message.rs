//! What is particular about the message or its sender's proofs.

use super::names::{self, BlockList, VirusName};
use super::text::{Text, pattern};
use super::{Check, Particular, size};

pub(super) fn size_limit(text: &Text<'_>) -> Option<Particular> {
    let (limit, message) = size::limit(&text.said, &text.folded)?;
    Some(Particular::SizeLimit { limit, message })
}

pub(super) fn content(text: &Text<'_>) -> Option<Particular> {
    if text.has(VIRUS) && !text.has(&["virus-free", "antivirus", "anti-virus"]) {
        return Some(Particular::Virus(VirusName::find(&text.said)));
    }
    // `see the link below` speaks of no link in the message: the rule knows the difference.
    if text.rule == "url" || text.has(LINK) {
        return Some(bad_link(text));
    }
    if text.has(ATTACHMENT) {
        return Some(Particular::Attachment(names::file_kind(&text.said)));
    }
    score(&text.folded)
}

const VIRUS: &[&str] =
    &["virus", "malware", "infected", "trojan", "clamav", "schadsoftware", "infecte"];
const LINK: &[&str] = &[
    "surbl",
    "uribl",
    "spamhaus dbl",
    "dbl.spamhaus",
    "blacklisted url",
    "blacklisted link",
    "contains a url",
    "url in message",
    "bad link",
    "contient un lien",
    "contiene un enlace",
];
const ATTACHMENT: &[&str] = &[
    "attachment",
    "file type",
    "banned file",
    "prohibited file",
    "executable",
    "piece jointe",
    "pieces jointes",
    "type de fichier",
    "anhang",
    "adjunto",
    "allegato",
    "bijlage",
    "content presents a potential",
    "potential security issue",
];

fn bad_link(text: &Text<'_>) -> Particular {
    let cue = pattern!(
        r"(?:urls?|links?|domains?|lien|enlace|surbl|uribl|dbl|message\.|body|hosts?)\b(?: in (?:the )?(?:message|body)\.?| name| to| contains)?"
    );
    let host = names::domain_after(&text.said, cue);
    Particular::BadLink { host, list: BlockList::named(&text.folded) }
}

/// `score 12.3 (required 5.0)`, `score=7.2`, `15/5`.
fn score(folded: &str) -> Option<Particular> {
    let form = pattern!(
        r"\b(?:score|points|hits|puntaje|punteggio|bewertung)\s?(?:of|is|was|:|=|de|von)?\s?\(?(\d{1,3}(?:[.,]\d{1,3})?)(?:\s?(?:points)?[\s,;(/>]*(?:required|threshold|limit|max(?:imum)?|of|over|needed|/|>=?|requis|seuil)?\s?(?:is|:|=)?\s?(\d{1,3}(?:[.,]\d{1,3})?))?(?:[\s),;\]]|\.?\s|$)"
    );
    let found = form.captures(folded)?;
    let tenths = tenths(&found[1])?;
    let limit = found.get(2).and_then(|limit| self::tenths(limit.as_str()));
    Some(Particular::Score { tenths, limit: limit.filter(|limit| *limit <= tenths && *limit > 0) })
}

/// `12.34` as 123; nothing for nothing.
fn tenths(number: &str) -> Option<u32> {
    let (whole, rest) = number.split_once(['.', ',']).unwrap_or((number, "0"));
    let tenths = whole.parse::<u32>().ok()? * 10 + rest.get(..1)?.parse::<u32>().ok()?;
    (tenths > 0).then_some(tenths)
}

pub(super) fn auth(text: &Text<'_>) -> Option<Particular> {
    let named = |check: &Check| {
        let word = check.as_str().to_ascii_lowercase();
        let by_status = match check {
            Check::Spf => {
                text.is_status(7, 23)
                    || text.is_status(7, 24)
                    || text.has(&["sender policy framework"])
            }
            Check::Dkim => text.is_status(7, 20) || text.is_status(7, 21) || text.is_status(7, 22),
            Check::Dmarc => text.is_status(7, 509),
        };
        by_status || is_word(&text.folded, &word)
    };
    let mut failed: Vec<Check> = Check::ALL.iter().copied().filter(named).collect();
    // `SPF pass, DKIM fail`: what passed did not fail.
    failed.retain(|check| {
        let word = check.as_str().to_ascii_lowercase();
        !["=pass", " pass", ": pass", " = did pass", "=ok"]
            .iter()
            .any(|pass| text.folded.contains(&format!("{word}{pass}")))
    });
    let domain = pattern!(
        r"(?:domain|domaine|dominio|domein|dmarc policy of|unauthenticated email from|email from|signature of|spf|for)\b"
    );
    let domain = names::domain_after(&text.said, domain);
    (!failed.is_empty()).then_some(Particular::Checks { failed, domain })
}

/// Whether it stands there as a word: `spf.example.net` does not speak of SPF.
fn is_word(folded: &str, word: &str) -> bool {
    let is_part =
        |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '@');
    folded.match_indices(word).take(16).any(|(at, _)| {
        let (before, mut after) =
            (folded[..at].chars().next_back(), folded[at + word.len()..].chars());
        let next = after.next();
        let is_host = next == Some('.') && is_part(after.next());
        !is_part(before)
            && before != Some('.')
            && !next.is_some_and(|c| c.is_ascii_alphanumeric())
            && !is_host
    })
}
