//! What history tells of the pace of a source at a site: its changes, and which site a domain is at.

use mail::event::EventKind;
use mail::throttle::Signed;
use mail::{Domain, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::dictionary::word;
use crate::entry::{COLUMNS, Cursor, Entry};
use crate::error::LedgerError;
use crate::month::Month;
use crate::{Ledger, schema};

/// A change of a pace.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceChange {
    /// Its place, which names it.
    pub number: Cursor,
    /// What changed, and who did it where it was no relay.
    pub signed: Signed,
    /// The entry with the rest: when, the relay, what the site said.
    pub entry: Entry,
}

impl Serialize for PaceChange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("PaceChange", 6)?;
        fields.serialize_field("number", &self.number)?;
        fields.serialize_field("at", &self.entry.event.at.to_string())?;
        fields.serialize_field("change", &self.entry.event.note)?;
        fields.serialize_field("by", &self.signed.by)?;
        fields.serialize_field("relay", &self.entry.event.service)?;
        fields.serialize_field("reply", &self.entry.event.reply)?;
        fields.end()
    }
}

impl Ledger {
    /// The newest `limit` changes of the pace of a source at a site since then, newest first.
    ///
    /// # Errors
    /// When the history does not read. A damaged month is left out and named in the log.
    pub fn pace_changes(
        &self,
        source: &str,
        site: &str,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<PaceChange>, LedgerError> {
        let mut found = Vec::new();
        let first = Month::of(since);
        for month in Month::list(self.folder())?.into_iter().rev().filter(|month| *month >= first) {
            let room = limit.saturating_sub(found.len());
            let entries =
                self.ask(month, |conn| changes(conn, month, source, site, since, room))?;
            let read = |entry: Entry| {
                let signed = entry.event.note.parse().ok()?;
                Some(PaceChange { number: entry.cursor, signed, entry })
            };
            found.extend(entries.unwrap_or_default().into_iter().filter_map(read));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// The site that mail to a domain last went to, as far as history tells.
    ///
    /// # Errors
    /// When the history does not read.
    pub fn site_of(&self, domain: &Domain) -> Result<Option<String>, LedgerError> {
        for month in Month::list(self.folder())?.into_iter().rev() {
            if let Some(Some(site)) = self.ask(month, |conn| site_of(conn, domain.as_str()))? {
                return Ok(Some(site));
            }
        }
        Ok(None)
    }
}

/// Events are asked for their shapes, of which there are few: the view joins each event with all
/// its words first.
fn changes(
    conn: &Connection,
    month: Month,
    source: &str,
    site: &str,
    since: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<Entry>> {
    let words = [EventKind::PaceChanged.as_str(), source, site];
    let [Some(kind), Some(source), Some(site)] = words.map(|text| word(conn, text).ok().flatten())
    else {
        return Ok(Vec::new());
    };
    let mut statement = conn.prepare(&format!(
        "SELECT {COLUMNS} FROM history WHERE id IN (
           SELECT id FROM event WHERE at >= ?4 AND shape IN (
             SELECT id FROM shape WHERE kind = ?1 AND source = ?2 AND site = ?3)
           ORDER BY id DESC LIMIT {limit})
         ORDER BY id DESC"
    ))?;
    let since = i64::try_from(since.0).unwrap_or(i64::MAX);
    let rows =
        statement.query_map(params![kind, source, site, since], |row| Entry::read(month, row))?;
    rows.collect()
}

fn site_of(conn: &Connection, domain: &str) -> rusqlite::Result<Option<String>> {
    let Some(domain) = word(conn, domain)? else { return Ok(None) };
    let sql = match schema::has_sums(conn)? {
        true => {
            // What came back is put down to the site that its mail went to, perhaps long ago.
            "SELECT si.text FROM place_day p JOIN word si ON si.id = p.site
             WHERE p.domain = ?1 AND p.what NOT IN (
                 SELECT w.id FROM what w JOIN word kind ON kind.id = w.kind
                 WHERE kind.text IN ('returned', 'complained'))
             ORDER BY p.at DESC LIMIT 1"
        }
        false => {
            "SELECT si.text FROM event JOIN shape ON shape.id = event.shape
             JOIN word si ON si.id = shape.site
             WHERE event.recipient IN (SELECT id FROM recipient WHERE domain = ?1)
             ORDER BY event.id DESC LIMIT 1"
        }
    };
    let mut statement = conn.prepare(sql)?;
    statement.query_row([domain], |row| row.get(0)).optional()
}
