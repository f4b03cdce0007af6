//! Nothing passes: the site has had enough for now, and is probed.

use std::time::Duration;

use super::rate::BELOW;
use super::{Changes, Pace};
use crate::throttle::{Limits, Why};
use crate::time::Timestamp;

/// Of so many attempts in a row none passes: the site has had enough for now.
const ALL_REFUSED: u32 = 8;
/// … for at least so long: a refusal comes sooner than the receipt of a message that went before it.
const NOTHING_FOR: Duration = Duration::from_millis(150);
/// Probing gaps while all is refused: a tenth of the time that it has lasted, within these. A day
/// whose messages are used up after an hour costs some 200 of them.
const GAP_S_MIN: f64 = 0.5;
const GAP_S_MAX: f64 = 600.0;
/// Until then the least rate holds for probes, too.
const LEAST_FOR_S: f64 = 100.0;
/// A site that takes nothing for so long counts by the minute or longer, and is remembered for it:
/// more than its mean passes for a while, and is refused later.
const COUNTS_FROM: Duration = Duration::from_secs(3);
const COUNTS_FOR: Duration = Duration::from_secs(3600);
/// What is on its way is answered after so long.
const ON_ITS_WAY_S: f64 = 2.0;
/// What follows so closely is no other limit, but the end of a count.
const AT_ONCE: Duration = Duration::from_millis(1500);
const AT_ONCE_COUNTS: Duration = Duration::from_secs(10);
/// A mean over less says little.
const MEAN_S_MIN: f64 = 10.0;
const MEAN_OF_MIN: f64 = 30.0;

impl Pace {
    /// Whether so many were refused in a row that nothing passes at all.
    pub(super) fn is_choking(&self, now: Timestamp) -> bool {
        self.evidence.in_a_row >= ALL_REFUSED
            && self.evidence.passed_at.is_none_or(|at| now.since(at) >= NOTHING_FOR)
    }

    /// The least rate: where nothing passes for long, that of probes.
    pub(super) fn rate_least(&self, limits: &Limits) -> f64 {
        let is_choked = self.evidence.choked.is_some();
        if is_choked { limits.rate_min.min(1.0 / GAP_S_MAX) } else { limits.rate_min }
    }

    /// Nothing passes: single probes, the rarer the longer it lasts.
    pub(super) fn choke(&mut self, limits: &Limits, now: Timestamp, changes: &mut Changes) {
        let before = self.rate;
        let before_s = |at| now.since(at) < Duration::from_secs(10);
        let lately = self.evidence.took_since.is_some_and(before_s);
        let before_it = self.evidence.took_before.filter(|_| lately);
        let again = before_it.is_some();
        if let Some((took, since)) = before_it {
            // It was none that ended it: one and the same.
            self.evidence.took += took;
            self.evidence.took_since = Some(since);
        }
        // Had it enough all at once, the cuts of a moment ago were for nothing.
        let counts = self.evidence.counts_until.is_some();
        let at_once = if counts { AT_ONCE_COUNTS } else { AT_ONCE };
        let at_once = |(since, _): &(Timestamp, f64)| now.since(*since) < at_once;
        let from = self.evidence.episode.filter(at_once).map_or(before, |(_, rate)| rate);
        let resume = if again { before * 0.5 } else { from * 0.93 };
        self.rate_refused = Some(self.rate_refused.unwrap_or(from).min(from));
        self.evidence.choked = Some((now, resume.max(limits.rate_min)));
        self.rate = probing(0.0).max(limits.rate_min).min(before);
        let refused = std::mem::take(&mut self.evidence.in_a_row);
        self.after_cut(now, before, Why::TooFast, refused, changes);
    }

    /// Whether all is refused still. The first that passes ends it.
    pub(super) fn choked(
        &mut self,
        limits: &Limits,
        now: Timestamp,
        changes: &mut Changes,
    ) -> bool {
        let Some((choked_at, resume)) = self.evidence.choked else { return false };
        let lasts_s = now.since(choked_at).as_secs_f64();
        // What was on its way when it began is answered by then.
        let late = if lasts_s < ON_ITS_WAY_S { changes.own.late_passed } else { 0 };
        if changes.own.passed == late {
            let least = if lasts_s < LEAST_FOR_S { limits.rate_min } else { 0.0 };
            self.rate = probing(lasts_s).clamp(least, limits.rate_max).min(resume);
            return true;
        }
        let before = self.rate;
        // Who counts by the minute or the hour has taken this much in one.
        let since = self.evidence.took_since.replace(now).unwrap_or(choked_at);
        let lasted_s = now.since(since).as_secs_f64();
        let counts = now.since(choked_at) >= COUNTS_FROM;
        let took = self.evidence.took;
        let resume = match counts && lasted_s >= MEAN_S_MIN {
            true if took >= MEAN_OF_MIN => {
                (took / lasted_s * BELOW).clamp(resume / 12.0, resume * 1.2)
            }
            true => (took / lasted_s * BELOW).clamp(resume / 4.0, resume),
            false => resume,
        };
        self.evidence.choked = None;
        self.evidence.episode = None;
        self.evidence.coarse = false;
        self.evidence.took_before = Some((std::mem::take(&mut self.evidence.took), since));
        if counts {
            self.evidence.counts_until = Some(now + COUNTS_FOR);
        }
        self.rate = resume.clamp(limits.rate_min, limits.rate_max);
        self.rate_refused = Some(self.rate / BELOW);
        self.after_cut(now, before, Why::ProbePassed, 0, changes);
        true
    }
}

/// Messages a second while all is refused, which has lasted so many seconds.
fn probing(lasts_s: f64) -> f64 {
    1.0 / (lasts_s / 10.0).clamp(GAP_S_MIN, GAP_S_MAX)
}
