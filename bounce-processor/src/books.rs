//! What came back goes into the store together with whatever else comes back at the same moment:
//! one round trip and one fsync for all of them, where each would wait for its own.

use std::sync::Arc;

use mail::hygiene::{News, Policy, What};
use mail::{CampaignId, DeliveryId, Event, Timestamp};
use store::{AddressNews, Return, Returned, Shared, Store, Taken};
use tokio::sync::{mpsc, oneshot};

use crate::clock::now;
use crate::error::BounceError;

/// The service that says it, in events.
pub(crate) const SERVICE: &str = "bounces";
/// Mails that are written together at most: a second's worth at a good pace.
const TOGETHER_MAX: usize = 256;

/// One mail that came back.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) delivery: DeliveryId,
    pub(crate) campaign: CampaignId,
    pub(crate) kind: Returned,
    pub(crate) about: Option<About>,
    pub(crate) event: Event,
}

/// What it says of an address.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) tenant: Arc<str>,
    /// Folded.
    pub(crate) address: String,
    pub(crate) what: What,
    pub(crate) at: Timestamp,
    pub(crate) evidence: String,
}

struct Ask {
    entry: Entry,
    answer: oneshot::Sender<Shared<Taken>>,
}

/// The way into the store.
#[derive(Debug, Clone)]
pub(crate) struct Books(mpsc::Sender<Ask>);

impl Books {
    /// Writes until the last of its handles is gone.
    pub(crate) fn open(store: Store, policy: Policy) -> Self {
        let (handle, mut asks) = mpsc::channel::<Ask>(TOGETHER_MAX);
        tokio::spawn(async move {
            let mut together = Vec::with_capacity(TOGETHER_MAX);
            while asks.recv_many(&mut together, TOGETHER_MAX).await > 0 {
                write(&store, &policy, &mut together).await;
            }
        });
        Self(handle)
    }

    /// Enters it, once however often it is said. It is durable when this answers.
    pub(crate) async fn enter(&self, entry: Entry) -> Result<Taken, BounceError> {
        let gone = || BounceError::Defect("nobody writes the books".into());
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask { entry, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(BounceError::Books)
    }
}

async fn write(store: &Store, policy: &Policy, asks: &mut Vec<Ask>) {
    let mails: Vec<Return<'_>> = asks.iter().map(|ask| ask.entry.as_return()).collect();
    let taken = store.take_back(&mails, now(), policy).await;
    for (ask, taken) in asks.drain(..).zip(taken) {
        // Whoever asked may have been cut off; then the mail comes again.
        let _ = ask.answer.send(taken);
    }
}

impl Entry {
    fn as_return(&self) -> Return<'_> {
        let about = self.about.as_ref().map(|about| AddressNews {
            tenant: &about.tenant,
            address: &about.address,
            news: News { delivery: self.delivery, at: about.at, what: about.what },
            campaign: self.campaign,
            evidence: &about.evidence,
            service: SERVICE,
        });
        let Self { delivery, campaign, kind, event, .. } = self;
        Return { delivery: *delivery, campaign: *campaign, kind: *kind, about, event }
    }
}
