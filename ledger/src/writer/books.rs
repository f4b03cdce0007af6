//! What a month's file knows of the shards: how far each was read, and its accounts.

use std::collections::HashMap;
use std::path::Path;

use mail::queue::Counters;
use mail::{CampaignId, ShardId};
use rusqlite::Transaction;
use store::Position;

use crate::error::LedgerError;
use crate::month::Month;
use crate::schema;

/// A shard as far as history knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    pub(crate) position: Position,
    /// The month whose file holds the position and all accounts.
    pub(crate) home: Option<Month>,
    pub(crate) accounts: HashMap<CampaignId, Counters>,
}

/// Adds to `books` what a month's file knows better than the ones before it.
pub(crate) fn read_books(
    path: &Path,
    month: Month,
    books: &mut HashMap<ShardId, Book>,
) -> Result<(), LedgerError> {
    let conn = schema::readable(path)?;
    let wrong = LedgerError::file(path);
    let read = || -> rusqlite::Result<Vec<(ShardId, Book)>> {
        // One transaction, so that positions and accounts belong together.
        let tx = conn.unchecked_transaction()?;
        let mut shards = tx.prepare("SELECT shard, position FROM shard")?;
        let rows =
            shards.query_map([], |row| Ok((ShardId(row.get(0)?), row.get::<_, String>(1)?)))?;
        let mut found = Vec::new();
        for row in rows {
            let (shard, position) = row?;
            let Ok(position) = position.parse::<Position>() else { continue };
            if books.get(&shard).is_none_or(|b| b.position < position) {
                let accounts = read_accounts(&tx, shard)?;
                found.push((shard, Book { position, home: Some(month), accounts }));
            }
        }
        Ok(found)
    };
    let found = read().map_err(wrong)?;
    books.extend(found);
    Ok(())
}

fn read_accounts(
    tx: &Transaction<'_>,
    shard: ShardId,
) -> rusqlite::Result<HashMap<CampaignId, Counters>> {
    let mut accounts = tx.prepare_cached(
        "SELECT campaign, accepted, delivered, failed, suppressed, expired, cancelled, set_aside,
         deferrals, late, duplicates, returned, complained FROM account WHERE shard = ?1",
    )?;
    let rows = accounts.query_map([shard.0], |row| {
        let n = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.max(0) as u64);
        let sums = Counters {
            accepted: n(1)?,
            delivered: n(2)?,
            failed: n(3)?,
            suppressed: n(4)?,
            expired: n(5)?,
            cancelled: n(6)?,
            set_aside: n(7)?,
            deferrals: n(8)?,
            late: n(9)?,
            duplicates: n(10)?,
            returned: n(11)?,
            complained: n(12)?,
            waiting: 0,
        };
        Ok((CampaignId(n(0)?), sums))
    })?;
    rows.collect()
}
