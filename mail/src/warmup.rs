//! Warm-up: how much a new egress source may send in an hour or a day, by the days that it has
//! sent. A plan is data, `ops/warmup/*.toml` or the operator's; its ceilings are kept by `quota`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::category::words;
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);
/// Longer than any plan that is published.
const DAYS_MAX: u32 = 365;
/// More than one source has ever sent in a day.
const CEILING_MAX: u64 = 1_000_000_000;
/// Growth from a day to the next: twice as much is what the boldest plans have.
const FACTOR_MAX: f64 = 5.0;

words! {
    /// What a plan counts by.
    Per {
        /// Messages in an hour.
        Hour = "hour",
        /// Messages in a day.
        Day = "day",
    }
}

impl Per {
    /// How long that is.
    #[must_use]
    pub const fn span(self) -> Duration {
        match self {
            Self::Hour => Duration::from_secs(3600),
            Self::Day => DAY,
        }
    }
}

/// A plan as it is written: each day's number, or a first one and how it grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Its name for people.
    pub title: String,
    /// Where it is from.
    #[serde(default)]
    pub source: String,
    /// Whether the numbers are of an "hour" or of a "day".
    #[schemars(with = "String")]
    pub per: Per,
    /// The number of each day.
    #[serde(default)]
    pub ceilings: Vec<u64>,
    /// In place of them: the first day's number …
    pub first: Option<u64>,
    /// … and the last day's, or
    pub last: Option<u64>,
    /// how many times the day before's each is, 1 to 5,
    pub factor: Option<f64>,
    /// … and how many days there are, 1 to 365.
    pub days: Option<u32>,
}

/// A plan that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name for people.
    pub title: String,
    /// Where it is from; empty: not said.
    pub source: String,
    /// What it counts by.
    pub per: Per,
    /// The number of each day, from the first; none is below the one before.
    pub ceilings: Vec<u64>,
}

/// Why a plan cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(String);

/// The plans that are part of the program, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("amazon-ses", include_str!("../../ops/warmup/amazon-ses.toml")),
    ("sendgrid", include_str!("../../ops/warmup/sendgrid.toml")),
];

impl Plan {
    /// A plan out of its text.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let written: Written = toml::from_str(text).map_err(|e| {
            let lines = e.message().lines().map(str::trim).collect::<Vec<_>>();
            PlanError(lines.join(" "))
        })?;
        Self::new(&written)
    }

    /// A plan as it is written, if it makes sense.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(written: &Written) -> Result<Self, PlanError> {
        let wrong = |what: String| Err(PlanError(what));
        if written.title.trim().is_empty() {
            return wrong("has no title: say whose plan it is".into());
        }
        let ceilings = ceilings(written)?;
        if ceilings.is_empty() || ceilings.len() > DAYS_MAX as usize {
            let days = ceilings.len();
            return wrong(format!("has {days} days: it must have 1 to {DAYS_MAX}"));
        }
        if let Some(day) = ceilings.iter().position(|n| !(1..=CEILING_MAX).contains(n)) {
            let is = ceilings[day];
            return wrong(format!("day {} has {is}: it must be 1 to {CEILING_MAX}", day + 1));
        }
        if let Some(day) = ceilings.windows(2).position(|pair| pair[1] < pair[0]) {
            let (before, after) = (ceilings[day], ceilings[day + 1]);
            return wrong(format!("falls from {before} to {after} on day {}", day + 2));
        }
        let Written { title, source, per, .. } = written.clone();
        Ok(Self { title, source, per, ceilings })
    }
}

words! {
    /// What follows when a day of a plan has ended.
    Turned {
        /// The plan has begun, or begins again after a long silence.
        Began = "began",
        /// The next day's ceiling holds.
        Rose = "rose",
        /// The day is done once more: too much of it was objected to.
        Repeats = "repeats",
        /// That was the last one.
        Warm = "warm",
    }
}

/// How far a source has come with a plan at one provider. A day is done when mail went, and little of
/// it was objected to; days without mail warm nothing up and do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The plan's name.
    pub plan: String,
    /// The day, from 0.
    pub day: u32,
    /// When it began.
    pub since: Timestamp,
    /// Messages let go since.
    pub sent: u64,
    /// Answers since that say that the provider has had enough of the source.
    pub bad: u64,
    /// When the last message was let go.
    pub sent_at: Timestamp,
}

/// A day is repeated when so many of its answers were bad, and one in so many of its messages.
const BAD_MIN: u64 = 5;
const BAD_ONE_IN: u64 = 20;
/// After so long without mail providers have forgotten a source, and it begins anew: Amazon (SES,
/// dedicated IP warming) and Twilio SendGrid (warming up an IP address) both say 30 days.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 86_400);

impl Progress {
    /// The first day.
    #[must_use]
    pub fn new(plan: &str, now: Timestamp) -> Self {
        Self { plan: plan.to_owned(), day: 0, since: now, sent: 0, bad: 0, sent_at: now }
    }

    /// Ends a day whose time is over, of a plan of so many.
    pub(crate) fn turn(&mut self, now: Timestamp, days: u32) -> Option<Turned> {
        // A clock that goes back makes a day longer, never shorter.
        self.since = self.since.min(now);
        self.sent_at = self.sent_at.min(now);
        if now.since(self.sent_at) >= FORGOTTEN_AFTER {
            *self = Self::new(&self.plan, now);
            return Some(Turned::Began);
        }
        if self.day >= days || now.since(self.since) < DAY {
            return None;
        }
        let is_bad = self.bad >= BAD_MIN && self.bad * BAD_ONE_IN > self.sent;
        let turned = match () {
            () if self.sent == 0 => None,
            () if is_bad => Some(Turned::Repeats),
            () if self.day + 1 >= days => Some(Turned::Warm),
            () => Some(Turned::Rose),
        };
        self.day += u32::from(matches!(turned, Some(Turned::Rose | Turned::Warm)));
        (self.since, self.sent, self.bad) = (now, 0, 0);
        turned
    }

    pub(crate) fn count(&mut self, now: Timestamp, sent: u64, back: u64) {
        self.sent = self.sent.saturating_sub(back) + sent;
        if sent > 0 {
            self.sent_at = now;
        }
    }
}

fn ceilings(written: &Written) -> Result<Vec<u64>, PlanError> {
    let wrong = |what: &str| Err(PlanError(what.to_owned()));
    let Written { first, last, factor, days, .. } = written;
    if !written.ceilings.is_empty() {
        return match (first, last, factor, days) {
            (None, None, None, None) => Ok(written.ceilings.clone()),
            _ => wrong("gives each day's number and a growth as well: keep one of them"),
        };
    }
    let (Some(first), Some(days)) = (*first, *days) else {
        return wrong("needs ceilings, or first and days with factor or last");
    };
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(PlanError(format!("days is {days}: it must be 1 to {DAYS_MAX}")));
    }
    let factor = match (*factor, *last) {
        (Some(factor), None) => factor,
        (None, Some(last)) if last >= first && first > 0 && days > 1 => {
            (last as f64 / first as f64).powf(1.0 / f64::from(days - 1))
        }
        (None, Some(last)) => {
            let what = format!("cannot grow from {first} to {last} in {days} days");
            return Err(PlanError(what));
        }
        _ => return wrong("needs one of factor and last"),
    };
    if !(1.0..=FACTOR_MAX).contains(&factor) {
        return Err(PlanError(format!("grows by {factor} a day: it must be 1 to {FACTOR_MAX}")));
    }
    let grown = |day: u32| (first as f64 * factor.powf(f64::from(day))).round() as u64;
    Ok((0..days).map(grown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str) -> Plan {
        let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name).expect("shipped");
        Plan::parse(text).expect("a plan")
    }

    #[test]
    fn the_shipped_plans_are_as_published() {
        let sendgrid = plan("sendgrid");
        assert_eq!((sendgrid.per, &sendgrid.ceilings[..3]), (Per::Hour, &[20, 28, 39][..]));
        let ses = plan("amazon-ses");
        assert_eq!((ses.per, ses.ceilings.len()), (Per::Day, 45));
        assert_eq!((ses.ceilings[0], ses.ceilings[44]), (50, 50_000));
    }

    #[test]
    fn every_plan_of_the_folder_is_part_of_the_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/warmup");
        assert_eq!(std::fs::read_dir(folder).expect("a folder").count(), SHIPPED.len());
        for (name, text) in SHIPPED {
            let plan = Plan::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!plan.source.is_empty(), "{name}");
        }
    }

    const T0: Timestamp = Timestamp(1_700_000_000_000);

    /// A source that sends `sent` on a day, of which `bad` is objected to; then the day is over.
    fn day(progress: &mut Progress, now: &mut Timestamp, sent: u64, bad: u64) -> Option<Turned> {
        progress.count(*now, sent, 0);
        progress.bad += bad;
        *now = *now + DAY;
        progress.turn(*now, 3)
    }

    #[test]
    fn days_count_when_mail_went_and_little_was_objected_to() {
        let (mut progress, mut now) = (Progress::new("p", T0), T0);
        let mut next = |sent, bad| day(&mut progress, &mut now, sent, bad);
        assert_eq!(next(100, 5), Some(Turned::Rose), "5 of 100 is not more than one in twenty");
        assert_eq!(next(100, 6), Some(Turned::Repeats));
        assert_eq!(next(0, 0), None, "a day without mail warms nothing up");
        assert_eq!(next(10, 4), Some(Turned::Rose), "four answers are chance");
        assert_eq!(next(100, 0), Some(Turned::Warm));
        assert_eq!(next(100, 99), None, "what is warm stays so");
        assert_eq!(progress.day, 3);
    }

    #[test]
    fn a_long_silence_begins_anew_and_a_clock_that_goes_back_hastens_nothing() {
        let (mut progress, mut now) = (Progress::new("p", T0), T0);
        assert_eq!(day(&mut progress, &mut now, 9, 0), Some(Turned::Rose));
        assert_eq!(progress.turn(now - DAY * 9, 3), None);
        assert_eq!(progress.turn(now - DAY * 9 + Duration::from_secs(60), 3), None);
        now = now + FORGOTTEN_AFTER;
        assert_eq!(progress.turn(now, 3), Some(Turned::Began));
        assert_eq!((progress.day, progress.since), (0, now));
    }

    #[test]
    fn plans_that_cannot_be_are_refused() {
        for (text, says) in [
            ("ceilings = [0, 5]", "day 1 has 0: it must be 1"),
            ("ceilings = [5, 4]", "falls from 5 to 4 on day 2"),
            ("ceilings = [5]\nfirst = 3", "keep one of them"),
            ("first = 5", "needs ceilings, or first and days"),
            ("first = 5\ndays = 0\nfactor = 1.1", "days is 0"),
            ("first = 5\ndays = 9999\nfactor = 1.1", "days is 9999"),
            ("first = 5\ndays = 9", "needs one of factor and last"),
            ("first = 5\ndays = 9\nfactor = 0.5", "grows by 0.5 a day"),
            ("first = 5\ndays = 9\nfactor = nan", "grows by NaN a day"),
            ("first = 5\ndays = 9\nlast = 4", "cannot grow from 5 to 4 in 9 days"),
            ("first = 0\ndays = 9\nlast = 4", "cannot grow from 0 to 4"),
            ("first = 5\ndays = 300\nfactor = 2.0", "it must be 1 to 1000000000"),
            ("first = -5\ndays = 3\nfactor = 2.0", "invalid value"),
            ("frist = 5", "unknown field `frist`"),
            ("per = 'week'", ""),
        ] {
            let why = Plan::parse(&format!("title = 'T'\nper = 'day'\n{text}")).expect_err(text);
            assert!(why.to_string().contains(says), "{text}: {why}");
        }
    }
}
