//! What to lease next: as much from each lane as its site can take within seconds, so
//! that a slow site blocks nobody and a dead relay leaves little behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mail::ShardId;
use mail::queue::Lane;
use store::{LeaseAnswer, ReadyLane, StoreError};
use tokio::sync::Semaphore;

use crate::delivery::{self, Whereto};
use crate::relay::Relay;

/// Recipients of one lease.
const LEASE_MAX: usize = 250;
/// Lanes looked at in one shard at a time.
const LANES_MAX: usize = 64;
/// Leases whose recipients are being resolved.
const RESOLVING_MAX: usize = 32;
/// Between two looks while there is work, while there is none, and while the store is away.
const BUSY: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_millis(100);
const AWAY: Duration = Duration::from_millis(500);

/// What a round of leasing came to.
#[derive(Default)]
struct Round {
    leased: usize,
    full: bool,
}

/// Leases until the relay is stopping.
pub(crate) async fn run(relay: &Arc<Relay>) {
    let resolving = Arc::new(Semaphore::new(RESOLVING_MAX));
    let mut told_full = false;
    while !relay.stopping.is_cancelled() {
        let wait = match round(relay, &resolving).await {
            Ok(round) => {
                if round.full && !told_full {
                    tracing::error!(
                        "the ledger is far behind: nothing is leased until it has caught up"
                    );
                }
                told_full = round.full;
                if round.leased > 0 { BUSY } else { IDLE }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot lease");
                AWAY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = relay.stopping.cancelled() => {}
        }
    }
    // Whoever is still resolving pushes to sites that are handed back afterwards.
    let _ = resolving.acquire_many(RESOLVING_MAX as u32).await;
}

async fn round(relay: &Arc<Relay>, resolving: &Arc<Semaphore>) -> Result<Round, StoreError> {
    let (mut sum, mut trouble) = (Round::default(), None);
    // What it holds it finishes; nothing more is begun.
    if relay.is_drained() {
        return Ok(sum);
    }
    for (shard, ready) in relay.store.ready_counts().await?.into_iter().enumerate() {
        let shard = ShardId(shard as u16);
        match shard_turn(relay, resolving, shard, ready).await {
            Ok(part) => {
                sum.leased += part.leased;
                sum.full |= part.full;
            }
            // Its server is away; the others' shards have their turn all the same.
            Err(e) => trouble = Some(e),
        }
    }
    match trouble {
        Some(e) if sum.leased == 0 => Err(e),
        Some(_) | None => Ok(sum),
    }
}

async fn shard_turn(
    relay: &Arc<Relay>,
    resolving: &Arc<Semaphore>,
    shard: ShardId,
    ready: u64,
) -> Result<Round, StoreError> {
    // Also where nothing is ready: everything there may be leased to nobody.
    reconcile(relay, shard).await?;
    if ready == 0 || relay.stopping.is_cancelled() {
        return Ok(Round::default());
    }
    let answer = shard_round(relay, resolving, shard, ready as usize).await;
    if answer.is_err() {
        relay.register.doubt(shard);
    }
    answer
}

/// Hands back what the queue holds for this relay and nobody here knows of. Only the
/// leaser may: between a lease and its entry in the register nothing else runs here.
async fn reconcile(relay: &Relay, shard: ShardId) -> Result<(), StoreError> {
    if !relay.register.take_doubt(shard) {
        return Ok(());
    }
    let known = relay.register.held(shard);
    let answer = relay.store.reconcile(shard, relay.heart.relay(), &known).await;
    if answer.is_err() {
        relay.register.doubt(shard);
    }
    answer.map(|_| ())
}

async fn shard_round(
    relay: &Arc<Relay>,
    resolving: &Arc<Semaphore>,
    shard: ShardId,
    ready: usize,
) -> Result<Round, StoreError> {
    let mut from = 0;
    let mut sum = Round::default();
    loop {
        let lanes = relay.store.ready(shard, from, LANES_MAX).await?;
        let wants = wants(relay, lanes).await;
        if !wants.is_empty() {
            let part = lease(relay, resolving, shard, &wants).await?;
            sum.leased += part.leased;
            sum.full |= part.full;
        }
        from += LANES_MAX;
        if from >= ready || free_hands(relay) == 0 || sum.full {
            return Ok(sum);
        }
    }
}

fn free_hands(relay: &Relay) -> usize {
    relay.config.in_hand_max.saturating_sub(relay.in_hand.load(Ordering::Relaxed))
}

/// How many of each lane, by the room that its site has here.
async fn wants(relay: &Arc<Relay>, lanes: Vec<ReadyLane>) -> Vec<(Lane, u16)> {
    let mut free = free_hands(relay);
    let mut wants = Vec::new();
    for ready in lanes {
        if relay.refuses_lane(&ready.lane) {
            continue;
        }
        let want = room(relay, &ready.lane).await.min(LEASE_MAX).min(free);
        if want > 0 {
            free -= want;
            wants.push((ready.lane, want as u16));
        }
    }
    wants
}

async fn room(relay: &Arc<Relay>, lane: &Lane) -> usize {
    let Some(domain) = &lane.domain else { return LEASE_MAX };
    let destination = match relay.known_destination(domain) {
        Some(destination) => destination,
        None => match relay.destination(domain).await {
            Whereto::Site(destination) => destination,
            // Leased in order to be refused.
            Whereto::Nowhere(_) => return LEASE_MAX,
        },
    };
    // Which source it will be depends on the recipient; any one of the pool tells the pace.
    let source = relay.source_for("default", domain.as_str());
    relay.site(&destination, source).room(relay.now())
}

async fn lease(
    relay: &Arc<Relay>,
    resolving: &Arc<Semaphore>,
    shard: ShardId,
    wants: &[(Lane, u16)],
) -> Result<Round, StoreError> {
    let epoch = relay.heart.epoch(shard);
    let leases = match relay.store.lease(shard, relay.heart.relay(), wants).await? {
        LeaseAnswer::Leases(leases) => leases,
        LeaseAnswer::Lost => {
            relay.heart.lost(shard);
            relay.register.forget(shard);
            return Ok(Round::default());
        }
        LeaseAnswer::OutboxFull => return Ok(Round { leased: 0, full: true }),
    };
    if relay.heart.is_gone(shard, epoch) {
        // Lost while this was on its way: taken back, or granted to the new standing;
        // nobody can tell, so it is handed back and leased again.
        relay.register.doubt(shard);
        return Ok(Round::default());
    }
    let mut leased = 0;
    for batch in leases {
        leased += batch.lease.items.len();
        relay.register.leased(shard, batch.lease.token, batch.lease.items.len());
        relay.rulings.saw_campaign(batch.lease.lane.campaign);
        // The semaphore is never closed.
        let Ok(permit) = resolving.clone().acquire_owned().await else { break };
        let relay = relay.clone();
        relay.clone().tasks.spawn(async move {
            delivery::begin(&relay, shard, epoch, batch).await;
            drop(permit);
        });
    }
    Ok(Round { leased, full: false })
}
