//! The recipients of a page. What happened to one is a chain: its row names the last event, and
//! each event the one before. An index over all events would be larger than the chain, and slower.

use std::collections::HashMap;

use mail::DeliveryId;
use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};

use super::page::i64_of;
use crate::dictionary::{Dictionary, Hasher, Scribe, hash};

/// The way that a delivery went, among the newest events about its recipient: it has some attempts, and
/// a person has some campaigns.
const FIND_WAY: &str = "WITH RECURSIVE chain (id, n) AS (
        SELECT ?1, 1
        UNION ALL
        SELECT e.before, n + 1 FROM chain JOIN event e ON e.id = chain.id
        WHERE e.before IS NOT NULL AND n < 64)
    SELECT coalesce(source.text, ''), site.text
    FROM chain JOIN event e ON e.id = chain.id JOIN shape ON shape.id = e.shape
    JOIN word site ON site.id = shape.site LEFT JOIN word source ON source.id = shape.source
    WHERE e.shard = ?2 AND e.seq = ?3
    ORDER BY e.id DESC LIMIT 1";

/// The recipients that a page speaks of, written at its end, each once.
pub(super) struct Recipients<'c> {
    find: CachedStatement<'c>,
    find_way: CachedStatement<'c>,
    places: HashMap<Box<str>, usize, Hasher>,
    touched: Vec<Touched>,
    next_id: i64,
}

struct Touched {
    id: i64,
    domain: i64,
    last: Option<i64>,
    /// The hash and the local part of one that the file does not have yet.
    new: Option<(i64, Box<str>)>,
}

/// One of them, for the length of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(usize);

impl<'c> Recipients<'c> {
    pub(super) fn new(tx: &'c Transaction<'_>) -> rusqlite::Result<Self> {
        let largest: Option<i64> =
            tx.prepare_cached("SELECT MAX(id) FROM recipient")?.query_row([], |row| row.get(0))?;
        Ok(Self {
            find: tx.prepare_cached(
                "SELECT id, last FROM recipient WHERE hash = ?1 AND local = ?2 AND domain = ?3",
            )?,
            find_way: tx.prepare_cached(FIND_WAY)?,
            places: HashMap::default(),
            touched: Vec::new(),
            next_id: largest.unwrap_or(0) + 1,
        })
    }

    /// The recipient of this address; `None` for no address.
    pub(super) fn place(
        &mut self,
        dictionary: &mut Dictionary,
        scribe: &mut Scribe<'_>,
        address: &str,
    ) -> rusqlite::Result<Option<Place>> {
        if address.is_empty() {
            return Ok(None);
        }
        let folded = address.to_lowercase();
        if let Some(place) = self.places.get(folded.as_str()) {
            return Ok(Some(Place(*place)));
        }
        let (local, domain) = folded.rsplit_once('@').unwrap_or((folded.as_str(), ""));
        let (domain, hash) = (dictionary.word(scribe, domain)?, hash(&folded));
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found = self.find.query_row(params![hash, local, domain], row).optional()?;
        let touched = match found {
            Some((id, last)) => Touched { id, domain, last, new: None },
            None => {
                let id = self.next_id;
                self.next_id += 1;
                Touched { id, domain, last: None, new: Some((hash, local.into())) }
            }
        };
        let place = self.touched.len();
        self.touched.push(touched);
        self.places.insert(folded.into_boxed_str(), place);
        Ok(Some(Place(place)))
    }

    /// Its number, the word of its domain, and the last event about it.
    pub(super) fn known(&self, place: Place) -> (i64, i64, Option<i64>) {
        let Touched { id, domain, last, .. } = self.touched[place.0];
        (id, domain, last)
    }

    /// The source and the site that the mail of a delivery went by, as far as this month knows: what comes
    /// back does not say it.
    pub(super) fn way(
        &mut self,
        place: Place,
        delivery: DeliveryId,
    ) -> rusqlite::Result<Option<(String, String)>> {
        let Some(last) = self.touched[place.0].last else { return Ok(None) };
        let seq = i64_of(delivery.seq);
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.find_way.query_row(params![last, delivery.shard.0, seq], row).optional()
    }

    pub(super) fn happened(&mut self, place: Place, event: i64) {
        self.touched[place.0].last = Some(event);
    }

    /// In the order of their numbers, so that neighbours are written together.
    pub(super) fn write(mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut add = tx.prepare_cached(
            "INSERT INTO recipient (id, hash, local, domain, last) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut update = tx.prepare_cached("UPDATE recipient SET last = ?2 WHERE id = ?1")?;
        self.touched.sort_unstable_by_key(|touched| touched.id);
        for Touched { id, domain, last, new } in self.touched {
            match new {
                Some((hash, local)) => add.execute(params![id, hash, local, domain, last])?,
                None => update.execute(params![id, last])?,
            };
        }
        Ok(())
    }
}
