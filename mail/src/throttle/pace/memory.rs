//! What is known from before: by hour of the day, and after a silence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hand::HourKnown;
use super::rate::BELOW;
use super::{Changes, Pace};
use crate::throttle::{Dimension, Limits, Why};
use crate::time::Timestamp;

/// Nothing heard for so long is a silence. Relays tell what goes well every ten minutes.
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// The rate is halved after a silence, and again for each of these that it has lasted.
const LONGER: [Duration; 2] = [Duration::from_secs(6 * 3600), Duration::from_secs(86_400)];
/// What a site refused so long ago says nothing any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// An hour's level of so many days ago still counts.
const DAYS: u32 = 3;
/// Levels apart by less are the same.
const ALIKE: f64 = 0.9;

/// The rate that the site took in an hour of the day (UTC) when it last objected in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    hour: u8,
    /// Days since 1970.
    day: u32,
    rate: f64,
    /// The same, the day before that.
    earlier: Option<f64>,
}

impl Level {
    pub(super) fn known(&self) -> HourKnown {
        HourKnown { hour: self.hour, rate: self.rate, earlier: self.earlier }
    }
}

fn hour_of(now: Timestamp) -> (u8, u32) {
    ((now.secs() / 3600 % 24) as u8, (now.secs() / 86_400) as u32)
}

impl Pace {
    /// Called first of all: what has changed by time alone.
    pub(super) fn pass_time(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        let before = self.heard_at;
        self.heard_at = now.max(before);
        if before == Timestamp(0) {
            return;
        }
        if now.since(self.rate_cut_at) >= FORGOTTEN_AFTER {
            self.rate_refused = None;
        }
        if now.since(self.connections_cut_at) >= FORGOTTEN_AFTER {
            self.connections_refused = None;
        }
        let silent = now.since(before);
        if silent >= SILENCE {
            let halvings = 1 + LONGER.iter().filter(|longer| silent >= **longer).count() as i32;
            let to = (self.rate / 2f64.powi(halvings)).max(limits.rate_start).min(self.rate);
            self.move_to(to, limits, now, Why::Silence, changes);
        }
        if hour_of(now) != hour_of(before) {
            self.recall_hour(limits, now, changes);
        }
    }

    /// The level of this hour on the days before: two that agree bring the rate down before the
    /// site objects; one shows how far up it may go quickly.
    fn recall_hour(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        let (hour, day) = hour_of(now);
        let is_recent =
            |level: &&Level| level.hour == hour && day.saturating_sub(level.day) <= DAYS;
        let Some(level) = self.hours.iter().find(is_recent).copied() else { return };
        let agreed = level.earlier.map(|earlier| level.rate.max(earlier));
        if let Some(down) = agreed.filter(|down| *down < ALIKE * self.rate) {
            self.rate_refused = Some(down);
            self.move_to(down * BELOW, limits, now, Why::Hour, changes);
        } else if self.rate_refused.is_some_and(|refused| refused < ALIKE * level.rate) {
            self.rate_refused = Some(level.rate);
        }
    }

    /// The site has objected: notes what it took.
    pub(super) fn note_hour(&mut self, now: Timestamp) {
        let Some(rate) = self.rate_refused else { return };
        let (hour, day) = hour_of(now);
        match self.hours.iter_mut().find(|level| level.hour == hour) {
            Some(level) if level.day == day => level.rate = rate,
            Some(level) => {
                let earlier = (level.day + 1 == day).then_some(level.rate);
                *level = Level { hour, day, rate, earlier };
            }
            None => self.hours.push(Level { hour, day, rate, earlier: None }),
        }
    }

    fn move_to(
        &mut self,
        to: f64,
        limits: &Limits,
        now: Timestamp,
        why: Why,
        changes: &mut Changes,
    ) {
        let before = self.rate;
        self.rate = to.clamp(limits.rate_min, limits.rate_max);
        if before != self.rate {
            self.evidence.forget();
            self.rate_told = self.rate;
            self.rate_step_at = now;
            changes.add(Dimension::Rate, before, self.rate, why, 0);
        }
    }
}
