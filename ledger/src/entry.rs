//! One line of history as it is given out, and the place where it stands.

use std::fmt;
use std::str::FromStr;

use mail::event::EventKind;
use mail::{
    CampaignId, Category, DeliveryId, Event, Hygiene, Phase, Reply, Scope, ShardId, Timestamp,
};
use rusqlite::{Connection, Row};
use serde::Serialize;

use crate::dictionary::RECIPIENT;
use crate::error::LedgerError;
use crate::month::Month;

/// A place in history; newer places are greater. Opaque to whoever holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(crate) month: Month,
    pub(crate) id: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.month, self.id)
    }
}

impl FromStr for Cursor {
    type Err = LedgerError;
    fn from_str(text: &str) -> Result<Self, LedgerError> {
        text.split_once('.')
            .and_then(|(month, id)| Some(Self { month: month.parse().ok()?, id: id.parse().ok()? }))
            .ok_or_else(|| LedgerError::Cursor(text.chars().take(40).collect()))
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Something that happened, as history has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its place.
    pub cursor: Cursor,
    /// What happened. The recipient is in lower case; a plain 250 is not kept.
    pub event: Event,
    /// Whether the queue counted it: `applied`, `late`, `twice` (a duplicate), `refused`.
    pub judgement: String,
}

/// What a query of entries selects, in the order that `read` expects.
pub(crate) const COLUMNS: &str = "id, at, kind, judgement, campaign, shard, seq, recipient, count, \
    attempt, service, source, site, mx, phase, category, hygiene, scope, rule, tls, bytes, elapsed, \
    age, wait, reply, note";

impl Entry {
    /// The entries of these numbers, in their order.
    pub(crate) fn read_all(
        conn: &Connection,
        month: Month,
        ids: &[i64],
    ) -> rusqlite::Result<Vec<Self>> {
        let mut read = conn.prepare(&format!("SELECT {COLUMNS} FROM history WHERE id = ?1"))?;
        ids.iter().map(|id| read.query_row([id], |row| Self::read(month, row))).collect()
    }

    /// A row of [`COLUMNS`]. What a newer program wrote and this one has no word for is
    /// shown as far as it goes.
    pub(crate) fn read(month: Month, row: &Row<'_>) -> rusqlite::Result<Self> {
        let text = |column: usize| {
            Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.unwrap_or_default())
        };
        let number = |column: usize| {
            let n = row.get::<_, Option<i64>>(column)?.unwrap_or(0);
            Ok::<_, rusqlite::Error>(u64::try_from(n).unwrap_or(0))
        };
        let at = Timestamp(number(1)?);
        let kind = EventKind::from_word(&text(2)?).unwrap_or(EventKind::Service);
        let campaign = row.get::<_, Option<i64>>(4)?.map(|c| CampaignId(c.unsigned_abs()));
        let shard: Option<u16> = row.get(5)?;
        let seq: Option<i64> = row.get(6)?;
        let delivery = shard
            .zip(seq)
            .map(|(shard, seq)| DeliveryId { shard: ShardId(shard), seq: seq.unsigned_abs() });
        let wait: Option<i64> = row.get(23)?;
        let recipient = text(7)?;
        let told = |column| Ok::<_, rusqlite::Error>(text(column)?.replace(RECIPIENT, &recipient));
        let (reply, note) = (Reply::parse(&told(24)?), told(25)?);
        let event = Event {
            campaign,
            delivery,
            recipient,
            count: row.get::<_, Option<u32>>(8)?.unwrap_or(1),
            attempt: u16::try_from(number(9)?).unwrap_or(u16::MAX),
            service: text(10)?,
            source: text(11)?,
            site: text(12)?,
            mx: text(13)?,
            phase: Phase::from_word(&text(14)?),
            category: Category::from_word(&text(15)?),
            hygiene: Hygiene::from_word(&text(16)?),
            scope: Scope::from_word(&text(17)?),
            rule: text(18)?,
            tls: text(19)?,
            bytes: u32::try_from(number(20)?).unwrap_or(u32::MAX),
            elapsed_ms: u32::try_from(number(21)?).unwrap_or(u32::MAX),
            age_ms: number(22)?,
            next_at: wait.map(|wait| Timestamp(at.0.saturating_add_signed(wait))),
            reply,
            note,
            ..Event::new(kind, at)
        };
        let cursor = Cursor { month, id: row.get(0)? };
        Ok(Self { cursor, event, judgement: text(3)? })
    }
}
