//! The numbers of words, shapes and addresses in one month's file. What was looked up
//! is remembered, within bounds; after a transaction that failed nothing is.

use std::collections::HashMap;

use mail::Event;
use mail::queue::Judgement;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params, params_from_iter};

use crate::sums::kind_of;

/// Words remembered: services, sites, hosts, rules, domains. Some megabytes at most.
const WORDS_MAX: usize = 50_000;
/// Replies and notes remembered. They are long, and many come once.
const PHRASES_MAX: usize = 2_000;
/// Shapes remembered. Some ten megabytes.
const SHAPES_MAX: usize = 50_000;

/// Stands for the recipient's address in replies and notes.
pub(crate) const RECIPIENT: &str = "\u{fffc}";

/// Millions of short texts are looked up: a hash that is quick, and seeded, so that nobody can choose
/// texts that meet.
pub(crate) type Hasher = foldhash::fast::RandomState;
/// Numbers that were looked up.
type Known<K> = HashMap<K, i64, Hasher>;

/// What an event has in common with many others: its rows in `shape` and `what`, and the words
/// that it is summed by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common {
    pub(crate) shape: i64,
    pub(crate) what: i64,
    pub(crate) kind: i64,
    pub(crate) judgement: i64,
    pub(crate) service: i64,
    pub(crate) source: i64,
    pub(crate) site: i64,
    pub(crate) category: i64,
}

#[derive(Default)]
pub(crate) struct Dictionary {
    words: Known<Box<str>>,
    phrases: Known<Box<str>>,
    /// By the texts of a shape, each after its length.
    commons: HashMap<Box<[u8]>, Common, Hasher>,
    /// Where the texts of an event are put together.
    texts: Vec<u8>,
}

/// The statements that look up and add, for the length of a transaction.
pub(crate) struct Scribe<'c> {
    find_word: CachedStatement<'c>,
    add_word: CachedStatement<'c>,
    find_shape: CachedStatement<'c>,
    add_shape: CachedStatement<'c>,
    find_what: CachedStatement<'c>,
    add_what: CachedStatement<'c>,
}

impl<'c> Scribe<'c> {
    pub(crate) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find_word: conn.prepare_cached("SELECT id FROM word WHERE hash = ?1 AND text = ?2")?,
            add_word: conn.prepare_cached("INSERT INTO word (hash, text) VALUES (?1, ?2)")?,
            find_shape: conn.prepare_cached(
                "SELECT id FROM shape WHERE kind = ?1 AND judgement = ?2 AND service = ?3
                 AND source = ?4 AND site = ?5 AND mx = ?6 AND phase = ?7 AND category = ?8
                 AND hygiene = ?9 AND scope = ?10 AND rule = ?11 AND tls = ?12",
            )?,
            add_shape: conn.prepare_cached(
                "INSERT INTO shape (kind, judgement, service, source, site, mx, phase, category,
                 hygiene, scope, rule, tls)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
            find_what: conn.prepare_cached(
                "SELECT id FROM what WHERE kind = ?1 AND judgement = ?2 AND category = ?3",
            )?,
            add_what: conn.prepare_cached(
                "INSERT INTO what (kind, judgement, category) VALUES (?1, ?2, ?3)",
            )?,
        })
    }

    fn word(&mut self, text: &str) -> rusqlite::Result<i64> {
        let hash = hash(text);
        let found = self.find_word.query_row(params![hash, text], |row| row.get(0)).optional()?;
        match found {
            Some(id) => Ok(id),
            None => self.add_word.insert(params![hash, text]),
        }
    }

    /// What has these words in common, which are in the order of `shape`'s columns.
    fn rows_of(&mut self, words: [i64; 12]) -> rusqlite::Result<Common> {
        let [kind, judgement, service, source, site, _, _, category, ..] = words;
        let shape = found_or_added(&mut self.find_shape, &mut self.add_shape, words)?;
        let what = [kind, judgement, category];
        let what = found_or_added(&mut self.find_what, &mut self.add_what, what)?;
        Ok(Common { shape, what, kind, judgement, service, source, site, category })
    }
}

impl Dictionary {
    /// Forgets what it remembered: numbers of a transaction that failed mean nothing.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The number of a word; 0 for the empty one.
    pub(crate) fn word(&mut self, scribe: &mut Scribe<'_>, text: &str) -> rusqlite::Result<i64> {
        remembered(&mut self.words, WORDS_MAX, text, |text| scribe.word(text))
    }

    /// The number of a reply or a note about a recipient. Its address is not written into it: it
    /// would be another text for each, and would outlive the person's row.
    pub(crate) fn phrase(
        &mut self,
        scribe: &mut Scribe<'_>,
        text: &str,
        recipient: &str,
    ) -> rusqlite::Result<i64> {
        let named = !recipient.is_empty() && text.contains(recipient);
        let text = if named { &text.replace(recipient, RECIPIENT) } else { text };
        remembered(&mut self.phrases, PHRASES_MAX, text, |text| scribe.word(text))
    }

    /// What an event has in common with others: one look for all its words together, because there
    /// are few different ones among many events.
    pub(crate) fn common(
        &mut self,
        scribe: &mut Scribe<'_>,
        event: &Event,
        judgement: Judgement,
    ) -> rusqlite::Result<Common> {
        let columns: [&str; 12] = [
            kind_of(event, judgement).as_str(),
            judgement_word(judgement),
            &event.service,
            &event.source,
            &event.site,
            &event.mx,
            event.phase.map_or("", |p| p.as_str()),
            event.category.map_or("", |c| c.as_str()),
            event.hygiene.map_or("", |h| h.as_str()),
            event.scope.map_or("", |s| s.as_str()),
            &event.rule,
            &event.tls,
        ];
        self.texts.clear();
        for text in columns {
            self.texts.extend_from_slice(&text.len().to_le_bytes());
            self.texts.extend_from_slice(text.as_bytes());
        }
        if let Some(common) = self.commons.get(self.texts.as_slice()) {
            return Ok(*common);
        }
        let mut words = [0; 12];
        for (number, text) in words.iter_mut().zip(columns) {
            *number = self.word(scribe, text)?;
        }
        let common = scribe.rows_of(words)?;
        if self.commons.len() >= SHAPES_MAX {
            self.commons.clear();
        }
        self.commons.insert(self.texts.as_slice().into(), common);
        Ok(common)
    }
}

fn found_or_added<const N: usize>(
    find: &mut CachedStatement<'_>,
    add: &mut CachedStatement<'_>,
    row: [i64; N],
) -> rusqlite::Result<i64> {
    match find.query_row(params_from_iter(row), |row| row.get(0)).optional()? {
        Some(id) => Ok(id),
        None => add.insert(params_from_iter(row)),
    }
}

fn remembered(
    cache: &mut Known<Box<str>>,
    max: usize,
    text: &str,
    look_up: impl FnOnce(&str) -> rusqlite::Result<i64>,
) -> rusqlite::Result<i64> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Some(id) = cache.get(text) {
        return Ok(*id);
    }
    let id = look_up(text)?;
    if cache.len() >= max {
        cache.clear();
    }
    cache.insert(text.into(), id);
    Ok(id)
}

/// The number of a word that the file has.
pub(crate) fn word(conn: &Connection, text: &str) -> rusqlite::Result<Option<i64>> {
    let mut find = conn.prepare_cached("SELECT id FROM word WHERE hash = ?1 AND text = ?2")?;
    find.query_row(params![hash(text), text], |row| row.get(0)).optional()
}

/// Four octets are enough for an index; the text itself decides.
pub(crate) fn hash(text: &str) -> i64 {
    i64::from(mail::id::domain_hash(text) as u32 as i32)
}

pub(crate) fn judgement_word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Applied => "applied",
        Judgement::Late => "late",
        Judgement::Twice => "twice",
        Judgement::Refused => "refused",
    }
}

/// What the queue made of an event, by its word.
pub(crate) fn judgement_of(word: &str) -> Judgement {
    match word {
        "late" => Judgement::Late,
        "twice" => Judgement::Twice,
        "refused" => Judgement::Refused,
        _ => Judgement::Applied,
    }
}

#[cfg(test)]
mod tests {
    use mail::Timestamp;
    use mail::event::EventKind;

    use super::*;
    use crate::schema;

    #[test]
    fn what_reads_differently_is_told_apart_and_what_is_the_same_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let conn = schema::writable(&folder.path().join("2026-11.db")).unwrap();
        let mut scribe = Scribe::new(&conn).unwrap();
        let event = |source: &str, site: &str, mx: &str| Event {
            source: source.into(),
            site: site.into(),
            mx: mx.into(),
            ..Event::new(EventKind::Delivered, Timestamp(1))
        };
        let asked = [
            (event("ab", "c", ""), Judgement::Applied),
            (event("a", "bc", ""), Judgement::Applied),
            (event("a", "b", "c"), Judgement::Applied),
            (event("", "abc", ""), Judgement::Applied),
            (event("ab", "c", ""), Judgement::Twice),
            // Kept as a late delivery, which is another kind.
            (event("ab", "c", ""), Judgement::Late),
        ];
        let mut remembering = Dictionary::default();
        let mut shape_of = |dictionary: &mut Dictionary, (event, judgement): &(Event, _)| {
            let common = dictionary.common(&mut scribe, event, *judgement).unwrap();
            (common.shape, common.what)
        };
        let first: Vec<_> = asked.iter().map(|of| shape_of(&mut remembering, of)).collect();
        let again: Vec<_> = asked.iter().map(|of| shape_of(&mut remembering, of)).collect();
        // One that remembers nothing reads the file.
        let anew: Vec<_> =
            asked.iter().map(|of| shape_of(&mut Dictionary::default(), of)).collect();
        assert_eq!(first, [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 3)]);
        assert_eq!((&again, &anew), (&first, &first));
    }
}
