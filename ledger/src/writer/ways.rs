//! The way that mail went by: its source and its site. A return or a complaint is put down to it
//! and does not name it, so it is looked up.

use std::path::Path;

use mail::DeliveryId;
use rusqlite::{Connection, OptionalExtension, params};

use super::page::i64_of;
use crate::dictionary::hash;
use crate::error::LedgerError;
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

/// The month before, for a return or a complaint about its mail. Opened when it is needed, and for
/// one transaction only: whoever closes a file last folds its journal in, and this one may not.
pub(super) struct Earlier<'p> {
    path: &'p Path,
    conn: Option<Connection>,
    /// Nothing is to be had of it.
    is_useless: bool,
}

impl<'p> Earlier<'p> {
    pub(super) fn of(path: &'p Path) -> Self {
        Self { path, conn: None, is_useless: false }
    }

    /// The way of a delivery to an address, which is in lower case. A file that does not read is told
    /// of, and stops nobody.
    pub(super) fn way(&mut self, address: &str, delivery: DeliveryId) -> Option<Way> {
        if self.is_useless {
            return None;
        }
        self.find(address, delivery).unwrap_or_else(|error| {
            tracing::warn!(%error, "what comes back is put down to no site: {:?}", self.path);
            self.is_useless = true;
            None
        })
    }

    fn find(&mut self, address: &str, delivery: DeliveryId) -> Result<Option<Way>, LedgerError> {
        let wrong = LedgerError::file(self.path);
        if self.conn.is_none() {
            if !self.path.exists() {
                self.is_useless = true;
                return Ok(None);
            }
            let conn = schema::readable(self.path)?;
            // A file from before there were chains.
            self.is_useless = !schema::has_sums(&conn).map_err(&wrong)?;
            self.conn = Some(conn);
        }
        let Some(conn) = self.conn.as_ref().filter(|_| !self.is_useless) else { return Ok(None) };
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        let find = || {
            let mut last_of = conn.prepare_cached(LAST_OF)?;
            let last = last_of.query_row(params![hash(address), local, domain], |row| row.get(0));
            last.optional()?.map_or(Ok(None), |last| way(conn, last, delivery))
        };
        find().map_err(wrong)
    }
}
