//! Complaints: people at the site call what they get spam. They are told by mail, hours later, and
//! speak of no limit; but whoever goes on like that is blocked next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Changes, Pace};
use crate::throttle::{Limits, Why};
use crate::time::Timestamp;

/// What was heard counts half after this.
const HALF_LIFE: Duration = Duration::from_secs(86_400);
/// So many complaints, and so large a share of what the site took: Gmail's senders are to avoid ever
/// reaching 0.3 % (Email sender guidelines, spam rate).
const COMPLAINTS_MIN: f64 = 5.0;
const SHARE: f64 = 0.003;
/// What is left of the rate, and for how long it neither falls again nor rises.
const LEFT: f64 = 0.7;
const PAUSE: Duration = Duration::from_secs(3600);

/// What was heard lately.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Heard {
    at: Timestamp,
    passed: f64,
    complaints: f64,
    cut_at: Timestamp,
}

impl Pace {
    /// Whether the rate was cut for complaints not long ago.
    pub(super) fn is_complained_of(&self, now: Timestamp) -> bool {
        self.complaints.cut_at > Timestamp(0) && now.since(self.complaints.cut_at) < PAUSE
    }

    /// Too large a share of complaints takes a third of the rate, once in an hour.
    pub(super) fn observe_complaints(
        &mut self,
        limits: &Limits,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let seen = changes.seen;
        let heard = &mut self.complaints;
        let halves = now.since(heard.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let left = if heard.at > Timestamp(0) { 0.5f64.powf(halves) } else { 0.0 };
        heard.at = now;
        heard.passed = heard.passed * left + f64::from(seen.passed) + f64::from(seen.untold);
        heard.complaints = heard.complaints * left + f64::from(seen.complaints);
        let is_much = heard.complaints >= COMPLAINTS_MIN && heard.complaints > SHARE * heard.passed;
        if seen.complaints == 0 || !is_much || self.is_complained_of(now) {
            return;
        }
        let complaints = self.complaints.complaints.round() as u32;
        self.complaints.cut_at = now;
        let before = self.rate;
        self.rate_refused = Some(self.rate_refused.unwrap_or(before));
        self.rate = (before * LEFT).max(self.rate_least(limits)).min(before);
        self.after_cut(now, before, Why::Complaints, complaints, changes);
    }
}
