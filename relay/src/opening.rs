//! From a lease to recipients that may be sent to: read the batch, find the campaign, end
//! what needs no attempt. What cannot be read is set aside, never dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use mail::event::EventKind;
use mail::queue::{End, Outcome};
use mail::{DeliveryId, Domain, Event, Reply, ShardId, Timestamp};
use store::{LeasedBatch, StoreError};

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
            return all_aside(relay, &lease, &l.items, &why.to_string()).await;
        }
    };
    let content = Arc::new(Content { batch, sending });
    let jobs =
        l.items.iter().map(|item| Job::new(lease.clone(), *item, content.clone(), &relay.in_hand));
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

/// A newer record is left to newer relays, trouble of the store passes, the rest is set aside.
async fn not_read(
    relay: &Arc<Relay>,
    lease: &Arc<Lease>,
    items: &[(u16, u8)],
    error: &StoreError,
) -> Option<Vec<Job>> {
    let batch = lease.batch.0;
    let due = Timestamp((relay.now().0 / 1000 + 5) * 1000);
    if error.is_passing() || matches!(error, StoreError::Newer { .. }) {
        tracing::warn!(shard = lease.shard.0, batch, %error, "handed back");
        for (index, _) in items {
            relay
                .settle(Settlement::unread(lease.clone(), *index, Outcome::Waits { due }, None))
                .await;
        }
        return None;
    }
    tracing::error!(shard = lease.shard.0, batch, %error, "set aside");
    all_aside(relay, lease, items, &error.to_string()).await
}

async fn all_aside(
    relay: &Arc<Relay>,
    lease: &Arc<Lease>,
    items: &[(u16, u8)],
    why: &str,
) -> Option<Vec<Job>> {
    for (index, _) in items {
        let mut event = Event::new(EventKind::SetAside, relay.now());
        event.campaign = Some(lease.lane.campaign);
        let seq = lease.batch.0 + u64::from(*index);
        event.delivery = Some(DeliveryId { shard: lease.shard, seq });
        event.service = relay.heart.relay().to_owned();
        why.clone_into(&mut event.note);
        let end = Outcome::End(End::SetAside);
        relay.settle(Settlement::unread(lease.clone(), *index, end, Some(event))).await;
    }
    None
}

/// Ends what needs no attempt: too old, or suppressed since it was accepted.
pub(crate) async fn sift(relay: &Arc<Relay>, jobs: Vec<Job>) -> Vec<Job> {
    let Some(first) = jobs.first() else { return jobs };
    let tenant = first.content.sending.tenant.clone();
    let folded: Vec<String> = jobs.iter().map(|j| j.address().to_lowercase()).collect();
    let shard = first.lease.shard;
    let suppressed = match relay.store.suppressed(shard, &tenant, &folded).await {
        Ok(suppressed) => suppressed,
        Err(error) => {
            tracing::warn!(shard = shard.0, %error, "cannot ask the suppression list; handed back");
            hand_back(relay, jobs).await;
            return Vec::new();
        }
    };
    let mut kept = Vec::with_capacity(jobs.len());
    for (job, suppressed) in jobs.into_iter().zip(suppressed) {
        let (kind, end) = if suppressed {
            if let Some((outcome, event)) = own_failure(relay, &tenant, &job).await {
                relay.settle(Settlement::told(job, outcome, event)).await;
                continue;
            }
            (EventKind::Suppressed, End::Suppressed)
        } else if relay.is_expired(&job) {
            (EventKind::Expired, End::Expired)
        } else {
            kept.push(job);
            continue;
        };
        let event = relay.event(kind, &job);
        relay.settle(Settlement::told(job, Outcome::End(end), event)).await;
    }
    kept
}

/// An address that this very delivery got suppressed: the relay that heard the refusal noted it
/// and was lost before it could settle. Then this is a failure, told a little late.
async fn own_failure(relay: &Relay, tenant: &str, job: &Job) -> Option<(Outcome, Event)> {
    let address = job.address().to_lowercase();
    let record = relay.store.suppression(tenant, &address).await.ok()??;
    if record.delivery != Some(job.delivery()) || record.category.is_none() {
        return None;
    }
    let mut event = relay.event(EventKind::Failed, job);
    event.category = record.category;
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
