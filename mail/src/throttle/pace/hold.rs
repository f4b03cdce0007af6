//! Holds: a source that the site blocks rests there, but for probes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BLOCKS_MIN, Changes, Pace};
use crate::throttle::{Change, Dimension, Limits, Observation, Why};
use crate::time::Timestamp;

const BLOCKED_SHARE_MIN: f64 = 0.5;
/// Blocks within this time speak for one another.
const SUSPECTED_FOR: Duration = Duration::from_secs(60);

/// Blocks that were seen, and what else, since the first of them. What was seen is told within a
/// tenth of a second, so at a slow pace each block comes alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Suspicion {
    since: Timestamp,
    blocks: u32,
    attempts: u32,
}

impl Pace {
    /// Blocks suspend the site but for probes; a probe that passes ends that. Whether
    /// the hold goes on.
    pub(super) fn observe_hold(
        &mut self,
        limits: &Limits,
        now: Timestamp,
        seen: &Observation,
        changes: &mut Changes,
    ) -> bool {
        let blocked = if self.hold_until.is_some() {
            // One more block says that it goes on.
            (seen.blocks > 0 && seen.passed == 0).then_some(Suspicion {
                since: now,
                blocks: seen.blocks,
                attempts: seen.attempts(),
            })
        } else {
            self.suspect(now, seen)
        };
        if let Some(evidence) = blocked {
            self.suspicion = None;
            self.hold(limits, now, evidence, changes);
        } else if self.hold_until.is_some() && seen.passed > 0 {
            self.end_hold(limits, now, changes);
        }
        self.hold_until.is_some()
    }

    /// Adds what was seen, by one relay and as it is, to what speaks for a block; tells when that
    /// is enough.
    fn suspect(&mut self, now: Timestamp, seen: &Observation) -> Option<Suspicion> {
        let fresh = self.suspicion.filter(|s| now.since(s.since) < SUSPECTED_FOR);
        let begun =
            || (seen.blocks > 0).then_some(Suspicion { since: now, blocks: 0, attempts: 0 });
        self.suspicion = fresh.or_else(begun);
        let all = self.suspicion.as_mut()?;
        all.blocks = all.blocks.saturating_add(seen.blocks);
        all.attempts = all.attempts.saturating_add(seen.attempts());
        let share = f64::from(all.blocks) / f64::from(all.attempts.max(1));
        let is_enough = all.blocks >= BLOCKS_MIN && share >= BLOCKED_SHARE_MIN;
        self.suspicion.filter(|_| is_enough)
    }

    /// A new hold, or a longer one; a probe that is blocked within one begins it anew.
    fn hold(
        &mut self,
        limits: &Limits,
        now: Timestamp,
        evidence: Suspicion,
        changes: &mut Changes,
    ) {
        let hold_s = |holds: u32| {
            let doubled = limits.hold_s.saturating_mul(1 << holds.min(20));
            doubled.min(limits.hold_max_s)
        };
        match self.hold_until {
            Some(until) if now < until => {
                let again = Duration::from_secs(hold_s(self.holds.saturating_sub(1)));
                self.hold_until = Some(now + again);
            }
            _ => {
                let hold_s = hold_s(self.holds);
                self.holds = self.holds.saturating_add(1);
                if self.hold_until.is_none() {
                    self.hold_since = Some(now);
                }
                self.hold_until = Some(now + Duration::from_secs(hold_s));
                self.hold_told = self.hold_until;
                changes.list.push(Change {
                    what: Dimension::Hold,
                    from: 0.0,
                    to: hold_s as f64,
                    why: Why::Blocked,
                    refusals: evidence.blocks,
                    attempts: evidence.attempts,
                    until: self.hold_until,
                });
            }
        }
    }

    /// Begins again low: a block that follows a block is the worst.
    fn end_hold(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        let (hold, rate) = self.lift_hold(limits, now, Why::ProbePassed);
        changes.list.push(hold);
        changes.add(Dimension::Rate, rate.from, rate.to, Why::ProbePassed, 0);
    }

    /// What ends a hold: the change of it, and the rate's.
    pub(super) fn lift_hold(
        &mut self,
        limits: &Limits,
        now: Timestamp,
        why: Why,
    ) -> (Change, Change) {
        self.hold_until = None;
        self.hold_told = None;
        self.hold_since = None;
        self.suspicion = None;
        self.holds = 0;
        let from = self.rate;
        let refused = from.min(self.rate_refused.unwrap_or(from));
        self.rate_refused = Some(refused);
        self.rate = (refused / 4.0).clamp(limits.rate_min, limits.rate_max);
        self.rate_told = self.rate;
        self.rate_cut_at = now;
        let change =
            |what, from, to| Change { what, from, to, why, refusals: 0, attempts: 0, until: None };
        (change(Dimension::Hold, 1.0, 0.0), change(Dimension::Rate, from, self.rate))
    }
}
