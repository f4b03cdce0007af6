//! Questions about history: entries that fit a filter, newest first, page by page;
//! and what became of a campaign.

use std::collections::BTreeMap;

use mail::event::EventKind;
use mail::queue::Counters;
use mail::{CampaignId, Category, DeliveryId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde::{Deserialize, Serialize};

use crate::entry::{COLUMNS, Cursor, Entry};
use crate::error::LedgerError;
use crate::month::Month;
use crate::sums::{Tally, with_waiting};
use crate::{Ledger, schema};

/// Entries on one page, at most.
const PAGE_MAX: usize = 1_000;

/// What to look for. Empty fields fit everything; texts fit anywhere inside and
/// whatever their case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceFilter {
    /// A part of the recipient's address.
    pub address: Option<String>,
    /// The recipient's domain, whole.
    pub domain: Option<String>,
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
    /// The newest `limit` entries (1 to 1000) that fit, before `cursor` where one is given.
    ///
    /// # Errors
    /// When the history does not read. A damaged month is left out and named in the log.
    pub fn trace(
        &self,
        filter: &TraceFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Result<TracePage, LedgerError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut entries = Vec::new();
        let last = cursor.map(|c| c.month);
        let months = Month::list(self.folder())?.into_iter().rev();
        for month in months.filter(|m| last.is_none_or(|last| *m <= last)) {
            let before = cursor.filter(|c| c.month == month).map(|c| c.id);
            let room = limit + 1 - entries.len();
            let found = self.ask(month, |conn| find(conn, month, filter, before, room))?;
            entries.extend(found.unwrap_or_default());
            if entries.len() > limit {
                break;
            }
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|e| e.cursor);
        Ok(TracePage { entries, next })
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

fn find(
    conn: &Connection,
    month: Month,
    filter: &TraceFilter,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<Entry>> {
    let mut query = Query::default();
    query.narrow(filter);
    if let Some(before) = before {
        query.and("id < ?", [before.into()]);
    }
    let conditions = query.conditions.join(" AND ");
    let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {conditions}") };
    let sql = format!("SELECT {COLUMNS} FROM history {filter} ORDER BY id DESC LIMIT {limit}");
    let mut statement = conn.prepare(&sql)?;
    let rows =
        statement.query_map(params_from_iter(query.values), |row| Entry::read(month, row))?;
    rows.collect()
}

#[derive(Default)]
struct Query {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Query {
    fn and<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }

    fn narrow(&mut self, filter: &TraceFilter) {
        if let Some(address) = &filter.address {
            let needle = address.to_lowercase();
            self.and(
                "recipient_id IN (SELECT r.id FROM recipient r JOIN word d ON d.id = r.domain \
                 WHERE r.local || '@' || d.text LIKE ? ESCAPE '\\')",
                [like(&needle).into()],
            );
        }
        if let Some(domain) = &filter.domain {
            let domain = domain.to_lowercase();
            self.and("domain_id IN (SELECT id FROM word WHERE text = ?)", [domain.into()]);
        }
        if let Some(campaign) = filter.campaign {
            self.and("campaign = ?", [number(campaign.0)]);
        }
        if let Some(delivery) = filter.delivery {
            let values = [i64::from(delivery.shard.0).into(), number(delivery.seq)];
            self.and("shard = ? AND seq = ?", values);
        }
        if let Some(kind) = filter.kind {
            self.and("kind = ?", [kind.as_str().to_owned().into()]);
        }
        if let Some(category) = filter.category {
            self.and("category = ?", [category.as_str().to_owned().into()]);
        }
        if let Some(site) = &filter.site {
            self.and("site LIKE ? ESCAPE '\\'", [like(site).into()]);
        }
        if let Some(source) = &filter.source {
            self.and("source = ?", [source.clone().into()]);
        }
        if let Some(text) = &filter.text {
            let values = [like(text).into(), like(text).into()];
            self.and("(reply LIKE ? ESCAPE '\\' OR note LIKE ? ESCAPE '\\')", values);
        }
        if let Some(since) = filter.since {
            self.and("at >= ?", [number(since.0)]);
        }
        if let Some(until) = filter.until {
            self.and("at < ?", [number(until.0)]);
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
