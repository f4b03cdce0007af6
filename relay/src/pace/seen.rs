//! What a relay sees of its source at a site, until it tells the common controller.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mail::classify::Signal;
use mail::throttle::Observation;

use super::{PaceMeter, TELL, TELL_ALL_WELL, TELL_REFUSAL};

pub(super) struct Seen {
    pub(super) observation: Observation,
    pub(super) since: Instant,
    pub(super) told_at: Instant,
    pub(super) refused: bool,
    /// What passed in windows that were not told.
    pub(super) untold: u32,
    /// The longest hold that a provider's rule asks for, should there be one.
    pub(super) hold: Option<Duration>,
    /// The common controller must be told, whatever was seen: its numbers may be out of bounds.
    pub(super) owed: bool,
}

impl PaceMeter {
    /// Notes what an answer says about the pace; `carried`: messages that the connection had
    /// carried; `epoch`: that in which the message was let go.
    pub(crate) fn saw(&self, signal: Signal, passed: bool, carried: u32, epoch: u32) {
        let is_late = epoch != self.epoch();
        if matches!(signal, Signal::Rate | Signal::Block) {
            self.objections.fetch_add(1, Ordering::Relaxed);
        }
        let mut seen = self.seen();
        let o = &mut seen.observation;
        match signal {
            Signal::Rate if is_late => o.late_refusals += 1,
            Signal::Rate => o.rate_refusals += 1,
            Signal::Connections => o.connection_refusals += 1,
            Signal::MessagesPerConnection => {
                o.per_connection_refusals += 1;
                o.carried_min = Some(o.carried_min.map_or(carried, |c| c.min(carried)));
            }
            Signal::Block => o.blocks += 1,
            Signal::SiteTrouble => o.trouble += 1,
            Signal::None
            | Signal::Greylist
            | Signal::RecipientBusy
            | Signal::SenderDomain
            | Signal::LinkDomain
            | Signal::Content => {
                o.passed += u32::from(passed);
                o.late_passed += u32::from(passed && is_late);
            }
        }
        let refused = matches!(
            signal,
            Signal::Rate | Signal::Connections | Signal::MessagesPerConnection | Signal::Block
        );
        if refused && !seen.refused {
            seen.refused = true;
            self.refused.notify_one();
        }
    }

    /// Somebody there complained.
    pub(crate) fn heard_complaint(&self) {
        self.objections.fetch_add(1, Ordering::Relaxed);
        let mut seen = self.seen();
        seen.observation.complaints += 1;
    }

    /// Whether it is time to tell what was seen. What teaches nothing is dropped instead.
    pub(crate) fn has_news(&self) -> bool {
        let mut seen = self.seen();
        let age = seen.since.elapsed();
        if age < TELL {
            return seen.refused && age >= TELL_REFUSAL;
        }
        let Observation { passed, late_passed, .. } = seen.observation;
        let passed = Observation { passed, late_passed, ..Observation::default() };
        let all_well = !seen.owed
            && seen.observation == passed
            && !self.is_pressed()
            && self.hold_until.load(Ordering::Relaxed) == 0;
        if all_well && (passed.passed == 0 || seen.told_at.elapsed() < TELL_ALL_WELL) {
            seen.untold = seen.untold.saturating_add(passed.passed);
            seen.observation = Observation::default();
            seen.since = Instant::now();
            self.held_back.store(false, Ordering::Relaxed);
            self.starved.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// More waits than the pace lets go, and it is the pace that holds it back.
    fn is_pressed(&self) -> bool {
        self.starved.load(Ordering::Relaxed) && !self.held_back.load(Ordering::Relaxed)
    }

    pub(super) fn collect(&self, in_use: u32) -> (Observation, Option<Duration>) {
        let mut seen = self.seen();
        let mut observation = std::mem::take(&mut seen.observation);
        observation.window = seen.since.elapsed();
        observation.untold = std::mem::take(&mut seen.untold);
        observation.connections = in_use;
        let held_back = self.held_back.swap(false, Ordering::Relaxed);
        observation.demand = self.starved.swap(false, Ordering::Relaxed) && !held_back;
        observation.sharing = self.sharing.load(Ordering::Relaxed);
        observation.at_rate = self.rate();
        seen.since = Instant::now();
        seen.told_at = Instant::now();
        seen.refused = false;
        seen.owed = false;
        (observation, seen.hold.take())
    }
}
