//! What there is to see of a platform at one moment.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use mail::orders::Orders;
use mail::{CampaignId, Timestamp};
use store::{CampaignStatus, RelayRecord, ServerState, Store, relay_name};

use super::paces::Paces;
use crate::commands::{Desk, PaceSeen, now};

/// What is waited for of one priority.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) recipients: u64,
    /// Since the campaign that began first of those that run.
    pub(crate) oldest_s: f64,
}

/// How a campaign's list fares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CampaignSeen {
    pub(crate) id: CampaignId,
    /// Recipients with an end.
    pub(crate) ended: u64,
    /// Of those, the share that failed or came back.
    pub(crate) failed: f64,
    /// Of the deliveries, the share that was reported as spam.
    pub(crate) complained: f64,
    /// How many that were.
    pub(crate) complaints: u64,
}

/// Fewer ends than these say nothing of a list.
const ENDS_MIN: u64 = 100;
/// The senders' keys are looked at so much more rarely.
const KEYS_EVERY: u32 = 30;

/// Everything that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Sights {
    pub(crate) servers: Vec<ServerState>,
    pub(crate) relays: Vec<(String, RelayRecord)>,
    pub(crate) campaigns: Campaigns,
    /// Age of the oldest DKIM key that signs, in seconds.
    pub(crate) oldest_key_s: f64,
    pub(crate) paces: Vec<PaceSeen>,
    pub(crate) outbox_fullness: f64,
    pub(crate) feedback_waiting: u64,
    /// The operators' orders that hold.
    pub(crate) orders: Orders,
    pub(crate) at: Timestamp,
}

/// Campaigns that are not over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Campaigns {
    /// By priority.
    pub(crate) waiting: BTreeMap<u8, Waiting>,
    pub(crate) by_status: BTreeMap<&'static str, u64>,
    /// Those with enough ends, the largest first.
    pub(crate) judged: Vec<CampaignSeen>,
}

/// What is kept from look to look.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Priorities of campaigns, their status, and since when they have it.
    campaigns: HashMap<CampaignId, (u8, CampaignStatus, Timestamp)>,
    paces: Paces,
    looks: u32,
    oldest_key: Option<Timestamp>,
}

/// Campaigns remembered.
const CAMPAIGNS_MAX: usize = 10_000;

impl Sights {
    pub(super) async fn look(desk: &Desk, store: &Store, memory: &mut Memory) -> Result<Self> {
        let at = now();
        if memory.looks.is_multiple_of(KEYS_EVERY) {
            memory.oldest_key = oldest_key(store).await?;
        }
        memory.looks = memory.looks.wrapping_add(1);
        let age_s = |made: Timestamp| at.0.saturating_sub(made.0) as f64 / 1000.0;
        Ok(Self {
            servers: store.servers().await?,
            relays: store.relays().await?,
            campaigns: Campaigns::look(store, memory, at).await?,
            oldest_key_s: memory.oldest_key.map_or(0.0, age_s),
            paces: memory.paces.look(desk, store).await?,
            outbox_fullness: store.outbox_fullness().await?,
            feedback_waiting: store.feedback_waiting().await?,
            orders: store.orders(at).await?,
            at,
        })
    }

    /// For how many seconds each relay has said nothing, by the name that it was given: each start has
    /// a number of its own besides, and one that came back is not silent.
    pub(super) fn silent_s(&self) -> BTreeMap<String, f64> {
        let mut silent = BTreeMap::new();
        for (id, record) in &self.relays {
            let least = silent.entry(relay_name(id).to_owned()).or_insert(f64::MAX);
            *least = least.min(self.at.since(record.seen_at).as_secs_f64());
        }
        silent
    }
}

/// When the oldest key that signs was made.
async fn oldest_key(store: &Store) -> Result<Option<Timestamp>> {
    let senders = store.senders().await?;
    let made = senders.iter().flat_map(|(_, record)| record.active().map(|key| key.created_at));
    Ok(made.min())
}

impl Campaigns {
    pub(crate) async fn look(store: &Store, memory: &mut Memory, at: Timestamp) -> Result<Self> {
        let mut seen = Self::default();
        if memory.campaigns.len() > CAMPAIGNS_MAX {
            memory.campaigns.clear();
        }
        for (id, status) in store.active_campaigns().await? {
            *seen.by_status.entry(status.as_str()).or_default() += 1;
            let known = memory.campaigns.get(&id).filter(|(_, before, _)| *before == status);
            let (priority, _, since) = match known {
                Some(known) => *known,
                None => {
                    let Some(campaign) = store.campaign(id).await? else { continue };
                    let known = (campaign.record.priority, status, campaign.changed_at);
                    memory.campaigns.insert(id, known);
                    known
                }
            };
            let counters = store.campaign_counters(id).await?;
            let of_class = seen.waiting.entry(priority).or_default();
            of_class.recipients += counters.waiting;
            if counters.waiting > 0 && status == CampaignStatus::Running {
                let age_s = at.0.saturating_sub(since.0) as f64 / 1000.0;
                of_class.oldest_s = of_class.oldest_s.max(age_s);
            }
            let ended = counters.delivered + counters.failed + counters.expired;
            if ended >= ENDS_MIN {
                let failed = counters.failed + counters.returned;
                seen.judged.push(CampaignSeen {
                    id,
                    ended,
                    failed: failed as f64 / ended as f64,
                    complained: counters.complained as f64 / counters.delivered.max(1) as f64,
                    complaints: counters.complained,
                });
            }
        }
        seen.judged.sort_by_key(|campaign| std::cmp::Reverse(campaign.ended));
        Ok(seen)
    }
}
