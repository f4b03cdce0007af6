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
/// Addresses remembered: retries come soon after the first attempt.
const RECIPIENTS_MAX: usize = 50_000;

/// The columns of `shape`, in its order.
type Shape = [i64; 12];

#[derive(Default)]
pub(crate) struct Dictionary {
    words: HashMap<Box<str>, i64>,
    phrases: HashMap<Box<str>, i64>,
    shapes: HashMap<Shape, i64>,
    recipients: HashMap<Box<str>, i64>,
}

/// The statements that look up and add, for the length of a transaction.
pub(crate) struct Scribe<'c> {
    find_word: CachedStatement<'c>,
    add_word: CachedStatement<'c>,
    find_shape: CachedStatement<'c>,
    add_shape: CachedStatement<'c>,
    find_recipient: CachedStatement<'c>,
    add_recipient: CachedStatement<'c>,
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
            find_recipient: conn.prepare_cached(
                "SELECT id FROM recipient WHERE hash = ?1 AND local = ?2 AND domain = ?3",
            )?,
            add_recipient: conn.prepare_cached(
                "INSERT INTO recipient (hash, local, domain) VALUES (?1, ?2, ?3)",
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

    /// The number of a reply or a note.
    pub(crate) fn phrase(&mut self, scribe: &mut Scribe<'_>, text: &str) -> rusqlite::Result<i64> {
        remembered(&mut self.phrases, PHRASES_MAX, text, |text| scribe.word(text))
    }

    /// The number of what an event has in common with others.
    pub(crate) fn shape(
        &mut self,
        scribe: &mut Scribe<'_>,
        event: &Event,
        kind: &str,
        judgement: Judgement,
    ) -> rusqlite::Result<i64> {
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
        if let Some(id) = self.shapes.get(&shape) {
            return Ok(*id);
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
        Ok(id)
    }

    /// The number of an address; 0 when there is none.
    pub(crate) fn recipient(
        &mut self,
        scribe: &mut Scribe<'_>,
        address: &str,
    ) -> rusqlite::Result<i64> {
        let folded = address.to_lowercase();
        if let Some(id) = self.recipients.get(folded.as_str()) {
            return Ok(*id);
        }
        let (local, domain) = folded.rsplit_once('@').unwrap_or((folded.as_str(), ""));
        let domain = self.word(scribe, domain)?;
        remembered(&mut self.recipients, RECIPIENTS_MAX, &folded, |folded| {
            let hash = hash(folded);
            let row = params![hash, local, domain];
            let found = scribe.find_recipient.query_row(row, |row| row.get(0)).optional()?;
            match found {
                Some(id) => Ok(id),
                None => scribe.add_recipient.insert(params![hash, local, domain]),
            }
        })
    }
}

fn remembered(
    cache: &mut HashMap<Box<str>, i64>,
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
