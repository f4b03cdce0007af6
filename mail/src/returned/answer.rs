//! The server's answer inside a longer text: its code, its status, and at which
//! step of the conversation it came.

use std::sync::LazyLock;

use super::fields::Field;
use super::phrases::Phrases;
use crate::category::{Category, Phase};
use crate::classify::{self, Finding, Said, cut, fold_beside};
use crate::reply::EnhancedStatus;

/// Octets of a text that are searched for an answer.
const SEARCHED_OCTETS_MAX: usize = 8 * 1024;

/// What was found in a text.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer<'a> {
    pub(super) code: Option<u16>,
    pub(super) status: Option<EnhancedStatus>,
    /// From the code on; all of it when there is none.
    pub(super) text: &'a str,
}

/// Finds `550 5.1.1 …`, `550-5.1.1 …`, `#5.1.1`, `(5.1.1)` or a code alone.
pub(super) fn find(text: &str) -> Answer<'_> {
    let text = cut(text, SEARCHED_OCTETS_MAX);
    let mut answer = Answer { text, ..Answer::default() };
    let mut weak = None;
    let mut previous = None;
    for (at, word, is_next) in numbered_words(text) {
        let before = previous.take().filter(|_| is_next);
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let (head, tail) = bare.split_at_checked(3).unwrap_or((bare, ""));
        if answer.code.is_none()
            && let Some(code) = reply_code(head)
        {
            if tail.is_empty() && !(word.starts_with('[') && word.ends_with(']')) {
                // A number alone may count anything; before a status it is a code.
                weak.get_or_insert((code, at));
                previous = Some((code, at));
                continue;
            }
            if let Some(rest) = tail.strip_prefix('-') {
                (answer.code, answer.text) = (Some(code), &text[at..]);
                // `5.1.0 - Unknown address error 550-'5.7.1 …'`: the inner answer is the real one.
                let inner = status(rest).filter(|_| rest.starts_with('\''));
                answer.status = inner.or(answer.status).or_else(|| status(rest));
                previous = before;
                continue;
            }
        }
        if answer.status.is_none()
            && let Some(found) = status(bare)
        {
            answer.status = Some(found);
            if let Some((code, at)) = before {
                (answer.code, answer.text) = (Some(code), &text[at..]);
            }
        }
        if answer.status.is_some() && answer.code.is_some() {
            break;
        }
    }
    if let (None, Some((code, at))) = (answer.code, weak) {
        (answer.code, answer.text) = (Some(code), &text[at..]);
    }
    answer
}

/// The words that hold a digit with which an answer begins, few in any prose: where they stand, and
/// whether no other word stands between them and the one before.
fn numbered_words(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = &text[from..];
        let digit = memchr::memchr2(b'4', b'5', rest.as_bytes())?;
        let head = rest[..digit].rsplit(char::is_whitespace).next().unwrap_or_default();
        let begin = digit - head.len();
        let end = rest[digit..].find(char::is_whitespace).map_or(rest.len(), |i| digit + i);
        let found = (from + begin, &rest[begin..end], rest[..begin].trim().is_empty());
        from += end;
        Some(found)
    })
}

fn reply_code(digits: &str) -> Option<u16> {
    let code = digits.parse().ok().filter(|c| (400..600).contains(c))?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(code)
}

/// Three numbers and no fourth: `5.1.1`, not the head of `5.1.1.7`.
fn status(word: &str) -> Option<EnhancedStatus> {
    let word = word.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    word[..end].trim_end_matches('.').parse().ok().filter(|s: &EnhancedStatus| s.0 != 2)
}

/// Sentences that tell at which step the answer came, folded.
const SIGNS: &[(&str, Phase)] = &[
    ("in reply to end of data", Phase::Dot),
    ("after end of data", Phase::Dot),
    ("our final data", Phase::Dot),
    ("failed after i sent the message", Phase::Dot),
    ("in reply to rcpt to", Phase::Rcpt),
    ("after rcpt", Phase::Rcpt),
    ("does not like recipient", Phase::Rcpt),
    ("did not like our rcpt", Phase::Rcpt),
    ("in rcpt to", Phase::Rcpt),
    ("in reply to mail from", Phase::Mail),
    ("after mail from", Phase::Mail),
    ("sender was rejected", Phase::Mail),
    ("did not like our mail", Phase::Mail),
    ("after initial connection", Phase::Banner),
    ("initial server greeting", Phase::Banner),
    ("name was rejected", Phase::Ehlo),
    ("in reply to ehlo", Phase::Ehlo),
    ("in reply to helo", Phase::Ehlo),
    ("in reply to data command", Phase::Data),
    (">>> rcpt", Phase::Rcpt),
    (">>> mail", Phase::Mail),
];

static SIGNED: LazyLock<Phrases> = LazyLock::new(|| {
    let sentences: Vec<&str> = SIGNS.iter().map(|(sentence, _)| *sentence).collect();
    Phrases::new(&sentences)
});

/// At which step the answer came, when the report tells: of several steps in a transcript the last
/// one was refused. The text is folded.
pub(super) fn phase(folded: &str) -> Phase {
    SIGNED.last_in(folded).map_or(Phase::Returned, |at| SIGNS[at].1)
}

/// The prose around an answer, which may be the answer itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prose<'a> {
    pub(super) text: &'a str,
    pub(super) folded: &'a str,
}

impl Prose<'_> {
    /// There is none.
    pub(super) const NONE: Self = Prose { text: "", folded: " " };
}

/// What an answer means; the prose around it is asked when the answer alone says nothing plain.
pub(super) fn meaning(
    phase: Phase,
    code: Option<u16>,
    status: Option<EnhancedStatus>,
    text: &str,
    prose: Prose<'_>,
) -> Finding {
    let said = Said { phase, code, status, text };
    // qmail's last sentence stands under every cause; the cause is what counts.
    let cause = text.split("I'm not going to try again").next().unwrap_or_default();
    let folded = fold_beside(cause, prose.text, prose.folded);
    let first = classify::classify_folded(&said, &folded);
    let unclear = first.confidence <= 60 || first.category == Category::Expired;
    if !unclear || prose.folded.trim().is_empty() || folded == prose.folded {
        return first;
    }
    let second = classify::classify_folded(&said, prose.folded);
    let clearer = second.confidence > 60 && second.category != Category::Expired;
    let says_something = !matches!(first.category, Category::Undetermined | Category::Expired);
    let known = first.confidence > 60 || (first.confidence >= 60 && says_something);
    let vaguer = known && VAGUE.contains(&second.category);
    if clearer && !vaguer { second } else { first }
}

/// Categories that a report's polite prose suggests too easily.
const VAGUE: &[Category] = &[Category::System, Category::Policy, Category::Network];

/// The `Status:` field, which may hold a comment or a whole reply.
pub(super) fn status_field(block: &[&Field]) -> Answer<'static> {
    let value = block.iter().find(|f| f.is("status")).map_or("", |f| &*f.value);
    let first = value.split_whitespace().next().unwrap_or_default();
    Answer { code: reply_code(first), status: status(first), text: "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_in_their_surroundings() {
        let s = EnhancedStatus;
        let cases = [
            ("smtp; 550 5.1.1 <a@b.example> unknown", Some(550), Some(s(5, 1, 1))),
            ("550-5.7.26 not authenticated", Some(550), Some(s(5, 7, 26))),
            ("Sorry, no mailbox here. (#5.1.1)", None, Some(s(5, 1, 1))),
            ("host mx [192.5.1.10]: 452 try later", Some(452), None),
            ("#550 4.4.7 QUEUE.Expired; message expired ##", Some(550), Some(s(4, 4, 7))),
            ("Remote server returned '550 5.1.1 not found'", Some(550), Some(s(5, 1, 1))),
            ("5.1.0 - Unknown address error 550-'5.7.1 denied'", Some(550), Some(s(5, 7, 1))),
            ("nothing at all", None, None),
        ];
        for (text, code, status) in cases {
            let found = find(text);
            assert_eq!((found.code, found.status), (code, status), "{text:?}");
        }
    }
}
