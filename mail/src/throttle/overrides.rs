//! What an operator wants otherwise for the pace at one site. What is given is kept to the
//! letter; what was inherited gives way to it, so that a ceiling alone is enough.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Limits, LimitsError};

/// Bounds of the pace at one site; the rest is as everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// See `relay.pace`.
    pub rate_start: Option<f64>,
    /// See `relay.pace`.
    pub rate_min: Option<f64>,
    /// See `relay.pace`.
    pub rate_max: Option<f64>,
    /// See `relay.pace`.
    pub connections_start: Option<u32>,
    /// See `relay.pace`.
    pub connections_max: Option<u32>,
    /// See `relay.pace`.
    pub messages_per_connection_max: Option<u32>,
    /// See `relay.pace`.
    pub hold_s: Option<u64>,
    /// See `relay.pace`.
    pub hold_max_s: Option<u64>,
    /// See `relay.pace`.
    pub probes_per_minute: Option<f64>,
    /// See `relay.pace`; 0: none here, whatever was inherited.
    pub messages_per_hour_max: Option<u64>,
    /// See `relay.pace`; 0: none here, whatever was inherited.
    pub messages_per_day_max: Option<u64>,
}

impl Overrides {
    /// Whether what is given makes sense by itself; then it does with any good limits.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), LimitsError> {
        Limits::default().with(self).check()
    }
}

impl Limits {
    /// These limits with what is wanted otherwise.
    #[must_use]
    pub fn with(&self, other: &Overrides) -> Self {
        let rates = [
            (self.rate_min, other.rate_min),
            (self.rate_start, other.rate_start),
            (self.rate_max, other.rate_max),
        ];
        let [rate_min, rate_start, rate_max] = rising(rates);
        let connections = [
            (self.connections_start, other.connections_start),
            (self.connections_max, other.connections_max),
        ];
        let [connections_start, connections_max] = rising(connections);
        let holds = [(self.hold_s, other.hold_s), (self.hold_max_s, other.hold_max_s)];
        let [hold_s, hold_max_s] = rising(holds);
        let most = other.messages_per_connection_max;
        Self {
            rate_start,
            rate_min,
            rate_max,
            connections_start,
            connections_max,
            messages_per_connection_max: most.unwrap_or(self.messages_per_connection_max),
            hold_s,
            hold_max_s,
            probes_per_minute: other.probes_per_minute.unwrap_or(self.probes_per_minute),
            messages_per_hour_max: quota(self.messages_per_hour_max, other.messages_per_hour_max),
            messages_per_day_max: quota(self.messages_per_day_max, other.messages_per_day_max),
        }
    }
}

/// A ceiling that is inherited and perhaps given otherwise, or lifted.
fn quota(inherited: Option<u64>, given: Option<u64>) -> Option<u64> {
    given.or(inherited).filter(|most| *most > 0)
}

/// Numbers that must rise, each inherited and perhaps given otherwise: an inherited one gives way
/// to those given before and after it. Given ones that do not rise are left for the check to refuse.
fn rising<T: PartialOrd + Copy, const N: usize>(numbers: [(T, Option<T>); N]) -> [T; N] {
    std::array::from_fn(|at| {
        let (inherited, given) = numbers[at];
        let at_most = |number: T, most: T| if most < number { most } else { number };
        let at_least = |number: T, least: T| if least > number { least } else { number };
        given.unwrap_or_else(|| {
            let before = numbers[..at].iter().filter_map(|(_, given)| *given);
            let after = numbers[at + 1..].iter().filter_map(|(_, given)| *given);
            after.fold(before.fold(inherited, at_least), at_most)
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ceiling_alone_lowers_the_start_and_a_start_alone_raises_the_ceiling() {
        let limits = Limits::default();
        let ceiling = Overrides { rate_max: Some(2.0), ..Overrides::default() };
        let low = limits.with(&ceiling);
        assert_eq!((low.rate_min, low.rate_start, low.rate_max), (0.1, 2.0, 2.0));
        let lower = limits.with(&Overrides { rate_max: Some(0.05), ..Overrides::default() });
        assert_eq!((lower.rate_min, lower.rate_start, lower.rate_max), (0.05, 0.05, 0.05));
        let start = Overrides { connections_start: Some(80), ..Overrides::default() };
        let high = limits.with(&start);
        assert_eq!((high.connections_start, high.connections_max), (80, 80));
        let quota = Overrides { messages_per_day_max: Some(500), ..Overrides::default() };
        let counted = limits.with(&quota);
        assert_eq!(counted.messages_per_day_max, Some(500));
        let lifted = Overrides { messages_per_day_max: Some(0), ..Overrides::default() };
        assert_eq!(counted.with(&lifted).messages_per_day_max, None);
        let hold = limits.with(&Overrides { hold_s: Some(86_400), ..Overrides::default() });
        assert_eq!((hold.hold_s, hold.hold_max_s), (86_400, 86_400));
        assert_eq!(limits.with(&Overrides::default()), limits);
    }

    #[test]
    fn absurd_and_contradictory_numbers_are_refused() {
        let none = Overrides::default();
        for (bad, says) in [
            (Overrides { rate_max: Some(0.0), ..none }, "rate_min 0, rate_start 0"),
            (Overrides { rate_start: Some(-1.0), ..none }, "must rise from above 0"),
            (Overrides { rate_max: Some(f64::NAN), ..none }, "rate_max NaN"),
            (Overrides { rate_start: Some(f64::INFINITY), ..none }, "rate_max inf"),
            (Overrides { rate_start: Some(9.0), rate_max: Some(3.0), ..none }, "rate_start 9 "),
            (Overrides { rate_min: Some(9.0), rate_max: Some(3.0), ..none }, "rate_min 9,"),
            (Overrides { connections_max: Some(0), ..none }, "connections_max 0"),
            (
                Overrides { connections_start: Some(9), connections_max: Some(3), ..none },
                "connections_start 9 and connections_max 3",
            ),
            (Overrides { messages_per_connection_max: Some(0), ..none }, "at least 1"),
            (Overrides { hold_s: Some(0), ..none }, "hold_s 0"),
            (Overrides { probes_per_minute: Some(0.0), ..none }, "probes_per_minute 0"),
        ] {
            let why = bad.check().expect_err("refused").to_string();
            assert!(why.contains(says), "{bad:?}: {why}");
        }
    }

    fn rate() -> impl Strategy<Value = Option<f64>> {
        proptest::option::of(0.001..2e6)
    }

    proptest! {
        /// What is good by itself is good with everything that was good before.
        #[test]
        fn good_overrides_make_good_limits_of_good_ones(
            (rate_min, rate_start, rate_max) in (rate(), rate(), rate()),
            connections_start in proptest::option::of(0u32..30_000),
            connections_max in proptest::option::of(0u32..30_000),
            hold_s in proptest::option::of(0u64..700_000),
            before in (0.001..100.0f64, 1u32..100, 1u64..1000),
        ) {
            let other = Overrides {
                rate_start, rate_min, rate_max, connections_start, connections_max, hold_s,
                ..Overrides::default()
            };
            let (rate, connections, hold) = before;
            let limits = Limits {
                rate_min: rate / 2.0,
                rate_start: rate,
                rate_max: rate * 2.0,
                connections_start: connections,
                connections_max: connections * 2,
                hold_s: hold,
                hold_max_s: hold * 2,
                ..Limits::default()
            };
            prop_assert!(limits.check().is_ok());
            if other.check().is_ok() {
                prop_assert_eq!(limits.with(&other).check(), Ok(()));
            }
        }
    }
}
