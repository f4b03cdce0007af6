//! The events of one recipient, the newest first: each names the one before.

use rusqlite::{Connection, params};

use crate::dictionary::hash;
use crate::schema;

/// The numbers of the newest events about an address, which is in lower case.
pub(crate) fn events_of(
    conn: &Connection,
    address: &str,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let recipient = "SELECT r.id FROM recipient r LEFT JOIN word d ON d.id = r.domain
        WHERE r.hash = ?1 AND r.local = ?2 AND coalesce(d.text, '') = ?3";
    let sql = match schema::has_sums(conn)? {
        true => format!(
            "WITH RECURSIVE chain (id, n) AS (
                 SELECT last, 1 FROM recipient WHERE id IN ({recipient}) AND last IS NOT NULL
                 UNION ALL
                 SELECT e.before, n + 1 FROM chain JOIN event e ON e.id = chain.id
                 WHERE e.before IS NOT NULL AND n < ?4)
             SELECT id FROM chain ORDER BY id DESC LIMIT ?4"
        ),
        false => format!(
            "SELECT id FROM event WHERE recipient IN ({recipient}) ORDER BY id DESC LIMIT ?4"
        ),
    };
    let mut statement = conn.prepare(&sql)?;
    let rows = statement.query_map(params![hash(address), local, domain, limit], |r| r.get(0))?;
    rows.collect()
}
