//! The numbers of words, shapes and addresses in one month's file. What was looked up
//! is remembered, within bounds; after a transaction that failed nothing is.

use std::collections::HashMap;

use mail::Event;
use mail::queue::Judgement;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

/// Words remembered: services, sites, hosts, rules, domains. Some megabytes at most.
const WORDS_MAX: usize = 50_000;
/// Replies and notes remembered. They are long, and many come once.
const PHRASES_MAX: usize = 2_000;
/// Shapes remembered.
const SHAPES_MAX: usize = 50_000;

/// Stands for the recipient's address in replies and notes.
pub(crate) const RECIPIENT: &str = "\u{fffc}";

/// The columns of `shape`, in its order.
type Shape = [i64; 12];
/// Millions of short texts are looked up: a hash that is quick, and seeded, so that nobody can choose
/// texts that meet.
pub(crate) type Hasher = foldhash::fast::RandomState;
/// Numbers that were looked up.
type Known<K> = HashMap<K, i64, Hasher>;

/// The columns of `what`, in its order: kind, judgement, category.
type What = [i64; 3];

/// Words of an event that it is summed by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common {
    pub(crate) kind: i64,
    pub(crate) service: i64,
    pub(crate) source: i64,
    pub(crate) site: i64,
    pub(crate) category: i64,
}

#[derive(Default)]
pub(crate) struct Dictionary {
    words: Known<Box<str>>,
    phrases: Known<Box<str>>,
    shapes: Known<Shape>,
    whats: Known<What>,
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

    /// The number of what an event has in common with others, and the words that it is summed by.
    pub(crate) fn shape(
        &mut self,
        scribe: &mut Scribe<'_>,
        event: &Event,
        kind: &str,
        judgement: Judgement,
    ) -> rusqlite::Result<(i64, Common)> {
        let columns: [&str; 12] = [
            kind,
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
        let mut shape = Shape::default();
        for (number, text) in shape.iter_mut().zip(columns) {
            *number = self.word(scribe, text)?;
        }
        let [kind, _, service, source, site, _, _, category, ..] = shape;
        let common = Common { kind, service, source, site, category };
        if let Some(id) = self.shapes.get(&shape) {
            return Ok((*id, common));
        }
        let params = rusqlite::params_from_iter(shape);
        let found = scribe.find_shape.query_row(params, |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => scribe.add_shape.insert(rusqlite::params_from_iter(shape))?,
        };
        if self.shapes.len() >= SHAPES_MAX {
            self.shapes.clear();
        }
        self.shapes.insert(shape, id);
        Ok((id, common))
    }

    /// The number of what happened. There are some hundred at most.
    pub(crate) fn what(&mut self, scribe: &mut Scribe<'_>, what: What) -> rusqlite::Result<i64> {
        if let Some(id) = self.whats.get(&what) {
            return Ok(*id);
        }
        let found = scribe.find_what.query_row(what, |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => scribe.add_what.insert(what)?,
        };
        self.whats.insert(what, id);
        Ok(id)
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
