//! The way that mail went by: its source and its site. A return or a complaint is put down to it
//! and does not name it, so it is looked up.

use std::path::Path;

use mail::DeliveryId;
use rusqlite::{Connection, OptionalExtension, params};

use super::page::i64_of;
use crate::chain::{CHAIN, last_of};
use crate::error::LedgerError;
use crate::schema;

/// A source and a site.
pub(super) type Way = (String, String);

/// Looked at of the newest events about a recipient: a delivery has some attempts, and a person has
/// some campaigns.
const EVENTS_MAX: u32 = 64;

/// The way of a delivery, in the file that has the recipient's last event.
pub(super) fn way(
    conn: &Connection,
    last: i64,
    delivery: DeliveryId,
) -> rusqlite::Result<Option<Way>> {
    let mut find = conn.prepare_cached(&format!(
        "{CHAIN}
         SELECT coalesce(source.text, ''), site.text
         FROM chain JOIN event e ON e.id = chain.id JOIN shape ON shape.id = e.shape
         JOIN word site ON site.id = shape.site LEFT JOIN word source ON source.id = shape.source
         WHERE e.shard = ?3 AND e.seq = ?4
         ORDER BY e.id DESC LIMIT 1"
    ))?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let asked = params![last, EVENTS_MAX, delivery.shard.0, i64_of(delivery.seq)];
    find.query_row(asked, row).optional()
}

/// The month before, for a return or a complaint about its mail. Opened when it is needed, and for
/// one transaction only: whoever closes a file last folds its journal in, and this one may not.
pub(super) struct Earlier<'p> {
    path: &'p Path,
    /// `Some(None)`: nothing is to be had of it.
    conn: Option<Option<Connection>>,
}

impl<'p> Earlier<'p> {
    pub(super) fn of(path: &'p Path) -> Self {
        Self { path, conn: None }
    }

    /// The way of a delivery to an address, which is in lower case. A file that does not read is told
    /// of, and stops nobody.
    pub(super) fn way(&mut self, address: &str, delivery: DeliveryId) -> Option<Way> {
        self.find(address, delivery).unwrap_or_else(|error| {
            tracing::warn!(%error, "what comes back is put down to no site");
            self.conn = Some(None);
            None
        })
    }

    fn find(&mut self, address: &str, delivery: DeliveryId) -> Result<Option<Way>, LedgerError> {
        let wrong = LedgerError::file(self.path);
        if self.conn.is_none() {
            self.conn = Some(open(self.path)?);
        }
        let Some(Some(conn)) = &self.conn else { return Ok(None) };
        let last = last_of(conn, address).map_err(&wrong)?;
        last.map_or(Ok(None), |last| way(conn, last, delivery)).map_err(wrong)
    }
}

/// `None`: there is none, or it is from before there were chains.
fn open(path: &Path) -> Result<Option<Connection>, LedgerError> {
    if !path.exists() {
        return Ok(None);
    }
    let conn = schema::readable(path)?;
    Ok(schema::has_sums(&conn).map_err(LedgerError::file(path))?.then_some(conn))
}
