//! What an operator has fixed of a pace. While it stands the controller learns nothing about it, so
//! that afterwards things go on from what was found before. A block stands above it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Limits, Pace};
use crate::time::Timestamp;

/// Dimensions of a pace that are fixed; `None`: left to the controller.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Fixed {
    /// Messages a second, of all relays together.
    pub rate: Option<f64>,
    /// Connections, of all relays together.
    pub connections: Option<u32>,
    /// Messages over one connection.
    pub messages_per_connection: Option<u32>,
}

/// Why something cannot be fixed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FixedError {
    /// Nothing was named.
    #[error("nothing is fixed: name a rate, connections or messages per connection")]
    Nothing,
    /// A rate out of bounds, or no number.
    #[error("rate {0:?} must lie between {1} (rate_min) and {2} (rate_max) a second here")]
    Rate(f64, f64, f64),
    /// Connections out of bounds.
    #[error("connections {0} must lie between 1 and {1} (connections_max) here")]
    Connections(u32, u32),
    /// Messages per connection out of bounds.
    #[error(
        "messages per connection {0} must lie between 1 and {1} (messages_per_connection_max) here"
    )]
    MessagesPerConnection(u32, u32),
}

impl Fixed {
    /// Whether this can be fixed where these limits hold.
    ///
    /// # Errors
    /// When it cannot: limits are the word of whoever wrote the configuration, and stand above it.
    pub fn check(&self, limits: &Limits) -> Result<(), FixedError> {
        if self.is_nothing() {
            return Err(FixedError::Nothing);
        }
        let (least, most) = (limits.rate_min, limits.rate_max);
        if let Some(rate) = self.rate.filter(|rate| !(least..=most).contains(rate)) {
            return Err(FixedError::Rate(rate, least, most));
        }
        let most = limits.connections_max;
        if let Some(n) = self.connections.filter(|n| !(1..=most).contains(n)) {
            return Err(FixedError::Connections(n, most));
        }
        let most = limits.messages_per_connection_max;
        if let Some(n) = self.messages_per_connection.filter(|n| !(1..=most).contains(n)) {
            return Err(FixedError::MessagesPerConnection(n, most));
        }
        Ok(())
    }

    /// Whether all is left to the controller: nearly always.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The same with what a later word fixes of it.
    #[must_use]
    pub fn with(self, later: Self) -> Self {
        Self {
            rate: later.rate.or(self.rate),
            connections: later.connections.or(self.connections),
            messages_per_connection: later.messages_per_connection.or(self.messages_per_connection),
        }
    }

    /// The same as far as these limits let it: they may have been changed since.
    #[must_use]
    pub fn within(self, limits: &Limits) -> Self {
        let most = limits.messages_per_connection_max;
        Self {
            rate: self.rate.map(|rate| rate.clamp(limits.rate_min, limits.rate_max)),
            connections: self.connections.map(|n| n.clamp(1, limits.connections_max)),
            messages_per_connection: self.messages_per_connection.map(|n| n.clamp(1, most)),
        }
    }

    /// Messages a second that may go at this pace.
    #[must_use]
    pub fn rate_of(&self, pace: &Pace, limits: &Limits, now: Timestamp) -> f64 {
        let found = pace.rate(limits, now);
        self.rate.filter(|_| pace.hold_until().is_none()).unwrap_or(found)
    }

    /// Connections that may be open at this pace.
    #[must_use]
    pub fn connections_of(&self, pace: &Pace, now: Timestamp) -> u32 {
        let found = pace.connections(now);
        self.connections.filter(|_| pace.hold_until().is_none()).unwrap_or(found)
    }
}

/// `5/s, 2 connections, 100 messages per connection`
impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.rate.map(|rate| format!("{rate}/s")),
            self.connections.map(|n| format!("{n} connections")),
            self.messages_per_connection.map(|n| format!("{n} messages per connection")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Fixed = Fixed { rate: None, connections: None, messages_per_connection: None };

    #[test]
    fn absurd_numbers_are_refused_and_named() {
        let limits = Limits { rate_max: 100.0, ..Limits::default() };
        let why = |fixed: Fixed| fixed.check(&limits).expect_err("refused").to_string();
        let rate = |rate| why(Fixed { rate: Some(rate), ..NOTHING });
        for (bad, said) in [(0.0, "0.0"), (-1.0, "-1.0"), (f64::NAN, "NaN"), (100.5, "100.5")] {
            let expected = format!(
                "rate {said} must lie between 0.1 (rate_min) and 100 (rate_max) a second here"
            );
            assert_eq!(rate(bad), expected);
        }
        assert!(rate(f64::INFINITY).starts_with("rate inf must lie"));
        for bad in [0, 51] {
            let said = why(Fixed { connections: Some(bad), ..NOTHING });
            assert_eq!(
                said,
                format!("connections {bad} must lie between 1 and 50 (connections_max) here")
            );
        }
        let said = why(Fixed { messages_per_connection: Some(1001), ..NOTHING });
        assert!(said.starts_with("messages per connection 1001 must lie between 1 and 1000"));
        assert!(why(NOTHING).starts_with("nothing is fixed"));
        assert_eq!(Fixed { rate: Some(100.0), ..NOTHING }.check(&limits), Ok(()));
    }

    #[test]
    fn what_was_fixed_stays_within_limits_that_came_later() {
        let fixed = Fixed { rate: Some(50.0), connections: Some(9), ..NOTHING };
        let limits = Limits { rate_max: 20.0, connections_max: 5, ..Limits::default() };
        let expected = Fixed { rate: Some(20.0), connections: Some(5), ..NOTHING };
        assert_eq!(fixed.within(&limits), expected);
        assert_eq!(fixed.to_string(), "50/s, 9 connections");
    }
}
