//! The ways that mail went by: the source and the site. What comes back is put down to them, and
//! does not say them.

use std::path::PathBuf;

use mail::DeliveryId;
use rusqlite::{Connection, OptionalExtension, params};

use super::page::i64_of;
use crate::dictionary::hash;
use crate::schema;

/// A source and a site.
pub(super) type Way = (String, String);

/// The way that a delivery went, among the newest events about its recipient: it has some attempts, and
/// a person has some campaigns.
const FIND: &str = "WITH RECURSIVE chain (id, n) AS (
        SELECT ?1, 1
        UNION ALL
        SELECT e.before, n + 1 FROM chain JOIN event e ON e.id = chain.id
        WHERE e.before IS NOT NULL AND n < 64)
    SELECT coalesce(source.text, ''), site.text
    FROM chain JOIN event e ON e.id = chain.id JOIN shape ON shape.id = e.shape
    JOIN word site ON site.id = shape.site LEFT JOIN word source ON source.id = shape.source
    WHERE e.shard = ?2 AND e.seq = ?3
    ORDER BY e.id DESC LIMIT 1";

const LAST_OF: &str = "SELECT last FROM recipient r LEFT JOIN word d ON d.id = r.domain
    WHERE r.hash = ?1 AND r.local = ?2 AND coalesce(d.text, '') = ?3 AND last IS NOT NULL";

/// The way of a delivery, in the file that has the recipient's last event.
pub(super) fn way(
    conn: &Connection,
    last: i64,
    delivery: DeliveryId,
) -> rusqlite::Result<Option<Way>> {
    let mut find = conn.prepare_cached(FIND)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    find.query_row(params![last, delivery.shard.0, i64_of(delivery.seq)], row).optional()
}

/// The month before, which is looked into for what comes back only after it: opened when it is needed.
pub(super) struct Earlier {
    path: PathBuf,
    /// `None`: there is none, or it does not read, which those who ask it are told.
    conn: Option<Option<Connection>>,
}

impl Earlier {
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, conn: None }
    }

    /// The way of a delivery to an address, which is in lower case.
    pub(super) fn way(&mut self, address: &str, delivery: DeliveryId) -> Option<Way> {
        let conn = self.conn.get_or_insert_with(|| schema::readable(&self.path).ok()).as_ref()?;
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        let find = || {
            let mut last_of = conn.prepare_cached(LAST_OF)?;
            let last = last_of.query_row(params![hash(address), local, domain], |row| row.get(0));
            last.optional()?.map_or(Ok(None), |last| way(conn, last, delivery))
        };
        find().ok().flatten()
    }
}
