//! What speaks for a limit of the rate, weighed message by message.

use serde::{Deserialize, Serialize};

use crate::throttle::Observation;
use crate::time::Timestamp;

/// What a refusal weighs, and what takes it away again: of 1 refused in 20 against 1 in 200.
const REFUSAL: f64 = 2.3;
const PASSED: f64 = 0.046;
/// The same for a rate that is over the limit by a hair: of 1 refused in 100 against 1 in 500.
pub(super) const CREPT: f64 = 1.6;
const CREPT_BACK: f64 = 0.008;
/// Of the attempts, this share may be refused: what a refusal costs is paid off at this rate.
const ALLOWED_SHARE: f64 = 0.004;
/// Paying off takes at most so long, or so long if it is one refusal at a slow pace.
const DEBT_S: f64 = 18.0;
const DEBT_S_MAX: f64 = 75.0;
/// The same at a site that counts by the minute or longer.
const DEBT_S_COUNTS: f64 = 180.0;

/// What is known about the rate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Evidence {
    /// What speaks for a limit, and what was seen since it last was nothing.
    pub(super) sum: f64,
    pub(super) passed: f64,
    pub(super) refused: f64,
    /// What speaks for a limit that lies just below, likewise.
    pub(super) crept: f64,
    /// Refusals that are not paid off yet.
    pub(super) debt: f64,
    /// Attempts since the last step, of all relays.
    pub(super) attempts: u32,
    /// Steps above the refused rate since the last cut.
    pub(super) above: u8,
    /// When the first cut in a row was made, and the rate that was known before it.
    pub(super) episode: Option<(Timestamp, f64)>,
    /// Cuts in a row before the last one.
    pub(super) cuts: u8,
    /// The rate before the last step up.
    pub(super) stepped_from: f64,
    /// The last cut was a long one: where the limit lies is known roughly, and steps are longer.
    pub(super) coarse: bool,
    /// Attempts in a row that were refused, and when something last passed.
    pub(super) in_a_row: u32,
    pub(super) passed_at: Option<Timestamp>,
    /// While all is refused: since when, and where to go on when something passes.
    pub(super) choked: Option<(Timestamp, f64)>,
    /// What has passed since all was last refused, and since when that is.
    pub(super) took: f64,
    pub(super) took_since: Option<Timestamp>,
    /// The same of the time before.
    pub(super) took_before: Option<(f64, Timestamp)>,
    /// Until when the site is taken for one that counts by the minute or longer.
    pub(super) counts_until: Option<Timestamp>,
}

impl Evidence {
    pub(super) fn forget(&mut self) {
        (self.sum, self.passed, self.refused) = (0.0, 0.0, 0.0);
        (self.crept, self.attempts) = (0.0, 0);
    }

    /// Takes in a window's messages that were let go at the rate of now. A relay tells of a refusal
    /// within a tenth of a second, so refusals are a window's last: what passed beside them is
    /// what passed in that time, or in three times as much as their number alone took.
    pub(super) fn weigh(&mut self, seen: &Observation, rate: f64) {
        let passed = f64::from(seen.passed.saturating_sub(seen.late_passed));
        let refused = f64::from(seen.rate_refusals);
        let window_s = seen.window.as_secs_f64().max(0.1);
        self.sum = (self.sum - PASSED * passed).max(0.0);
        if self.sum == 0.0 {
            let beside_s = (3.0 * refused / rate.max(0.1)).max(0.1);
            self.passed = passed * (beside_s / window_s).min(1.0);
            self.refused = 0.0;
        } else {
            self.passed += passed;
        }
        self.refused += refused;
        self.sum += REFUSAL * refused;
        self.crept = (self.crept - CREPT_BACK * passed).max(0.0) + CREPT * refused;
        let refusals = seen.rate_refusals + seen.late_refusals;
        self.in_a_row = if seen.passed > 0 { 0 } else { self.in_a_row + refusals };
        let all = passed + refused;
        let debt = self.debt + refused + f64::from(seen.late_refusals) - ALLOWED_SHARE * all;
        let one = (ALLOWED_SHARE * rate * DEBT_S_MAX).min(1.0);
        let most_s = if self.counts_until.is_some() { DEBT_S_COUNTS } else { DEBT_S };
        self.debt = debt.clamp(0.0, one.max(ALLOWED_SHARE * rate * most_s));
        self.attempts += (passed + refused) as u32;
        self.took += f64::from(seen.passed);
    }
}
