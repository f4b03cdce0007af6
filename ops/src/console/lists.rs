//! Campaigns and suppressed addresses, page by page.

use console::{Answer, CampaignPage, CampaignSeen, SuppressionPage, SuppressionSeen, Trouble};
use mail::{Address, CampaignId};
use store::{Campaign, CampaignStatus, ListPlace, PLATFORM, Suppression, is_tenant};

use super::{Wired, broken};
use crate::commands::now;

/// Campaigns of a page.
const CAMPAIGNS: usize = 50;
/// Suppressed addresses of a page, about: Redis hands out whole slices.
const ADDRESSES: usize = 100;

impl Wired {
    pub(super) async fn campaign_page(&self, cursor: Option<&str>) -> Answer<CampaignPage> {
        let wrong = |text: &str| Trouble::Refused(format!("cursor: {text:?} was not made here"));
        let before = cursor.map(|text| text.parse().map_err(|_| wrong(text))).transpose()?;
        let ids = self.store.campaigns(before, CAMPAIGNS).await.map_err(broken)?;
        let next = ids.last().filter(|_| ids.len() == CAMPAIGNS).map(ToString::to_string);
        let mut campaigns = Vec::with_capacity(ids.len());
        for id in ids {
            match self.campaign_seen(id).await {
                Ok(campaign) => campaigns.push(campaign),
                // Erased meanwhile.
                Err(Trouble::Absent(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(CampaignPage { campaigns, next })
    }

    pub(super) async fn campaign_seen(&self, id: CampaignId) -> Answer<CampaignSeen> {
        let found = self.store.campaign(id).await.map_err(broken)?;
        let campaign = found.ok_or_else(|| Trouble::Absent(format!("campaign {id}")))?;
        let counters = self.store.campaign_counters(id).await.map_err(broken)?;
        let paused = campaign.gate.pause().filter(|_| campaign.status == CampaignStatus::Paused);
        Ok(CampaignSeen {
            id,
            name: campaign.record.name.clone(),
            tenant: campaign.record.tenant.clone(),
            sender: campaign.record.template.from_address.as_str().to_owned(),
            subject: campaign.record.template.subject.clone(),
            status: campaign.status.as_str(),
            created_at: campaign.record.created_at,
            counters,
            paused_because: paused.map(|note| note.reason.clone()),
            possible: possible(&campaign),
        })
    }

    pub(super) async fn suppression_page(
        &self,
        tenant: &str,
        address: Option<&str>,
        cursor: Option<&str>,
    ) -> Answer<SuppressionPage> {
        let list = list(tenant)?;
        if let Some(text) = address {
            let wrong = |why| Trouble::Refused(format!("{text:?} {why}"));
            let address = text.parse::<Address>().map_err(wrong)?.folded();
            let found = self.store.suppression(list, &address, now()).await.map_err(broken)?;
            let suppressions =
                found.map(|record| seen(Suppression { address, record })).into_iter().collect();
            return Ok(SuppressionPage { suppressions, next: None });
        }
        let wrong = |text: &str| Trouble::Refused(format!("cursor: {text:?} was not made here"));
        let from = match cursor {
            None => ListPlace::default(),
            Some(text) => self.store.list_place(text).ok_or_else(|| wrong(text))?,
        };
        let page = self.store.suppression_page(list, from, ADDRESSES).await;
        let (page, next) = page.map_err(broken)?;
        let suppressions = page.into_iter().map(seen).collect();
        Ok(SuppressionPage { suppressions, next: next.map(|next| next.to_string()) })
    }
}

/// The list of a tenant, or `*`, the platform's.
pub(super) fn list(tenant: &str) -> Answer<&str> {
    if tenant == PLATFORM || is_tenant(tenant) {
        return Ok(tenant);
    }
    let why = "is no tenant: 1 to 64 letters, digits, - _ . or * for the whole platform";
    Err(Trouble::Refused(format!("{tenant:?} {why}")))
}

fn seen(suppression: Suppression) -> SuppressionSeen {
    let Suppression { address, record } = suppression;
    SuppressionSeen {
        address,
        reason: record.reason,
        category: record.category.map(|category| category.as_str().to_owned()),
        at: record.at,
        evidence: record.evidence,
        expires_at: record.expires_at,
    }
}

/// The verbs of the console that change something now.
fn possible(campaign: &Campaign) -> Vec<&'static str> {
    let verbs = campaign_api::possible(campaign);
    verbs.into_iter().filter(|verb| ["pause", "resume", "cancel"].contains(verb)).collect()
}
