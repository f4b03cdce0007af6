//! The sums of one month's file, asked for in SQL.

use std::collections::{BTreeMap, HashMap};

use mail::CampaignId;
use mail::event::EventKind;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use store::relay_name;

use super::measures::Cell;
use super::plan::{Plan, Source, Span};
use super::{GroupBy, Measures, StatsQuestion, Table, text_of};
use crate::campaigns::{Facts, theirs};
use crate::dictionary::{judgement_of, word};
use crate::schema;
use crate::service::lives_of;
use crate::speed::Speeds;

/// One part of a key: a number of a word, a campaign, a minute, an hour or a day.
pub(super) type Key = i64;

/// Sums a month's file as far as the plan reaches into it.
pub(super) fn read(
    conn: &Connection,
    question: &StatsQuestion,
    plan: &Plan,
    campaigns: &BTreeMap<CampaignId, Facts>,
) -> rusqlite::Result<Table> {
    let has_sums = schema::has_sums(conn)?;
    let mut words = Words { conn, known: HashMap::new() };
    let Some(filter) = Filter::of(question, campaigns, &mut words)? else {
        return Ok(Table::new());
    };
    let mut sums: HashMap<Vec<Key>, Measures> = HashMap::new();
    for span in &plan.spans {
        let source = if has_sums { span.source } else { Source::Events };
        sum(conn, question, &filter, Span { source, ..*span }, &mut words, &mut sums)?;
    }
    let mut table = Table::new();
    for (key, measures) in sums {
        let mut texts = Vec::with_capacity(key.len());
        for (by, key) in question.by.iter().zip(key) {
            let campaign = campaigns.get(&CampaignId(key.unsigned_abs()));
            texts.push(match text_of(*by, key, campaign) {
                Some(text) => text,
                None if *by == GroupBy::Relay => relay_name(words.text(key)?).to_owned(),
                None => words.text(key)?.to_owned(),
            });
        }
        table.entry(texts).or_default().add(&measures);
    }
    Ok(table)
}

fn sum(
    conn: &Connection,
    question: &StatsQuestion,
    filter: &Filter,
    span: Span,
    words: &mut Words<'_>,
    sums: &mut HashMap<Vec<Key>, Measures>,
) -> rusqlite::Result<()> {
    let unit = span.source.unit_ms();
    let columns: Vec<String> = question.by.iter().map(|by| column(*by, unit)).collect();
    let keys: String = columns.iter().map(|column| format!("{column}, ")).collect();
    let numbers: Vec<String> = (1..=columns.len() + 2).map(|n| n.to_string()).collect();
    let sql = format!(
        "SELECT {keys}kind, judgement, SUM(events), SUM(bytes), SUM(age), sum_speeds(speeds) FROM ({}) \
         WHERE at >= ? AND at < ?{} GROUP BY {}",
        rows_of(span.source),
        filter.conditions,
        numbers.join(", ")
    );
    let bound = |at: mail::Timestamp| i64::try_from(at.0 / unit).unwrap_or(i64::MAX).into();
    let mut values: Vec<Value> = vec![bound(span.since), bound(span.until)];
    values.extend(filter.values.iter().cloned());
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let parts = columns.len();
    while let Some(row) = rows.next()? {
        let key: Vec<Key> = (0..parts).map(|at| row.get(at)).collect::<Result<_, _>>()?;
        let Some(kind) = EventKind::from_word(words.text(row.get(parts)?)?) else { continue };
        let n = |at: usize| row.get::<_, i64>(parts + at).map(i64::unsigned_abs);
        let (events, bytes, age_s) = (n(2)?, n(3)?, n(4)?);
        let octets = row.get_ref(parts + 5)?.as_blob_or_null()?;
        let speeds = octets.map(Speeds::from_octets).unwrap_or_default();
        let judgement = judgement_of(words.text(row.get(parts + 1)?)?);
        let cell = Cell { kind, judgement, speeds, events, bytes, age_s };
        sums.entry(key).or_default().book(&cell);
    }
    Ok(())
}

/// What a row is grouped by, as a column of [`rows_of`].
fn column(by: GroupBy, unit_ms: u64) -> String {
    match by {
        GroupBy::Tenant | GroupBy::Sender | GroupBy::Campaign => "campaign".to_owned(),
        GroupBy::Relay => "service".to_owned(),
        GroupBy::Minute | GroupBy::Hour | GroupBy::Day => {
            format!("at / {}", by.unit_ms().unwrap_or(1) / unit_ms)
        }
        GroupBy::Source | GroupBy::Site | GroupBy::Domain | GroupBy::Category => {
            by.as_str().to_owned()
        }
    }
}

/// The rows of a source under the same names.
fn rows_of(source: Source) -> String {
    let (table, service, domain) = match source {
        Source::FlowMinute => ("flow_minute", "t.service", "0"),
        Source::FlowHour => ("flow_hour", "t.service", "0"),
        Source::FlowDay => ("flow_day", "t.service", "0"),
        Source::PlaceHour => ("place_hour", "0", "t.domain"),
        Source::PlaceDay => ("place_day", "0", "t.domain"),
        Source::Events => return SINGLE_EVENTS.to_owned(),
    };
    format!(
        "SELECT t.at, t.campaign, {service} AS service, t.source, t.site, {domain} AS domain, \
         w.kind, w.judgement, w.category, t.events, t.bytes, t.age, t.speeds \
         FROM {table} t JOIN what w ON w.id = t.what"
    )
}

/// The events one by one, as if each were a sum.
pub(crate) const SINGLE_EVENTS: &str = "SELECT e.at, IFNULL(e.campaign, 0) AS campaign, s.service, s.source, s.site, \
     IFNULL(r.domain, 0) AS domain, s.kind, s.judgement, s.category, \
     IFNULL(e.count, 1) AS events, IFNULL(e.bytes, 0) * IFNULL(e.count, 1) AS bytes, \
     IFNULL(e.age, 0) / 1000 * IFNULL(e.count, 1) AS age, \
     CASE WHEN s.kind IN (SELECT id FROM word WHERE text IN ('delivered', 'late-delivered')) \
     THEN speeds_of(IFNULL(e.age, 0), IFNULL(e.count, 1)) END AS speeds \
     FROM event e JOIN shape s ON s.id = e.shape LEFT JOIN recipient r ON r.id = e.recipient";

/// What rows must fit.
struct Filter {
    conditions: String,
    values: Vec<Value>,
}

impl Filter {
    /// `None` when nothing in this file can fit.
    fn of(
        question: &StatsQuestion,
        campaigns: &BTreeMap<CampaignId, Facts>,
        words: &mut Words<'_>,
    ) -> rusqlite::Result<Option<Self>> {
        let mut filter = Self { conditions: String::new(), values: Vec::new() };
        let domain = question.domain.as_ref().map(|domain| domain.to_lowercase());
        let texts = [
            ("source", question.source.as_deref()),
            ("site", question.site.as_deref()),
            ("domain", domain.as_deref()),
            ("category", question.category.map(|category| category.as_str())),
        ];
        for (column, text) in texts {
            let Some(text) = text else { continue };
            let Some(word) = word(words.conn, text)? else { return Ok(None) };
            filter.and(column, word);
        }
        if let Some(relay) = &question.relay {
            let lives = lives_of(words.conn, relay)?;
            filter.conditions.push_str(&format!(" AND service IN ({})", lives.join(", ")));
        }
        if let Some(campaign) = question.campaign {
            filter.and("campaign", i64::try_from(campaign.0).unwrap_or(i64::MAX));
        }
        if question.tenant.is_some() || question.sender.is_some() {
            let (tenant, sender) = (question.tenant.as_deref(), question.sender.as_deref());
            let theirs = theirs(campaigns, tenant, sender);
            filter.conditions.push_str(&format!(" AND campaign IN ({})", theirs.join(", ")));
        }
        Ok(Some(filter))
    }

    fn and(&mut self, column: &str, value: i64) {
        self.conditions.push_str(&format!(" AND {column} = ?"));
        self.values.push(value.into());
    }
}

/// The words of one file.
struct Words<'c> {
    conn: &'c Connection,
    known: HashMap<i64, String>,
}

impl Words<'_> {
    fn text(&mut self, number: i64) -> rusqlite::Result<&str> {
        let text = match self.known.entry(number) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mut find = self.conn.prepare_cached("SELECT text FROM word WHERE id = ?1")?;
                let text = find.query_row([number], |row| row.get(0)).optional()?;
                place.insert(text.unwrap_or_default())
            }
        };
        Ok(text)
    }
}
