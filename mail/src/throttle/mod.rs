//! The pace of one egress source at one site: what may go, found out from what the
//! site answers. Each kind of answer moves only the dimension that it speaks of. The
//! state is shared by all relays and changed with what all of them saw; spending the
//! rate, message by message, is theirs.

mod binding;
mod change;
mod fixed;
mod limits;
mod overrides;
mod pace;
#[cfg(test)]
mod tests;

pub use binding::{Binding, Facts};
pub use change::{NoChange, Signed, Told};
pub use fixed::{Fixed, FixedError};
pub use limits::{Limits, LimitsError};
pub use overrides::Overrides;
pub use pace::{HourKnown, NotUndone, Pace};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a relay saw of one source at one site during a window, or all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// How long the window was.
    pub window: Duration,
    /// Messages the site took, or answered with a verdict about the recipient or the
    /// message alone: the pace was not what it objected to.
    pub passed: u32,
    /// Answers that it is too fast, or too much in an hour or day, to what was let go at the rate
    /// of now.
    pub rate_refusals: u32,
    /// The same to what was let go before the rate was last cut: they say nothing new.
    pub late_refusals: u32,
    /// Of those that passed, the ones let go before the rate was last cut.
    pub late_passed: u32,
    /// Answers that there are too many connections.
    pub connection_refusals: u32,
    /// Answers that a connection has carried enough messages.
    pub per_connection_refusals: u32,
    /// The fewest messages that a connection had carried when it was told so.
    pub carried_min: Option<u32>,
    /// Answers that the source is blocked.
    pub blocks: u32,
    /// Attempts that came to nothing through trouble of the site: no answer, 451 by its own fault.
    pub trouble: u32,
    /// Complaints that came in by mail about what it took, hours ago perhaps. All of them, whoever
    /// tells.
    pub complaints: u32,
    /// Messages that it took in windows before, of which nothing was told: they taught nothing else.
    pub untold: u32,
    /// The most connections that were open at one time.
    pub connections: u32,
    /// Whether messages were ready that the pace did not let go.
    pub demand: bool,
    /// The rate, of all relays, at which this one let go what is not late, messages a second; 0: it
    /// does not say. What went at more than the rate of now is late, too: another relay was refused
    /// before.
    pub at_rate: f64,
    /// Relays that share the pace when the numbers are one relay's; 0 and 1: they are all
    /// there is. Relays that share have equal parts, so what all did is a multiple.
    pub sharing: u32,
}

impl Observation {
    /// Adds what another relay saw during the same window.
    pub fn merge(&mut self, other: &Self) {
        self.window = self.window.max(other.window);
        self.passed += other.passed;
        self.rate_refusals += other.rate_refusals;
        self.late_refusals += other.late_refusals;
        self.late_passed += other.late_passed;
        self.connection_refusals += other.connection_refusals;
        self.per_connection_refusals += other.per_connection_refusals;
        self.carried_min = self.carried_min.into_iter().chain(other.carried_min).min();
        self.blocks += other.blocks;
        self.trouble += other.trouble;
        self.complaints += other.complaints;
        self.untold += other.untold;
        self.connections += other.connections;
        self.demand |= other.demand;
        self.at_rate = self.at_rate.max(other.at_rate);
    }

    /// What all relays did, judged by this one.
    fn of_all(&self) -> Self {
        let n = self.sharing.max(1);
        Self {
            passed: self.passed.saturating_mul(n),
            rate_refusals: self.rate_refusals.saturating_mul(n),
            late_refusals: self.late_refusals.saturating_mul(n),
            late_passed: self.late_passed.saturating_mul(n),
            blocks: self.blocks.saturating_mul(n),
            trouble: self.trouble.saturating_mul(n),
            untold: self.untold.saturating_mul(n),
            connections: self.connections.saturating_mul(n),
            ..*self
        }
    }

    /// The rate was cut: what was seen until now is late.
    pub fn age(&mut self) {
        self.late_refusals += std::mem::take(&mut self.rate_refusals);
        self.late_passed = self.passed;
    }

    /// The same, late if it went at more than `rate`.
    fn held_against(&self, rate: f64) -> Self {
        let mut seen = *self;
        if self.at_rate > rate * 1.0001 {
            seen.age();
        }
        seen
    }

    /// Messages a second over the window.
    fn achieved(&self) -> f64 {
        f64::from(self.attempts()) / self.window.as_secs_f64().max(0.05)
    }

    fn attempts(&self) -> u32 {
        self.passed + self.rate_refusals + self.late_refusals + self.blocks + self.trouble
    }
}

crate::category::words! {
    /// A dimension of the pace.
    Dimension {
        /// Messages a second.
        Rate = "rate",
        /// Connections at one time.
        Connections = "connections",
        /// Messages over one connection.
        MessagesPerConnection = "messages-per-connection",
        /// Seconds of a hold; 0 when it ends.
        Hold = "hold",
    }
}

crate::category::words! {
    /// What moved it.
    Why {
        /// There was more to send, and nothing was refused.
        Demand = "demand",
        /// The site says that it is too fast.
        TooFast = "too-fast",
        /// The site says that there are too many connections.
        TooManyConnections = "too-many-connections",
        /// The site says that a connection has carried enough.
        EnoughMessages = "enough-messages",
        /// The site blocks the source.
        Blocked = "blocked",
        /// A probe passed: the block is over.
        ProbePassed = "probe-passed",
        /// The site is in trouble.
        SiteTrouble = "site-trouble",
        /// Long ago refused, now tried again.
        Retest = "retest",
        /// Nothing was heard of the site for long.
        Silence = "silence",
        /// It took no more in this hour on the days before.
        Hour = "hour-of-day",
        /// People complain of too much of what it took.
        Complaints = "complaints",
        /// The limits were changed by hand.
        Limits = "limits",
        /// An operator ended the block.
        Released = "released",
        /// An operator undid a change.
        Undone = "undone",
    }
}

/// One change of the pace, with its evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Which dimension.
    pub what: Dimension,
    /// What it was.
    pub from: f64,
    /// What it is.
    pub to: f64,
    /// What moved it.
    pub why: Why,
    /// How many answers said so, of `attempts`.
    pub refusals: u32,
    /// Attempts in the window.
    pub attempts: u32,
    /// When a hold is over, where one began; otherwise `None`.
    pub until: Option<Timestamp>,
}
