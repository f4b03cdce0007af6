//! What a recipient that waits waits for: each thing looked up where it stands.

use mail::event::EventKind;
use mail::holds::Standing;
use mail::orders::{Orders, Subject};
use mail::reply::clean_text;
use mail::why::Reason;
use mail::window::Opening;
use mail::{Address, CampaignId, Domain, Site, Timestamp};
use relay::{Insight, insights_at, look_at_ceilings};
use store::{Campaign, CampaignStatus, RelayRecord, Rests, StartAt, Whereabouts};

use super::{Asked, Past};
use crate::commands::Voice;
use crate::commands::queue::automatic::is_held;
use crate::commands::queue::order::Hand;

impl Asked<'_> {
    pub(super) async fn reasons(
        &self,
        found: &Whereabouts,
        past: &Past,
        now: Timestamp,
    ) -> anyhow::Result<Vec<Reason>> {
        let mut reasons = Vec::new();
        let campaign = self.store.campaign(found.lane.campaign).await?;
        if let Some(campaign) = &campaign {
            reasons.extend(self.of_campaign(campaign)?);
            reasons.extend(window(campaign, &found.zone, now));
        }
        let site = self.site(found, past).await?;
        let known = match &site {
            Some(site) => self.known(site, now).await?,
            None => Vec::new(),
        };
        let orders = self.store.orders(now).await?;
        if let Some(campaign) = &campaign {
            reasons.extend(suspended(&orders, campaign, found, site.as_ref()));
            reasons.extend(self.held(campaign, site.as_ref(), now).await?);
        }
        reasons.extend(self.of_relays(now).await?);
        if let Rests::Delayed(Some(at)) = found.rests {
            reasons.push(attempt(found, past, at));
        }
        reasons.extend(self.of_pace(&known, &orders, now).await?);
        Ok(reasons)
    }

    fn of_campaign(&self, campaign: &Campaign) -> anyhow::Result<Option<Reason>> {
        let name = campaign.id.to_string();
        Ok(match campaign.status {
            CampaignStatus::Draft | CampaignStatus::Closing | CampaignStatus::Ready => {
                Some(Reason::NotStarted { campaign: name })
            }
            CampaignStatus::Scheduled => match campaign.record.start {
                StartAt::At(at) => Some(Reason::Scheduled { at }),
                StartAt::Now => None,
            },
            CampaignStatus::Paused => {
                let gate = campaign.gate.pause();
                let by = match gate {
                    Some(note) => format!("by gate {}: {}", note.gate, note.reason),
                    None => self.paused_by(campaign.id)?,
                };
                Some(Reason::Paused { campaign: name, by })
            }
            CampaignStatus::Running
            | CampaignStatus::Cancelling
            | CampaignStatus::Cancelled
            | CampaignStatus::Finished => None,
        })
    }

    /// What history last told of the campaign.
    fn paused_by(&self, campaign: CampaignId) -> anyhow::Result<String> {
        let filter = ledger::TraceFilter {
            campaign: Some(campaign),
            kind: Some(EventKind::CampaignChanged),
            ..Default::default()
        };
        let Some(ledger) = &self.ledger else { return Ok("by its owner".to_owned()) };
        let last = ledger.newest(&filter)?;
        Ok(last.map_or_else(|| "by its owner".to_owned(), |entry| clean_text(&entry.event.note)))
    }

    /// The site that it goes to: where it was last tried, or where its domain's mail goes.
    async fn site(&self, found: &Whereabouts, past: &Past) -> anyhow::Result<Option<Site>> {
        let tried = past.last.as_ref().map(|entry| entry.event.site.as_str());
        if let Some(site) = tried.filter(|site| !site.is_empty()) {
            return Ok(Some(Site::from_name(site)));
        }
        let address: Option<Address> = found.address.parse().ok();
        let domain = address.and_then(|a| a.domain_str().parse::<Domain>().ok());
        let Some(domain) = domain else { return Ok(None) };
        if let Some(ledger) = &self.ledger
            && let Some(site) = ledger.site_of(&domain)?
        {
            return Ok(Some(Site::from_name(&site)));
        }
        let hand = Hand { store: self.store, config: self.config, voice: Voice::Silent };
        hand.site_of(&domain).await
    }

    /// What is known of its sources there.
    async fn known(&self, site: &Site, now: Timestamp) -> anyhow::Result<Vec<Insight>> {
        let mut known = insights_at(self.store, site, None).await?;
        let config = &self.config.relay;
        look_at_ceilings(&mut known, self.store, config, &self.known, now).await?;
        Ok(known)
    }

    /// Holds at the site.
    async fn held(
        &self,
        campaign: &Campaign,
        site: Option<&Site>,
        now: Timestamp,
    ) -> anyhow::Result<Vec<Reason>> {
        let mut reasons = Vec::new();
        for hold in self.store.holds(now).await? {
            let is_here = site.is_some_and(|site| site.as_str() == hold.key.site);
            if is_here
                && is_held(&hold, campaign.id, &campaign.record)
                && let Standing::Held(until) = hold.standing(now)
            {
                reasons.push(Reason::Held { order: hold.id, words: hold.to_string(), until });
            }
        }
        Ok(reasons)
    }

    /// Whether any relay takes it, and how freely.
    async fn of_relays(&self, now: Timestamp) -> anyhow::Result<Option<Reason>> {
        let relays = self.store.relays().await?;
        let live: Vec<&RelayRecord> =
            relays.iter().map(|(_, record)| record).filter(|record| record.lives(now)).collect();
        if live.is_empty() {
            return Ok(Some(Reason::NoRelay));
        }
        let Some(freest) =
            live.iter().filter(|r| !r.draining).max_by_key(|record| record.budget_percent)
        else {
            return Ok(Some(Reason::Drained));
        };
        let (percent, because) = (freest.budget_percent, freest.pressed_by.join("; "));
        Ok((percent < 100).then_some(Reason::Pressure { percent, because }))
    }

    /// What the paces of its site let go: the freest source, or what ends first where none is free.
    async fn of_pace(
        &self,
        known: &[Insight],
        orders: &Orders,
        now: Timestamp,
    ) -> anyhow::Result<Option<Reason>> {
        let limits = &self.config.relay.pace;
        let rate = |known: &Insight| {
            let fixed = orders.fixed(&known.source, known.site.as_str());
            fixed.rate_of(&known.pace, limits, now)
        };
        let rests = |known: &Insight| known.pace.hold_until().max(known.full_until);
        let free = known.iter().filter(|known| rests(known).is_none());
        if let Some(known) = free.max_by(|a, b| rate(a).total_cmp(&rate(b))) {
            return Ok(Some(Reason::Pace {
                source: known.source.clone(),
                site: known.site.to_string(),
                rate: rate(known),
                before: known.now.waiting(),
                before_max: self.waits_in_all().await?,
            }));
        }
        let resting = known.iter().filter_map(|known| Some((rests(known)?, known)));
        Ok(resting.min_by_key(|(until, _)| *until).map(|(until, known)| {
            let (source, site) = (known.source.clone(), known.site.to_string());
            match known.full_until == Some(until) {
                true => Reason::UsedUp { source, site, until },
                false => Reason::Blocked { source, site, until },
            }
        }))
    }

    async fn waits_in_all(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for (id, status) in self.store.active_campaigns().await? {
            if status == CampaignStatus::Running {
                sum += self.store.campaign_counters(id).await?.waiting;
            }
        }
        Ok(sum)
    }
}

/// The order that suspends it, if one does.
fn suspended(
    orders: &Orders,
    campaign: &Campaign,
    found: &Whereabouts,
    site: Option<&Site>,
) -> Option<Reason> {
    let domain = found.address.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
    let subject = Subject {
        campaign: Some(campaign.id),
        tenant: &campaign.record.tenant,
        domain: domain.as_deref().unwrap_or_default(),
        site: site.map(Site::as_str).unwrap_or_default(),
        source: "",
    };
    let order = orders.suspends(&subject)?;
    let words = format!("{order}, by {}: {}", order.by, order.reason);
    Some(Reason::Suspended { order: order.id, words, until: order.until })
}

fn window(campaign: &Campaign, zone: &str, now: Timestamp) -> Option<Reason> {
    match campaign.record.window.as_ref()?.opening(zone, now) {
        Opening::Open => None,
        Opening::At(opens) => Some(Reason::Window { opens }),
    }
}

fn attempt(found: &Whereabouts, past: &Past, at: Timestamp) -> Reason {
    let reply = past.last.as_ref().and_then(|entry| entry.event.reply.as_ref());
    let reply = reply.map(|reply| clean_text(&reply.to_string())).unwrap_or_default();
    Reason::Attempt { at, made: u16::from(found.attempts), reply }
}
