//! Sentences that are looked for together in a folded text, in one pass whatever their number.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::classify::fold;

/// Sentences, folded.
#[derive(Debug)]
pub(super) struct Phrases(AhoCorasick);

impl Phrases {
    pub(super) fn new(phrases: &[&str]) -> Self {
        let is_folded = |p: &&str| p.contains('@') || fold(p).trim() == p.trim();
        debug_assert!(phrases.iter().all(is_folded), "not folded: {phrases:?}");
        let found = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(Some(AhoCorasickKind::DFA))
            .build(phrases);
        Self(found.expect("a list of sentences makes an automaton"))
    }

    /// Whether one of them occurs.
    pub(super) fn occur_in(&self, folded: &str) -> bool {
        self.0.is_match(folded)
    }

    /// Where the first of them begins.
    pub(super) fn first_in(&self, folded: &str) -> Option<usize> {
        self.0.find(folded).map(|found| found.start())
    }

    /// The number of the one that occurs last.
    pub(super) fn last_in(&self, folded: &str) -> Option<usize> {
        self.0.find_iter(folded).last().map(|found| found.pattern().as_usize())
    }
}

/// A list of sentences, made ready when it is first asked about.
macro_rules! phrases {
    ($(#[$about:meta])* $name:ident = [$($phrase:literal),* $(,)?]) => {
        $(#[$about])*
        static $name: std::sync::LazyLock<super::phrases::Phrases> =
            std::sync::LazyLock::new(|| super::phrases::Phrases::new(&[$($phrase),*]));
    };
}
pub(super) use phrases;
