//! The controller's state and its rules. Before a site first objects the rate doubles
//! every few seconds; from then on it climbs by steps that are small near the rate at
//! which the site objected and larger above it, in case the limit has moved.

mod choke;
mod complaints;
mod evidence;
mod hand;
mod hold;
mod memory;
mod rate;

use std::time::Duration;

use complaints::Heard;
use evidence::Evidence;
pub use hand::{HourKnown, NotUndone};
use hold::Suspicion;
use memory::Level;

use serde::{Deserialize, Serialize};

use super::{Change, Dimension, Limits, Observation, Why};
use crate::time::Timestamp;

/// The record's version, its first field.
const VERSION: u8 = 1;

/// Answers to what was sent before a cut still come in for a while: at most one cut
/// in this time, and no step up.
const EPISODE: Duration = Duration::from_secs(5);
/// Blocks that make a hold: one alone may be about one message.
const BLOCKS_MIN: u32 = 3;
/// Probes at this many times their rate when a hold is over.
const PROBES_AFTER_HOLD: f64 = 10.0;
/// The site is asked again for one more connection after this, below what it refused and at it.
const CONNECTION_STEP: Duration = Duration::from_secs(20);
const CONNECTION_RETEST: Duration = Duration::from_secs(900);
/// A limit on messages per connection hardly ever changes.
const PER_CONNECTION_RETEST: Duration = Duration::from_secs(86_400);

/// The pace of one egress source at one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    version: u8,
    rate: f64,
    /// The rate that the site took when it last objected.
    rate_refused: Option<f64>,
    rate_cut_at: Timestamp,
    rate_step_at: Timestamp,
    /// The rate that was last told in a change.
    rate_told: f64,
    connections: u32,
    connections_refused: Option<u32>,
    connections_cut_at: Timestamp,
    connections_step_at: Timestamp,
    per_connection: u32,
    per_connection_cut_at: Timestamp,
    hold_until: Option<Timestamp>,
    /// Since when it is held; records from before this was kept lack it.
    #[serde(default)]
    hold_since: Option<Timestamp>,
    /// Until when, as it was last told: a probe that is blocked within a hold makes it longer
    /// without a word.
    #[serde(default)]
    hold_told: Option<Timestamp>,
    /// What speaks for a block, while none is sure.
    #[serde(default)]
    suspicion: Option<Suspicion>,
    /// Holds in a row.
    holds: u32,
    /// When anything was last heard of the site.
    #[serde(default)]
    heard_at: Timestamp,
    /// When anything was first heard of it; records from before this was kept do not know.
    #[serde(default)]
    begun_at: Timestamp,
    /// What it took by hour of the day.
    #[serde(default)]
    hours: Vec<Level>,
    /// Complaints, and what they are a share of.
    #[serde(default)]
    complaints: Heard,
    /// What speaks for a limit of the rate.
    #[serde(default)]
    evidence: Evidence,
}

impl Pace {
    /// The pace at a site never spoken to. `limits` have been checked.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            version: VERSION,
            rate: limits.rate_start,
            rate_refused: None,
            rate_cut_at: Timestamp(0),
            rate_step_at: Timestamp(0),
            rate_told: limits.rate_start,
            connections: limits.connections_start,
            connections_refused: None,
            connections_cut_at: Timestamp(0),
            connections_step_at: Timestamp(0),
            per_connection: limits.messages_per_connection_max,
            per_connection_cut_at: Timestamp(0),
            hold_until: None,
            hold_since: None,
            hold_told: None,
            suspicion: None,
            holds: 0,
            heard_at: Timestamp(0),
            begun_at: Timestamp(0),
            hours: Vec::new(),
            complaints: Heard::default(),
            evidence: Evidence::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn set_refused(&mut self, refused: f64, rate: f64) {
        (self.rate_refused, self.rate, self.rate_told) = (Some(refused), rate, rate);
    }

    #[cfg(test)]
    pub(super) fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    /// Whether the record was written by a newer program, and is not to be changed.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.version > VERSION
    }

    /// Messages a second that may go: the probes alone while the source is blocked, more
    /// of them when the hold is over and none has passed yet.
    #[must_use]
    pub fn rate(&self, limits: &Limits, now: Timestamp) -> f64 {
        let probes = limits.probes_per_minute / 60.0;
        match self.hold_until {
            None => self.rate,
            Some(until) if now < until => self.rate.min(probes),
            Some(_) => self.rate.min(probes * PROBES_AFTER_HOLD),
        }
    }

    /// Connections that may be open at one time: one while the source is blocked, two when
    /// the hold is over and a slow probe must not keep the next one waiting.
    #[must_use]
    pub fn connections(&self, now: Timestamp) -> u32 {
        match self.hold_until {
            None => self.connections,
            Some(until) if now < until => 1,
            Some(_) => self.connections.min(2),
        }
    }

    /// Messages that one connection may carry.
    #[must_use]
    pub fn messages_per_connection(&self) -> u32 {
        self.per_connection
    }

    /// Until when the source is taken to be blocked at the site. The moment may have
    /// passed: only a probe that passes ends a hold.
    #[must_use]
    pub fn hold_until(&self) -> Option<Timestamp> {
        self.hold_until
    }

    /// Since when the source is taken to be blocked at the site, if it is, and since when is known.
    #[must_use]
    pub fn hold_since(&self) -> Option<Timestamp> {
        self.hold_since.filter(|_| self.hold_until.is_some())
    }

    /// Whether the site has ever objected: then the state is worth remembering for long.
    #[must_use]
    pub fn is_taught(&self) -> bool {
        self.rate_refused.is_some()
            || self.connections_refused.is_some()
            || self.hold_until.is_some()
            || self.per_connection_cut_at > Timestamp(0)
    }

    /// Takes in what was seen up to `now`; tells what it changed.
    pub fn observe(&mut self, limits: &Limits, now: Timestamp, seen: &Observation) -> Vec<Change> {
        let mut changes =
            Changes { list: Vec::new(), seen: seen.of_all(), own: seen.held_against(self.rate) };
        if self.heard_at == Timestamp(0) {
            self.begun_at = now;
        }
        self.keep_within(limits, &mut changes);
        self.pass_time(limits, now, &mut changes);
        self.learn_messages_per_connection(limits, now, &mut changes);
        if !self.observe_hold(limits, now, seen, &mut changes) {
            self.observe_connections(limits, now, &mut changes);
            self.observe_rate(limits, now, &mut changes);
        }
        self.observe_complaints(limits, now, &mut changes);
        self.round(limits);
        changes.list.iter_mut().for_each(Change::round);
        changes.list
    }

    /// To a millionth: records are short, and read back as the same numbers.
    fn round(&mut self, limits: &Limits) {
        self.rate = millionths(self.rate).clamp(self.rate_least(limits), limits.rate_max);
        self.rate_told = millionths(self.rate_told);
        self.rate_refused = self.rate_refused.map(millionths);
    }

    /// Limits may have been changed since the last time.
    fn keep_within(&mut self, limits: &Limits, changes: &mut Changes) {
        let rate = self.rate.clamp(self.rate_least(limits), limits.rate_max);
        if rate != self.rate {
            changes.add(Dimension::Rate, self.rate, rate, Why::Limits, 0);
            (self.rate, self.rate_told) = (rate, rate);
        }
        let connections = self.connections.clamp(1, limits.connections_max);
        if connections != self.connections {
            let (from, to) = (f64::from(self.connections), f64::from(connections));
            changes.add(Dimension::Connections, from, to, Why::Limits, 0);
            self.connections = connections;
        }
        let most = limits.messages_per_connection_max;
        let per_connection = self.per_connection.clamp(1, most);
        if per_connection != self.per_connection {
            let (from, to) = (f64::from(self.per_connection), f64::from(per_connection));
            changes.add(Dimension::MessagesPerConnection, from, to, Why::Limits, 0);
            self.per_connection = per_connection;
        }
    }

    fn learn_messages_per_connection(
        &mut self,
        limits: &Limits,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let seen = changes.seen;
        let from = self.per_connection;
        let why = if seen.per_connection_refusals > 0 {
            let learned = seen.carried_min.unwrap_or(from / 2).clamp(1, from);
            self.per_connection = learned;
            self.per_connection_cut_at = now;
            Why::EnoughMessages
        } else if from < limits.messages_per_connection_max
            && now.since(self.per_connection_cut_at) >= PER_CONNECTION_RETEST
        {
            let more = from.saturating_add(from / 4 + 1);
            self.per_connection = more.min(limits.messages_per_connection_max);
            self.per_connection_cut_at = now;
            Why::Retest
        } else {
            return;
        };
        if from != self.per_connection {
            let (from, to) = (f64::from(from), f64::from(self.per_connection));
            let what = Dimension::MessagesPerConnection;
            changes.add(what, from, to, why, seen.per_connection_refusals);
        }
    }

    fn observe_connections(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        let seen = changes.seen;
        let from = self.connections;
        let mut why = Why::Demand;
        if seen.connection_refusals > 0 {
            self.connections_step_at = now;
            if now.since(self.connections_cut_at) < EPISODE {
                return;
            }
            // At least one was too many; how many of the others were let in is not known.
            self.connections_refused = Some(from);
            self.connections = (from * 3 / 4).min(from.saturating_sub(1)).max(1);
            self.connections_cut_at = now;
            why = Why::TooManyConnections;
        } else if seen.demand && seen.connections >= from && !self.rate_binds(&seen) {
            let (pause, to) = match self.connections_refused {
                None => (Duration::from_secs(1), from + from / 2 + 1),
                Some(refused) if from + 1 < refused => (CONNECTION_STEP, from + 1),
                Some(_) => (CONNECTION_RETEST, from + 1),
            };
            if now.since(self.connections_step_at) < pause {
                return;
            }
            self.connections = to.min(limits.connections_max);
            self.connections_step_at = now;
        }
        if from != self.connections {
            let (from, to) = (f64::from(from), f64::from(self.connections));
            changes.add(Dimension::Connections, from, to, why, seen.connection_refusals);
        }
    }
}

/// The changes of one observation.
struct Changes {
    list: Vec<Change>,
    /// What all relays saw, judged by one of them, and what this one did.
    seen: Observation,
    own: Observation,
}

impl Changes {
    fn add(&mut self, what: Dimension, from: f64, to: f64, why: Why, refusals: u32) {
        let attempts = self.seen.attempts();
        self.list.push(Change { what, from, to, why, refusals, attempts, until: None });
    }
}

/// The precision in which rates are kept and told.
pub(super) fn millionths(rate: f64) -> f64 {
    (rate * 1e6).round() / 1e6
}
