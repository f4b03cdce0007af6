//! One recipient in this relay's hands, from lease to settlement, and the count of
//! all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mail::gate;
use mail::queue::{BatchId, End, Lane, Outcome, Token};
use mail::{DeliveryId, Domain, Event, ShardId};
use store::Batch;

use crate::catalog::Sending;
use crate::connector::Place;
use crate::demand::Demand;

/// A lease as its jobs remember it.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) shard: ShardId,
    pub(crate) token: Token,
    pub(crate) slot: u8,
    pub(crate) batch: BatchId,
    pub(crate) lane: Lane,
    pub(crate) count: u16,
    /// The standing under which it was taken: after a loss the numbers differ.
    pub(crate) epoch: u64,
}

/// One recipient to be sent to.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) lease: Arc<Lease>,
    pub(crate) index: u16,
    /// Attempts before this one.
    pub(crate) attempts: u8,
    pub(crate) content: Arc<Content>,
    /// What its domain demands of TLS; none before its site is known.
    pub(crate) demand: Option<Arc<Demand>>,
    /// When it was let go, in cuts of the site's rate.
    pub(crate) epoch: u32,
    _in_hand: InHand,
}

/// What the jobs of one lease share: rows and template.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) batch: Arc<Batch>,
    pub(crate) sending: Arc<Sending>,
}

impl Job {
    pub(crate) fn new(
        lease: Arc<Lease>,
        (index, attempts): (u16, u8),
        content: Arc<Content>,
        hand: &Arc<AtomicUsize>,
    ) -> Self {
        Self {
            lease,
            index,
            attempts,
            content,
            demand: None,
            epoch: 0,
            _in_hand: InHand::new(hand),
        }
    }

    pub(crate) fn delivery(&self) -> DeliveryId {
        self.content.batch.delivery(self.index)
    }

    pub(crate) fn address(&self) -> &str {
        self.content.batch.address(self.index)
    }

    /// The recipient's domain; intake let nothing else in.
    pub(crate) fn domain(&self) -> Option<Domain> {
        self.address().rsplit_once('@')?.1.parse().ok()
    }

    /// The attempt that is made now, from 1.
    pub(crate) fn attempt(&self) -> u16 {
        u16::from(self.attempts) + 1
    }
}

/// Counts a job as long as it lives.
#[derive(Debug)]
struct InHand(Arc<AtomicUsize>);

impl InHand {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of a recipient, on its way to the queue.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) lease: Arc<Lease>,
    pub(crate) index: u16,
    pub(crate) outcome: Outcome,
    /// Told with it; `None` for what is handed back.
    pub(crate) event: Option<Box<Event>>,
    /// The version of a record that no relay here reads, where that is why it is set aside.
    pub(crate) newer: u8,
    /// The connection's place for an unsettled message, free again once this is durable.
    pub(crate) unsettled: Option<Place>,
    _job: Option<Job>,
}

impl Settlement {
    pub(crate) fn told(job: Job, outcome: Outcome, event: Event) -> Self {
        let sending = &job.content.sending;
        // No address: the delivery is found in history by its number.
        tracing::debug!(
            request = sending.request,
            campaign = %sending.id,
            delivery = event.delivery.map(tracing::field::display),
            attempt = event.attempt,
            site = event.site,
            category = event.category.map(tracing::field::display),
            "{}",
            event.kind
        );
        Self::new(job, outcome, Some(Box::new(event)))
    }

    pub(crate) fn silent(job: Job, outcome: Outcome) -> Self {
        Self::new(job, outcome, None)
    }

    /// For a recipient that never became a job, because its batch does not read.
    pub(crate) fn unread(
        lease: Arc<Lease>,
        index: u16,
        outcome: Outcome,
        event: Option<Event>,
        newer: u8,
    ) -> Self {
        let event = event.map(Box::new);
        Self { lease, index, outcome, event, newer, unsettled: None, _job: None }
    }

    fn new(job: Job, outcome: Outcome, event: Option<Box<Event>>) -> Self {
        let (lease, index) = (job.lease.clone(), job.index);
        Self { lease, index, outcome, event, newer: 0, unsettled: None, _job: Some(job) }
    }

    /// Whether it ends because its address is dead, which the gates of its campaign count.
    pub(crate) fn is_dead(&self) -> bool {
        let verdict = self.event.as_ref().and_then(|event| event.category.zip(event.hygiene));
        matches!(self.outcome, Outcome::End(End::Failed | End::Expired))
            && verdict.is_some_and(|(category, hygiene)| gate::is_dead(category, hygiene))
    }

    pub(crate) fn holding(mut self, unsettled: Place) -> Self {
        self.unsettled = Some(unsettled);
        self
    }
}
