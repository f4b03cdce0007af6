//! The events of one recipient, the newest first: each names the one before.

use rusqlite::{Connection, OptionalExtension, params};

use crate::dictionary::hash;
use crate::schema;

/// SQL that may ask `chain`: the event `?1`, and those before it about the same recipient, `?2` in all.
pub(crate) const CHAIN: &str = "WITH RECURSIVE chain (id, n) AS (
        SELECT ?1, 1
        UNION ALL
        SELECT e.before, n + 1 FROM chain JOIN event e ON e.id = chain.id
        WHERE e.before IS NOT NULL AND n < ?2)";

/// An address's row, given its hash and its two parts.
const RECIPIENT: &str = "FROM recipient r LEFT JOIN word d ON d.id = r.domain
    WHERE r.hash = ?1 AND r.local = ?2 AND coalesce(d.text, '') = ?3";

fn parts(address: &str) -> (i64, &str, &str) {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    (hash(address), local, domain)
}

/// The number of the last event about an address, which is in lower case, in a file that has chains.
pub(crate) fn last_of(conn: &Connection, address: &str) -> rusqlite::Result<Option<i64>> {
    let sql = format!("SELECT r.last {RECIPIENT} AND r.last IS NOT NULL");
    conn.prepare_cached(&sql)?.query_row(parts(address), |row| row.get(0)).optional()
}

/// The numbers of the newest events about an address, which is in lower case.
pub(crate) fn events_of(
    conn: &Connection,
    address: &str,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    if !schema::has_sums(conn)? {
        let (hash, local, domain) = parts(address);
        let mut statement = conn.prepare(&format!(
            "SELECT id FROM event WHERE recipient IN (SELECT r.id {RECIPIENT}) ORDER BY id DESC LIMIT ?4"
        ))?;
        return statement.query_map(params![hash, local, domain, limit], |r| r.get(0))?.collect();
    }
    let Some(last) = last_of(conn, address)? else { return Ok(Vec::new()) };
    let sql = format!("{CHAIN} SELECT id FROM chain ORDER BY id DESC LIMIT ?2");
    conn.prepare(&sql)?.query_map([last, limit], |row| row.get(0))?.collect()
}
