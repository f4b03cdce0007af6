//! From a lease to recipients that may be sent to: read the batch, find the campaign, end
//! what needs no attempt. What cannot be read is set aside, never dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use mail::event::EventKind;
use mail::queue::{End, Outcome};
use mail::window::Opening;
use mail::{Category, DeliveryId, Domain, Event, Hygiene, Phase, Reply, ShardId, Timestamp};
use store::{Batch, LeasedBatch, StoreError};

use crate::catalog::Looked;
use crate::job::{Content, Job, Lease, Settlement};
use crate::relay::Relay;

/// Reads the batch and finds the campaign; what cannot be read is set aside, what is
/// not readable now goes back.
pub(crate) async fn open(
    relay: &Arc<Relay>,
    shard: ShardId,
    epoch: u64,
    leased: LeasedBatch,
) -> Option<Vec<Job>> {
    let LeasedBatch { lease: l, blob } = leased;
    let lease = Arc::new(Lease {
        shard,
        token: l.token,
        slot: l.slot,
        batch: l.batch,
        lane: l.lane,
        count: l.count,
        epoch,
    });
    let batch = match relay.batches.read(&relay.store, shard, l.batch, blob).await {
        Ok(batch) => batch,
        Err(error) => return not_read(relay, &lease, &l.items, &error).await,
    };
    let sending = match relay.catalog.look_up(lease.lane.campaign).await {
        Looked::Ready(sending) => sending,
        Looked::NotNow(error) => return not_read(relay, &lease, &l.items, &error).await,
        Looked::Unsendable(why) => {
            tracing::error!(campaign = %lease.lane.campaign, %why, "set aside");
            all_aside(relay, &lease, &l.items, &why.to_string(), 0).await;
            return None;
        }
    };
    relay.rulings.saw_tenant(lease.lane.campaign, &sending.tenant);
    let (items, absent): (Vec<_>, Vec<_>) = l.items.iter().partition(|(i, _)| batch.has(*i));
    if !absent.is_empty() {
        all_aside(relay, &lease, &absent, "its row is not in its batch", 0).await;
    }
    let content = Arc::new(Content { batch, sending });
    let jobs = items
        .into_iter()
        .map(|item| Job::new(lease.clone(), item, content.clone(), &relay.in_hand));
    let jobs: Vec<Job> = jobs.collect();
    if !l.cancelling {
        return Some(jobs);
    }
    for job in jobs {
        let event = relay.event(EventKind::Cancelled, &job);
        relay.settle(Settlement::told(job, Outcome::End(End::Cancelled), event)).await;
    }
    None
}

/// Trouble of the store passes, and so does a platform key that is not configured here: it waits
/// for the key, or for a relay that has it. A newer record is left to a newer relay where there
/// is one; otherwise it is set aside, until one comes. The rest is set aside for an operator.
async fn not_read(
    relay: &Arc<Relay>,
    lease: &Arc<Lease>,
    items: &[(u16, u8)],
    error: &StoreError,
) -> Option<Vec<Job>> {
    let batch = lease.batch.0;
    let newer = match error {
        StoreError::Newer { version, .. } => *version,
        _ => 0,
    };
    let waits_for_key = matches!(error, StoreError::Sealed(_));
    if waits_for_key {
        tracing::error!(shard = lease.shard.0, batch, %error, "cannot be signed here: handed back");
    }
    if error.is_passing() || waits_for_key || (newer > 0 && is_read_elsewhere(relay, newer).await) {
        tracing::warn!(shard = lease.shard.0, batch, %error, "handed back");
        let due = Timestamp((relay.now().0 / 1000 + 5) * 1000);
        for (index, _) in items {
            let waits = Outcome::Waits { due };
            relay.settle(Settlement::unread(lease.clone(), *index, waits, None, 0)).await;
        }
        return None;
    }
    tracing::error!(shard = lease.shard.0, batch, %error, "set aside");
    all_aside(relay, lease, items, &error.to_string(), newer).await;
    None
}

/// Whether a relay that lives reads records of this version; in doubt, yes.
async fn is_read_elsewhere(relay: &Relay, version: u8) -> bool {
    let now = relay.now();
    match relay.store.relays().await {
        Ok(relays) => {
            relays.iter().any(|(_, r)| r.reads_batch >= version && r.lives(now) && !r.draining)
        }
        Err(_) => true,
    }
}

/// What was set aside because it was newer than every relay goes on now that this one reads it.
pub(crate) async fn restore_readable(relay: &Relay) -> Result<(), StoreError> {
    for shard in relay.store.all_shards() {
        for aside in relay.store.asides(shard).await? {
            if (1..=Batch::VERSION).contains(&aside.newer) {
                let note = format!("{} reads version {}", relay.heart.relay(), aside.newer);
                relay.store.restore_aside(shard, &aside, &note, relay.now()).await?;
                tracing::info!(shard = shard.0, batch = aside.batch.0, "readable here; it goes on");
            }
        }
    }
    Ok(())
}

async fn all_aside(
    relay: &Arc<Relay>,
    lease: &Arc<Lease>,
    items: &[(u16, u8)],
    why: &str,
    newer: u8,
) {
    for (index, _) in items {
        let mut event = Event::new(EventKind::SetAside, relay.now());
        event.campaign = Some(lease.lane.campaign);
        let seq = lease.batch.0 + u64::from(*index);
        event.delivery = Some(DeliveryId { shard: lease.shard, seq });
        event.service = relay.heart.relay().to_owned();
        why.clone_into(&mut event.note);
        let end = Outcome::End(End::SetAside);
        relay.settle(Settlement::unread(lease.clone(), *index, end, Some(event), newer)).await;
    }
}

/// Ends what needs no attempt: too old, suppressed since it was accepted, failed by order.
/// What must not go now goes back: held by order, or outside its send window.
pub(crate) async fn sift(relay: &Arc<Relay>, jobs: Vec<Job>) -> Vec<Job> {
    let Some(first) = jobs.first() else { return jobs };
    let tenant = first.content.sending.tenant.clone();
    let folded: Vec<String> = jobs.iter().map(|j| j.address().to_lowercase()).collect();
    let shard = first.lease.shard;
    let suppressed = match relay.store.suppressed(shard, &tenant, &folded, relay.now()).await {
        Ok(suppressed) => suppressed,
        Err(error) => {
            tracing::warn!(shard = shard.0, %error, "cannot ask the suppression list; handed back");
            hand_back(relay, jobs).await;
            return Vec::new();
        }
    };
    // One lease, one campaign, one moment of acceptance: one end for all of them.
    let ends = relay.ends(first);
    let mut kept = Vec::with_capacity(jobs.len());
    for (job, suppressed) in jobs.into_iter().zip(suppressed) {
        if suppressed {
            let (outcome, event) = match own_failure(relay, &tenant, &job).await {
                Some(failure) => failure,
                None => (Outcome::End(End::Suppressed), relay.event(EventKind::Suppressed, &job)),
            };
            relay.settle(Settlement::told(job, outcome, event)).await;
        } else if relay.now() >= ends {
            expire(relay, job, "").await;
        } else if let Some(stop) = relay.stopped(&job) {
            relay.settle_stopped(job, stop).await;
        } else if let Some(due) = closed_until(relay, &job) {
            if due >= ends {
                expire(relay, job, "its send window opens after its lifetime").await;
            } else {
                relay.settle(Settlement::silent(job, Outcome::Waits { due })).await;
            }
        } else {
            kept.push(job);
        }
    }
    kept
}

/// When the recipient's send window opens, if it is closed now.
fn closed_until(relay: &Relay, job: &Job) -> Option<Timestamp> {
    let window = job.content.sending.window.as_ref()?;
    match window.opening(job.content.batch.zone(job.index), relay.now()) {
        Opening::Open => None,
        Opening::At(at) => Some(at),
    }
}

/// Given up without another attempt, with the last reason that is known here: what kept the
/// relay from trying, or what its site last said. Earlier answers are events of their own.
async fn expire(relay: &Arc<Relay>, job: Job, why: &str) {
    let mut event = relay.event(EventKind::Expired, &job);
    event.category = Some(Category::Expired);
    event.phase = Some(Phase::Local);
    event.note = match (why, relay.last_trouble(&job)) {
        ("", Some(trouble)) => format!("not sent within its lifetime; its site last: {trouble}"),
        ("", None) => format!("not sent within its lifetime, in {} attempts", job.attempts),
        (why, _) => why.to_owned(),
    };
    relay.settle(Settlement::told(job, Outcome::End(End::Expired), event)).await;
}

/// An address that this very delivery got suppressed: the relay that heard the refusal noted it
/// and was lost before it could settle. Then this is a failure, told a little late.
async fn own_failure(relay: &Relay, tenant: &str, job: &Job) -> Option<(Outcome, Event)> {
    let address = job.address().to_lowercase();
    let record = relay.store.suppression(tenant, &address, relay.now()).await.ok()??;
    if record.delivery != Some(job.delivery()) || record.category.is_none() {
        return None;
    }
    let mut event = relay.event(EventKind::Failed, job);
    event.category = record.category;
    event.hygiene = Some(Hygiene::Suppress);
    event.reply = Reply::parse(&record.evidence);
    event.attempt = job.attempt();
    "heard by a relay that was lost before it could settle".clone_into(&mut event.note);
    Some((Outcome::End(End::Failed), event))
}

pub(crate) async fn hand_back(relay: &Relay, jobs: Vec<Job>) {
    for job in jobs {
        relay.settle(Settlement::silent(job, Outcome::Back)).await;
    }
}

pub(crate) fn by_domain(jobs: Vec<Job>) -> BTreeMap<Domain, Vec<Job>> {
    let mut domains: BTreeMap<Domain, Vec<Job>> = BTreeMap::new();
    for job in jobs {
        // Intake let nothing else in.
        if let Some(domain) = job.domain() {
            domains.entry(domain).or_default().push(job);
        }
    }
    domains
}
