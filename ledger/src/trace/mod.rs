//! Questions about history: entries that fit a filter, newest first, page by page;
//! and what became of a campaign.

mod search;

use std::collections::BTreeMap;
use std::time::Duration;

use mail::event::EventKind;
use mail::queue::Counters;
use mail::{Address, CampaignId, Category, DeliveryId, Timestamp};
use rusqlite::Connection;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};

use crate::chain::events_of;
use crate::entry::{Cursor, Entry};
use crate::error::LedgerError;
use crate::month::Month;
use crate::sums::{Tally, with_waiting};
use crate::{Ledger, schema};
use search::{Patience, Recipient, search};

/// Entries on one page, at most.
const PAGE_MAX: usize = 1_000;
/// What looking for a page takes at most, about.
const LOOKED_FOR: Duration = Duration::from_millis(60);

/// What to look for. Empty fields fit everything; texts fit anywhere inside and
/// whatever their case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceFilter {
    /// The recipient's address, or a part of it.
    pub address: Option<String>,
    /// The recipient's domain, whole.
    pub domain: Option<String>,
    /// The tenant, whole.
    pub tenant: Option<String>,
    /// A part of the address of From.
    pub sender: Option<String>,
    /// The campaign.
    pub campaign: Option<CampaignId>,
    /// The delivery.
    pub delivery: Option<DeliveryId>,
    /// What happened.
    pub kind: Option<EventKind>,
    /// Why.
    pub category: Option<Category>,
    /// A part of the site's name.
    pub site: Option<String>,
    /// The egress source, whole.
    pub source: Option<String>,
    /// The relay or other service that says it: its name, or one life of it.
    pub relay: Option<String>,
    /// A part of the reply or the note.
    pub text: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// A page of entries, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TracePage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<Cursor>,
    /// Whether the time was up before the page was full: what fits and is older comes with `next`.
    pub is_unfinished: bool,
}

/// What became of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CampaignSummary {
    /// Which.
    pub campaign: CampaignId,
    /// Its accounts, as the events add up.
    pub counters: Counters,
    /// What happened, how often and why; the most frequent first.
    pub tallies: Vec<Tally>,
}

impl Ledger {
    /// The newest `limit` entries (1 to 1000) that fit, before `cursor` where one is given. A page
    /// that takes long is given out as far as it is, so that nobody waits for what is rare.
    ///
    /// # Errors
    /// When the history does not read. A damaged month is left out and named in the log.
    pub fn trace(
        &self,
        filter: &TraceFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Result<TracePage, LedgerError> {
        self.trace_for(LOOKED_FOR, filter, limit, cursor)
    }

    pub(crate) fn trace_for(
        &self,
        patience: Duration,
        filter: &TraceFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Result<TracePage, LedgerError> {
        let (limit, mut patience) = (limit.clamp(1, PAGE_MAX), Patience::new(patience));
        let recipient = self.recipient(filter)?;
        let mut entries = Vec::new();
        let last = cursor.map(|c| c.month);
        let first = filter.since.map(Month::of);
        // An event is in the month of its frame, which comes a little later.
        let newest = filter.until.map(|until| Month::of(until).after());
        let fits = |month: &Month| {
            last.is_none_or(|last| *month <= last)
                && newest.is_none_or(|newest| *month <= newest)
                && first.is_none_or(|first| *month >= first)
        };
        for month in Month::list(self.folder())?.into_iter().rev().filter(fits) {
            let before = cursor.filter(|c| c.month == month).map(|c| c.id);
            let room = (limit + 1 - entries.len(), &mut patience);
            let asked = (filter, &recipient);
            let found = self.ask(month, |conn| search(conn, month, asked, before, room))?;
            let Some(found) = found else { continue };
            entries.extend(found.entries);
            if let Some(id) = found.stopped_at.filter(|_| entries.len() <= limit) {
                let next = Some(Cursor { month, id });
                return Ok(TracePage { entries, next, is_unfinished: true });
            }
            if entries.len() > limit {
                break;
            }
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|e| e.cursor);
        Ok(TracePage { entries, next, is_unfinished: false })
    }

    /// An address that history knows is whole; anything else may be a part of many.
    fn recipient(&self, filter: &TraceFilter) -> Result<Recipient, LedgerError> {
        let Some(address) = &filter.address else { return Ok(Recipient::Any) };
        if let Ok(whole) = address.parse::<Address>() {
            let whole = whole.folded();
            for month in Month::list(self.folder())? {
                let known = self.ask(month, |conn| events_of(conn, &whole, 1))?;
                if known.is_some_and(|known| !known.is_empty()) {
                    return Ok(Recipient::Whole(whole));
                }
            }
        }
        Ok(Recipient::Part(address.to_lowercase()))
    }

    /// The newest entry that fits, however long it takes to look for it.
    ///
    /// # Errors
    /// When the history does not read.
    pub fn newest(&self, filter: &TraceFilter) -> Result<Option<Entry>, LedgerError> {
        let mut cursor = None;
        loop {
            let page = self.trace(filter, 1, cursor)?;
            cursor = page.next.filter(|_| page.is_unfinished);
            let newest = page.entries.into_iter().next();
            if newest.is_some() || cursor.is_none() {
                return Ok(newest);
            }
        }
    }

    /// What became of a campaign, by kind and category.
    ///
    /// # Errors
    /// When the history does not read.
    pub fn campaign_summary(&self, campaign: CampaignId) -> Result<CampaignSummary, LedgerError> {
        let mut sums: BTreeMap<(EventKind, String, Option<Category>), (u64, u64)> = BTreeMap::new();
        for month in Month::list(self.folder())? {
            let rows = self.ask(month, |conn| tallies(conn, campaign))?;
            for tally in rows.unwrap_or_default() {
                let sum = sums.entry((tally.kind, tally.judgement, tally.category)).or_default();
                sum.0 += tally.events;
                sum.1 += tally.bytes;
            }
        }
        let tally = |((kind, judgement, category), (events, bytes))| Tally {
            kind,
            judgement,
            category,
            events,
            bytes,
        };
        let mut tallies: Vec<Tally> = sums.into_iter().map(tally).collect();
        tallies.sort_by_key(|t| std::cmp::Reverse(t.events));
        let books = self.books()?;
        let parts = books.values().filter_map(|b| b.accounts.get(&campaign));
        let counters = with_waiting(parts.fold(Counters::default(), |sum, part| sum.plus(part)));
        Ok(CampaignSummary { campaign, counters, tallies })
    }

    /// Asks one month. A damaged file is named and left out: `None`.
    pub(crate) fn ask<T>(
        &self,
        month: Month,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, LedgerError> {
        let path = self.path(month);
        let answer = schema::readable(&path)
            .and_then(|conn| question(&conn).map_err(LedgerError::file(&path)));
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(e) if e.is_damage() => {
                tracing::warn!("a month of history is left out: {e}");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

fn number(n: u64) -> Value {
    i64::try_from(n).unwrap_or(i64::MAX).into()
}

fn like(part: &str) -> String {
    let mut pattern = String::with_capacity(part.len() + 2);
    pattern.push('%');
    for c in part.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn tallies(conn: &Connection, campaign: CampaignId) -> rusqlite::Result<Vec<Tally>> {
    let mut statement = conn.prepare(
        "SELECT k.text, j.text, c.text, events, bytes FROM tally
         LEFT JOIN word k ON k.id = tally.kind LEFT JOIN word j ON j.id = tally.judgement
         LEFT JOIN word c ON c.id = tally.category WHERE campaign = ?1",
    )?;
    let rows = statement.query_map([number(campaign.0)], |row| {
        let word = |column: usize| {
            Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.unwrap_or_default())
        };
        Ok(EventKind::from_word(&word(0)?).map(|kind| {
            Ok::<_, rusqlite::Error>(Tally {
                kind,
                judgement: word(1)?,
                category: Category::from_word(&word(2)?),
                events: row.get::<_, i64>(3)?.unsigned_abs(),
                bytes: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        }))
    })?;
    rows.filter_map(Result::transpose).map(|tally| tally?).collect()
}
