//! The rules as data: read once from `rules/*.toml`, compiled into one automaton
//! over all their words, asked in the order in which they stand.

use std::collections::HashMap;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde::Deserialize;

use super::{Overrides, Permanence, Said, Signal, cut};
use crate::category::{Category, Hygiene, Phase, Scope};
use crate::reply::EnhancedStatus;

/// In the order of asking: what is surest and most particular stands first, what
/// only says that time ran out stands last, so that a cause named beside it wins.
const FILES: &[(&str, &str)] = &[
    ("providers.toml", include_str!("rules/providers.toml")),
    ("french.toml", include_str!("rules/french.toml")),
    ("auth.toml", include_str!("rules/auth.toml")),
    ("pace.toml", include_str!("rules/pace.toml")),
    ("reputation.toml", include_str!("rules/reputation.toml")),
    ("mailbox.toml", include_str!("rules/mailbox.toml")),
    ("languages.toml", include_str!("rules/languages.toml")),
    ("message.toml", include_str!("rules/message.toml")),
    ("policy.toml", include_str!("rules/policy.toml")),
    ("trouble.toml", include_str!("rules/trouble.toml")),
];

/// How far apart the pieces of `a .. b` may stand, in octets: within a sentence.
const GAP_OCTETS_MAX: usize = 80;

/// Patterns of all rules together: twice as many as there are.
const PATTERNS_MAX: usize = 4096;

/// A rule as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    category: Category,
    /// One of these must occur. ` .. ` stands for anything within a sentence.
    any: Vec<String>,
    /// None of these may.
    #[serde(default)]
    unless: Vec<String>,
    /// `550` or `5xx`; one of them.
    #[serde(default)]
    code: Vec<String>,
    /// `5.1.1`, `5.1.x`, `x.1.1`; one of them.
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    phase: Vec<Phase>,
    permanence: Option<Permanence>,
    hygiene: Option<Hygiene>,
    scope: Option<Scope>,
    signal: Option<Signal>,
    #[serde(default = "usual_confidence")]
    confidence: u8,
    /// Lines that this rule must claim; `mail: 550 …` names a phase.
    #[cfg_attr(not(test), allow(dead_code))]
    matches: Vec<String>,
    /// Lines that it must not.
    #[serde(default)]
    #[cfg_attr(not(test), allow(dead_code))]
    not: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Written>,
}

fn usual_confidence() -> u8 {
    90
}

/// A rule ready for use.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) category: Category,
    pub(super) overrides: Overrides,
    pub(super) confidence: u8,
    unless: Vec<Pattern>,
    code: Vec<String>,
    status: Vec<String>,
    phase: Vec<Phase>,
}

/// Pieces that follow one another.
#[derive(Debug)]
struct Pattern(Vec<String>);

struct Rules {
    rules: Vec<Rule>,
    patterns: Vec<(usize, Pattern)>,
    words: AhoCorasick,
    /// The patterns that hang on a word, by the word's number.
    on_word: Vec<Vec<usize>>,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    // The files are part of the program and a test reads them: this cannot fail in the field.
    compile(read().expect("the built-in rules are valid"))
});

fn read() -> Result<Vec<Written>, String> {
    let mut all = Vec::new();
    for (name, text) in FILES {
        let file: File = toml::from_str(text).map_err(|e| format!("{name}: {e}"))?;
        all.extend(file.rule);
    }
    Ok(all)
}

fn compile(written: Vec<Written>) -> Rules {
    let mut rules = Vec::new();
    let mut patterns = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut number: HashMap<String, usize> = HashMap::new();
    let mut on_word: Vec<Vec<usize>> = Vec::new();
    for w in written {
        for text in &w.any {
            let pattern = Pattern::new(text);
            let key = pattern.longest().to_owned();
            let n = *number.entry(key.clone()).or_insert_with(|| {
                words.push(key);
                on_word.push(Vec::new());
                words.len() - 1
            });
            on_word[n].push(patterns.len());
            patterns.push((rules.len(), pattern));
        }
        rules.push(Rule {
            id: w.id,
            category: w.category,
            overrides: Overrides {
                permanence: w.permanence,
                hygiene: w.hygiene,
                scope: w.scope,
                signal: w.signal,
            },
            confidence: w.confidence,
            unless: w.unless.iter().map(|p| Pattern::new(p)).collect(),
            code: w.code,
            status: w.status,
            phase: w.phase,
        });
    }
    assert!(patterns.len() <= PATTERNS_MAX, "{} patterns in the rules", patterns.len());
    let words = AhoCorasick::builder()
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(&words)
        .expect("a few thousand short words make an automaton");
    Rules { rules, patterns, words, on_word }
}

/// The first rule that claims the answer. `folded` is its text, folded.
pub(super) fn find(said: &Said<'_>, folded: &str) -> Option<&'static Rule> {
    let all: &'static Rules = &RULES;
    let mut best: Option<usize> = None;
    // A word that comes a thousand times has its patterns looked at once.
    let mut seen = [0u64; PATTERNS_MAX / 64];
    for hit in all.words.find_overlapping_iter(folded) {
        for &p in &all.on_word[hit.pattern().as_usize()] {
            let (rule, pattern) = &all.patterns[p];
            let bit = 1 << (p % 64);
            if seen[p / 64] & bit != 0 || best.is_some_and(|b| *rule >= b) {
                continue;
            }
            seen[p / 64] |= bit;
            let occurs = pattern.is_one_word() || pattern.occurs(folded);
            if occurs && all.rules[*rule].applies(said, folded) {
                best = Some(*rule);
            }
        }
    }
    best.map(|rule| &all.rules[rule])
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self(text.split(" .. ").map(str::to_owned).collect())
    }

    /// Then the automaton has found all of it already.
    fn is_one_word(&self) -> bool {
        self.0.len() == 1
    }

    fn longest(&self) -> &str {
        self.0.iter().max_by_key(|piece| piece.len()).map_or("", String::as_str)
    }

    fn occurs(&self, folded: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        // A common first piece is tried a few times only: remote text decides how often it occurs.
        let starts = folded.match_indices(first.as_str()).take(8);
        starts.map(|(at, _)| at + first.len()).any(|end| follow(rest, folded, end))
    }
}

fn follow(pieces: &[String], folded: &str, mut from: usize) -> bool {
    for piece in pieces {
        let tail = cut(&folded[from..], GAP_OCTETS_MAX + piece.len());
        match tail.find(piece.as_str()) {
            Some(gap) => from += gap + piece.len(),
            None => return false,
        }
    }
    true
}

impl Rule {
    fn applies(&self, said: &Said<'_>, folded: &str) -> bool {
        self.code_fits(said.code)
            && self.status_fits(said.status)
            && (self.phase.is_empty() || self.phase.contains(&said.phase))
            && !self.unless.iter().any(|p| p.occurs(folded))
    }

    fn code_fits(&self, code: Option<u16>) -> bool {
        if self.code.is_empty() {
            return true;
        }
        let Some(code) = code else { return false };
        self.code.iter().any(|wanted| match wanted.strip_suffix("xx") {
            Some(class) => class.parse() == Ok(code / 100),
            None => wanted.parse() == Ok(code),
        })
    }

    fn status_fits(&self, status: Option<EnhancedStatus>) -> bool {
        if self.status.is_empty() {
            return true;
        }
        let Some(EnhancedStatus(class, subject, detail)) = status else { return false };
        let parts = [u16::from(class), subject, detail];
        self.status.iter().any(|wanted| {
            let mut wanted = wanted.split('.');
            parts.iter().all(|part| match wanted.next() {
                Some("x") => true,
                Some(digits) => digits.parse() == Ok(*part),
                None => false,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold;
    use super::*;

    /// An example line, which may name the phase: `banner: 554 …`.
    fn example(line: &str) -> Said<'_> {
        let (phase, text) = line
            .split_once(": ")
            .and_then(|(word, rest)| Some((Phase::from_word(word)?, rest)))
            .unwrap_or((Phase::Rcpt, line));
        Said::from_line(phase, text)
    }

    fn claimed_by(line: &str) -> Option<&'static str> {
        let said = example(line);
        find(&said, &fold(said.text)).map(|rule| rule.id.as_str())
    }

    #[test]
    fn every_rule_claims_its_examples_and_nothing_that_it_should_not() {
        let mut wrong = Vec::new();
        for rule in read().expect("rules") {
            if rule.matches.is_empty() {
                wrong.push(format!("{}: has no example", rule.id));
            }
            for line in &rule.matches {
                let got = claimed_by(line);
                if got != Some(rule.id.as_str()) {
                    wrong.push(format!("{}: {line:?} is claimed by {got:?}", rule.id));
                }
            }
            for line in rule.not.iter().filter(|line| claimed_by(line) == Some(rule.id.as_str())) {
                wrong.push(format!("{}: claims {line:?}", rule.id));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn rules_are_written_in_folded_form_and_named_once() {
        let (mut seen, mut wrong) = (std::collections::HashSet::new(), Vec::new());
        for rule in read().expect("rules") {
            assert!(seen.insert(rule.id.clone()), "{} stands twice", rule.id);
            for piece in rule.any.iter().chain(&rule.unless).flat_map(|p| p.split(" .. ")) {
                if fold(piece).trim() != piece.trim() || piece.len() < 2 {
                    wrong.push(format!("{}: {piece:?} is not folded or too short", rule.id));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn pieces_follow_one_another_within_a_sentence() {
        let p = Pattern::new("user .. unknown");
        assert!(p.occurs(" user <@> is unknown "));
        assert!(p.occurs(&format!(" user {} user unknown ", "x".repeat(200))));
        assert!(!p.occurs(" unknown user "));
        assert!(!p.occurs(&format!(" user {} unknown ", "x".repeat(200))));
    }
}
