//! What there is to see of a platform at one moment.

use std::collections::{BTreeMap, HashMap};

use mail::throttle::{Binding, Fixed};
use mail::{CampaignId, Timestamp};
use relay::Insight;
use store::{CampaignStatus, RelayRecord, ServerState, Store};

use crate::commands::now;

/// What is waited for of one priority.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) recipients: u64,
    /// Since the campaign that began first of those that run.
    pub(crate) oldest_s: f64,
}

/// The pace of one source at one site.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PaceSeen {
    pub(crate) source: String,
    pub(crate) site: String,
    /// Messages a second that were found to go.
    pub(crate) rate: f64,
    /// At which it was last refused; 0: never.
    pub(crate) rate_refused: f64,
    pub(crate) connections: u32,
    pub(crate) connections_max: u32,
    pub(crate) waiting: u64,
    /// Whether the site blocks the source.
    pub(crate) is_blocked: bool,
    pub(crate) binding: Binding,
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
    /// By priority.
    pub(crate) waiting: BTreeMap<u8, Waiting>,
    pub(crate) campaigns: BTreeMap<&'static str, u64>,
    /// Those that run, the largest first.
    pub(crate) running: Vec<CampaignSeen>,
    /// Age of the oldest DKIM key that signs, in seconds.
    pub(crate) oldest_key_s: f64,
    pub(crate) paces: Vec<PaceSeen>,
    pub(crate) outbox_fullness: f64,
    pub(crate) feedback_waiting: u64,
    pub(crate) at: Timestamp,
}

/// What does not change from look to look.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Priorities of campaigns, their status, and since when they have it.
    campaigns: HashMap<CampaignId, (u8, CampaignStatus, Timestamp)>,
    looks: u32,
    oldest_key: Option<Timestamp>,
}

/// Campaigns remembered.
const CAMPAIGNS_MAX: usize = 10_000;

impl Sights {
    pub(crate) async fn look(store: &Store, memory: &mut Memory) -> anyhow::Result<Self> {
        let at = now();
        let servers = store.servers().await?;
        let Campaigns { waiting, campaigns, running } = campaigns(store, memory, at).await?;
        if memory.looks.is_multiple_of(KEYS_EVERY) {
            memory.oldest_key = oldest_key(store).await?;
        }
        memory.looks = memory.looks.wrapping_add(1);
        let paces = relay::insights(store).await?;
        let relays = store.relays().await?;
        Ok(Self {
            servers,
            relays,
            waiting,
            campaigns,
            running,
            oldest_key_s: memory
                .oldest_key
                .map_or(0.0, |made| at.0.saturating_sub(made.0) as f64 / 1000.0),
            paces: paces.iter().map(|insight| seen(insight, at)).collect(),
            outbox_fullness: store.outbox_fullness().await?,
            feedback_waiting: store.feedback_waiting().await?,
            at,
        })
    }
}

/// When the oldest key that signs was made.
async fn oldest_key(store: &Store) -> anyhow::Result<Option<Timestamp>> {
    let senders = store.senders().await?;
    let made = senders.iter().flat_map(|(_, record)| record.active().map(|key| key.created_at));
    Ok(made.min())
}

#[derive(Default)]
struct Campaigns {
    waiting: BTreeMap<u8, Waiting>,
    campaigns: BTreeMap<&'static str, u64>,
    running: Vec<CampaignSeen>,
}

async fn campaigns(store: &Store, memory: &mut Memory, at: Timestamp) -> anyhow::Result<Campaigns> {
    let mut seen = Campaigns::default();
    if memory.campaigns.len() > CAMPAIGNS_MAX {
        memory.campaigns.clear();
    }
    for (id, status) in store.active_campaigns().await? {
        *seen.campaigns.entry(status.as_str()).or_default() += 1;
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
            seen.running.push(CampaignSeen {
                id,
                ended,
                failed: failed as f64 / ended as f64,
                complained: counters.complained as f64 / counters.delivered.max(1) as f64,
            });
        }
    }
    seen.running.sort_by_key(|campaign| std::cmp::Reverse(campaign.ended));
    Ok(seen)
}

fn seen(insight: &Insight, at: Timestamp) -> PaceSeen {
    PaceSeen {
        source: insight.source.clone(),
        site: insight.site.as_str().to_owned(),
        rate: insight.pace.rate_found(),
        rate_refused: insight.pace.rate_refused().unwrap_or(0.0),
        connections: insight.now.in_use(),
        connections_max: insight.pace.connections_found(),
        waiting: insight.now.waiting(),
        is_blocked: insight.pace.hold_until().is_some_and(|until| until > at),
        binding: insight.binding(&Fixed::default(), at),
    }
}
