//! When a deferred recipient goes again, and when it is given up.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The retry schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds before the second attempt. A minute lets a short trouble pass; some
    /// providers count retries towards the rate, so less is seldom better.
    pub first_s: u64,
    /// Each delay is this many times the one before it, from 1 to 10.
    pub factor: f64,
    /// Seconds between attempts at most. More saves connections to dead servers, and
    /// costs time when one comes back.
    pub max_s: u64,
    /// Seconds from acceptance after which a recipient is given up. Three days outlast
    /// a weekend; news that is stale sooner should say so (RFC 5321, 4.5.4.1 advises 4 to 5
    /// days for mail between people).
    pub lifetime_s: u64,
    /// Seconds before the next attempt at least when the answer was greylisting: most
    /// greylists open after five minutes, and close again when knocked at too early.
    pub greylist_s: u64,
    /// Seconds to leave a mailbox alone that says it receives too quickly: it is one person's, and
    /// somebody else filled it.
    pub busy_mailbox_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            first_s: 60,
            factor: 2.0,
            max_s: 3600,
            lifetime_s: 3 * 86_400,
            greylist_s: 330,
            busy_mailbox_s: 900,
        }
    }
}

/// What one tenant or one site wants otherwise; the rest is as everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// See `relay.retry`.
    pub first_s: Option<u64>,
    /// See `relay.retry`.
    pub factor: Option<f64>,
    /// See `relay.retry`.
    pub max_s: Option<u64>,
    /// See `relay.retry`. Of a tenant: a lifetime is a promise to the sender, whatever the site.
    pub lifetime_s: Option<u64>,
    /// See `relay.retry`.
    pub greylist_s: Option<u64>,
    /// See `relay.retry`.
    pub busy_mailbox_s: Option<u64>,
}

impl Config {
    /// This schedule with what is wanted otherwise.
    #[must_use]
    pub fn with(&self, other: &Overrides) -> Self {
        Self {
            first_s: other.first_s.unwrap_or(self.first_s),
            factor: other.factor.unwrap_or(self.factor),
            max_s: other.max_s.unwrap_or(self.max_s),
            lifetime_s: other.lifetime_s.unwrap_or(self.lifetime_s),
            greylist_s: other.greylist_s.unwrap_or(self.greylist_s),
            busy_mailbox_s: other.busy_mailbox_s.unwrap_or(self.busy_mailbox_s),
        }
    }
}

/// Why a schedule cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// An attempt at once would be a loop.
    #[error("first_s must be at least 1")]
    First,
    /// Delays that shrink, or that pass every limit at once.
    #[error("factor {0} must lie between 1 and 10")]
    Factor(f64),
    /// The longest delay is below the first.
    #[error("max_s {max} is below first_s {first}")]
    Max {
        /// The longest.
        max: u64,
        /// The first.
        first: u64,
    },
    /// Never retried, or kept for ever.
    #[error("lifetime_s {0} must lie between 1 and 2592000 (30 days)")]
    Lifetime(u64),
    /// Longer than anything is kept.
    #[error("greylist_s {0} must be below lifetime_s")]
    Greylist(u64),
    /// Longer than anything is kept.
    #[error("busy_mailbox_s {0} must be below lifetime_s")]
    BusyMailbox(u64),
}

/// What the last answer asks of the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    None,
    /// Greylisted: not before the greylist opens.
    Greylisted,
    /// The mailbox receives too quickly: leave it alone for a while.
    BusyMailbox,
}

/// What becomes of a deferred recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes again then.
    At(Timestamp),
    /// Its lifetime would be over.
    GiveUp,
}

/// A checked schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    config: Config,
    /// No attempt follows on another sooner.
    least_ms: u64,
}

impl Schedule {
    /// Checks a configuration.
    pub fn new(config: &Config) -> Result<Self, ScheduleError> {
        if config.first_s == 0 {
            return Err(ScheduleError::First);
        }
        if !(1.0..=10.0).contains(&config.factor) {
            return Err(ScheduleError::Factor(config.factor));
        }
        if config.max_s < config.first_s {
            return Err(ScheduleError::Max { max: config.max_s, first: config.first_s });
        }
        if !(1..=30 * 86_400).contains(&config.lifetime_s) {
            return Err(ScheduleError::Lifetime(config.lifetime_s));
        }
        if config.greylist_s >= config.lifetime_s {
            return Err(ScheduleError::Greylist(config.greylist_s));
        }
        if config.busy_mailbox_s >= config.lifetime_s {
            return Err(ScheduleError::BusyMailbox(config.busy_mailbox_s));
        }
        Ok(Self { config: config.clone(), least_ms: 0 })
    }

    /// When a recipient that was accepted at `accepted_at` and has had `attempts`
    /// attempts goes again. `seed` spreads what failed together over an eighth of the
    /// delay; the moments are then rounded up to a grid, so that they are few.
    #[must_use]
    pub fn next(
        &self,
        attempts: u16,
        accepted_at: Timestamp,
        now: Timestamp,
        seed: u64,
        hint: Hint,
    ) -> Next {
        let delay_ms = match hint {
            Hint::None => self.delay_ms(attempts),
            Hint::Greylisted => self.delay_ms(attempts).max(self.config.greylist_s * 1000),
            Hint::BusyMailbox => self.delay_ms(attempts).max(self.config.busy_mailbox_s * 1000),
        };
        let delay_ms = delay_ms.max(self.least_ms);
        let spread = scatter(seed ^ u64::from(attempts)) % (delay_ms / 8 + 1);
        let due = now.millis().saturating_add(delay_ms).saturating_add(spread);
        let due = round_up(due, grid_ms(delay_ms));
        if due >= self.ends(accepted_at).millis() { Next::GiveUp } else { Next::At(Timestamp(due)) }
    }

    /// The same schedule with a lifetime that a campaign brings along.
    #[must_use]
    pub fn living(&self, lifetime: Option<Duration>) -> Self {
        let mut config = self.config.clone();
        config.lifetime_s = lifetime.map_or(config.lifetime_s, |lifetime| lifetime.as_secs());
        Self { config, ..*self }
    }

    /// The same schedule where a provider wants to be left alone for so long at least.
    #[must_use]
    pub fn at_least(mut self, least: Duration) -> Self {
        self.least_ms = self.least_ms.max(least.as_millis().try_into().unwrap_or(u64::MAX));
        self
    }

    /// When the lifetime of a recipient is over.
    #[must_use]
    pub fn ends(&self, accepted_at: Timestamp) -> Timestamp {
        accepted_at + Duration::from_secs(self.config.lifetime_s)
    }

    /// Whether the lifetime of a recipient is over.
    #[must_use]
    pub fn is_expired(&self, accepted_at: Timestamp, now: Timestamp) -> bool {
        now >= self.ends(accepted_at)
    }

    fn delay_ms(&self, attempts: u16) -> u64 {
        let steps = i32::from(attempts.saturating_sub(1).min(1000));
        let seconds = self.config.first_s as f64 * self.config.factor.powi(steps);
        (seconds.min(self.config.max_s as f64) * 1000.0) as u64
    }
}

/// A second below a minute, a sixteenth of the delay from there on.
fn grid_ms(delay_ms: u64) -> u64 {
    if delay_ms < 60_000 { 1000 } else { delay_ms / 16 }
}

fn round_up(ms: u64, grid: u64) -> u64 {
    ms.div_ceil(grid).saturating_mul(grid)
}

/// SplitMix64: neighbours of a seed end far apart.
fn scatter(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const T0: Timestamp = Timestamp(1_700_000_000_000);

    fn schedule() -> Schedule {
        Schedule::new(&Config::default()).expect("the defaults")
    }

    fn delay_s(attempts: u16, seed: u64, hint: Hint) -> u64 {
        match schedule().next(attempts, T0, T0, seed, hint) {
            Next::At(at) => at.since(T0).as_secs(),
            Next::GiveUp => panic!("given up"),
        }
    }

    #[test]
    fn delays_double_up_to_an_hour() {
        for (attempts, least) in [(1, 60), (2, 120), (3, 240), (7, 3600), (500, 3600)] {
            let delay = delay_s(attempts, 1, Hint::None);
            assert!((least..=least * 5 / 4).contains(&delay), "{attempts}: {delay}");
        }
    }

    #[test]
    fn hints_only_lengthen() {
        assert!(delay_s(1, 1, Hint::Greylisted) >= 330);
        assert!(delay_s(9, 1, Hint::Greylisted) >= 3600);
        assert!(delay_s(1, 1, Hint::BusyMailbox) >= 900);
        assert!(delay_s(9, 1, Hint::BusyMailbox) >= 3600);
    }

    #[test]
    fn a_provider_that_wants_to_be_left_alone_is() {
        let next = |attempts, least_s| {
            let least = Duration::from_secs(least_s);
            match schedule().at_least(least).next(attempts, T0, T0, 1, Hint::None) {
                Next::At(at) => at.since(T0).as_secs(),
                Next::GiveUp => panic!("given up"),
            }
        };
        assert!((7200..9200).contains(&next(1, 7200)));
        assert!((60..80).contains(&next(1, 10)));
        assert!((3600..4500).contains(&next(9, 10)));
    }

    #[test]
    fn what_failed_together_goes_again_in_few_groups() {
        let due: BTreeSet<u64> = (0..10_000).map(|seed| delay_s(3, seed, Hint::None)).collect();
        assert!((2..=4).contains(&due.len()), "{due:?}");
    }

    #[test]
    fn a_recipient_is_given_up_after_its_lifetime() {
        let late = T0 + Duration::from_secs(3 * 86_400 - 30);
        assert_eq!(schedule().next(1, T0, late, 0, Hint::None), Next::GiveUp);
        assert!(!schedule().is_expired(T0, late));
        assert!(schedule().is_expired(T0, late + Duration::from_secs(30)));
    }

    #[test]
    fn schedules_that_cannot_work_are_refused() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            Schedule::new(&config).map(|_| ()).expect_err("refused").to_string()
        };
        assert_eq!(with(|c| c.first_s = 0), "first_s must be at least 1");
        assert_eq!(with(|c| c.factor = 0.5), "factor 0.5 must lie between 1 and 10");
        assert_eq!(with(|c| c.factor = f64::NAN), "factor NaN must lie between 1 and 10");
        assert_eq!(with(|c| c.max_s = 9), "max_s 9 is below first_s 60");
        assert!(with(|c| c.lifetime_s = 0).starts_with("lifetime_s 0"));
        assert!(with(|c| c.greylist_s = 999_999_999).starts_with("greylist_s"));
        assert!(with(|c| c.busy_mailbox_s = 999_999_999).starts_with("busy_mailbox_s"));
    }

    proptest! {
        #[test]
        fn the_next_attempt_lies_ahead_and_within_the_lifetime(
            attempts: u16, age_s in 0u64..400_000, seed: u64
        ) {
            let now = T0 + Duration::from_secs(age_s);
            for hint in [Hint::None, Hint::Greylisted, Hint::BusyMailbox] {
                if let Next::At(at) = schedule().next(attempts, T0, now, seed, hint) {
                    prop_assert!(at > now);
                    prop_assert!(!schedule().is_expired(T0, at));
                }
            }
        }
    }
}
