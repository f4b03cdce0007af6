//! Whose campaign it is. A campaign's definition never changes, so what was looked up
//! once stays true.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mail::CampaignId;
use store::{Store, StoreError};

/// Campaigns remembered: returned mail is about the last few weeks' campaigns.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Clone)]
pub(crate) struct Tenants {
    store: Store,
    known: Arc<Mutex<HashMap<CampaignId, Arc<str>>>>,
}

impl Tenants {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: Arc::default() }
    }

    /// The tenant of a campaign; `None` when there is no such campaign (any more).
    pub(crate) async fn of(&self, campaign: CampaignId) -> Result<Option<Arc<str>>, StoreError> {
        let known =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&campaign).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(found) = self.store.campaign(campaign).await? else { return Ok(None) };
        let tenant: Arc<str> = found.record.tenant.into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(campaign, Arc::clone(&tenant));
        Ok(Some(tenant))
    }
}
