//! Services as people name them. A relay goes down in history by its name, its process and its
//! start, because only that tells one life of it from the next; people ask for the relay.

use rusqlite::Connection;

/// The name of a service: of a relay without process and start.
pub(crate) fn name_of(service: &str) -> &str {
    let mut parts = service.rsplitn(3, '-');
    let (start, process, name) = (parts.next(), parts.next(), parts.next());
    let is_start = start.is_some_and(|s| s.len() >= 8 && s.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_process =
        process.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    name.filter(|_| is_start && is_process).unwrap_or(service)
}

/// The numbers of the words that name a service: one for each life of it, as text for SQL.
pub(crate) fn lives_of(conn: &Connection, name: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT id, text FROM word WHERE substr(text, 1, length(?1)) = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([name])?;
    let mut lives = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, text): (i64, String) = (row.get(0)?, row.get(1)?);
        if text == name || name_of(&text) == name {
            lives.push(id.to_string());
        }
    }
    Ok(lives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_has_its_name_whatever_its_life() {
        let cases = [
            ("relay-b-25798-1a21e077bf3", "relay-b"),
            ("relay-1", "relay-1"),
            ("api", "api"),
            ("eu-west-2-71-19ab00ff00", "eu-west-2"),
            ("relay-12-3", "relay-12-3"),
            ("", ""),
        ];
        for (service, name) in cases {
            assert_eq!(name_of(service), name, "{service}");
        }
    }
}
