//! Opening a month's file, for writing or for reading; making a new one.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::LedgerError;
use crate::speed;
use crate::stats::SINGLE_EVENTS;
use crate::sums::{FLOW, PLACE, TABLES};

/// The version of the layout in `schema.sql` and `rollup.sql`.
const VERSION: i64 = 2;
/// From this version on there are sums by minute, hour and day.
const SUMS_FROM: i64 = 2;
/// Tells our files from any other SQLite file: "mlpl".
const APPLICATION_ID: i64 = 0x6d6c_706c;
/// A reader waits this long for a writer that is just opening or closing the file.
const BUSY: Duration = Duration::from_secs(5);

/// The tables of sums and what they need. `age` is the sum of the times since acceptance, in seconds;
/// `speeds` is how many deliveries took how long, as speed.rs writes it.
fn rollup() -> String {
    let mut sql = include_str!("rollup.sql").to_owned();
    for (table, of) in TABLES {
        let columns = of.replace(", ", " INTEGER NOT NULL, ");
        sql.push_str(&format!(
            "CREATE TABLE {table} (at INTEGER NOT NULL, {columns} INTEGER NOT NULL,
             events INTEGER NOT NULL, bytes INTEGER NOT NULL, age INTEGER NOT NULL, speeds BLOB,
             PRIMARY KEY (at, {of})) WITHOUT ROWID;"
        ));
    }
    sql
}

/// Opens a month for writing; makes it if it is not there.
///
/// The journal is a WAL, so that questions never wait for the writer. `synchronous` is
/// full: what was committed is trimmed from the queue, so it must be on the disk.
pub(crate) fn writable(file: &Path) -> Result<Connection, LedgerError> {
    let wrong = LedgerError::file(file);
    let conn = Connection::open(file).map_err(&wrong)?;
    conn.busy_timeout(BUSY).map_err(&wrong)?;
    conn.set_prepared_statement_cache_capacity(32);
    speed::teach(&conn).map_err(&wrong)?;
    let set = |name: &str, value: &str| conn.pragma_update(None, name, value);
    set("journal_mode", "wal").map_err(&wrong)?;
    set("synchronous", "full").map_err(&wrong)?;
    // What a month of tens of millions of events needs to find recipients again without reading them.
    set("cache_size", "-128000").map_err(&wrong)?;
    // Pages of 4 KiB: a page that many transactions change is written back once.
    set("wal_autocheckpoint", "8000").map_err(&wrong)?;
    set("journal_size_limit", "67108864").map_err(&wrong)?;
    match number(&conn, "user_version").map_err(&wrong)? {
        0 => make(&conn).map_err(&wrong)?,
        1 => {
            tracing::info!(?file, "sums of the events that this month has are made, once");
            add_sums(&conn).map_err(&wrong)?;
        }
        _ => {}
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
    speed::teach(&conn).map_err(&wrong)?;
    known(file, &conn)?;
    Ok(conn)
}

fn make(conn: &Connection) -> rusqlite::Result<()> {
    // One transaction: a file is complete or empty.
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE; {} {} PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {VERSION}; COMMIT;",
        include_str!("schema.sql"),
        rollup()
    ))
}

/// What an index said in a file from before: the events of each recipient, in a chain.
const CHAIN: &str = "ALTER TABLE recipient ADD COLUMN last INTEGER;
    ALTER TABLE event ADD COLUMN before INTEGER;
    UPDATE recipient SET last = (SELECT MAX(e.id) FROM event e WHERE e.recipient = recipient.id);
    UPDATE event SET before = (SELECT MAX(e.id) FROM event e
        WHERE e.recipient = event.recipient AND e.id < event.id) WHERE recipient IS NOT NULL;
    DROP INDEX event_recipient;";

/// A file from before there were sums and chains: they are made of its events.
fn add_sums(conn: &Connection) -> rusqlite::Result<()> {
    let coarser = |from: &str, to: &str, columns: &str, times: u32| {
        format!(
            "INSERT INTO {to} (at, {columns}, events, bytes, age, speeds)
             SELECT at / {times}, {columns}, SUM(events), SUM(bytes), SUM(age), sum_speeds(speeds)
             FROM {from}
             GROUP BY 1, 2, 3, 4, 5, 6;"
        )
    };
    let first = |to: &str, columns: &str, ms: u32| {
        format!(
            "INSERT INTO {to} (at, {columns}, events, bytes, age, speeds)
             SELECT at / {ms}, {columns}, SUM(events), SUM(bytes), SUM(age), sum_speeds(speeds) FROM (
                 SELECT e.*, w.id AS what FROM ({SINGLE_EVENTS}) e JOIN what w ON w.kind = e.kind
                 AND w.judgement = e.judgement AND w.category = e.category)
             GROUP BY 1, 2, 3, 4, 5, 6;"
        )
    };
    let hours = "INSERT INTO hour (hour, first, last)
        SELECT at / 3600000, MIN(id), MAX(id) FROM event GROUP BY 1;";
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE; {} {CHAIN}
         INSERT INTO what (kind, judgement, category)
             SELECT DISTINCT kind, judgement, category FROM ({SINGLE_EVENTS});
         {} {} {} {} {} {hours} PRAGMA user_version = {VERSION}; COMMIT;",
        rollup(),
        first("flow_minute", FLOW, 60_000),
        coarser("flow_minute", "flow_hour", FLOW, 60),
        coarser("flow_hour", "flow_day", FLOW, 24),
        first("place_hour", PLACE, 3_600_000),
        coarser("place_hour", "place_day", PLACE, 24),
    ))
}

/// Whether a file has sums by minute, hour and day, and chains of events.
pub(crate) fn has_sums(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(number(conn, "user_version")? >= SUMS_FROM)
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
