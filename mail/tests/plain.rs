//! What people read of a failure: real-looking replies, each with its category, what is particular
//! about it and both languages' sentences. Look-alikes stand among them: numbers that are no sizes,
//! names that are not to be repeated.

use std::time::Duration;

use mail::classify::{Permanence, Said, classify};
use mail::particular::{Failure, Particular};
use mail::plain::{Explained, Lang, explain_failure};
use mail::{Category, Hygiene, Phase};
use proptest::prelude::*;
use serde::Deserialize;

const REPLIES: &str = include_str!("plain/replies.toml");

/// Sentences longer than this were not written here: the longest name shown has 80 octets.
const SENTENCE_OCTETS_MAX: usize = 700;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// `dot: 552 …` names a phase; RCPT otherwise, as in the rules.
    said: String,
    /// The recipient, where it matters.
    #[serde(default)]
    to: String,
    category: Category,
    /// Its word; empty where there is nothing particular.
    particular: String,
    en: [String; 2],
    fr: [String; 2],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    reply: Vec<Case>,
}

fn said(line: &str) -> Said<'_> {
    let phase =
        line.split_once(": ").and_then(|(word, rest)| Some((Phase::from_word(word)?, rest)));
    let (phase, line) = phase.unwrap_or((Phase::Rcpt, line));
    Said::from_line(phase, line)
}

/// What a case comes to.
fn explained(line: &str, to: &str, lang: Lang) -> (Category, Explained) {
    let said = said(line);
    let finding = classify(&said);
    let recipient = Some(to).filter(|to| !to.is_empty());
    let failure = Failure::heard(&said, &finding, recipient);
    (finding.category, explain_failure(&failure, lang))
}

fn told(line: &str, to: &str) -> Case {
    let (category, en) = explained(line, to, Lang::En);
    let (_, fr) = explained(line, to, Lang::Fr);
    Case {
        said: line.into(),
        to: to.into(),
        category,
        particular: en.particular.unwrap_or_default().into(),
        en: [en.what, en.todo],
        fr: [fr.what, fr.todo],
    }
}

/// A case as the table has it, to be read, and put there if it is right.
fn entry(case: &Case) -> String {
    let Case { said, to, category, particular, en, fr } = case;
    let to = if to.is_empty() { String::new() } else { format!("to = {to:?}\n") };
    let pair = |[what, todo]: &[String; 2]| format!("[\n    {what:?},\n    {todo:?},\n]");
    format!(
        "[[reply]]\nsaid = {said:?}\n{to}category = \"{category}\"\nparticular = {particular:?}\nen = {}\nfr = {}\n",
        pair(en),
        pair(fr)
    )
}

#[test]
fn every_reply_is_explained_as_the_table_says() {
    let cases: Cases = toml::from_str(REPLIES).unwrap();
    assert!(cases.reply.len() >= 120, "{} replies", cases.reply.len());
    let told = cases.reply.iter().map(|case| (case, told(&case.said, &case.to)));
    let wrong: Vec<String> =
        told.filter(|(case, told)| *case != told).map(|(_, told)| entry(&told)).collect();
    assert!(wrong.is_empty(), "read otherwise:\n\n{}", wrong.join("\n"));
}

#[test]
fn every_particular_that_can_be_has_sentences_of_its_own_in_both_languages() {
    for lang in Lang::ALL {
        let mut seen = std::collections::HashSet::new();
        for particular in Category::ALL.iter().flat_map(|category| Particular::samples(*category)) {
            let what = mail::plain::explain_particular(&particular, *lang);
            assert!(what.ends_with('.') && seen.insert(what.clone()), "{what}");
        }
    }
}

/// Whatever a stranger writes: what is shown holds nothing that steers a terminal or turns text
/// around, and has an end.
fn is_fit_to_be_shown(text: &str) -> bool {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.len() <= SENTENCE_OCTETS_MAX && !text.is_empty() && !text.chars().any(steers)
}

/// Words that open a reading, so that chance gets further than noise does.
fn words() -> impl Strategy<Value = String> {
    let cues = [
        "quota",
        "limit",
        "MB",
        "10485760",
        "try again in",
        "300 seconds",
        "did you mean",
        "<a@b.example>",
        "spamhaus",
        "https://www.spamhaus.org/",
        "192.0.2.1",
        "[2001:db8::1]",
        "virus",
        "Eicar.",
        "url",
        "example.com",
        "score",
        "12.5",
        "SPF",
        "moved to",
        "\u{202e}",
        "\u{7}",
        "é",
        "per hour",
        "since 2026-01-01",
        "used",
        "99999999999999999999",
    ];
    let word = prop_oneof![
        4 => prop::sample::select(cues.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let joint = prop::sample::select(vec![" ", "", "/", "@", ".", ":"]);
    prop::collection::vec((word, joint), 0..40)
        .prop_map(|pieces| pieces.into_iter().map(|(word, joint)| word + joint).collect())
}

proptest! {
    #[test]
    fn any_text_is_explained_within_bounds(text in words(), to in any::<String>(), at in 0..Category::ALL.len()) {
        let failure = Failure {
            category: Category::ALL[at],
            permanence: Permanence::Permanent,
            hygiene: Hygiene::Count,
            rule: "",
            status: None,
            text: &text,
            recipient: Some(&to),
        };
        for lang in Lang::ALL {
            let Explained { what, todo, .. } = explain_failure(&failure, *lang);
            prop_assert!(is_fit_to_be_shown(&what) && is_fit_to_be_shown(&todo), "{what:?} {todo:?}");
        }
    }
}

#[test]
fn an_endless_text_costs_no_more_than_a_long_one() {
    let text =
        "quota limit 10 MB used try again in score 5 of url domain example.com ".repeat(20_000);
    let began = std::time::Instant::now();
    for category in Category::ALL {
        let failure = Failure {
            category: *category,
            permanence: Permanence::Permanent,
            hygiene: Hygiene::Count,
            rule: "",
            status: None,
            text: &text,
            recipient: None,
        };
        assert!(!explain_failure(&failure, Lang::En).what.is_empty());
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
