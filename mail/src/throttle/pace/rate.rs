//! The rate: cut when the site objects, climbing while more could go.
//!
//! Each refusal is weighed against what passes beside it (a cumulative sum, Page 1954): three in a
//! row speak, three in a thousand do not. Above the rate at which the site last objected one speaks
//! for two, because there it is expected. What a cut costs in refusals is paid off by what passes
//! below it before the limit is tried again, so that refusals stay under a share whatever the pace.

use std::time::Duration;

use super::evidence::{CREPT, Evidence};
use super::{Changes, Pace};
use crate::throttle::{Dimension, Limits, Observation, Why};
use crate::time::Timestamp;

/// So much of it is certain below the rate that the site refused, and above it.
const CERTAIN: f64 = 6.5;
const CERTAIN_ABOVE: f64 = 4.5;
/// At so few messages a second one refusal above it is enough.
const SLOW: f64 = 10.0;
const CERTAIN_SLOW: f64 = 2.2;
const CERTAIN_CREPT: f64 = 5.0;
/// Trouble of the site's own, as a share of attempts, that slows us down, and how many make it.
const TROUBLE_SHARE_MIN: f64 = 0.2;
const TROUBLE_MIN: u32 = 3;
/// Where the rate goes after a cut, of the rate that passed.
pub(super) const BELOW: f64 = 0.96;
/// Where it waits until refusals are paid off, of the same.
const WAITS_AT: f64 = 0.98;
/// The rate's growth in a second while the site has never objected: 10 to 100 in 9 s.
const FREE_GROWTH: f64 = 1.3;
/// Between steps up, and the messages that one is to be tried with.
const STEP: Duration = Duration::from_secs(2);
const STEP_MESSAGES: u32 = 8;
/// A step near the rate that was refused, as a share of it; up to eight times as much at a slow pace.
const STEP_SHARE: f64 = 0.005;
/// From here above it on each is half as long again as the one before it, up to a quarter.
const ABOVE: f64 = 1.1;
const STEP_MAX: f64 = 0.25;
/// Growth is told when it comes to a tenth.
const TELL_FROM: f64 = 1.1;
/// Longer windows are clipped: what was not looked at for long says little about now.
const WINDOW_S_MAX: f64 = 5.0;

/// What was sent before so long without any mail says nothing about a rate.
const IDLE: Duration = Duration::from_secs(900);

/// Cuts that follow one another so closely are of one episode.
const IN_A_ROW: Duration = Duration::from_secs(8);
/// What is known weighs as much as so many answers at least.
const WEIGHT_MIN: f64 = 4.0;

impl Pace {
    pub(super) fn observe_rate(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        let seen = changes.own;
        let was_idle = self.evidence.passed_at.is_some_and(|at| now.since(at) > IDLE);
        if was_idle && self.evidence.choked.is_none() {
            (self.evidence.took, self.evidence.took_since) = (0.0, None);
        }
        self.evidence.weigh(&seen, self.rate);
        self.evidence.took_since.get_or_insert(now);
        self.evidence.passed_at = if seen.passed > 0 { Some(now) } else { self.evidence.passed_at };
        self.evidence.counts_until = self.evidence.counts_until.filter(|until| now < *until);
        if self.choked(limits, now, changes) {
            return;
        }
        let troubled = f64::from(seen.trouble) / f64::from(seen.attempts().max(1));
        if self.is_choking(now) {
            self.choke(limits, now, changes);
        } else if self.is_certain() {
            self.cut_rate(limits, now, changes);
        } else if self.evidence.crept >= CERTAIN_CREPT {
            self.edge_down(limits, now, changes);
        } else if troubled >= TROUBLE_SHARE_MIN && seen.trouble >= TROUBLE_MIN {
            self.slow_down(limits, now, changes);
        } else if seen.rate_refusals + seen.trouble + seen.blocks == 0
            && seen.demand
            && !self.is_complained_of(now)
            && self.rate_binds(&changes.seen)
        {
            self.raise_rate(limits, now, changes);
        }
    }

    /// Whether what was refused is a limit and no accident.
    fn is_certain(&self) -> bool {
        let is_above = self.rate_refused.is_some_and(|refused| self.rate >= 0.995 * refused);
        let needed = match is_above {
            true if self.rate < SLOW => CERTAIN_SLOW,
            true => CERTAIN_ABOVE,
            false => CERTAIN,
        };
        self.evidence.sum >= needed
    }

    /// Whether it was the rate that kept messages back, and not the connections.
    pub(super) fn rate_binds(&self, seen: &Observation) -> bool {
        seen.achieved() >= 0.75 * self.rate
    }

    /// Down to just below what passes, as far as the numbers can tell.
    fn cut_rate(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        let before = self.rate;
        let Evidence { passed, refused, .. } = self.evidence;
        // The limit is expected between where it was and here; many refusals say where.
        let known = self.rate_refused.map_or(0.8, |known| (known / before).powf(0.6));
        // At least about where it was a step ago.
        let known = known.max((self.evidence.stepped_from / before).powi(2)).clamp(0.5, 0.99);
        let is_many = refused >= 6.0 && refused > 0.5 * (passed + refused);
        // Cut after cut says that it is far from where it was.
        let in_a_row = now.since(self.rate_cut_at) < IN_A_ROW;
        self.evidence.cuts = if in_a_row { self.evidence.cuts.saturating_add(1) } else { 0 };
        if !in_a_row {
            let known = self.rate_refused.unwrap_or(before);
            self.evidence.episode = Some((now, before.min(known)));
        }
        let weight = match is_many {
            true => WEIGHT_MIN,
            false => {
                ((0.5 * before).max(50.0) / 2f64.powi(self.evidence.cuts.into())).max(WEIGHT_MIN)
            }
        };
        let share = ((passed + weight * known) / (passed + refused + weight)).clamp(0.25, 0.99);
        self.evidence.coarse = share < 0.9;
        self.rate_refused = Some(before * share);
        self.rate = (before * share * BELOW).clamp(limits.rate_min, limits.rate_max);
        self.after_cut(now, before, Why::TooFast, refused as u32, changes);
    }

    /// Just below: over the limit by a hair.
    fn edge_down(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        let before = self.rate;
        let refusals = (self.evidence.crept / CREPT) as u32;
        self.rate_refused = Some(before * 0.99);
        self.rate = (before * 0.99 * BELOW).clamp(limits.rate_min, limits.rate_max);
        self.after_cut(now, before, Why::TooFast, refusals, changes);
    }

    /// Trouble of the site's own tells nothing about its limit: growth goes on as before.
    fn slow_down(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        if now.since(self.rate_cut_at) < Duration::from_secs(5) {
            return;
        }
        let (before, seen) = (self.rate, changes.seen);
        let share = f64::from(seen.passed) / f64::from(seen.attempts().max(1));
        self.rate = (before * share.clamp(0.5, 0.93)).clamp(limits.rate_min, limits.rate_max);
        self.after_cut(now, before, Why::SiteTrouble, seen.trouble, changes);
    }

    pub(super) fn after_cut(
        &mut self,
        now: Timestamp,
        before: f64,
        why: Why,
        refusals: u32,
        changes: &mut Changes,
    ) {
        self.evidence.forget();
        self.evidence.above = 0;
        if why == Why::TooFast && self.evidence.choked.is_none() {
            self.note_hour(now);
        }
        // Steps up that were not told are taken back without a word otherwise.
        let from = if before == self.rate { self.rate_told } else { before };
        self.rate_told = self.rate;
        self.rate_cut_at = now;
        self.rate_step_at = now;
        if from != self.rate {
            changes.add(Dimension::Rate, from, self.rate, why, refusals);
        }
    }

    fn raise_rate(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        // Several relays look at the same seconds.
        let since_step = now.since(self.rate_step_at);
        let window_s = changes.seen.window.min(since_step).as_secs_f64().min(WINDOW_S_MAX);
        let Some(refused) = self.rate_refused else {
            let to = self.rate * FREE_GROWTH.powf(window_s);
            self.raise_to(to, limits, now, changes);
            return;
        };
        if since_step < STEP || self.evidence.attempts < STEP_MESSAGES {
            return;
        }
        // The end of a count came and went while the rate was being cut.
        if let Some((_, from)) = self.evidence.episode
            && self.evidence.counts_until.is_some()
            && now.since(self.rate_cut_at) >= STEP
            && self.rate < 0.7 * from
        {
            self.rate_refused = Some(from);
            self.evidence.episode = None;
            return self.raise_to(0.9 * from, limits, now, changes);
        }
        let waits_at = WAITS_AT * refused;
        let coarse = if self.evidence.coarse { 4.0 } else { 1.0 };
        let step = STEP_SHARE * (25.0 / self.rate).clamp(coarse, 8.0);
        // Rates are kept to a millionth: one that is rounded down is there.
        let mut to = if self.rate + 1e-6 < 0.9 * refused {
            (self.rate + 0.08 * refused).min(0.9 * refused)
        } else if self.rate < ABOVE * refused {
            self.rate + step * refused
        } else {
            // The limit of then is not the limit of now: longer steps each time.
            self.evidence.above = self.evidence.above.saturating_add(1);
            let longer = if self.evidence.counts_until.is_some() {
                1.0
            } else {
                1.5f64.powi(i32::from(self.evidence.above))
            };
            self.rate * (1.0 + (step * longer).min(STEP_MAX))
        };
        if self.evidence.debt > 0.0 && to > waits_at {
            to = self.rate.max(waits_at.min(to));
        }
        self.raise_to(to, limits, now, changes);
    }

    fn raise_to(&mut self, to: f64, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        self.rate_step_at = now;
        self.evidence.attempts = 0;
        self.evidence.stepped_from = self.rate;
        self.rate = to.clamp(limits.rate_min, limits.rate_max);
        if self.rate >= self.rate_told * TELL_FROM {
            changes.add(Dimension::Rate, self.rate_told, self.rate, Why::Demand, 0);
            self.rate_told = self.rate;
        }
    }
}
