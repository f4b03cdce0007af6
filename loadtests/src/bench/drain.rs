//! What relays ask of the queue, without sending: lease, settle with events, renew, from
//! several relays at a time, until nothing is left that could be leased.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail, ensure};
use mail::event::EventKind;
use mail::queue::{End, Lane, Outcome, Settle};
use mail::{DeliveryId, Event, ShardId, Timestamp};
use store::{Frame, LeaseAnswer, LeasedBatch, Page, ShardSettle, Store};
use tokio::task::JoinSet;

use crate::mix;

/// Relays that work at the same time, each on shards of its own.
const RELAYS: u16 = 4;
/// Recipients of one lease, as a relay's at most.
const LEASE_MAX: u16 = 250;
/// Lanes leased from in one call.
const LANES: usize = 8;
/// Between two renewals.
const BEAT: Duration = Duration::from_secs(1);
/// Deferred recipients wait for long, so that nothing comes back meanwhile.
const DEFERRED_FOR: Duration = Duration::from_secs(3600);

/// What the relays did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) recipients: u64,
    pub(crate) deferred: u64,
    pub(crate) took: Duration,
}

impl Drained {
    pub(crate) fn per_s(&self) -> f64 {
        (self.recipients as f64 / self.took.as_secs_f64()).round()
    }
}

/// Leases everything and settles it: this share (0 to 1) deferred, the rest delivered.
pub(crate) async fn drain(store: &Store, deferred: f64) -> Result<Drained> {
    let began = Instant::now();
    let tally = Arc::new(Tally::default());
    let mut relays = JoinSet::new();
    for n in 0..RELAYS.min(store.shards()) {
        let shards: Vec<ShardId> = store.all_shards().filter(|s| s.0 % RELAYS == n).collect();
        let relay = Relay {
            store: store.clone(),
            name: format!("drain-{n}"),
            numbers: HashMap::new(),
            shards,
            deferred,
            tally: tally.clone(),
        };
        relays.spawn(relay.run());
    }
    while let Some(ended) = relays.join_next().await {
        ended??;
    }
    let (recipients, deferred) = (&tally.recipients, &tally.deferred);
    Ok(Drained {
        recipients: recipients.load(Ordering::Relaxed),
        deferred: deferred.load(Ordering::Relaxed),
        took: began.elapsed(),
    })
}

#[derive(Default)]
struct Tally {
    recipients: AtomicU64,
    deferred: AtomicU64,
}

struct Relay {
    store: Store,
    name: String,
    shards: Vec<ShardId>,
    /// Of the last settle in each shard.
    /// Of the last settle, by shard.
    numbers: HashMap<ShardId, u64>,
    deferred: f64,
    tally: Arc<Tally>,
}

/// One shard's settle on its way.
struct Part {
    shard: ShardId,
    number: u64,
    groups: Vec<Settle>,
    frame: Vec<u8>,
}

impl Relay {
    async fn run(mut self) -> Result<()> {
        self.renew(true).await?;
        let mut renewed = Instant::now();
        loop {
            if renewed.elapsed() >= BEAT {
                self.renew(false).await?;
                renewed = Instant::now();
            }
            let parts = self.lease().await?;
            if parts.is_empty() {
                return Ok(());
            }
            let settles: Vec<ShardSettle<'_>> = parts.iter().map(Part::settle).collect();
            for (part, answer) in
                parts.iter().zip(self.store.settle_together(&self.name, &settles).await)
            {
                let wanted: usize = part.groups.iter().map(|g| g.outcomes.len()).sum();
                ensure!(answer?.len() == wanted, "not every outcome was judged");
            }
        }
    }

    /// Stands, or goes on standing, in every shard.
    async fn renew(&self, fresh: bool) -> Result<()> {
        for renewal in self.store.renew(&self.name, |_| fresh).await {
            renewal?;
        }
        Ok(())
    }

    /// Leases of several lanes in every shard, in the two round trips that a relay takes.
    async fn lease(&mut self) -> Result<Vec<Part>> {
        let page = |shard: &ShardId| Page { shard: *shard, from: 0, count: LANES };
        let pages: Vec<Page> = self.shards.iter().map(page).collect();
        let mut wants = Vec::new();
        for (shard, lanes) in self.shards.iter().zip(self.store.ready_pages(&pages).await) {
            let lanes: Vec<(Lane, u16)> =
                lanes?.into_iter().map(|(lane, _)| (lane, LEASE_MAX)).collect();
            if !lanes.is_empty() {
                wants.push((*shard, lanes));
            }
        }
        let answers = self.store.lease_together(&self.name, &wants).await;
        let mut parts = Vec::new();
        for ((shard, _), answer) in wants.iter().zip(answers) {
            match answer? {
                LeaseAnswer::Leases(leases) if leases.is_empty() => {}
                LeaseAnswer::Leases(leases) => {
                    let number = self.numbers.entry(*shard).or_default();
                    *number += 1;
                    let number = *number;
                    parts.push(self.settled(*shard, number, leases));
                }
                LeaseAnswer::Lost => bail!("{} lost its leases", self.name),
                LeaseAnswer::OutboxFull => bail!("the outbox of {shard} is full"),
            }
        }
        Ok(parts)
    }

    /// Outcomes with the events that a relay would tell of them.
    fn settled(&self, shard: ShardId, number: u64, leases: Vec<LeasedBatch>) -> Part {
        let now = clock();
        let due = Timestamp(now.0 + DEFERRED_FOR.as_millis() as u64);
        let (mut groups, mut events) = (Vec::new(), Vec::new());
        for LeasedBatch { lease, blob: _ } in leases {
            let mut outcomes = Vec::with_capacity(lease.items.len());
            for (index, attempts) in &lease.items {
                let seq = lease.batch.0 + u64::from(*index);
                let defers =
                    mix::share(mix::of_number(u64::from(shard.0), 80, seq)) < self.deferred;
                let (kind, outcome) = match defers {
                    true => (EventKind::Deferred, Outcome::Deferred { due }),
                    false => (EventKind::Delivered, Outcome::End(End::Delivered)),
                };
                self.tally.deferred.fetch_add(u64::from(defers), Ordering::Relaxed);
                outcomes.push((*index, outcome));
                events.push(Event {
                    campaign: Some(lease.lane.campaign),
                    delivery: Some(DeliveryId { shard, seq }),
                    recipient: format!("first.last.{seq:x}@{}.example", shard.0),
                    attempt: u16::from(*attempts) + 1,
                    service: self.name.clone(),
                    site: "mx.pretend.test".into(),
                    source: "default".into(),
                    ..Event::new(kind, now)
                });
            }
            self.tally.recipients.fetch_add(outcomes.len() as u64, Ordering::Relaxed);
            groups.push(lease.settle(outcomes));
        }
        Part { shard, number, groups, frame: Frame::encode(&events) }
    }
}

impl Part {
    fn settle(&self) -> ShardSettle<'_> {
        let Self { shard, number, groups, frame } = self;
        ShardSettle { shard: *shard, number: *number, groups, frame }
    }
}

pub(crate) fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as u64)
}
