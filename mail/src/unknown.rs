//! What servers say that no rule knows, brought together by what stays the same from one answer to
//! the next: so that a person can name it once.

use std::collections::{BTreeMap, BTreeSet};

use crate::classify::fold;

/// Texts that are told apart. More of them are noise.
const CLUSTERS_MAX: usize = 20_000;
/// Domains kept of each.
const DOMAINS_MAX: usize = 8;
/// Letters of the longest piece that stays the same, at least: less says nothing.
const WORDS_CHARS_MIN: usize = 10;
/// And at most: a rule needs no more.
const WORDS_CHARS_MAX: usize = 120;
/// A word that is longer is an identifier.
const WORD_CHARS_MAX: usize = 30;
/// What stands for whatever differs.
const GAP: &str = "…";

/// Texts that differ only in names and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name: the same for the same texts on every machine.
    pub id: String,
    /// What stays the same, with `…` for what does not.
    pub shape: String,
    /// The longest piece that stays the same, in folded form: what a rule would ask for. Empty where
    /// no piece is long enough.
    pub words: String,
    /// How often it was said.
    pub count: u64,
    /// By whom: some of the recipients' domains.
    pub domains: BTreeSet<String>,
    /// One of the texts, without addresses.
    pub example: String,
}

/// Texts that no rule knew.
#[derive(Debug, Default)]
pub struct Clusters(BTreeMap<String, Cluster>);

impl Clusters {
    /// Adds a text, with its code and status where it has them, that was said for a recipient there.
    pub fn add(&mut self, text: &str, domain: &str) {
        let folded = fold(text);
        let (shape, words) = shape(&folded);
        if shape.is_empty() || (self.0.len() >= CLUSTERS_MAX && !self.0.contains_key(&shape)) {
            return;
        }
        let cluster = self.0.entry(shape.clone()).or_insert_with(|| Cluster {
            id: id(&shape),
            shape,
            words,
            count: 0,
            domains: BTreeSet::new(),
            example: without_addresses(text),
        });
        cluster.count += 1;
        if cluster.domains.len() < DOMAINS_MAX {
            cluster.domains.insert(domain.to_owned());
        }
    }

    /// All of them, the most frequent first.
    #[must_use]
    pub fn by_count(self) -> Vec<Cluster> {
        let mut clusters: Vec<Cluster> = self.0.into_values().collect();
        clusters.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.shape.cmp(&b.shape)));
        clusters
    }
}

/// Whether a rule of this name stands for numbers alone, or for nothing at all.
#[must_use]
pub fn is_by_number(rule: &str) -> bool {
    rule == "none" || rule.starts_with("status-") || rule.starts_with("code-")
}

/// What stays the same of a folded text, and its longest piece.
fn shape(folded: &str) -> (String, String) {
    let (mut shape, mut piece, mut longest) = (String::new(), String::new(), String::new());
    let mut keep = |piece: &mut String| {
        let words = piece.trim_matches(|c: char| !c.is_alphanumeric());
        if words.chars().count() > longest.chars().count() {
            words.clone_into(&mut longest);
        }
        piece.clear();
    };
    for word in folded.split_whitespace() {
        let is_same = is_same(word);
        if !shape.is_empty() && (is_same || !shape.ends_with(GAP)) {
            shape.push(' ');
        }
        if is_same {
            shape.push_str(word);
            if !piece.is_empty() {
                piece.push(' ');
            }
            piece.push_str(word);
        } else {
            keep(&mut piece);
            if !shape.ends_with(GAP) {
                shape.push_str(GAP);
            }
        }
    }
    keep(&mut piece);
    let words: String = longest.chars().take(WORDS_CHARS_MAX).collect();
    let words = words.trim_end().to_owned();
    let is_enough = words.chars().count() >= WORDS_CHARS_MIN;
    (shape, if is_enough { words } else { String::new() })
}

/// Whether a word is likely to be there the next time: no number, name of a host, address, link or
/// identifier.
fn is_same(word: &str) -> bool {
    let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
    !word.contains('@')
        && !inner.contains(['.', '/', '_', '='])
        && !inner.contains(|c: char| c.is_ascii_digit())
        && inner.chars().count() <= WORD_CHARS_MAX
}

/// The text on one line, without the addresses in it.
fn without_addresses(text: &str) -> String {
    let text = crate::reply::clean_text(text);
    let words = text.split_whitespace().map(|word| {
        let inner =
            word.trim_matches(|c: char| matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | ':'));
        if inner.contains('@') { word.replace(inner, "a@example.org") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// FNV-1a, 32 bits: a short name that depends on nothing but the text.
fn id(shape: &str) -> String {
    let hash = shape
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_differ_in_names_and_numbers_are_one() {
        let mut clusters = Clusters::default();
        for (text, domain) in [
            (
                "550 5.0.0 Box of <ann@a.example> is asleep since 12 days (mx1.a.example id=ab12)",
                "a.example",
            ),
            (
                "550 5.0.0 Box of <bob@b.example> is asleep since 3 days (mx9.b.example id=ff00)",
                "b.example",
            ),
            ("554 nothing doing", "c.example"),
            ("554 nothing doing", "c.example"),
            ("554 nothing doing", "c.example"),
        ] {
            clusters.add(text, domain);
        }
        let clusters = clusters.by_count();
        assert_eq!(clusters.len(), 2, "{clusters:?}");
        assert_eq!((clusters[0].count, clusters[0].words.as_str()), (3, "nothing doing"));
        let asleep = &clusters[1];
        assert_eq!((asleep.count, asleep.words.as_str()), (2, "is asleep since"));
        assert_eq!(asleep.domains.len(), 2);
        assert!(asleep.shape.contains(GAP), "{}", asleep.shape);
        assert!(asleep.example.contains("<a@example.org>"), "{}", asleep.example);
        assert!(!asleep.example.contains("ann@"), "{}", asleep.example);
    }

    #[test]
    fn short_words_are_no_rule() {
        let mut clusters = Clusters::default();
        clusters.add("550 no 1234", "a.example");
        assert_eq!(clusters.by_count()[0].words, "");
        for (rule, is) in
            [("none", true), ("status-5.1.0", true), ("code-550", true), ("full", false)]
        {
            assert_eq!(is_by_number(rule), is, "{rule}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_shape_that_holds_its_words(text in "\\PC{0,300}") {
            let folded = fold(&text);
            let (shape, words) = shape(&folded);
            prop_assert!(words.is_empty() || folded.contains(&words), "{:?} in {:?}", words, folded);
            prop_assert!(shape.chars().count() <= folded.chars().count() + 1);
            let mut clusters = Clusters::default();
            clusters.add(&text, "a.example");
            prop_assert!(clusters.by_count().len() <= 1);
        }
    }
}
