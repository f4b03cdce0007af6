//! A day as reports are made of them: from midnight to midnight, UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::{Domain, Timestamp};

const DAY_MS: u64 = 86_400_000;
/// After the end of a day, until every relay has told what it counted.
const LAST_COUNTS: Duration = Duration::from_secs(15 * 60);
/// Reports go within this of a day's end: a domain shall not have all of its reports at midnight
/// (RFC 8460, 4.1 suggests up to four hours).
const SPREAD_MS: u64 = 4 * 3600 * 1000;

/// A day, UTC, in days since 1970-01-01.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Day(pub u32);

/// A text that is no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no day: write it as 2026-01-31")]
pub struct DayError(String);

impl Day {
    /// The day that a moment lies in.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX))
    }

    /// Its first millisecond.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp(u64::from(self.0) * DAY_MS)
    }

    /// The first millisecond of the next.
    #[must_use]
    pub fn end(self) -> Timestamp {
        Timestamp((u64::from(self.0) + 1) * DAY_MS)
    }

    /// The day before.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// When a submitter's report of this day to a domain goes: always the same, and another one for
    /// each domain and for each submitter.
    #[must_use]
    pub fn due(self, domain: &Domain, submitter: &Domain) -> Timestamp {
        let mixed = digest(&SHA256, format!("{self} {domain} {submitter}").as_bytes());
        let octets = mixed.as_ref().iter().take(8);
        let number = octets.fold(0, |number: u64, octet| number << 8 | u64::from(*octet));
        self.end() + LAST_COUNTS + Duration::from_millis(number % SPREAD_MS)
    }
}

/// `2026-01-31`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.start().civil();
        write!(f, "{:04}-{:02}-{:02}", date.year, date.month, date.day)
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let wrong = || DayError(text.chars().take(40).collect());
        let date: jiff::civil::Date = text.parse().map_err(|_| wrong())?;
        let days = date.since(jiff::civil::date(1970, 1, 1)).map_err(|_| wrong())?.get_days();
        let day = Self(u32::try_from(days).map_err(|_| wrong())?);
        // Other ways to write a date are no way to name one here.
        if day.to_string() == text { Ok(day) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_is_written_as_it_is_read_and_nothing_else_is_one() {
        assert_eq!("2026-11-26".parse(), Ok(Day(20_783)));
        assert_eq!(Day::of(Timestamp(1_795_651_199_999)), Day(20_782));
        assert_eq!(Day::of(Timestamp(1_795_651_200_000)), Day(20_783));
        for wrong in ["", "2026-02-30", "20261126", "2026-11-26T00:00", "1969-12-31", "today"] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn each_day_reads_back(number in 0_u32..200_000) {
            prop_assert_eq!(Day(number).to_string().parse(), Ok(Day(number)));
            prop_assert_eq!(Day::of(Day(number).start()), Day(number));
            prop_assert_eq!(Day::of(Day(number).end()), Day(number + 1));
        }

        #[test]
        fn a_report_is_due_within_hours_of_the_days_end(name in "[a-z]{1,9}") {
            let domain: Domain = format!("{name}.example").parse().expect("a domain");
            let submitter = "sender.example".parse().expect("a domain");
            let due = Day(20_000).due(&domain, &submitter);
            prop_assert_eq!(due, Day(20_000).due(&domain, &submitter));
            let after = due.since(Day(20_000).end());
            prop_assert!(after >= LAST_COUNTS && after < Duration::from_secs(5 * 3600));
        }
    }

    #[test]
    fn the_reports_of_many_senders_do_not_come_at_once() {
        let domain = "example.com".parse().expect("a domain");
        let due = |n: u32| Day(9).due(&domain, &format!("s{n}.example").parse().expect("one"));
        let hours: std::collections::BTreeSet<u64> =
            (0..40).map(|n| due(n).0 / 3_600_000).collect();
        assert!(hours.len() >= 4, "{hours:?}");
    }
}
