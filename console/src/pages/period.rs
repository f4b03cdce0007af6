//! Periods that a person chooses from, and history over one as lines.

use std::collections::BTreeMap;

use ledger::{GroupBy, Measures, StatsAnswer, StatsQuestion};
use mail::Timestamp;
use minijinja::{Value, context};

use super::{Fields, address};
use crate::chart::{self, Line, Room, Tone};
use crate::platform::{Answer, Trouble};
use crate::render::value;

mail::words! {
    /// How far back a page looks.
    Period {
        /// An hour, by minutes.
        Hour = "1h",
        /// A day, by ten minutes.
        Day = "24h",
        /// A week, by hours.
        Week = "7d",
        /// A month, by days.
        Month = "30d",
    }
}

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Less of a point than this says nothing yet.
const BEGUN_MS: u64 = 10_000;

impl Period {
    /// The one that is asked for.
    pub(super) fn of(asked: &Fields, ordinary: Self) -> Answer<Self> {
        let Some(word) = asked.get("period") else { return Ok(ordinary) };
        Self::from_word(word).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|period| period.as_str()).collect();
            Trouble::Refused(format!("period: {word:?} is none of {}", all.join(", ")))
        })
    }

    pub(super) const fn length_ms(self) -> u64 {
        match self {
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
            Self::Week => 7 * DAY_MS,
            Self::Month => 30 * DAY_MS,
        }
    }

    /// One point of a line.
    const fn point_ms(self) -> u64 {
        match self {
            Self::Hour => MINUTE_MS,
            Self::Day => 10 * MINUTE_MS,
            Self::Week => HOUR_MS,
            Self::Month => DAY_MS,
        }
    }

    const fn by(self) -> GroupBy {
        match self {
            Self::Hour | Self::Day => GroupBy::Minute,
            Self::Week => GroupBy::Hour,
            Self::Month => GroupBy::Day,
        }
    }

    /// What lines count: `minute`, `hour` or `day`.
    const fn unit_ms(self) -> u64 {
        match self {
            Self::Hour | Self::Day => MINUTE_MS,
            Self::Week => HOUR_MS,
            Self::Month => DAY_MS,
        }
    }

    /// From when on.
    pub(super) fn since(self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_sub(self.length_ms()))
    }

    /// Everything in this period, by points of time.
    pub(super) fn question(self, now: Timestamp) -> StatsQuestion {
        StatsQuestion { by: vec![self.by()], ..StatsQuestion::between(self.since(now), now) }
    }

    /// Sums of the period by something else, the largest first.
    pub(super) fn by_what(self, what: GroupBy, now: Timestamp) -> StatsQuestion {
        StatsQuestion { by: vec![what], ..StatsQuestion::between(self.since(now), now) }
    }

    /// The choice, as links that keep the rest of the question.
    pub(super) fn choice(self, page: &str, asked: &Fields) -> Value {
        let link = |period: &Self| {
            let mut fields = asked.clone();
            fields.remove("cursor");
            fields.insert("period".to_owned(), period.as_str().to_owned());
            context! { word => period.as_str(), is_chosen => *period == self, href => address(page, &fields) }
        };
        value(Self::ALL.iter().map(link).collect::<Vec<_>>())
    }
}

/// A number of [`Measures`], its name among the words, and its colour.
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) tone: Tone,
    pub(super) is_area: bool,
    pub(super) of: fn(&Measures) -> u64,
}

pub(super) const DELIVERED: Wanted = Wanted {
    name: "delivered",
    tone: Tone::Good,
    is_area: true,
    of: |measures| measures.accounts.delivered,
};
pub(super) const DEFERRED: Wanted = Wanted {
    name: "deferred",
    tone: Tone::Late,
    is_area: false,
    of: |measures| measures.accounts.deferrals,
};
pub(super) const FAILED: Wanted = Wanted {
    name: "failed",
    tone: Tone::Bad,
    is_area: false,
    of: |measures| measures.accounts.failed + measures.accounts.expired,
};
pub(super) const RETURNED: Wanted = Wanted {
    name: "returned",
    tone: Tone::Plain,
    is_area: false,
    of: |measures| measures.accounts.returned,
};
pub(super) const COMPLAINED: Wanted = Wanted {
    name: "complained",
    tone: Tone::Late,
    is_area: false,
    of: |measures| measures.accounts.complained,
};

/// History by points of time: a picture, and its numbers for those who do not see it.
pub(super) fn drawn(
    room: Room,
    period: Period,
    answer: &StatsAnswer,
    now: Timestamp,
    wanted: &[Wanted],
) -> Value {
    let lines: Vec<Line> = wanted.iter().map(|one| line(period, answer, now, one)).collect();
    finished(room, period, now, lines)
}

/// Lines that are there already.
pub(super) fn finished(room: Room, period: Period, now: Timestamp, lines: Vec<Line>) -> Value {
    let unit = match period.unit_ms() {
        MINUTE_MS => "minute",
        HOUR_MS => "hour",
        _ => "day",
    };
    let svg = chart::lines(room, period.since(now), now, &lines);
    context! { svg => Value::from_safe_string(svg), lines => value(&lines), unit }
}

fn line(period: Period, answer: &StatsAnswer, now: Timestamp, wanted: &Wanted) -> Line {
    let point = period.point_ms();
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    for row in &answer.rows {
        let at = row.of.first().and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(at) = at {
            *sums.entry(at.0 / point).or_default() += (wanted.of)(&row.measures);
        }
    }
    // The first point is only partly in the period.
    let first = period.since(now).0 / point + 1;
    let per_unit = |n: u64| {
        let sum = sums.get(&n).copied().unwrap_or(0) as f64;
        let lasted = (now.0 - n * point).min(point);
        (lasted >= BEGUN_MS).then(|| sum * period.unit_ms() as f64 / lasted as f64)
    };
    let points = (first..=now.0 / point)
        .filter_map(|n| Some((Timestamp(n * point), per_unit(n)?)))
        .collect();
    Line { name: wanted.name, tone: wanted.tone, is_area: wanted.is_area, points }
}

#[cfg(test)]
mod tests {
    use ledger::StatsRow;
    use mail::queue::Counters;

    use super::*;

    fn answer(rows: &[(u64, u64)], now: Timestamp) -> StatsAnswer {
        let measures = |delivered| Measures {
            accounts: Counters { delivered, ..Counters::default() },
            ..Measures::default()
        };
        let row = |(at, n): &(u64, u64)| StatsRow {
            of: vec![Timestamp(*at).to_string()],
            measures: measures(*n),
            before: None,
        };
        StatsAnswer {
            since: Timestamp(0),
            until: now,
            by: vec![GroupBy::Minute],
            rows: rows.iter().map(row).collect(),
            total: row(&(0, 0)),
            cut: 0,
        }
    }

    #[test]
    fn a_point_is_a_rate_and_gaps_are_nothing() {
        let now = Timestamp(100 * HOUR_MS + 30_000);
        let rows = [(99 * HOUR_MS + 58 * MINUTE_MS, 60), (100 * HOUR_MS, 7)];
        let points = line(Period::Hour, &answer(&rows, now), now, &DELIVERED).points;
        assert_eq!(points.len(), 60);
        assert_eq!(points[57].1, 60.0);
        assert_eq!(points[58].1, 0.0, "nothing happened in that minute");
        assert_eq!(points[59].1, 14.0, "seven in half a minute");
        let day = line(Period::Day, &answer(&rows, now), now, &DELIVERED).points;
        assert_eq!(day[day.len() - 2].1, 6.0, "sixty in ten minutes");
    }

    #[test]
    fn the_choice_keeps_the_rest_of_the_question() {
        let asked = BTreeMap::from([("site".to_owned(), "a&b".to_owned())]);
        let choice = Period::Week.choice("/console/bounces", &asked);
        let text = choice.to_string();
        assert!(text.contains("/console/bounces?period=24h&site=a%26b"), "{text}");
        let wrong = BTreeMap::from([("period".to_owned(), "2h".to_owned())]);
        assert!(Period::of(&wrong, Period::Hour).is_err_and(|e| e.to_string().contains("\"2h\"")));
    }
}
