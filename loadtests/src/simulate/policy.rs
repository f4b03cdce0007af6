//! Who decides the pace: our controller, and what others do, as far as they document it.

use std::time::Duration;

use mail::Timestamp;
use mail::throttle::{Change, Limits, Observation, Pace};

/// Decides what may go, from what was seen.
pub(super) trait Policy {
    /// Messages a second.
    fn rate(&self, now: Timestamp) -> f64;
    /// Connections.
    fn connections(&self, now: Timestamp) -> u32;
    /// Messages over one connection.
    fn per_connection(&self) -> u32 {
        100_000
    }
    /// Takes in what one relay saw; tells what it changed.
    fn observe(&mut self, now: Timestamp, seen: &Observation) -> Vec<Change>;
}

/// The policies that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `mail::throttle`.
    Ours,
    /// Twenty connections, no rate.
    Unlimited,
    /// Half of what the provider takes at its least.
    FixedLow,
    /// Once and a half of what the provider takes at most.
    FixedHigh,
    /// A tenth for half an hour after three refusals in an hour, as KumoMTA's shaping rules do.
    FixedOverride,
    /// Full speed or half of it, as PowerMTA's backoff mode.
    TwoLevel,
    /// Concurrency feedback of 1/N, as Postfix documents it.
    Concurrency,
}

impl Which {
    /// All of them; ours first.
    pub const ALL: [Self; 7] = [
        Self::Ours,
        Self::Unlimited,
        Self::FixedLow,
        Self::FixedHigh,
        Self::FixedOverride,
        Self::TwoLevel,
        Self::Concurrency,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Unlimited => "no limit",
            Self::FixedLow => "fixed, too low",
            Self::FixedHigh => "fixed, too high",
            Self::FixedOverride => "fixed override",
            Self::TwoLevel => "two-level backoff",
            Self::Concurrency => "concurrency feedback",
        }
    }

    /// `lowest` and `highest`: what an operator would know of the provider's limit.
    pub(super) fn policy(self, lowest: f64, highest: f64) -> Box<dyn Policy> {
        match self {
            Self::Ours => Box::new(Ours::new()),
            Self::Unlimited => Box::new(Fixed { rate: 10_000.0 }),
            Self::FixedLow => Box::new(Fixed { rate: lowest / 2.0 }),
            Self::FixedHigh => Box::new(Fixed { rate: highest * 1.5 }),
            Self::FixedOverride => Box::new(Levels {
                normal: highest * 1.5,
                slow: lowest / 10.0,
                after: 3,
                within: Duration::from_secs(3600),
                lasts: Duration::from_secs(1800),
                ..Levels::default()
            }),
            Self::TwoLevel => Box::new(Levels {
                normal: highest * 1.2,
                slow: lowest / 2.0,
                after: 1,
                within: Duration::from_secs(1),
                lasts: Duration::from_secs(600),
                ..Levels::default()
            }),
            Self::Concurrency => Box::new(Concurrency { window: 5.0, dead_until: Timestamp(0) }),
        }
    }
}

struct Ours {
    limits: Limits,
    pace: Pace,
}

impl Ours {
    fn new() -> Self {
        let limits = Limits::default();
        Self { pace: Pace::new(&limits), limits }
    }
}

impl Policy for Ours {
    fn rate(&self, now: Timestamp) -> f64 {
        self.pace.rate(&self.limits, now)
    }

    fn connections(&self, now: Timestamp) -> u32 {
        self.pace.connections(now)
    }

    fn per_connection(&self) -> u32 {
        self.pace.messages_per_connection()
    }

    fn observe(&mut self, now: Timestamp, seen: &Observation) -> Vec<Change> {
        self.pace.observe(&self.limits, now, seen)
    }
}

struct Fixed {
    rate: f64,
}

/// Connections of those that do not manage them (PowerMTA, `max-smtp-out`).
const CONNECTIONS: u32 = 20;

impl Policy for Fixed {
    fn rate(&self, _: Timestamp) -> f64 {
        self.rate
    }

    fn connections(&self, _: Timestamp) -> u32 {
        CONNECTIONS
    }

    fn observe(&mut self, _: Timestamp, _: &Observation) -> Vec<Change> {
        Vec::new()
    }
}

/// One rate, and another for a time after refusals.
#[derive(Default)]
struct Levels {
    normal: f64,
    slow: f64,
    /// So many refusals …
    after: u32,
    /// … within this time …
    within: Duration,
    /// … bring the slow rate for this long.
    lasts: Duration,
    since: Timestamp,
    refused: u32,
    slow_until: Timestamp,
}

impl Policy for Levels {
    fn rate(&self, now: Timestamp) -> f64 {
        if now < self.slow_until { self.slow } else { self.normal }
    }

    fn connections(&self, _: Timestamp) -> u32 {
        CONNECTIONS
    }

    fn observe(&mut self, now: Timestamp, seen: &Observation) -> Vec<Change> {
        if now < self.slow_until {
            return Vec::new();
        }
        if now.since(self.since) > self.within {
            (self.since, self.refused) = (now, 0);
        }
        self.refused += seen.rate_refusals + seen.late_refusals + seen.blocks;
        if self.refused >= self.after {
            self.slow_until = now + self.lasts;
            self.refused = 0;
        }
        Vec::new()
    }
}

/// Postfix's scheduler: a window of connections that each success widens by 1/N and each failure
/// narrows by 1/N, from 5 to 20; at 0 the destination is dead for five minutes
/// (SCHEDULER_README, `default_destination_concurrency_*_feedback`, `minimal_backoff_time`).
struct Concurrency {
    window: f64,
    dead_until: Timestamp,
}

impl Policy for Concurrency {
    fn rate(&self, now: Timestamp) -> f64 {
        if now < self.dead_until { 0.001 } else { 10_000.0 }
    }

    fn connections(&self, _: Timestamp) -> u32 {
        self.window.max(1.0) as u32
    }

    fn observe(&mut self, now: Timestamp, seen: &Observation) -> Vec<Change> {
        let refused = seen.rate_refusals + seen.late_refusals + seen.blocks;
        // One after the other, mixed.
        let (mut passed, mut failed) = (seen.passed, refused);
        while passed + failed > 0 {
            let is_failure = u64::from(failed) * u64::from(seen.passed + refused)
                >= u64::from(refused) * u64::from(passed + failed);
            if failed > 0 && is_failure {
                failed -= 1;
                self.window -= 1.0 / self.window.max(1.0);
            } else if passed > 0 {
                passed -= 1;
                self.window += 1.0 / self.window.max(1.0);
            }
            self.window = self.window.min(f64::from(CONNECTIONS));
            if self.window < 1.0 {
                self.window = 1.0;
                self.dead_until = now + Duration::from_secs(300);
            }
        }
        Vec::new()
    }
}
