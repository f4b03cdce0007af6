//! Traffic that remembers what was acknowledged: chunks in, recipients leased and
//! settled, all repeated as services do, while something else happens to the servers. At
//! the end the books are compared with what was said.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mail::queue::{
    BatchId, CampaignState, Counters, End, Enqueue, Enqueued, Judgement, Lane, Outcome,
};
use mail::{CampaignId, Event, ShardId};
use store::{Frame, LeaseAnswer, LeasedBatch, ShardSettle, Store, StoreError};

use super::server::eventually;

const CAMPAIGN: CampaignId = CampaignId(1);
const PER_CHUNK: u16 = 20;

#[derive(Default)]
pub struct Said {
    /// Recipients whose chunk was acknowledged, by shard.
    pub accepted: HashMap<ShardId, u64>,
    /// Deliveries whose settle was acknowledged as applied.
    pub delivered: HashSet<(ShardId, BatchId, u16)>,
    pub batches: HashSet<(ShardId, BatchId)>,
    /// The longest time without an acknowledged chunk, by shard.
    pub gaps: HashMap<ShardId, Duration>,
    pub unconfirmed: u64,
    pub failures: u64,
    pub wrong: Vec<String>,
}

pub struct Traffic {
    store: Store,
    said: Arc<Mutex<Said>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

fn lane() -> Lane {
    "c1/a.example".parse().unwrap()
}

impl Traffic {
    pub async fn start(store: &Store) -> Self {
        // A replica that has just begun to follow does not confirm yet: said again until it does.
        eventually("the campaign runs", Duration::from_secs(20), async || {
            store.set_campaign_state(CAMPAIGN, CampaignState::Running, 1).await.is_ok()
        })
        .await;
        let (said, stop) = (Arc::<Mutex<Said>>::default(), Arc::<AtomicBool>::default());
        let mut tasks = Vec::new();
        for shard in store.all_shards() {
            let worker = Worker { store: store.clone(), shard, said: said.clone() };
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move { worker.enqueue_until(&stop).await }));
        }
        for shard in store.all_shards() {
            let worker = Worker { store: store.clone(), shard, said: said.clone() };
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move { worker.deliver_until(&stop).await }));
        }
        let (store_, stop_) = (store.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            while !stop_.load(Ordering::Relaxed) {
                let _ = store_.renew("r1", |_| true).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }));
        Self { store: store.clone(), said, stop, tasks }
    }

    pub fn acknowledged(&self) -> u64 {
        self.said.lock().unwrap().accepted.values().sum()
    }

    /// Ends it, lets everything that waits be delivered, and compares. Answers what was said.
    pub async fn finish(self) -> Said {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        drain(&self.store, &self.said).await;
        let said = std::mem::take(&mut *self.said.lock().unwrap());
        compare(&self.store, &said).await;
        said
    }
}

/// Lets everything that waits be delivered.
pub async fn drain(store: &Store, said: &Arc<Mutex<Said>>) {
    let _ = store.renew("r1", |_| true).await;
    let start = Instant::now();
    for shard in store.all_shards() {
        let worker = Worker { store: store.clone(), shard, said: said.clone() };
        let mut number = 1_000_000;
        // What an unanswered lease holds is found by reconcile, as a relay does.
        store.reconcile(shard, "r1", &[]).await.unwrap();
        while store.accounts(shard).await.unwrap().campaigns[&CAMPAIGN].waiting > 0 {
            assert!(start.elapsed() < Duration::from_secs(40), "{shard} does not run dry");
            let _ = store.renew("r1", |_| true).await;
            worker.deliver_once(&mut number).await;
        }
    }
}

/// A shard's accounts, which agree with themselves, with its bytes and with its events.
pub async fn balanced(store: &Store, shard: ShardId) -> Counters {
    let counters = store.accounts(shard).await.unwrap().campaigns[&CAMPAIGN];
    assert_eq!(counters.imbalance(), 0, "{shard}: {counters:?}");
    let waiting = store.audit(shard).await.unwrap().waiting(CAMPAIGN);
    assert_eq!(waiting, counters.waiting, "{shard}: by its bytes");
    let told = told(store, shard).await;
    assert_eq!(told, (counters.accepted / u64::from(PER_CHUNK), counters.delivered), "{shard}");
    counters
}

async fn compare(store: &Store, said: &Said) {
    assert!(said.wrong.is_empty(), "{:?}", said.wrong);
    for shard in store.all_shards() {
        let counters = balanced(store, shard).await;
        let accepted = said.accepted.get(&shard).copied().unwrap_or(0);
        assert_eq!(counters.accepted, accepted, "{shard}: chunks acknowledged and there");
        assert_eq!(counters.delivered, accepted, "{shard}: all delivered in the end");
    }
}

/// Chunks and deliveries that the outbox tells of, those that count.
async fn told(store: &Store, shard: ShardId) -> (u64, u64) {
    let (mut chunks, mut delivered, mut after) = (0, 0, store::Position::default());
    loop {
        let frames = store.outbox(shard, after, 1000).await.unwrap();
        let Some((last, _)) = frames.last() else { return (chunks, delivered) };
        after = *last;
        for settled in frames.iter().flat_map(|(_, events)| events) {
            match settled.event.kind {
                mail::event::EventKind::Delivered => {
                    delivered += u64::from(matches!(
                        settled.judgement,
                        Judgement::Applied | Judgement::Late
                    ));
                }
                _ => chunks += 1,
            }
        }
    }
}

struct Worker {
    store: Store,
    shard: ShardId,
    said: Arc<Mutex<Said>>,
}

impl Worker {
    fn failed(&self, error: &StoreError) {
        let mut said = self.said.lock().unwrap();
        said.failures += 1;
        said.unconfirmed += u64::from(matches!(error, StoreError::Unconfirmed { .. }));
        if !error.is_passing() {
            said.wrong.push(error.to_string());
        }
    }

    async fn enqueue_until(&self, stop: &AtomicBool) {
        let (mut chunk, mut last) = (0, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            let batch = loop {
                match self.store.reserve(self.shard, u64::from(PER_CHUNK)).await {
                    Ok(batch) => break batch,
                    Err(e) => self.failed(&e),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            // The same again until it is answered, as an upload's close does.
            loop {
                match self.enqueue(chunk, batch).await {
                    Ok(Enqueued::Stored | Enqueued::Already) => break,
                    Ok(other) => {
                        let mut said = self.said.lock().unwrap();
                        said.wrong.push(format!("{} chunk {chunk}: {other:?}", self.shard));
                        return;
                    }
                    Err(e) => self.failed(&e),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            chunk += 1;
            self.acknowledged(batch, last.elapsed());
            last = Instant::now();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn acknowledged(&self, batch: BatchId, silence: Duration) {
        let mut said = self.said.lock().unwrap();
        *said.accepted.entry(self.shard).or_default() += u64::from(PER_CHUNK);
        if !said.batches.insert((self.shard, batch)) {
            said.wrong.push(format!("{}: batch {batch:?} was given out twice", self.shard));
        }
        let gap = said.gaps.entry(self.shard).or_default();
        *gap = (*gap).max(silence);
    }

    async fn enqueue(&self, chunk: u64, batch: BatchId) -> Result<Enqueued, StoreError> {
        let enqueue = Enqueue {
            lane: lane(),
            chunk,
            batch,
            count: PER_CHUNK,
            suppressed: vec![],
            priority: 1,
        };
        let mut event = Event::default();
        event.kind = mail::event::EventKind::Accepted;
        let frame = Frame::encode(&[event]);
        Ok(self.store.enqueue(self.shard, &[(enqueue, b"blob".to_vec(), frame)]).await?[0])
    }

    async fn deliver_until(&self, stop: &AtomicBool) {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            self.deliver_once(&mut number).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn deliver_once(&self, number: &mut u64) {
        match self.store.lease(self.shard, "r1", &[(lane(), 50)]).await {
            Ok(LeaseAnswer::Leases(leases)) => {
                for lease in leases {
                    *number += 1;
                    self.settle(&lease, *number).await;
                }
            }
            Ok(_) => {}
            Err(e) => {
                self.failed(&e);
                // As a relay does: the answer may be lost and the lease there.
                if let Err(e) = self.store.reconcile(self.shard, "r1", &[]).await {
                    self.failed(&e);
                }
            }
        }
    }

    async fn settle(&self, leased: &LeasedBatch, number: u64) {
        let lease = &leased.lease;
        for (index, _) in &lease.items {
            let mut said = self.said.lock().unwrap();
            if said.delivered.contains(&(self.shard, lease.batch, *index)) {
                let what = format!("{} {:?}+{index}", self.shard, lease.batch);
                said.wrong.push(format!("{what}: leased again after its settle was acknowledged"));
            }
        }
        let groups = [lease
            .settle(lease.items.iter().map(|(i, _)| (*i, Outcome::End(End::Delivered))).collect())];
        let mut event = Event::default();
        event.kind = mail::event::EventKind::Delivered;
        let frame = Frame::encode(&vec![event; lease.items.len()]);
        let part = ShardSettle { shard: self.shard, number, groups: &groups, frame: &frame };
        let judgements = loop {
            match self.store.settle_together("r1", &[part]).await.remove(0) {
                Ok(judgements) => break judgements,
                Err(e) => self.failed(&e),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut said = self.said.lock().unwrap();
        for ((index, _), judgement) in lease.items.iter().zip(judgements) {
            if matches!(judgement, Judgement::Applied | Judgement::Late) {
                said.delivered.insert((self.shard, lease.batch, *index));
            }
        }
    }
}
