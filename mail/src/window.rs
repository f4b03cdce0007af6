//! Send windows: the hours of the day in which a campaign's mail may go, by the clock on
//! the recipient's wall where their time zone is known, else by the campaign's. The rules
//! of the zones (IANA) are compiled in: what is decided does not depend on the host.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Further ahead than any window with a day in the week can lie, a day for the zone's
/// own jumps included.
const DAYS_AHEAD: i32 = 9;

crate::words! {
    /// A day of the week.
    Weekday {
        /// Monday.
        Monday = "mon",
        /// Tuesday.
        Tuesday = "tue",
        /// Wednesday.
        Wednesday = "wed",
        /// Thursday.
        Thursday = "thu",
        /// Friday.
        Friday = "fri",
        /// Saturday.
        Saturday = "sat",
        /// Sunday.
        Sunday = "sun",
    }
}

/// A time of day, to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeOfDay {
    /// Minutes after midnight, 0 to 1439.
    minutes: u16,
}

impl TimeOfDay {
    fn time(self) -> Time {
        let (hour, minute) = (self.minutes / 60, self.minutes % 60);
        Time::new(hour as i8, minute as i8, 0, 0).unwrap_or(Time::midnight())
    }
}

/// `09:30`.
impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// A text that is no part of a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not `HH:MM`.
    #[error("{0:?} is no time of day: write 09:30")]
    Time(String),
    /// Not a zone of the IANA database.
    #[error("{0:?} is no time zone: write Europe/Paris, as in the IANA database")]
    Zone(String),
    /// It never opens.
    #[error("no day is given on which the window opens")]
    NoDay,
    /// It opens and closes at one time.
    #[error("the window opens and closes at {0}: leave it out if mail may always go")]
    Empty(TimeOfDay),
}

impl FromStr for TimeOfDay {
    type Err = WindowError;
    fn from_str(text: &str) -> Result<Self, WindowError> {
        let parse = || {
            let (hour, minute) = text.split_once(':')?;
            let two = |s: &str| (s.len() == 2).then(|| s.parse::<u16>().ok()).flatten();
            let (hour, minute) = (two(hour)?, two(minute)?);
            (hour < 24 && minute < 60).then_some(Self { minutes: hour * 60 + minute })
        };
        parse().ok_or_else(|| WindowError::Time(text.chars().take(40).collect()))
    }
}

/// Whether this is the name of a time zone, such as `Europe/Paris` or `UTC`.
#[must_use]
pub fn is_zone(name: &str) -> bool {
    zone(name).is_some()
}

fn zone(name: &str) -> Option<TimeZone> {
    // The library reads offsets and the host's own zone under other spellings; a record
    // that travels between hosts wants a place.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return None;
    }
    TimeZone::get(name).ok()
}

/// From when until when, on which days, and by whose clock. A window whose end lies
/// before its beginning passes midnight and belongs to the day on which it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// It opens.
    pub from: TimeOfDay,
    /// It closes; that minute is outside.
    pub until: TimeOfDay,
    /// The days on which it opens.
    pub days: Vec<Weekday>,
    /// The clock of those whose own zone is not known.
    pub zone: String,
}

/// Whether mail may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Now.
    Open,
    /// From then on.
    At(Timestamp),
}

impl Window {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), WindowError> {
        if self.days.is_empty() {
            return Err(WindowError::NoDay);
        }
        if self.from == self.until {
            return Err(WindowError::Empty(self.from));
        }
        if zone(&self.zone).is_none() {
            return Err(WindowError::Zone(self.zone.chars().take(80).collect()));
        }
        Ok(())
    }

    /// Whether the window is open for somebody in `recipient_zone` (empty or unknown: the
    /// window's own), and else when it opens next. Where a clock jumps over the hour it
    /// opens when the clock has jumped; where an hour comes twice, with the first.
    #[must_use]
    pub fn opening(&self, recipient_zone: &str, now: Timestamp) -> Opening {
        let zone = zone(recipient_zone).or_else(|| zone(&self.zone)).unwrap_or(TimeZone::UTC);
        let Ok(instant) = jiff::Timestamp::from_millisecond(now.0.try_into().unwrap_or(i64::MAX))
        else {
            return Opening::Open;
        };
        let today = zone.to_datetime(instant).date();
        let mut day = today.yesterday().unwrap_or(today);
        for _ in 0..=DAYS_AHEAD {
            if self.days.contains(&weekday(day))
                && let Some((opens, closes)) = self.on(day, &zone)
            {
                if opens > instant {
                    return Opening::At(timestamp(opens));
                }
                if instant < closes {
                    return Opening::Open;
                }
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        // A window without days is refused where it comes in; what came another way goes.
        Opening::Open
    }

    fn on(&self, day: Date, zone: &TimeZone) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
        let last = if self.until > self.from { day } else { day.tomorrow().ok()? };
        let at = |day: Date, time: TimeOfDay| {
            zone.to_ambiguous_timestamp(day.to_datetime(time.time())).compatible().ok()
        };
        Some((at(day, self.from)?, at(last, self.until)?))
    }
}

fn weekday(day: Date) -> Weekday {
    let since_monday = day.weekday().to_monday_zero_offset();
    Weekday::ALL[usize::try_from(since_monday).unwrap_or(0)]
}

fn timestamp(at: jiff::Timestamp) -> Timestamp {
    Timestamp(at.as_millisecond().try_into().unwrap_or(0))
}

/// `09:00 to 18:00 mon tue, Europe/Paris unless the recipient's zone is known`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = self.days.iter().map(|day| day.as_str()).collect();
        let (from, until, zone) = (self.from, self.until, &self.zone);
        write!(
            f,
            "{from} to {until} {}, {zone} unless the recipient's zone is known",
            days.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(from: &str, until: &str, days: &[Weekday]) -> Window {
        Window {
            from: from.parse().expect("a time"),
            until: until.parse().expect("a time"),
            days: days.to_vec(),
            zone: "Europe/Paris".into(),
        }
    }

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().expect("an instant");
        timestamp(instant)
    }

    const WORKDAYS: &[Weekday] = &[
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
    ];

    #[test]
    fn the_clock_on_the_recipients_wall_decides() {
        let office = window("09:00", "18:00", WORKDAYS);
        // Wednesday, 08:30 in Paris, 16:30 in Tokyo, 02:30 in New York.
        let now = at("2026-11-25T07:30:00Z");
        assert_eq!(office.opening("", now), Opening::At(at("2026-11-25T08:00:00Z")));
        assert_eq!(office.opening("Asia/Tokyo", now), Opening::Open);
        assert_eq!(
            office.opening("America/New_York", now),
            Opening::At(at("2026-11-25T14:00:00Z"))
        );
        assert_eq!(office.opening("Mars/Olympus", now), office.opening("", now));
    }

    #[test]
    fn a_window_that_closed_opens_on_the_next_of_its_days() {
        let office = window("09:00", "18:00", WORKDAYS);
        let friday_evening = at("2026-11-27T17:00:00Z");
        assert_eq!(office.opening("", friday_evening), Opening::At(at("2026-11-30T08:00:00Z")));
    }

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_on_which_it_opens() {
        let night = window("22:00", "02:00", &[Weekday::Friday]);
        let saturday_one = at("2026-11-28T00:00:00Z");
        assert_eq!(night.opening("", saturday_one), Opening::Open);
        let saturday_two = at("2026-11-28T01:00:00Z");
        assert_eq!(night.opening("", saturday_two), Opening::At(at("2026-12-04T21:00:00Z")));
    }

    #[test]
    fn an_hour_that_the_clock_jumps_over_opens_after_the_jump() {
        // In Paris 02:30 does not exist on 29 March 2026.
        let early = window("02:30", "05:00", Weekday::ALL);
        let midnight = at("2026-03-28T23:00:00Z");
        assert_eq!(early.opening("", midnight), Opening::At(at("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn windows_that_cannot_be_are_refused_in_words() {
        let refused = |w: Window| w.check().expect_err("refused").to_string();
        assert_eq!(
            refused(window("09:00", "18:00", &[])),
            "no day is given on which the window opens"
        );
        assert!(refused(window("09:00", "09:00", WORKDAYS)).starts_with("the window opens and"));
        let nowhere = Window { zone: "Paris".into(), ..window("09:00", "18:00", WORKDAYS) };
        assert!(refused(nowhere).starts_with("\"Paris\" is no time zone"));
        for bad in ["9:00", "24:00", "09:60", "0900", "09:0", ""] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
        }
        assert!(!is_zone("../etc/passwd") && !is_zone("") && is_zone("UTC"));
    }

    proptest! {
        #[test]
        fn when_it_opens_it_is_open_and_a_moment_before_it_is_not(
            from in 0u16..1440, length in 1u16..1440, day in 0usize..7, minute in 0u64..600_000,
            zone in prop::sample::select(vec!["", "Asia/Kolkata", "America/Los_Angeles", "Pacific/Apia"]),
        ) {
            let window = Window {
                from: TimeOfDay { minutes: from },
                until: TimeOfDay { minutes: (from + length) % 1440 },
                days: vec![Weekday::ALL[day]],
                zone: "UTC".into(),
            };
            let now = Timestamp(at("2026-01-01T00:00:00Z").0 + minute * 60_000);
            if let Opening::At(opens) = window.opening(zone, now) {
                prop_assert!(opens > now);
                prop_assert_eq!(window.opening(zone, opens), Opening::Open);
                prop_assert_eq!(window.opening(zone, Timestamp(opens.0 - 1)), Opening::At(opens));
            }
        }
    }
}
