//! Warm-up: how much a new egress source may send in an hour or a day, by the days since it
//! began. A plan is data, `ops/warmup/*.toml`. No relay follows one yet.

use std::time::Duration;

use serde::Deserialize;

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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: String,
    #[serde(default)]
    source: String,
    per: Per,
    #[serde(default)]
    ceilings: Vec<u64>,
    first: Option<u64>,
    last: Option<u64>,
    factor: Option<f64>,
    days: Option<u32>,
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

/// How much may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// Nothing: the plan begins later.
    NotYet,
    /// So many messages in an hour or a day.
    Messages(u64, Per),
    /// As many as the pace finds: the plan is over.
    Warm,
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
        let wrong = |what: String| Err(PlanError(what));
        let written: Written = toml::from_str(text).map_err(|e| {
            let lines = e.message().lines().map(str::trim).collect::<Vec<_>>();
            PlanError(lines.join(" "))
        })?;
        if written.title.trim().is_empty() {
            return wrong("has no title: say whose plan it is".into());
        }
        let ceilings = ceilings(&written)?;
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
        let Written { title, source, per, .. } = written;
        Ok(Self { title, source, per, ceilings })
    }

    /// How much may go at `now` from a source whose first day began at `start`. A clock that jumps
    /// back gives an earlier day's number, never more.
    #[must_use]
    pub fn ceiling(&self, start: Timestamp, now: Timestamp) -> Ceiling {
        if now < start {
            return Ceiling::NotYet;
        }
        let day = now.since(start).as_secs() / DAY.as_secs();
        match usize::try_from(day).ok().and_then(|day| self.ceilings.get(day)) {
            Some(messages) => Ceiling::Messages(*messages, self.per),
            None => Ceiling::Warm,
        }
    }

    /// When the plan is over.
    #[must_use]
    pub fn ends(&self, start: Timestamp) -> Timestamp {
        start + DAY * self.ceilings.len() as u32
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
    use proptest::prelude::*;

    use super::*;

    const T0: Timestamp = Timestamp(1_700_000_000_000);

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

    #[test]
    fn a_day_has_its_number_and_the_end_has_none() {
        let plan = plan("sendgrid");
        let after = |hours: u64| plan.ceiling(T0, T0 + Duration::from_secs(hours * 3600));
        assert_eq!(after(0), Ceiling::Messages(20, Per::Hour));
        assert_eq!(after(23), Ceiling::Messages(20, Per::Hour));
        assert_eq!(after(24), Ceiling::Messages(28, Per::Hour));
        assert_eq!(after(30 * 24 - 1), Ceiling::Messages(plan.ceilings[29], Per::Hour));
        assert_eq!(after(30 * 24), Ceiling::Warm);
        assert_eq!(plan.ceiling(T0, T0 - Duration::from_secs(1)), Ceiling::NotYet);
        assert_eq!(plan.ceiling(T0, plan.ends(T0)), Ceiling::Warm);
        assert_eq!(plan.ceiling(Timestamp(0), Timestamp(u64::MAX)), Ceiling::Warm);
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

    proptest! {
        /// Whatever the clock does: within a plan there is a number, and it never falls with time.
        #[test]
        fn a_ceiling_never_falls(a in 0u64..100 * 86_400_000, b in 0u64..100 * 86_400_000) {
            let plan = plan("amazon-ses");
            let at = |ms: u64| match plan.ceiling(T0, Timestamp(T0.0 + ms)) {
                Ceiling::NotYet => 0,
                Ceiling::Messages(messages, _) => messages,
                Ceiling::Warm => u64::MAX,
            };
            prop_assert!(at(a.min(b)) <= at(a.max(b)));
        }
    }
}
