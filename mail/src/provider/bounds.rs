//! The numbers of a provider: where to start and what never to pass, each with its origin.
//! They only make the limits that hold everywhere narrower: whoever sends less than a
//! provider would take has a reason.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::quota::Ceilings;
use crate::throttle::Limits;

/// The largest rate and the most connections that anything here is configured with.
const RATE_MAX: f64 = 1e6;
const CONNECTIONS_MAX: u32 = 20_000;
/// A week: whoever is blocked for longer needs a person.
const HOLD_S_MAX: u64 = 7 * 86_400;
/// A day: a recipient lives three.
const RETRY_S_MAX: u64 = 86_400;

/// What is known of a provider's limits; none: not known. Unless said otherwise they hold for one
/// egress source at one site.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Messages a second at first.
    pub rate_start: Option<f64>,
    /// Messages a second at most.
    pub rate_max: Option<f64>,
    /// Connections at first.
    pub connections_start: Option<u32>,
    /// Connections at most.
    pub connections_max: Option<u32>,
    /// Messages over one connection at most.
    pub messages_per_connection_max: Option<u32>,
    /// Seconds of the first hold after a block at least.
    pub hold_s: Option<u64>,
    /// Seconds that holds may grow to at least.
    pub hold_max_s: Option<u64>,
    /// Seconds between two attempts of a recipient at least.
    pub retry_s: Option<u64>,
    /// Connections in an hour at most. For the record: the relay does not count connections.
    pub connections_per_hour_max: Option<u32>,
    /// Messages in an hour at most, to all sites of the provider together.
    pub messages_per_hour_max: Option<u64>,
    /// Messages in a day at most, to all sites of the provider together.
    pub messages_per_day_max: Option<u64>,
    /// Where a number is from, by its key: `A help.yahoo.com/kb/SLN3433`.
    source: BTreeMap<String, String>,
}

/// How good a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// The provider says so itself.
    A,
    /// Rules that are shipped with a mail server.
    B,
    /// Somebody wrote about it.
    C,
    /// One person's report.
    D,
}

impl Grade {
    fn of(source: &str) -> Option<Self> {
        let (grade, _) = source.split_once(' ')?;
        match grade {
            "A" => Some(Self::A),
            "B" => Some(Self::B),
            "C" => Some(Self::C),
            "D" => Some(Self::D),
            _ => None,
        }
    }
}

/// One number as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// Its key.
    pub key: &'static str,
    /// Its value.
    pub value: f64,
    /// Where it is from; empty: not said.
    pub source: String,
    /// How good it is, where that is said.
    pub grade: Option<Grade>,
}

impl Bounds {
    /// Every number that is known.
    #[must_use]
    pub fn known(&self) -> Vec<Bound> {
        let whole = |n: Option<u32>| n.map(f64::from);
        let long = |n: Option<u64>| n.map(|n| n as f64);
        let all = [
            ("rate_start", self.rate_start),
            ("rate_max", self.rate_max),
            ("connections_start", whole(self.connections_start)),
            ("connections_max", whole(self.connections_max)),
            ("messages_per_connection_max", whole(self.messages_per_connection_max)),
            ("hold_s", long(self.hold_s)),
            ("hold_max_s", long(self.hold_max_s)),
            ("retry_s", long(self.retry_s)),
            ("connections_per_hour_max", whole(self.connections_per_hour_max)),
            ("messages_per_hour_max", long(self.messages_per_hour_max)),
            ("messages_per_day_max", long(self.messages_per_day_max)),
        ];
        let known = all.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let bound = |(key, value): (&'static str, f64)| {
            let source = self.source.get(key).cloned().unwrap_or_default();
            Bound { key, value, grade: Grade::of(&source), source }
        };
        known.map(bound).collect()
    }

    /// The limits at a site of this provider, where these hold everywhere.
    #[must_use]
    pub fn narrow(&self, everywhere: &Limits) -> Limits {
        let mut limits = everywhere.clone();
        lower(&mut limits.rate_max, self.rate_max);
        lower(&mut limits.rate_start, self.rate_start);
        let rate_max = limits.rate_max;
        lower(&mut limits.rate_start, Some(rate_max));
        let rate_start = limits.rate_start;
        lower(&mut limits.rate_min, Some(rate_start));
        lower(&mut limits.connections_max, self.connections_max);
        lower(&mut limits.connections_start, self.connections_start);
        let connections_max = limits.connections_max;
        lower(&mut limits.connections_start, Some(connections_max));
        lower(&mut limits.messages_per_connection_max, self.messages_per_connection_max);
        let mine = Ceilings { hour: self.messages_per_hour_max, day: self.messages_per_day_max };
        let ceilings = limits.ceilings().and(mine);
        (limits.messages_per_hour_max, limits.messages_per_day_max) = (ceilings.hour, ceilings.day);
        limits.hold_s = limits.hold_s.max(self.hold_s.unwrap_or(0));
        let longest = self.hold_max_s.unwrap_or(0).max(limits.hold_s);
        limits.hold_max_s = limits.hold_max_s.max(longest);
        limits
    }

    /// What is wrong with the numbers, in sentences.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for Bound { key, value, .. } in self.known() {
            let (least, most) = match key {
                "rate_start" | "rate_max" => (f64::MIN_POSITIVE, RATE_MAX),
                "connections_start" | "connections_max" => (1.0, f64::from(CONNECTIONS_MAX)),
                "hold_s" | "hold_max_s" => (1.0, HOLD_S_MAX as f64),
                "retry_s" => (1.0, RETRY_S_MAX as f64),
                _ => (1.0, f64::MAX),
            };
            if !(least..=most).contains(&value) {
                let most = if most == f64::MAX { String::new() } else { format!(" to {most}") };
                let from = if least < 1.0 { "above 0" } else { "from 1" };
                faults.push(format!("{key} is {value}: it must be {from}{most}"));
            }
        }
        if faults.is_empty() {
            faults.extend(self.contradictions());
        }
        let known = self.known();
        for key in self.source.keys().filter(|key| known.iter().all(|b| b.key != key.as_str())) {
            faults.push(format!(
                "source.{key} tells where a number is from that is not given: give `{key}` under \
                 [limits], or take its source away"
            ));
        }
        faults
    }

    fn contradictions(&self) -> Vec<String> {
        let starts = [
            ("rate_start", self.rate_start, "rate_max", self.rate_max),
            (
                "connections_start",
                self.connections_start.map(f64::from),
                "connections_max",
                self.connections_max.map(f64::from),
            ),
            (
                "hold_s",
                self.hold_s.map(|n| n as f64),
                "hold_max_s",
                self.hold_max_s.map(|n| n as f64),
            ),
            (
                "messages_per_hour_max",
                self.messages_per_hour_max.map(|n| n as f64),
                "messages_per_day_max",
                self.messages_per_day_max.map(|n| n as f64),
            ),
        ];
        let above = starts.into_iter().filter_map(|(low, low_value, high, high_value)| {
            let (l, h) = (low_value?, high_value?);
            (l > h).then(|| format!("{low} {l} is above {high} {h}: lower it, or raise {high}"))
        });
        let mut faults: Vec<String> = above.collect();
        if let (Some(rate), Some(most)) = (self.rate_start, self.messages_per_hour_max) {
            let in_an_hour = rate * 3600.0;
            if in_an_hour > most as f64 {
                faults.push(format!(
                    "rate_start {rate} would be {in_an_hour} messages in an hour, and \
                     messages_per_hour_max is {most}: lower rate_start"
                ));
            }
        }
        faults
    }
}

fn lower<T: PartialOrd>(number: &mut T, most: Option<T>) {
    if let Some(most) = most.filter(|most| *most < *number) {
        *number = most;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds(text: &str) -> Bounds {
        toml::from_str(text).expect("bounds")
    }

    #[test]
    fn a_provider_makes_limits_narrower_and_never_wider() {
        let everywhere = Limits::default();
        let two = bounds("connections_start = 2\nmessages_per_connection_max = 100");
        let limits = two.narrow(&everywhere);
        let connections = (limits.connections_start, limits.connections_max);
        assert_eq!((connections, limits.messages_per_connection_max), ((2, 50), 100));
        // A warm-up that starts at one message a minute starts there, whoever takes more.
        let cold = Limits { rate_start: 1.0 / 60.0, rate_min: 0.001, ..Limits::default() };
        let generous = bounds("rate_start = 10.0\nrate_max = 50.0\nconnections_max = 500");
        let limits = generous.narrow(&cold);
        assert_eq!((limits.rate_start, limits.rate_max), (1.0 / 60.0, 50.0));
        assert_eq!(limits.connections_max, 50);
        let ceiling = bounds("rate_max = 0.05\nconnections_max = 1").narrow(&everywhere);
        assert_eq!((ceiling.rate_min, ceiling.rate_start), (0.05, 0.05));
        assert_eq!(ceiling.connections_start, 1);
    }

    #[test]
    fn holds_only_become_longer() {
        let everywhere = Limits::default();
        let sfr = bounds("hold_s = 7200").narrow(&everywhere);
        assert_eq!((sfr.hold_s, sfr.hold_max_s), (7200, 4 * 3600));
        let day = bounds("hold_max_s = 86400").narrow(&everywhere);
        assert_eq!((day.hold_s, day.hold_max_s), (900, 86_400));
        let short = bounds("hold_s = 60").narrow(&everywhere);
        assert_eq!((short.hold_s, short.hold_max_s), (900, 4 * 3600));
        let long = bounds("hold_s = 100000").narrow(&everywhere);
        assert_eq!((long.hold_s, long.hold_max_s), (100_000, 100_000));
    }

    #[test]
    fn a_number_is_told_with_its_origin() {
        let told = bounds("connections_max = 25\n[source]\nconnections_max = 'A postmaster page'");
        let bound = &told.known()[0];
        assert_eq!(
            (bound.key, bound.value, bound.grade),
            ("connections_max", 25.0, Some(Grade::A))
        );
        assert_eq!(Grade::of("Apple says nothing"), None);
    }

    #[test]
    fn absurd_and_contradictory_numbers_are_told() {
        for (text, says) in [
            ("rate_start = 0.0", "rate_start is 0: it must be above 0 to 1000000"),
            ("rate_max = nan", "rate_max is NaN"),
            ("rate_max = inf", "rate_max is inf"),
            ("rate_start = -3.0", "rate_start is -3"),
            ("connections_start = 0", "connections_start is 0: it must be from 1 to 20000"),
            ("connections_max = 70000", "connections_max is 70000"),
            ("messages_per_connection_max = 0", "messages_per_connection_max is 0"),
            ("hold_s = 0", "hold_s is 0: it must be from 1 to 604800"),
            ("retry_s = 100000", "retry_s is 100000: it must be from 1 to 86400"),
            ("messages_per_day_max = 0", "messages_per_day_max is 0: it must be from 1"),
            ("rate_start = 9.0\nrate_max = 3.0", "rate_start 9 is above rate_max 3: lower it"),
            ("connections_start = 9\nconnections_max = 3", "connections_start 9 is above"),
            ("hold_s = 90\nhold_max_s = 30", "hold_s 90 is above hold_max_s 30"),
            (
                "messages_per_hour_max = 100\nmessages_per_day_max = 10",
                "messages_per_hour_max 100 is above messages_per_day_max 10",
            ),
            ("rate_start = 1.0\nmessages_per_hour_max = 1000", "3600 messages in an hour"),
            ("[source]\nrate_max = 'A a page'", "source.rate_max tells where a number is from"),
        ] {
            let faults = bounds(text).faults();
            assert!(faults.iter().any(|fault| fault.contains(says)), "{text}: {faults:?}");
        }
        assert_eq!(bounds("rate_max = 10.0\nconnections_start = 2").faults(), [""; 0]);
    }

    proptest! {
        /// Whatever a provider's file says: what passes its check leaves limits that work.
        #[test]
        fn what_passes_the_check_makes_good_limits(
            rate_start in proptest::option::of(-1.0..2e6f64),
            rate_max in proptest::option::of(-1.0..2e6f64),
            connections_start in proptest::option::of(0u32..30_000),
            connections_max in proptest::option::of(0u32..30_000),
            messages_per_connection_max in proptest::option::of(0u32..10),
            hold_s in proptest::option::of(0u64..700_000),
            hold_max_s in proptest::option::of(0u64..700_000),
        ) {
            let bounds = Bounds {
                rate_start, rate_max, connections_start, connections_max,
                messages_per_connection_max, hold_s, hold_max_s, ..Bounds::default()
            };
            if bounds.faults().is_empty() {
                prop_assert_eq!(bounds.narrow(&Limits::default()).check(), Ok(()));
            }
        }
    }
}
