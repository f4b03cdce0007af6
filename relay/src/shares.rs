//! Who shares: each campaign as a flow, with its weight and its tenant's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use mail::CampaignId;
use mail::holds::Mail;
use mail::links::link_domains;
use mail::share::{self, TenantMark, Weight};
use store::{CampaignRecord, Store, StoreError};

use crate::config::Tenant;

/// Campaigns whose tenant is remembered: some fifty octets each.
const FLOWS_MAX: usize = 50_000;

/// Campaigns that are looked up at the same time: half of the store's connections.
const LOOKED_UP_TOGETHER: usize = 8;

/// A campaign as it shares a budget.
#[derive(Debug, PartialEq)]
pub(crate) struct Flow {
    pub(crate) weight: Weight,
    /// Its own, or its tenant's.
    pub(crate) pool: String,
    pub(crate) tenant: String,
    /// The domain of its From; empty where that does not read.
    pub(crate) sender: String,
    /// The domains that its content links to.
    pub(crate) links: Vec<String>,
}

impl Flow {
    /// A message of this campaign, as far as holds are concerned.
    pub(crate) fn mail(&self, campaign: CampaignId) -> Mail<'_> {
        Mail { sender: &self.sender, tenant: &self.tenant, campaign, links: &self.links }
    }
}

pub(crate) struct Shares {
    tenants: BTreeMap<String, Tenant>,
    known: Mutex<HashMap<CampaignId, Arc<Flow>>>,
}

impl Shares {
    pub(crate) fn new(tenants: BTreeMap<String, Tenant>) -> Self {
        Self { tenants, known: Mutex::default() }
    }

    pub(crate) fn flow(&self, record: &CampaignRecord) -> Flow {
        let weight = Weight { of_campaign: record.weight, ..self.weight(&record.tenant) };
        let sender = record.template.from_address.domain().as_str().to_owned();
        let bodies = [&record.template.text, &record.template.html];
        let links = link_domains(bodies.into_iter().flatten().map(String::as_str));
        Flow { weight, pool: self.pool(record), tenant: record.tenant.clone(), sender, links }
    }

    /// The pool that a campaign is sent from: its own, or else its tenant's.
    fn pool(&self, record: &CampaignRecord) -> String {
        let of_tenant = self.tenants.get(&record.tenant).map_or("", |t| t.pool.as_str());
        let own = if record.pool == "default" { "" } else { record.pool.as_str() };
        let pool = [own, of_tenant].into_iter().find(|pool| !pool.is_empty());
        pool.unwrap_or("default").to_owned()
    }

    fn weight(&self, tenant: &str) -> Weight {
        let of_tenant = self.tenants.get(tenant).map_or(share::WEIGHT, |t| t.weight);
        Weight { tenant: TenantMark::of(tenant), of_tenant, ..Weight::default() }
    }

    /// The flow of a campaign. One that does not read is a tenant of its own: it is leased
    /// in order to be set aside, and takes no part of anybody's meanwhile.
    pub(crate) async fn look_up(
        &self,
        store: &Store,
        id: CampaignId,
    ) -> Result<Arc<Flow>, StoreError> {
        if let Some(flow) = self.lock().get(&id) {
            return Ok(flow.clone());
        }
        let flow = match store.campaign(id).await {
            Ok(Some(campaign)) => self.flow(&campaign.record),
            Err(error) if error.is_passing() => return Err(error),
            Ok(None) | Err(_) => {
                let weight = self.weight(&id.to_string());
                let (tenant, sender) = (String::new(), String::new());
                Flow { weight, pool: "default".into(), tenant, sender, links: Vec::new() }
            }
        };
        let flow = Arc::new(flow);
        let mut known = self.lock();
        if known.len() >= FLOWS_MAX {
            known.clear();
        }
        known.insert(id, flow.clone());
        Ok(flow)
    }

    /// Looks up those of many campaigns that are not known yet, some at the same time: a hundred
    /// that start together do not wait for one another. What failed is looked up alone again.
    pub(crate) async fn learn(&self, store: &Store, campaigns: impl Iterator<Item = CampaignId>) {
        let unknown: BTreeSet<CampaignId> = {
            let known = self.lock();
            campaigns.filter(|id| !known.contains_key(id)).collect()
        };
        let look_up = async |id| drop(self.look_up(store, id).await);
        stream::iter(unknown).for_each_concurrent(LOOKED_UP_TOGETHER, look_up).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CampaignId, Arc<Flow>>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
