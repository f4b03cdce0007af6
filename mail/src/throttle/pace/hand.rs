//! What operators do to a pace, and what they are told of it.

use serde::Serialize;

use super::{Pace, millionths};
use crate::throttle::{Change, Dimension, Fixed, Limits, Observation, Told, Why};
use crate::time::Timestamp;

/// Why a change cannot be undone.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotUndone {
    /// A block that is over.
    #[error("a block that is over cannot be put back: suspend the site or the source instead")]
    HoldEnded,
    /// A block that is not there any more.
    #[error("the site does not block the source any more")]
    NotHeld,
    /// It is as before already.
    #[error("{0} is {1} already, as before that change")]
    AsBefore(Dimension, f64),
    /// What it was before is out of bounds by now.
    #[error("{0} was {1} before that change, which the limits do not allow any more")]
    OutOfBounds(Dimension, f64),
}

/// What a site took in an hour of the day when it last objected in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HourKnown {
    /// The hour, UTC.
    pub hour: u8,
    /// Messages a second.
    pub rate: f64,
    /// The same, the day before that.
    pub earlier: Option<f64>,
}

impl Pace {
    /// Takes in what was seen while an operator has fixed some of it: what is fixed moves neither up
    /// nor down, and is afterwards what it was.
    pub fn observe_under(
        &mut self,
        fixed: &Fixed,
        limits: &Limits,
        now: Timestamp,
        seen: &Observation,
    ) -> Vec<Change> {
        if fixed.is_nothing() {
            return self.observe(limits, now, seen);
        }
        let known = self.clone();
        // What is seen is seen at what is fixed: it says nothing about other numbers.
        self.rate = fixed.rate.unwrap_or(self.rate);
        self.connections = fixed.connections.unwrap_or(self.connections);
        self.per_connection = fixed.messages_per_connection.unwrap_or(self.per_connection);
        let mut changes = self.observe(limits, now, seen);
        if fixed.rate.is_some() {
            self.rate_as(&known);
        }
        if fixed.connections.is_some() {
            self.connections_as(&known);
        }
        if fixed.messages_per_connection.is_some() {
            self.per_connection = known.per_connection;
            self.per_connection_cut_at = known.per_connection_cut_at;
        }
        changes.retain(|change| match change.what {
            Dimension::Rate => fixed.rate.is_none(),
            Dimension::Connections => fixed.connections.is_none(),
            Dimension::MessagesPerConnection => fixed.messages_per_connection.is_none(),
            Dimension::Hold => true,
        });
        changes
    }

    fn rate_as(&mut self, known: &Self) {
        self.rate = known.rate;
        self.rate_refused = known.rate_refused;
        self.rate_cut_at = known.rate_cut_at;
        self.rate_step_at = known.rate_step_at;
        self.rate_told = known.rate_told;
        self.hours.clone_from(&known.hours);
        self.complaints = known.complaints;
        self.evidence = known.evidence.clone();
    }

    fn connections_as(&mut self, known: &Self) {
        self.connections = known.connections;
        self.connections_refused = known.connections_refused;
        self.connections_cut_at = known.connections_cut_at;
        self.connections_step_at = known.connections_step_at;
    }

    /// An operator ends a block: the source is used there again, slowly, as after a probe that
    /// passed. Nothing when it is not blocked.
    pub fn release(&mut self, limits: &Limits, now: Timestamp) -> Vec<Change> {
        if self.hold_until.is_none() {
            return Vec::new();
        }
        let (hold, rate) = self.lift_hold(limits, now, Why::Released);
        self.round(limits);
        let mut changes = vec![hold, rate];
        changes.iter_mut().for_each(Change::round);
        changes
    }

    /// An operator puts a dimension back to what it was before a change.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn undo(
        &mut self,
        change: &Change,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Vec<Change>, NotUndone> {
        let to = change.from;
        let out = NotUndone::OutOfBounds(change.what, to);
        let from = match change.what {
            Dimension::Hold if change.until.is_none() => return Err(NotUndone::HoldEnded),
            Dimension::Hold if self.hold_until.is_none() => return Err(NotUndone::NotHeld),
            Dimension::Hold => return Ok(self.release(limits, now)),
            Dimension::Rate if !(limits.rate_min..=limits.rate_max).contains(&to) => {
                return Err(out);
            }
            Dimension::Rate => std::mem::replace(&mut self.rate, to),
            Dimension::Connections => {
                let to = within(to, limits.connections_max).ok_or(out)?;
                f64::from(std::mem::replace(&mut self.connections, to))
            }
            Dimension::MessagesPerConnection => {
                let to = within(to, limits.messages_per_connection_max).ok_or(out)?;
                f64::from(std::mem::replace(&mut self.per_connection, to))
            }
        };
        if from == to {
            return Err(NotUndone::AsBefore(change.what, to));
        }
        self.forget_lesson(change.what, now);
        self.round(limits);
        let what = change.what;
        let (refusals, attempts, why) = (0, 0, Why::Undone);
        let mut undone = Change { what, from, to, why, refusals, attempts, until: None };
        undone.round();
        Ok(vec![undone])
    }

    /// What the site said of a dimension does not count any more; what it says from now on does.
    fn forget_lesson(&mut self, what: Dimension, now: Timestamp) {
        match what {
            Dimension::Rate => {
                self.rate_told = self.rate;
                self.rate_refused = self.rate_refused.filter(|refused| *refused >= self.rate);
                self.rate_step_at = now;
                self.evidence = super::Evidence::default();
            }
            Dimension::Connections => {
                let still = |refused: &u32| *refused > self.connections;
                self.connections_refused = self.connections_refused.filter(still);
                self.connections_step_at = now;
            }
            // Begins a day anew, in which nothing higher is tried.
            Dimension::MessagesPerConnection => self.per_connection_cut_at = now,
            Dimension::Hold => {}
        }
    }

    /// The rate that the site took when it last objected.
    #[must_use]
    pub fn rate_refused(&self) -> Option<f64> {
        self.rate_refused
    }

    /// The connections at which the site last objected.
    #[must_use]
    pub fn connections_refused(&self) -> Option<u32> {
        self.connections_refused
    }

    /// When the rate, connections and messages per connection were last lowered or, for the last,
    /// tried higher; `None`: never, or by nothing that the site said.
    #[must_use]
    pub fn cut_at(&self, what: Dimension) -> Option<Timestamp> {
        let at = match what {
            Dimension::Rate => self.rate_cut_at,
            Dimension::Connections => self.connections_cut_at,
            Dimension::MessagesPerConnection => self.per_connection_cut_at,
            Dimension::Hold => self.hold_since.unwrap_or_default(),
        };
        (at > Timestamp(0)).then_some(at)
    }

    /// The number itself, whatever a hold leaves of it.
    #[must_use]
    pub fn rate_found(&self) -> f64 {
        self.rate
    }

    /// The same of connections.
    #[must_use]
    pub fn connections_found(&self) -> u32 {
        self.connections
    }

    /// When the record began; `None` when it is from before that was kept.
    #[must_use]
    pub fn begun_at(&self) -> Option<Timestamp> {
        (self.begun_at > Timestamp(0)).then_some(self.begun_at)
    }

    /// When anything was last heard of the site.
    #[must_use]
    pub fn heard_at(&self) -> Option<Timestamp> {
        (self.heard_at > Timestamp(0)).then_some(self.heard_at)
    }

    /// What it took by hour of the day, as far as it objected, in the order of the hours.
    #[must_use]
    pub fn hours_known(&self) -> Vec<HourKnown> {
        let mut hours: Vec<HourKnown> = self.hours.iter().map(super::Level::known).collect();
        hours.sort_by_key(|known| known.hour);
        hours
    }

    /// The state as all changes told of it add up to.
    #[must_use]
    pub fn told(&self) -> Told {
        Told {
            rate: Some(millionths(self.rate_told)),
            connections: Some(self.connections),
            messages_per_connection: Some(self.per_connection),
            // Records from before this was kept know only the end of now.
            hold: Some(self.hold_told.or(self.hold_until)),
        }
    }
}

fn within(to: f64, most: u32) -> Option<u32> {
    let whole = (1.0..=f64::from(most)).contains(&to);
    whole.then_some(to as u32)
}
