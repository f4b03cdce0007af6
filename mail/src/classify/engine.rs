//! Which of many rules claims an answer: one automaton over all their words, asked in the
//! order in which the rules stand. Patterns are words and gaps, no regular expressions, so
//! that what an answer costs is bounded by its length and the number of words, whoever wrote
//! the rules and whoever the answer.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use memchr::memmem::Finder;

use super::{Said, cut};
use crate::category::Phase;
use crate::reply::EnhancedStatus;

/// How far apart the pieces of `a .. b` may stand, in octets: within a sentence.
const GAP_OCTETS_MAX: usize = 80;

/// Patterns of one set of rules: twice as many as there are in the largest.
pub(crate) const PATTERNS_MAX: usize = 4096;

/// What stands between two pieces of a pattern.
pub(crate) const GAP: &str = " .. ";

/// What a rule asks for, as it is written. All of it must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asks {
    /// One of these must occur. ` .. ` stands for anything within a sentence.
    pub(crate) any: Vec<String>,
    /// None of these may.
    pub(crate) unless: Vec<String>,
    /// `550` or `5xx`; one of them.
    pub(crate) code: Vec<String>,
    /// `5.1.1`, `5.1.x`, `x.1.1`; one of them.
    pub(crate) status: Vec<String>,
    /// Where the answer came; one of them.
    pub(crate) phase: Vec<Phase>,
}

/// Rules ready for use, known by their place.
#[derive(Debug)]
pub(crate) struct RuleSet {
    conditions: Vec<Condition>,
    patterns: Vec<(usize, Pattern)>,
    words: AhoCorasick,
    /// The patterns that hang on a word, by the word's number.
    on_word: Vec<Vec<usize>>,
}

/// What must hold beside the words.
#[derive(Debug)]
struct Condition {
    unless: Vec<Pattern>,
    code: Vec<String>,
    status: Vec<String>,
    phase: Vec<Phase>,
}

/// Pieces that follow one another, made ready: they are looked for in every answer.
#[derive(Debug)]
struct Pattern(Vec<Finder<'static>>);

impl RuleSet {
    /// Makes a set ready.
    ///
    /// # Errors
    /// More patterns than a set may have.
    pub(crate) fn new(rules: &[Asks]) -> Result<Self, String> {
        let count: usize = rules.iter().map(|rule| rule.any.len()).sum();
        if count > PATTERNS_MAX {
            return Err(format!("{count} patterns are more than the {PATTERNS_MAX} of a set"));
        }
        let mut patterns = Vec::with_capacity(count);
        let mut words: Vec<String> = Vec::new();
        let mut number: HashMap<String, usize> = HashMap::new();
        let mut on_word: Vec<Vec<usize>> = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            for text in &rule.any {
                let key = longest_piece(text).to_owned();
                let n = *number.entry(key.clone()).or_insert_with(|| {
                    words.push(key);
                    on_word.push(Vec::new());
                    words.len() - 1
                });
                on_word[n].push(patterns.len());
                patterns.push((at, Pattern::new(text)));
            }
        }
        let words = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&words)
            .map_err(|e| format!("its words make no automaton: {e}"))?;
        Ok(Self {
            conditions: rules.iter().map(Condition::new).collect(),
            patterns,
            words,
            on_word,
        })
    }

    /// The first rule that claims the answer, by its place. `folded` is its text, folded.
    pub(crate) fn first(&self, said: &Said<'_>, folded: &str) -> Option<usize> {
        let mut best: Option<usize> = None;
        // A word that comes a thousand times has its patterns looked at once.
        let mut seen = [0u64; PATTERNS_MAX / 64];
        for hit in self.words.find_overlapping_iter(folded) {
            let word = hit.pattern().as_usize();
            let bit = 1 << (word % 64);
            if seen[word / 64] & bit != 0 {
                continue;
            }
            seen[word / 64] |= bit;
            for &p in &self.on_word[word] {
                let (rule, pattern) = &self.patterns[p];
                if best.is_some_and(|b| *rule >= b) {
                    continue;
                }
                let occurs = pattern.is_one_word() || pattern.occurs(folded);
                if occurs && self.conditions[*rule].holds(said, folded) {
                    best = Some(*rule);
                }
            }
        }
        best
    }
}

/// An example line of a rule, which may name the phase: `banner: 554 …`; RCPT otherwise.
pub(crate) fn example(line: &str) -> Said<'_> {
    let (phase, text) = line
        .split_once(": ")
        .and_then(|(word, rest)| Some((Phase::from_word(word)?, rest)))
        .unwrap_or((Phase::Rcpt, line));
    Said::from_line(phase, text)
}

/// Whether `5xx` or `550` is written so.
pub(crate) fn is_code(text: &str) -> bool {
    match text.strip_suffix("xx") {
        Some(class) => matches!(class, "4" | "5"),
        None => text.len() == 3 && text.parse().is_ok_and(|code: u16| (400..600).contains(&code)),
    }
}

/// Whether `5.1.1` is written so, with `x` for any part.
pub(crate) fn is_status(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let part = |text: &str| text == "x" || (text.len() <= 3 && text.parse::<u16>().is_ok());
    parts.len() == 3 && matches!(parts[0], "4" | "5" | "x") && parts.iter().all(|text| part(text))
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self(text.split(GAP).map(|piece| Finder::new(piece).into_owned()).collect())
    }

    /// Then the automaton has found all of it already.
    fn is_one_word(&self) -> bool {
        self.0.len() == 1
    }

    fn occurs(&self, folded: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        // A common first piece is tried a few times only: remote text decides how often it occurs.
        let starts = first.find_iter(folded.as_bytes()).take(8);
        starts.map(|at| at + first.needle().len()).any(|end| follow(rest, folded, end))
    }
}

fn longest_piece(text: &str) -> &str {
    text.split(GAP).max_by_key(|piece| piece.len()).unwrap_or_default()
}

fn follow(pieces: &[Finder<'_>], folded: &str, mut from: usize) -> bool {
    for piece in pieces {
        let octets = piece.needle().len();
        let tail = cut(&folded[from..], GAP_OCTETS_MAX + octets);
        match piece.find(tail.as_bytes()) {
            Some(gap) => from += gap + octets,
            None => return false,
        }
    }
    true
}

impl Condition {
    fn new(rule: &Asks) -> Self {
        Self {
            unless: rule.unless.iter().map(|text| Pattern::new(text)).collect(),
            code: rule.code.clone(),
            status: rule.status.clone(),
            phase: rule.phase.clone(),
        }
    }

    fn holds(&self, said: &Said<'_>, folded: &str) -> bool {
        self.code_fits(said.code)
            && self.status_fits(said.status)
            && (self.phase.is_empty() || self.phase.contains(&said.phase))
            && !self.unless.iter().any(|pattern| pattern.occurs(folded))
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
    use std::time::{Duration, Instant};

    use super::super::fold;
    use super::*;

    #[test]
    fn pieces_follow_one_another_within_a_sentence() {
        let p = Pattern::new("user .. unknown");
        assert!(p.occurs(" user <@> is unknown "));
        assert!(p.occurs(&format!(" user {} user unknown ", "x".repeat(200))));
        assert!(!p.occurs(" unknown user "));
        assert!(!p.occurs(&format!(" user {} unknown ", "x".repeat(200))));
    }

    #[test]
    fn codes_and_statuses_are_written_in_one_way() {
        for good in ["4xx", "5xx", "421", "599"] {
            assert!(is_code(good), "{good}");
        }
        for bad in ["2xx", "6xx", "x21", "42", "4210", "250", ""] {
            assert!(!is_code(bad), "{bad}");
        }
        for good in ["5.1.1", "x.7.650", "4.x.x"] {
            assert!(is_status(good), "{good}");
        }
        for bad in ["5.1", "5.1.1.1", "2.0.0", "5.1.1000", "5.-1.1", "a.b.c", ""] {
            assert!(!is_status(bad), "{bad}");
        }
    }

    /// What makes regular expressions go astray: nested repetition, and a text that almost fits.
    #[test]
    fn no_pattern_and_no_text_takes_long() {
        let repeated = ["aa"; 60].join(GAP) + " .. b";
        let asks = |any: Vec<String>| Asks { any, ..Asks::default() };
        let nested: Vec<Asks> = (2..1000).map(|n| asks(vec!["a".repeat(n) + "b"])).collect();
        let hanging: Vec<Asks> =
            (0..PATTERNS_MAX).map(|n| asks(vec![format!("aaaaaaaa .. b{n}")])).collect();
        let text = fold(&"a".repeat(10_000));
        let said = Said { phase: Phase::Rcpt, code: None, status: None, text: &text };
        for rules in [vec![asks(vec![repeated; 50])], nested, hanging] {
            let set = RuleSet::new(&rules).expect("few enough");
            let began = Instant::now();
            assert_eq!(set.first(&said, &text), None);
            let took = began.elapsed();
            assert!(took < Duration::from_millis(500), "{took:?} for {} rules", rules.len());
        }
    }

    #[test]
    fn more_patterns_than_a_set_may_have_are_refused() {
        let any = (0..=PATTERNS_MAX).map(|n| format!("word {n}")).collect();
        let why = RuleSet::new(&[Asks { any, ..Asks::default() }]).expect_err("too many");
        assert!(why.starts_with("4097 patterns"), "{why}");
    }
}
