//! When a site rests, and what becomes of those who wait for it meanwhile: they go by another
//! source, or back to the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mail::egress::Standing;
use mail::queue::Outcome;
use mail::{Reply, Timestamp};

use super::SiteLane;
use crate::job::Settlement;
use crate::relay::{Relay, lock};

/// A site that nobody could connect to rests this long, doubling to the maximum.
const REST: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(60);
/// A source that has no way to a site is not tried there again for so long: what addresses a site
/// has seldom changes.
const NO_WAY_FOR: Duration = Duration::from_secs(600);

/// Recipients that share a moment share a place in the queue.
fn on_the_second(at: Timestamp) -> Timestamp {
    Timestamp(at.0.div_ceil(1000) * 1000)
}

impl SiteLane {
    /// Until when nothing can go, if so: a block, a ceiling, or nobody answers.
    pub(crate) fn at_rest(&self, now: Timestamp) -> Option<Timestamp> {
        let rests = self.pace.hold(now).into_iter().chain(self.rests_until(now));
        rests.chain(self.shut_until(now)).chain(self.full_until(now)).max()
    }

    /// Until when nobody tries, because nobody answered.
    pub(super) fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        let rest = Timestamp(self.rest_until.load(Ordering::Relaxed));
        (rest > now).then_some(rest)
    }

    /// Until when nobody tries, because the site is a smart host that did not let us in.
    pub(crate) fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.smart.as_ref()?.shut_until(now).map(on_the_second)
    }

    /// How its source stands with the site. A block is over when a probe has passed, not before.
    pub(crate) fn standing(&self, now: Timestamp) -> Standing {
        if self.pace.was_held() {
            Standing::Rests { probed: self.waiting() > 0 }
        } else if self.is_unfit(now) {
            Standing::Unfit
        } else {
            Standing::Fit
        }
    }

    fn is_unfit(&self, now: Timestamp) -> bool {
        let has_no_way = self.unfit_until.load(Ordering::Relaxed) > now.0;
        has_no_way || self.egress.rests(now) || self.full_until(now).is_some()
    }

    /// The source has no way to the site: its addresses are of another family.
    pub(crate) fn has_no_way(&self, now: Timestamp) {
        self.unfit_until.store((now + NO_WAY_FOR).0, Ordering::Relaxed);
    }

    /// The site blocks the source, and says so.
    pub(crate) fn heard_block(&self, reply: &Reply) {
        *lock(&self.blocked) = Some(reply.clone());
    }

    /// What the site last said when it blocked the source.
    pub(crate) fn last_block(&self) -> Option<Reply> {
        lock(&self.blocked).clone()
    }

    /// What last kept this relay from the site; it speaks of no recipient.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = lock(&self.trouble);
        (!trouble.is_empty()).then(|| trouble.clone())
    }

    /// No session came about, and why.
    pub(crate) fn heard_trouble(&self, words: &str) {
        let mut trouble = lock(&self.trouble);
        words.clone_into(&mut trouble);
    }

    /// Nobody could connect: all rest for a while. Those that tried at the same time count once.
    pub(crate) fn unreachable(&self, now: Timestamp) {
        if self.rest_until.load(Ordering::Relaxed) > now.0 {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(10);
        let rest = (REST * 2u32.pow(failures)).min(REST_MAX);
        self.rest_until.store((now + rest).0, Ordering::Relaxed);
    }

    /// An operator says that somebody can again.
    pub(crate) fn try_again(&self) {
        self.unfit_until.store(0, Ordering::Relaxed);
        self.smart.iter().for_each(|smart| smart.opens());
        self.reachable();
        self.rest_until.store(0, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Somebody could.
    pub(crate) fn reachable(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.egress.works();
    }

    /// The source is blocked here, or cannot go here at all: whoever waits goes by the next source
    /// of its pool that can. Where it is blocked one of those who were never sent to stays, as a
    /// probe.
    pub(super) fn move_on(&self, relay: &Arc<Relay>, now: Timestamp) {
        let mut staying = match self.standing(now) {
            Standing::Fit => return,
            Standing::Rests { .. } => 1,
            Standing::Unfit => 0,
        };
        if self.waiting() <= staying || !relay.is_replaceable(&self.key) {
            return;
        }
        // Taken out first: no lock of this lane is held while another's is.
        let waiting = self.lock().take(|_| true);
        for job in waiting {
            let probes = staying > 0 && job.attempts == 0;
            let stays = if probes { Some(job) } else { relay.push_beside(self, job) };
            if let Some(job) = stays {
                staying -= usize::from(probes);
                self.keep(job, false);
            }
        }
    }

    /// Blocked, or dead: whoever waits is handed back until then. A short rest is waited out here.
    pub(super) async fn hand_back(&self, relay: &Relay, until: Timestamp) {
        let left = until.since(relay.now());
        if left < Duration::from_secs(3) {
            return;
        }
        let due = on_the_second(until);
        // One stays, for the probe, unless nobody shall try.
        let now = relay.now();
        let none_stays = self.shut_until(now).or(self.full_until(now)).is_some();
        loop {
            let job = self.lock().pop_last(none_stays);
            let Some(job) = job else { break };
            relay.settle(Settlement::silent(job, Outcome::Waits { due })).await;
        }
    }
}
