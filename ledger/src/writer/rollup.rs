//! What a page of events adds to the sums by minute, hour and day.

use std::collections::HashMap;

use mail::queue::Judgement;
use mail::{Event, Timestamp};
use rusqlite::{Transaction, params};

use crate::dictionary::{Common, Hasher};
use crate::speed::Speeds;
use crate::sums::{TABLES, kind_of};

const MINUTE_MS: i64 = 60_000;
const MINUTES_AN_HOUR: i64 = 60;
const HOURS_A_DAY: i64 = 24;
/// From so many messages a minute on a site has minutes of its own: rows of the many that have one
/// now and then would be as many as their messages.
const OWN_MINUTES_FROM: i64 = 4;

/// What is summed, in the order of [`FLOW`](crate::sums::FLOW) or [`PLACE`](crate::sums::PLACE).
type Of = [i64; 5];
/// A minute, hour or day and what is summed there.
type Cells = HashMap<(i64, Of), Sum, Hasher>;

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    events: i64,
    bytes: i64,
    age_s: i64,
    speeds: Speeds,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.age_s += other.age_s;
        self.speeds.add(&other.speeds);
    }
}

/// The sums of a page. All events are in them, so that they tell where to look for any.
#[derive(Default)]
pub(super) struct Rollup {
    flow: Cells,
    place: Cells,
    /// The first and the last event of each hour.
    hours: HashMap<i64, (i64, i64)>,
}

/// Which sites have minutes of their own.
#[derive(Default)]
pub(super) struct Busy {
    minute: i64,
    now: HashMap<i64, i64>,
    before: HashMap<i64, i64>,
}

impl Busy {
    /// The site, or 0 for one that has few messages.
    fn site(&mut self, minute: i64, site: i64, count: i64) -> i64 {
        if minute > self.minute {
            let ended = std::mem::take(&mut self.now);
            self.before = if minute == self.minute + 1 { ended } else { HashMap::new() };
            self.minute = minute;
        }
        let now = self.now.entry(site).or_default();
        *now += count;
        let was_busy = self.before.get(&site).is_some_and(|before| *before >= OWN_MINUTES_FROM);
        if was_busy || *now > OWN_MINUTES_FROM { site } else { 0 }
    }
}

impl Rollup {
    /// Adds one event; `id` is its number, `domain` the word of its recipient's domain.
    pub(super) fn add(
        &mut self,
        busy: &mut Busy,
        (event, judgement): (&Event, Judgement),
        common: &Common,
        (id, domain): (i64, i64),
    ) {
        let minute = minute_of(event.at);
        let campaign = event.campaign.map_or(0, |c| super::page::i64_of(c.0));
        let count = i64::from(event.count);
        let sum = Sum {
            events: count,
            bytes: i64::from(event.bytes) * count,
            age_s: i64::try_from(event.age_ms / 1000).unwrap_or(i64::MAX).saturating_mul(count),
            speeds: Speeds::of(kind_of(event, judgement), event.age_ms, event.count.into()),
        };
        let site = match common.site {
            0 => 0,
            site => busy.site(minute, site, count),
        };
        let flow = [campaign, common.service, common.source, site, common.what];
        self.flow.entry((minute, flow)).or_default().add(&sum);
        let (hour, place) =
            (minute / MINUTES_AN_HOUR, [campaign, common.source, common.site, domain, common.what]);
        self.place.entry((hour, place)).or_default().add(&sum);
        let (first, last) = self.hours.entry(hour).or_insert((id, id));
        (*first, *last) = ((*first).min(id), (*last).max(id));
    }

    pub(super) fn write(self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let flow_hour = coarser(&self.flow, MINUTES_AN_HOUR);
        let flow_day = coarser(&flow_hour, HOURS_A_DAY);
        let place_day = coarser(&self.place, HOURS_A_DAY);
        let cells = [self.flow, flow_hour, flow_day, self.place, place_day];
        for ((table, of), cells) in TABLES.into_iter().zip(cells) {
            put(tx, table, of, cells)?;
        }
        let mut mark = tx.prepare_cached(
            "INSERT INTO hour (hour, first, last) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET first = MIN(first, ?2), last = MAX(last, ?3)",
        )?;
        for (hour, (first, last)) in self.hours {
            mark.execute([hour, first, last])?;
        }
        Ok(())
    }
}

fn minute_of(at: Timestamp) -> i64 {
    super::page::i64_of(at.0) / MINUTE_MS
}

/// The same cells, so many of them in one.
fn coarser(cells: &Cells, times: i64) -> Cells {
    let mut coarse = Cells::default();
    for ((at, key), sum) in cells {
        coarse.entry((at / times, *key)).or_insert_with(Sum::default).add(sum);
    }
    coarse
}

/// Adds to what the table has, in the order of its key.
fn put(tx: &Transaction<'_>, table: &str, columns: &str, cells: Cells) -> rusqlite::Result<()> {
    let mut add = tx.prepare_cached(&format!(
        "INSERT INTO {table} (at, {columns}, events, bytes, age, speeds)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO UPDATE SET events = events + ?7, bytes = bytes + ?8, age = age + ?9,
         speeds = add_speeds(speeds, ?10)"
    ))?;
    let mut cells: Vec<_> = cells.into_iter().collect();
    cells.sort_unstable_by_key(|(key, _)| *key);
    for ((at, [a, b, c, d, e]), sum) in cells {
        let Sum { events, bytes, age_s, speeds } = sum;
        add.execute(params![at, a, b, c, d, e, events, bytes, age_s, speeds.to_octets()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_minutes_of_its_own_while_it_is_busy() {
        let mut busy = Busy::default();
        let told: Vec<i64> = (0..6).map(|_| busy.site(10, 7, 1)).collect();
        assert_eq!(told, [0, 0, 0, 0, 7, 7]);
        assert_eq!(busy.site(11, 7, 1), 7, "from the first message of the next minute on");
        assert_eq!(busy.site(12, 7, 1), 0, "it had one message in the minute before");
        assert_eq!(busy.site(20, 9, 5), 9);
        assert_eq!(busy.site(22, 9, 1), 0, "a minute without any lies between");
    }
}
