//! Looking through one month from its end: the numbers of the events that fit, within a time.
//! Indexes that would find every part of every text at once would be larger than the events.

use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::TraceFilter;
use crate::campaigns;
use crate::chain::events_of;
use crate::dictionary::word;
use crate::entry::Entry;
use crate::month::Month;
use crate::schema;
use crate::service::lives_of;

/// Events looked at by the first statement, and what one statement should take: the time is looked
/// at between them.
const STRIDE: i64 = 30_000;
const STRIDE_TAKES: Duration = Duration::from_millis(15);
const STRIDES: (i64, i64) = (5_000, 2_000_000);
const HOUR_MS: u64 = 3_600_000;
/// Events of one recipient that are looked through.
const CHAIN_MAX: usize = 100_000;

/// How long is looked. However late it is, something is looked at: who asks on must come further.
pub(super) struct Patience {
    deadline: Instant,
    has_looked: bool,
}

impl Patience {
    pub(super) fn new(patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, has_looked: false }
    }

    fn is_over(&mut self) -> bool {
        std::mem::replace(&mut self.has_looked, true) && Instant::now() >= self.deadline
    }
}

/// Whose events are looked for.
pub(super) enum Recipient {
    Any,
    /// Whose address is this one.
    Whole(String),
    /// Whose address has this in it.
    Part(String),
}

/// What was found, and where looking ended before the beginning of the month.
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    pub(super) stopped_at: Option<i64>,
}

/// The newest `room` entries that fit, before `before` where that is given, for so long.
pub(super) fn search(
    conn: &Connection,
    month: Month,
    (filter, recipient): (&TraceFilter, &Recipient),
    before: Option<i64>,
    (room, patience): (usize, &mut Patience),
) -> rusqlite::Result<Found> {
    let newest: Option<i64> = conn.query_row("SELECT MAX(id) FROM event", [], |row| row.get(0))?;
    let end = before.unwrap_or(newest.unwrap_or(0) + 1);
    let nothing = Found { entries: Vec::new(), stopped_at: None };
    let Some(wanted) = Wanted::of(conn, filter, recipient)? else { return Ok(nothing) };
    let mut ids: Vec<i64> = Vec::new();
    let mut stopped_at = None;
    let ranges = match wanted.is_indexed {
        true => vec![(1, end)],
        false => ranges(conn, filter, end)?,
    };
    'ranges: for (first, mut end) in ranges {
        let mut stride = if wanted.is_indexed { end } else { STRIDE };
        while end > first && ids.len() < room {
            if patience.is_over() {
                stopped_at = Some(end);
                break 'ranges;
            }
            let began = Instant::now();
            let from = first.max(end - stride);
            ids.extend(wanted.find(conn, (from, end), room - ids.len())?);
            end = from;
            let scale = STRIDE_TAKES.as_secs_f64() / began.elapsed().as_secs_f64().max(1e-6);
            stride = ((stride as f64 * scale) as i64).clamp(STRIDES.0, STRIDES.1);
        }
    }
    Ok(Found { entries: Entry::read_all(conn, month, &ids)?, stopped_at })
}

/// Ranges of events, the newest first, that may fit by the hour in which they happened.
fn ranges(conn: &Connection, filter: &TraceFilter, end: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    if !schema::has_sums(conn)? {
        return Ok(vec![(1, end)]);
    }
    let hour = |at: mail::Timestamp| Value::from(i64::try_from(at.0 / HOUR_MS).unwrap_or(i64::MAX));
    let mut conditions = Conditions::default();
    if let Some(since) = filter.since {
        conditions.and("hour >= ?", [hour(since)]);
    }
    if let Some(until) = filter.until {
        conditions.and("hour <= ?", [hour(until)]);
    }
    let mut summed = Conditions::default();
    let texts = [
        ("w.kind", filter.kind.map(|kind| kind.as_str())),
        ("w.category", filter.category.map(|category| category.as_str())),
        ("t.source", filter.source.as_deref()),
    ];
    for (column, text) in texts {
        let Some(text) = text else { continue };
        let Some(word) = word(conn, text)? else { return Ok(Vec::new()) };
        summed.and(&format!("{column} = ?"), [word.into()]);
    }
    if let Some(relay) = &filter.relay {
        summed.and(&format!("t.service IN ({})", lives_of(conn, relay)?.join(", ")), []);
    }
    if let Some(campaign) = filter.campaign {
        summed.and("t.campaign = ?", [super::number(campaign.0)]);
    }
    if !summed.conditions.is_empty() {
        let hours = format!(
            "hour IN (SELECT t.at FROM flow_hour t JOIN what w ON w.id = t.what WHERE {})",
            summed.conditions.join(" AND ")
        );
        conditions.conditions.push(hours);
        conditions.values.extend(summed.values);
    }
    let sql = format!("SELECT first, last FROM hour {} ORDER BY hour DESC", conditions.as_where());
    let mut statement = conn.prepare(&sql)?;
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    let mut rows = statement.query(params_from_iter(conditions.values))?;
    // Neighbouring hours overlap by the events that came late: none is looked at twice.
    let mut below = end;
    while let Some(row) = rows.next()? {
        let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
        let range = (first, below.min(last + 1));
        if range.0 < range.1 {
            below = range.0;
            ranges.push(range);
        }
    }
    Ok(ranges)
}

#[derive(Default)]
struct Conditions {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn and<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }

    fn as_where(&self) -> String {
        match self.conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", self.conditions.join(" AND ")),
        }
    }
}

/// What an event must be, in terms of its own row and of its recipient's.
struct Wanted {
    conditions: Conditions,
    with_recipient: bool,
    /// They are in `temp.chain`: all events about one recipient.
    is_indexed: bool,
}

impl Wanted {
    /// `None` when nothing in this file can fit.
    fn of(
        conn: &Connection,
        filter: &TraceFilter,
        recipient: &Recipient,
    ) -> rusqlite::Result<Option<Self>> {
        let mut wanted =
            Self { conditions: Conditions::default(), with_recipient: false, is_indexed: false };
        let fits = wanted.narrow_recipient(conn, filter, recipient)?
            && wanted.narrow_campaign(conn, filter)?
            && wanted.narrow_shape(conn, filter)?;
        if let Some(delivery) = filter.delivery {
            let values = [i64::from(delivery.shard.0).into(), super::number(delivery.seq)];
            wanted.conditions.and("e.shard = ? AND e.seq = ?", values);
        }
        if let Some(text) = &filter.text {
            let find = "INSERT INTO temp.phrase SELECT id FROM word WHERE text LIKE ? ESCAPE '\\'";
            collect(conn, "phrase", find, [super::like(text).into()])?;
            let either = "(e.reply IN temp.phrase OR e.note IN temp.phrase)";
            wanted.conditions.and(either, []);
        }
        if let Some(since) = filter.since {
            wanted.conditions.and("e.at >= ?", [super::number(since.0)]);
        }
        if let Some(until) = filter.until {
            wanted.conditions.and("e.at < ?", [super::number(until.0)]);
        }
        Ok(fits.then_some(wanted))
    }

    /// A whole address is found by its chain; a part of one is looked for.
    fn narrow_recipient(
        &mut self,
        conn: &Connection,
        filter: &TraceFilter,
        recipient: &Recipient,
    ) -> rusqlite::Result<bool> {
        match recipient {
            Recipient::Any => {}
            Recipient::Part(part) => {
                let part = super::like(part).into();
                self.conditions.and("r.local || '@' || d.text LIKE ? ESCAPE '\\'", [part]);
                self.with_recipient = true;
            }
            Recipient::Whole(address) => {
                conn.execute_batch("CREATE TEMP TABLE chain (id INTEGER PRIMARY KEY)")?;
                let mut put = conn.prepare("INSERT INTO temp.chain (id) VALUES (?1)")?;
                for id in events_of(conn, address, CHAIN_MAX)? {
                    put.execute([id])?;
                }
                self.is_indexed = true;
            }
        }
        if let Some(domain) = &filter.domain {
            let Some(word) = word(conn, &domain.to_lowercase())? else { return Ok(false) };
            self.conditions.and("r.domain = ?", [word.into()]);
            self.with_recipient = true;
        }
        Ok(true)
    }

    fn narrow_campaign(
        &mut self,
        conn: &Connection,
        filter: &TraceFilter,
    ) -> rusqlite::Result<bool> {
        if let Some(campaign) = filter.campaign {
            self.conditions.and("e.campaign = ?", [super::number(campaign.0)]);
        }
        if filter.tenant.is_none() && filter.sender.is_none() {
            return Ok(true);
        }
        let (tenant, sender) = (filter.tenant.as_deref(), filter.sender.as_deref());
        let theirs = campaigns::theirs(&campaigns::facts(conn)?, tenant, sender);
        self.conditions.and(&format!("e.campaign IN ({})", theirs.join(", ")), []);
        Ok(!theirs.is_empty())
    }

    fn narrow_shape(&mut self, conn: &Connection, filter: &TraceFilter) -> rusqlite::Result<bool> {
        let mut shapes = Conditions::default();
        let texts = [
            ("kind", filter.kind.map(|kind| kind.as_str())),
            ("category", filter.category.map(|category| category.as_str())),
            ("source", filter.source.as_deref()),
        ];
        for (column, text) in texts {
            let Some(text) = text else { continue };
            let Some(word) = word(conn, text)? else { return Ok(false) };
            shapes.and(&format!("{column} = ?"), [word.into()]);
        }
        if let Some(relay) = &filter.relay {
            shapes.and(&format!("service IN ({})", lives_of(conn, relay)?.join(", ")), []);
        }
        if let Some(site) = &filter.site {
            let part = super::like(site).into();
            let words = "site IN (SELECT id FROM word WHERE text LIKE ? ESCAPE '\\')";
            shapes.and(words, [part]);
        }
        if !shapes.conditions.is_empty() {
            let find =
                format!("INSERT INTO temp.fitting SELECT id FROM shape {}", shapes.as_where());
            collect(conn, "fitting", &find, shapes.values)?;
            self.conditions.and("e.shape IN temp.fitting", []);
        }
        Ok(true)
    }

    /// Events from the first up to the last that fit, the newest first.
    fn find(
        &self,
        conn: &Connection,
        (from, end): (i64, i64),
        limit: usize,
    ) -> rusqlite::Result<Vec<i64>> {
        let events = match self.is_indexed {
            true => "temp.chain c CROSS JOIN event e ON e.id = c.id",
            false => "event e",
        };
        let recipient = match self.with_recipient {
            true => {
                "CROSS JOIN recipient r ON r.id = e.recipient CROSS JOIN word d ON d.id = r.domain"
            }
            false => "",
        };
        let conditions: String =
            self.conditions.conditions.iter().map(|c| format!(" AND {c}")).collect();
        let sql = format!(
            "SELECT e.id FROM {events} {recipient} WHERE e.id >= ? AND e.id < ?{conditions} \
             ORDER BY e.id DESC LIMIT {limit}"
        );
        let mut values: Vec<Value> = vec![from.into(), end.into()];
        values.extend(self.conditions.values.iter().cloned());
        let mut statement = conn.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
        rows.collect()
    }
}

/// Numbers that are found once, for all statements of this connection.
fn collect(
    conn: &Connection,
    table: &str,
    find: &str,
    values: impl IntoIterator<Item = Value>,
) -> rusqlite::Result<()> {
    conn.execute_batch(&format!("CREATE TEMP TABLE {table} (id INTEGER PRIMARY KEY)"))?;
    conn.execute(find, params_from_iter(values)).map(drop)
}
