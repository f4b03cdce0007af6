//! What happened to an address, brought together with what is known of it: read,
//! decide (`mail::hygiene`), put back if nobody was faster.

use mail::event::EventKind;
use mail::hygiene::{AddressRecord, Decision, News, Policy, Reason, What, decide};
use mail::{CampaignId, Category, Event, Timestamp};

use crate::campaigns::{pack, unpack};
use crate::error::StoreError;
use crate::{AddressChange, Store, SuppressionRecord, suppression};

const VERSION: u8 = 1;
/// Rounds against others who write about the same address at the same time.
pub(crate) const ROUNDS_MAX: u32 = 16;

/// News about an address, and what to keep as evidence.
#[derive(Debug, Clone)]
pub struct AddressNews<'a> {
    /// Whose list.
    pub tenant: &'a str,
    /// The address, in any case.
    pub address: &'a str,
    /// What happened.
    pub news: News,
    /// The campaign that it happened to.
    pub campaign: CampaignId,
    /// What was said.
    pub evidence: &'a str,
    /// Which service says it.
    pub service: &'a str,
}

impl Store {
    /// Notes news about an address, suppresses it when that is enough, and tells of a new
    /// suppression. Saying the same again changes nothing.
    ///
    /// # Errors
    /// When Redis does not answer, or the address's history does not read.
    pub async fn weigh_address(
        &self,
        about: &AddressNews<'_>,
        now: Timestamp,
        policy: &Policy,
    ) -> Result<Decision, StoreError> {
        let address = about.address.to_lowercase();
        for _ in 0..ROUNDS_MAX {
            let before = self.address_history(Some(about.tenant), &address).await?;
            let weighed = self.weigh(about, &address, &before, now, policy).await?;
            if weighed.after == before && weighed.listing.is_none() {
                return Ok(weighed.decision);
            }
            let change = AddressChange {
                tenant: Some(about.tenant),
                address: &address,
                history_before: &before,
                history_after: &weighed.after,
                listing_before: None,
                suppression: weighed.listing.as_ref().map(Some),
                events: weighed.event.as_slice(),
            };
            if self.change_address(&change).await? {
                return Ok(weighed.decision);
            }
        }
        Err(StoreError::Busy)
    }

    /// Brings news together with a history; `address` is folded. What a newer program wrote is left
    /// as it is. What is enough is written, too, where what was written has ended or is not there.
    ///
    /// # Errors
    /// When the history does not read, or Redis does not answer.
    pub(crate) async fn weigh(
        &self,
        about: &AddressNews<'_>,
        address: &str,
        before: &[u8],
        now: Timestamp,
        policy: &Policy,
    ) -> Result<Weighed, StoreError> {
        let mut record = match before {
            [] => AddressRecord::default(),
            packed => unpack(VERSION, "an address's history", packed)?,
        };
        let decided_before = record.verdict(now, policy);
        if record.is_newer_than_this_program() {
            let (decision, after) = (decided_before, before.to_vec());
            return Ok(Weighed { decision, after, listing: None, event: None });
        }
        let decision = decide(&mut record, &about.news, now, policy);
        let listing = match decision {
            Decision::Suppress { reason } => {
                let is_new = decided_before != decision;
                let is_told = is_new || !self.is_listed(about.tenant, address, now).await?;
                is_told.then(|| record_of(about, reason, now))
            }
            Decision::Count { .. } | Decision::Keep => None,
        };
        let event = listing.as_ref().map(|record| told(about, address, record, now));
        Ok(Weighed { decision, after: pack(VERSION, &record), listing, event })
    }

    async fn is_listed(
        &self,
        list: &str,
        address: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let listed = self.listing(list, address).await?;
        Ok(listed.is_some_and(|listed| listed.holds(now)))
    }
}

/// What news makes of an address's history.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub(crate) decision: Decision,
    /// The history with the news in it.
    pub(crate) after: Vec<u8>,
    /// What is written when it was enough only now.
    pub(crate) listing: Option<SuppressionRecord>,
    /// What is told then.
    pub(crate) event: Option<Event>,
}

impl Weighed {
    /// The listing as the store keeps it.
    pub(crate) fn packed_listing(&self) -> Option<Vec<u8>> {
        self.listing.as_ref().map(|record| pack(suppression::VERSION, record))
    }
}

fn record_of(about: &AddressNews<'_>, reason: Reason, now: Timestamp) -> SuppressionRecord {
    let category: Option<Category> = match about.news.what {
        What::Failed { category, .. } => Some(category),
        What::Delivered | What::Complained | What::Unsubscribed => None,
    };
    SuppressionRecord {
        reason: reason.as_str().to_owned(),
        category,
        at: now,
        evidence: about.evidence.to_owned(),
        delivery: Some(about.news.delivery),
        expires_at: None,
    }
}

fn told(
    about: &AddressNews<'_>,
    address: &str,
    record: &SuppressionRecord,
    now: Timestamp,
) -> Event {
    let mut event = Event::new(EventKind::SuppressionAdded, now);
    event.campaign = Some(about.campaign);
    event.delivery = Some(about.news.delivery);
    address.clone_into(&mut event.recipient);
    about.service.clone_into(&mut event.service);
    event.category = record.category;
    event.note.clone_from(&record.reason);
    event
}
