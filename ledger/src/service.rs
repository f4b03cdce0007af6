//! Services as people name them. A relay goes down in history by its name, its process and its
//! start, because only that tells one life of it from the next; people ask for the relay.

use rusqlite::Connection;
use store::relay_name;

/// The numbers of the words that name a service: one for each life of it, as text for SQL.
pub(crate) fn lives_of(conn: &Connection, name: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT id, text FROM word WHERE substr(text, 1, length(?1)) = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([name])?;
    let mut lives = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, text): (i64, String) = (row.get(0)?, row.get(1)?);
        if text == name || relay_name(&text) == name {
            lives.push(id.to_string());
        }
    }
    Ok(lives)
}
