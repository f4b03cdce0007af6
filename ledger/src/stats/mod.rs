//! Statistics: what happened in a period, by anything that events are summed by, beside the
//! period before. Nothing is computed from single events where a sum says it.

mod measures;
mod plan;
mod sql;

use std::collections::{BTreeMap, HashMap};

use mail::{CampaignId, Category, Timestamp, words};
use serde_json::{Value, json};

pub use measures::Measures;

use crate::Ledger;
use crate::campaigns::{Facts, facts};
use crate::error::LedgerError;
use crate::month::Month;
use plan::Plan;
use sql::Key;
pub(crate) use sql::SINGLE_EVENTS;

/// Rows of an answer, at most.
const ROWS_MAX: usize = 10_000;

words! {
    /// What a statistic is grouped by.
    GroupBy {
        /// The tenant.
        Tenant = "tenant",
        /// The address of From.
        Sender = "sender",
        /// The campaign.
        Campaign = "campaign",
        /// The service that sent, or that says it: a relay by its name, `api`, `bounces`.
        Relay = "relay",
        /// The egress source.
        Source = "source",
        /// The site.
        Site = "site",
        /// The recipient's domain.
        Domain = "domain",
        /// Why it failed or was put off.
        Category = "category",
        /// Minutes, UTC.
        Minute = "minute",
        /// Hours, UTC.
        Hour = "hour",
        /// Days, UTC.
        Day = "day",
    }
}

/// What to sum. Empty fields mean everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsQuestion {
    /// From here on; rounded down to whole minutes, or to hours where domains or sites are asked for.
    pub since: Timestamp,
    /// Up to here; rounded up alike.
    pub until: Timestamp,
    /// A row for each of these, in this order; none: one row.
    pub by: Vec<GroupBy>,
    /// One tenant's campaigns.
    pub tenant: Option<String>,
    /// A part of the sender's address, whatever its case.
    pub sender: Option<String>,
    /// One campaign.
    pub campaign: Option<CampaignId>,
    /// One relay, or `api`, `bounces`.
    pub relay: Option<String>,
    /// One egress source.
    pub source: Option<String>,
    /// One site.
    pub site: Option<String>,
    /// One recipient's domain.
    pub domain: Option<String>,
    /// One category.
    pub category: Option<Category>,
    /// Beside each row what it was in the period before, as long.
    pub with_before: bool,
    /// What the largest rows are the largest in.
    pub sort: Sort,
    /// So many rows (1 to 10,000).
    pub limit: usize,
}

words! {
    /// What rows are sorted by, the largest first. Rows of times are in the order of time.
    Sort {
        /// Attempts: delivered, failed or put off.
        Attempts = "attempts",
        /// Delivered.
        Delivered = "delivered",
        /// Put off.
        Deferred = "deferred",
        /// Failed, and expired.
        Failed = "failed",
        /// Come back by mail.
        Returned = "returned",
        /// Reported as spam.
        Complained = "complained",
        /// Octets.
        Bytes = "bytes",
    }
}

impl StatsQuestion {
    /// Everything between two moments, as one row.
    #[must_use]
    pub fn between(since: Timestamp, until: Timestamp) -> Self {
        Self {
            since,
            until,
            by: Vec::new(),
            tenant: None,
            sender: None,
            campaign: None,
            relay: None,
            source: None,
            site: None,
            domain: None,
            category: None,
            with_before: false,
            sort: Sort::Attempts,
            limit: ROWS_MAX,
        }
    }
}

/// One row: what it is about, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsRow {
    /// The values of what was grouped by, in its order. Times are written as RFC 3339; empty: what
    /// happened without one, or sites with few messages a minute.
    pub of: Vec<String>,
    /// What happened.
    pub measures: Measures,
    /// What had happened in the period before.
    pub before: Option<Measures>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsAnswer {
    /// The period that was summed, as far as sums are that fine.
    pub since: Timestamp,
    /// Its end, exclusive.
    pub until: Timestamp,
    /// What the rows are grouped by.
    pub by: Vec<GroupBy>,
    /// The rows.
    pub rows: Vec<StatsRow>,
    /// All of them together, and of those that the limit cut off.
    pub total: StatsRow,
    /// Rows that the limit cut off.
    pub cut: usize,
}

impl StatsAnswer {
    /// As programs read it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let row = |row: &StatsRow| {
            let mut object = row.measures.to_json();
            for (by, of) in self.by.iter().zip(&row.of) {
                object[by.as_str()] = json!(of);
            }
            if let Some(before) = &row.before {
                object["before"] = before.to_json();
            }
            object
        };
        json!({
            "since": self.since.to_string(),
            "until": self.until.to_string(),
            "by": self.by,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "total": row(&self.total),
            "cut": self.cut,
        })
    }
}

/// Sums by the texts of their keys.
type Table = HashMap<Vec<String>, Measures>;

impl Ledger {
    /// Sums a period. Files are read in this thread.
    ///
    /// # Errors
    /// When the history does not read. A damaged month is left out and named in the log.
    pub fn stats(&self, question: &StatsQuestion) -> Result<StatsAnswer, LedgerError> {
        let plan = Plan::of(question);
        let mut now = self.table(question, &plan)?;
        let length = plan.until.0 - plan.since.0;
        let earlier = question.with_before.then(|| plan.earlier(length));
        let before = earlier.map(|plan| self.table(question, &plan)).transpose()?;
        let is_by_time = question.by.iter().any(|by| by.is_time());
        // What has gone altogether is news, too.
        for key in before.iter().filter(|_| !is_by_time).flat_map(|before| before.keys()) {
            now.entry(key.clone()).or_default();
        }
        let shift = |key: &[String]| shifted(&question.by, key, length);
        let row = |(of, measures): (Vec<String>, Measures)| {
            let before = before.as_ref().map(|b| b.get(&shift(&of)).copied().unwrap_or_default());
            StatsRow { of, measures, before }
        };
        // What is not about recipients, such as a change of pace, leaves empty rows.
        let is_something = |row: &StatsRow| {
            !row.measures.is_nothing() || row.before.is_some_and(|before| !before.is_nothing())
        };
        let mut rows: Vec<StatsRow> = now.into_iter().map(row).filter(is_something).collect();
        let mut total = StatsRow { of: Vec::new(), measures: Measures::default(), before: None };
        for row in &rows {
            total.measures.add(&row.measures);
        }
        if let Some(before) = &before {
            let all = total.before.insert(Measures::default());
            before.values().for_each(|measures| all.add(measures));
        }
        sort(&mut rows, question);
        let limit = question.limit.clamp(1, ROWS_MAX);
        let cut = rows.len().saturating_sub(limit);
        rows.truncate(limit);
        let (since, until, by) = (plan.since, plan.until, question.by.clone());
        Ok(StatsAnswer { since, until, by, rows, total, cut })
    }

    fn table(&self, question: &StatsQuestion, plan: &Plan) -> Result<Table, LedgerError> {
        // An event is in the month of its frame, which comes a little later.
        let (first, last) = (Month::of(plan.since), Month::of(plan.until).after());
        let months = Month::list(self.folder())?;
        let months: Vec<Month> =
            months.into_iter().filter(|month| (first..=last).contains(month)).collect();
        let mut known: BTreeMap<CampaignId, Facts> = BTreeMap::new();
        for month in &months {
            known.extend(self.ask(*month, facts)?.unwrap_or_default());
        }
        let mut table = Table::new();
        for month in months {
            let read = self.ask(month, |conn| sql::read(conn, question, plan, &known))?;
            for (key, measures) in read.unwrap_or_default() {
                table.entry(key).or_default().add(&measures);
            }
        }
        Ok(table)
    }
}

impl GroupBy {
    /// Whether it is a time.
    #[must_use]
    pub const fn is_time(self) -> bool {
        self.unit_ms().is_some()
    }

    /// How long one of it is, in milliseconds; `None` for what is no time.
    #[must_use]
    pub const fn unit_ms(self) -> Option<u64> {
        match self {
            Self::Minute => Some(60_000),
            Self::Hour => Some(3_600_000),
            Self::Day => Some(86_400_000),
            _ => None,
        }
    }
}

/// The key of the same thing one period before.
fn shifted(by: &[GroupBy], key: &[String], length: u64) -> Vec<String> {
    let shift = |(by, text): (&GroupBy, &String)| match (by.is_time(), text.parse::<Timestamp>()) {
        (true, Ok(at)) => Timestamp(at.0.saturating_sub(length)).to_string(),
        _ => text.clone(),
    };
    by.iter().zip(key).map(shift).collect()
}

/// The largest first; times in their order.
fn sort(rows: &mut [StatsRow], question: &StatsQuestion) {
    let time = question.by.iter().position(|by| by.is_time());
    let key = |row: &StatsRow| time.and_then(|at| row.of.get(at).cloned());
    rows.sort_by(|a, b| {
        let by_size = b.measures.size(question.sort).cmp(&a.measures.size(question.sort));
        key(a).cmp(&key(b)).then(by_size).then_with(|| a.of.cmp(&b.of))
    });
}

/// The text of one part of a key.
fn text_of(by: GroupBy, key: Key, campaign: Option<&Facts>) -> Option<String> {
    Some(match by {
        GroupBy::Tenant => campaign.map(|c| c.tenant.clone()).unwrap_or_default(),
        GroupBy::Sender => campaign.map(|c| c.sender.clone()).unwrap_or_default(),
        GroupBy::Campaign if key == 0 => String::new(),
        GroupBy::Campaign => CampaignId(key.unsigned_abs()).to_string(),
        GroupBy::Minute | GroupBy::Hour | GroupBy::Day => {
            Timestamp(key.unsigned_abs() * by.unit_ms()?).to_string()
        }
        GroupBy::Relay | GroupBy::Source | GroupBy::Site | GroupBy::Domain | GroupBy::Category => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests;
