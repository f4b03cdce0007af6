//! Orders from the console: the same as the commands give, signed with the operator's name.

use std::time::Duration;

use console::{Answer, Deed, Hand, Trouble};
use mail::orders::{ScopeKind, Verb};
use mail::{Address, CampaignId, Site};
use store::{Listed, StoreError, SuppressionRecord};

use super::lists::list;
use super::{Wired, broken, refused};
use crate::commands::{About, Signed, Which, now};

/// Whoever wants to hear nothing for longer changes the rule, or what it is about.
const SILENCE_MAX_S: u64 = 30 * 86_400;

impl Wired {
    pub(super) async fn done(&self, hand: &Hand, deed: Deed) -> Answer<()> {
        let signed = || Signed::new(&hand.by, &hand.why);
        let desk = self.eyes.desk();
        let orders = desk.hand();
        let about = |kind, name: &str| About::new(kind, name, signed());
        let done = match deed {
            Deed::SuspendSite(site) => {
                orders.order(Verb::Suspend, about(ScopeKind::Site, &site), String::new()).await
            }
            Deed::ResumeSite(site) => orders.resume(about(ScopeKind::Site, &site)).await,
            Deed::FixPace { source, site, fixed, minutes } => {
                let lasts = minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
                let site = Site::from_name(&site);
                desk.fix_pace(&site, source, fixed, lasts, &signed()).await.map(drop)
            }
            Deed::ReleasePace { source, site } => {
                desk.release(&Which::new(&site, &source), &signed()).await
            }
            Deed::UndoChange { source, site, number } => {
                desk.undo(&Which::new(&site, &source), &number, &signed()).await
            }
            Deed::UndoOrder(id) => orders.undo(id, &signed()).await,
            Deed::PauseCampaign(id) => return self.pause(id, hand).await,
            Deed::ResumeCampaign(id) => {
                orders.resume(about(ScopeKind::Campaign, &id.to_string())).await
            }
            Deed::CancelCampaign(id) => orders.cancel(&id.to_string(), &signed()).await,
            Deed::DrainRelay(relay) => orders.drain(&relay, &signed(), false).await,
            Deed::Silence { condition, subject, minutes } => {
                let until =
                    now() + Duration::from_secs(minutes.saturating_mul(60).min(SILENCE_MAX_S));
                let who = (hand.by.as_str(), hand.why.as_str());
                let given = self.store.silence(condition, &subject, until, who, now()).await;
                given.map(drop).map_err(anyhow::Error::from)
            }
            Deed::LiftSilence(id) => match self.store.lift_silence(id).await.map_err(broken)? {
                true => Ok(()),
                false => return Err(Trouble::Absent(format!("silence {id}"))),
            },
            Deed::Suppress { tenant, address } => {
                return self.suppress(&tenant, &address, hand).await;
            }
            Deed::Lift { tenant, address } => return self.lift(&tenant, &address, hand).await,
        };
        done.map_err(refused)
    }

    async fn pause(&self, id: CampaignId, hand: &Hand) -> Answer<()> {
        let found = self.store.campaign(id).await.map_err(broken)?;
        let campaign = found.ok_or_else(|| Trouble::Absent(format!("campaign {id}")))?;
        let paused = campaign_api::pause(&self.store, campaign, &hand.by).await.map_err(broken)?;
        paused.map_err(Trouble::Refused)?;
        let signed = Signed::new(&hand.by, &hand.why);
        let told = self.eyes.desk().hand();
        told.tell_about(id, &format!("pause campaign {id}"), &signed).await.map_err(broken)
    }

    async fn suppress(&self, tenant: &str, address: &str, hand: &Hand) -> Answer<()> {
        let (list, address) = (list(tenant)?, read(address)?);
        let record = SuppressionRecord {
            reason: "operator".into(),
            category: None,
            at: now(),
            evidence: format!("by {}: {}", hand.by, hand.why),
            delivery: None,
            expires_at: None,
        };
        match self.change(list, &address, Some(&record), hand).await? {
            Listed::Done | Listed::Absent => Ok(()),
            Listed::Outlasted => {
                let why = format!("{address} is suppressed for longer already; lift that first");
                Err(Trouble::Refused(why))
            }
        }
    }

    async fn lift(&self, tenant: &str, address: &str, hand: &Hand) -> Answer<()> {
        let (list, address) = (list(tenant)?, read(address)?);
        match self.change(list, &address, None, hand).await? {
            Listed::Done | Listed::Outlasted => Ok(()),
            Listed::Absent => Err(Trouble::Refused(format!("{address} is not on this list"))),
        }
    }

    async fn change(
        &self,
        list: &str,
        address: &str,
        record: Option<&SuppressionRecord>,
        hand: &Hand,
    ) -> Answer<Listed> {
        let told = ("console", format!("for {list} by {}: {}", hand.by, hand.why));
        let changed = self.store.list_by_order(list, address, record, told, now()).await;
        changed.map_err(|error| match error {
            StoreError::Busy => Trouble::Refused("this address keeps changing; try again".into()),
            error => broken(error),
        })
    }
}

fn read(address: &str) -> Answer<String> {
    let wrong = |why| Trouble::Refused(format!("{address:?} {why}"));
    Ok(address.parse::<Address>().map_err(wrong)?.folded())
}
