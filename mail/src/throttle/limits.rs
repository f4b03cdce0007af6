//! The limits that hold the controller: where it starts, and what it never leaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quota::Ceilings;

/// What one egress source may do at one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Messages a second at a site never spoken to. Ten double every few seconds while
    /// nobody objects; a new address that must be warmed up starts lower.
    pub rate_start: f64,
    /// Messages a second at least, but for the probes at a site that takes nothing for minutes: one
    /// in ten minutes in the end.
    pub rate_min: f64,
    /// Messages a second at most. Protects a site, or a warm-up plan, from what the
    /// controller would find possible.
    pub rate_max: f64,
    /// Connections at a site never spoken to.
    pub connections_start: u32,
    /// Connections at most. Many sites take between 2 and 25 and say so; a site that takes
    /// hundreds is a partner of yours.
    pub connections_max: u32,
    /// Messages over one connection at most. A fresh connection costs a handshake; one
    /// that never ends keeps a slow server busy.
    pub messages_per_connection_max: u32,
    /// Seconds for which a site is left alone after it has blocked the source. Doubles with
    /// each block in a row.
    pub hold_s: u64,
    /// Seconds of such a hold at most.
    pub hold_max_s: u64,
    /// Messages a minute that go on during a hold, to see whether it is over.
    pub probes_per_minute: f64,
    /// Messages in any hour at most; the sites of one provider count together. None: no such ceiling.
    pub messages_per_hour_max: Option<u64>,
    /// Messages in any day at most, counted the same.
    pub messages_per_day_max: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate_start: 10.0,
            rate_min: 0.1,
            rate_max: 5000.0,
            connections_start: 4,
            connections_max: 50,
            messages_per_connection_max: 1000,
            hold_s: 900,
            hold_max_s: 4 * 3600,
            probes_per_minute: 2.0,
            messages_per_hour_max: None,
            messages_per_day_max: None,
        }
    }
}

/// Why limits cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LimitsError {
    /// Not a rate, or rates in the wrong order.
    #[error(
        "rate_min {min}, rate_start {start} and rate_max {max} must rise from above 0 to 1000000"
    )]
    Rates {
        /// The least.
        min: f64,
        /// The first.
        start: f64,
        /// The most.
        max: f64,
    },
    /// No connection, or more than there are ports.
    #[error("connections_start {start} and connections_max {max} must rise from 1 to 20000")]
    Connections {
        /// The first.
        start: u32,
        /// The most.
        max: u32,
    },
    /// A connection that carries nothing.
    #[error("messages_per_connection_max must be at least 1")]
    MessagesPerConnection,
    /// A hold that never began or never ends.
    #[error("hold_s {first} and hold_max_s {max} must rise from 1 to 604800 (a week)")]
    Hold {
        /// The first.
        first: u64,
        /// The longest.
        max: u64,
    },
    /// Probing as fast as sending, or never.
    #[error("probes_per_minute {0} must lie above 0 and at most at 60")]
    Probes(f64),
    /// An hour or a day in which nothing goes.
    #[error("{0} must be at least 1: leave it out where there is no ceiling")]
    Quota(&'static str),
}

impl Limits {
    /// What may go in any hour and any day.
    #[must_use]
    pub fn ceilings(&self) -> Ceilings {
        Ceilings { hour: self.messages_per_hour_max, day: self.messages_per_day_max }
    }

    /// Whether the controller can work with these limits.
    pub fn check(&self) -> Result<(), LimitsError> {
        let (min, start, max) = (self.rate_min, self.rate_start, self.rate_max);
        if !(min > 0.0 && min <= start && start <= max && max <= 1e6) {
            return Err(LimitsError::Rates { min, start, max });
        }
        let (start, max) = (self.connections_start, self.connections_max);
        if !(1 <= start && start <= max && max <= 20_000) {
            return Err(LimitsError::Connections { start, max });
        }
        if self.messages_per_connection_max == 0 {
            return Err(LimitsError::MessagesPerConnection);
        }
        let (first, max) = (self.hold_s, self.hold_max_s);
        if !(1 <= first && first <= max && max <= 7 * 86_400) {
            return Err(LimitsError::Hold { first, max });
        }
        if !(self.probes_per_minute > 0.0 && self.probes_per_minute <= 60.0) {
            return Err(LimitsError::Probes(self.probes_per_minute));
        }
        if self.messages_per_hour_max == Some(0) {
            return Err(LimitsError::Quota("messages_per_hour_max"));
        }
        if self.messages_per_day_max == Some(0) {
            return Err(LimitsError::Quota("messages_per_day_max"));
        }
        Ok(())
    }
}
