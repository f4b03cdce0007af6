//! Opening a month's file, for writing or for reading; making a new one.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::LedgerError;

/// The version of the layout in `schema.sql`.
const VERSION: i64 = 1;
/// Tells our files from any other SQLite file: "mlpl".
const APPLICATION_ID: i64 = 0x6d6c_706c;
/// A reader waits this long for a writer that is just opening or closing the file.
const BUSY: Duration = Duration::from_secs(5);

/// Opens a month for writing; makes it if it is not there.
///
/// The journal is a WAL, so that questions never wait for the writer. `synchronous` is
/// full: what was committed is trimmed from the queue, so it must be on the disk.
pub(crate) fn writable(file: &Path) -> Result<Connection, LedgerError> {
    let wrong = LedgerError::file(file);
    let conn = Connection::open(file).map_err(&wrong)?;
    conn.busy_timeout(BUSY).map_err(&wrong)?;
    conn.set_prepared_statement_cache_capacity(32);
    let set = |name: &str, value: &str| conn.pragma_update(None, name, value);
    set("journal_mode", "wal").map_err(&wrong)?;
    set("synchronous", "full").map_err(&wrong)?;
    set("cache_size", "-16000").map_err(&wrong)?;
    set("journal_size_limit", "67108864").map_err(&wrong)?;
    if number(&conn, "user_version").map_err(&wrong)? == 0 {
        make(&conn).map_err(&wrong)?;
    }
    known(file, &conn)?;
    Ok(conn)
}

/// Opens a month for questions.
pub(crate) fn readable(file: &Path) -> Result<Connection, LedgerError> {
    let wrong = LedgerError::file(file);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(&wrong)?;
    conn.busy_timeout(BUSY).map_err(&wrong)?;
    known(file, &conn)?;
    Ok(conn)
}

fn make(conn: &Connection) -> rusqlite::Result<()> {
    // One transaction: a file is complete or empty.
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE; {} PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {VERSION}; COMMIT;",
        include_str!("schema.sql")
    ))
}

fn known(file: &Path, conn: &Connection) -> Result<(), LedgerError> {
    let wrong = LedgerError::file(file);
    let version = number(conn, "user_version").map_err(&wrong)?;
    if version > VERSION {
        return Err(LedgerError::Newer { file: file.to_owned(), version });
    }
    if number(conn, "application_id").map_err(&wrong)? != APPLICATION_ID {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        let text = "it was not made by this program".to_owned();
        return Err(wrong(rusqlite::Error::SqliteFailure(code, Some(text))));
    }
    Ok(())
}

fn number(conn: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, pragma, |row| row.get(0))
}
