//! Customers of the queue itself: chunks of recipients, enqueued as fast as they are
//! acknowledged, and how many were when the server went away.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use mail::event::EventKind;
use mail::queue::{Enqueue, Enqueued, Lane};
use mail::{Address, CampaignId, DeliveryId, Event, ShardId};
use store::{BatchBuilder, Frame, Store, StoreError};
use tokio::task::JoinSet;

use crate::bench::drain::clock;
use crate::generator::Generator;

pub(super) const CAMPAIGN: CampaignId = CampaignId(1);
/// Customers at the same time, each with shards of its own.
const CUSTOMERS: u16 = 4;

/// Recipients by shard whose enqueueing was answered.
pub(super) type Acknowledged = HashMap<ShardId, u64>;

/// How much at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) recipients_a_chunk: u64,
    pub(super) chunks_a_call: u64,
}

impl Load {
    /// Small ones, so that a cut falls among many answers.
    pub(super) const MANY: Self = Self { recipients_a_chunk: 25, chunks_a_call: 1 };
    /// As the API does.
    pub(super) const LARGE: Self = Self { recipients_a_chunk: 500, chunks_a_call: 4 };
}

/// Customers at work.
pub(super) struct Customers {
    tasks: JoinSet<Result<Acknowledged>>,
    sum: Arc<AtomicU64>,
}

impl Customers {
    pub(super) fn start(store: &Store, load: Load, seed: u64) -> Self {
        let sum = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for n in 0..CUSTOMERS.min(store.shards()) {
            let shards = store.all_shards().filter(|s| s.0 % CUSTOMERS == n).collect();
            let customer = Customer {
                store: store.clone(),
                shards,
                load,
                recipients: Generator::new(seed + u64::from(n), u64::MAX),
                sum: sum.clone(),
            };
            tasks.spawn(customer.run());
        }
        Self { tasks, sum }
    }

    /// Acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// After the server's end: what each had been answered.
    pub(super) async fn ended(mut self) -> Result<Acknowledged> {
        let mut all = Acknowledged::new();
        while let Some(ended) = self.tasks.join_next().await {
            all.extend(ended??);
        }
        Ok(all)
    }

    /// Works for so long and is then stopped; answers how many were acknowledged a second.
    pub(super) async fn rate(mut self, over: Duration) -> Result<f64> {
        let before = self.acknowledged();
        let began = tokio::time::Instant::now();
        tokio::select! {
            ended = self.tasks.join_next() => bail!("a customer ended: {ended:?}"),
            () = tokio::time::sleep(over) => {}
        }
        let recipients = self.acknowledged() - before;
        let rate = recipients as f64 / began.elapsed().as_secs_f64();
        self.tasks.shutdown().await;
        Ok(rate.round())
    }
}

struct Customer {
    store: Store,
    shards: Vec<ShardId>,
    load: Load,
    recipients: Generator,
    sum: Arc<AtomicU64>,
}

impl Customer {
    /// Until the server does not answer any more.
    async fn run(self) -> Result<Acknowledged> {
        let mut acknowledged = Acknowledged::new();
        let mut next = 0;
        for round in 0.. {
            for shard in &self.shards {
                let chunks = self.chunks(*shard, round, &mut next).await;
                let answers = match chunks {
                    Ok(chunks) => self.enqueue(*shard, &chunks).await,
                    Err(error) => Err(error),
                };
                match answers {
                    Ok(answers) if answers.iter().all(is_stored) => {}
                    Ok(answers) => bail!("{shard}: {answers:?}"),
                    // The call may or may not have been done: nobody was told.
                    Err(error) if error.is_passing() => return Ok(acknowledged),
                    Err(error) => return Err(error.into()),
                }
                let recipients = self.load.recipients_a_chunk * self.load.chunks_a_call;
                *acknowledged.entry(*shard).or_default() += recipients;
                self.sum.fetch_add(recipients, Ordering::Relaxed);
            }
        }
        Ok(acknowledged)
    }

    /// What is not confirmed is sent again, as the API asks its customers to.
    async fn enqueue(
        &self,
        shard: ShardId,
        chunks: &[(Enqueue, Vec<u8>, Vec<u8>)],
    ) -> Result<Vec<Enqueued>, StoreError> {
        loop {
            match self.store.enqueue(shard, chunks).await {
                Err(StoreError::Unconfirmed { .. }) => {}
                answered => return answered,
            }
        }
    }

    async fn chunks(
        &self,
        shard: ShardId,
        round: u64,
        next: &mut u64,
    ) -> Result<Vec<(Enqueue, Vec<u8>, Vec<u8>)>, StoreError> {
        let Load { recipients_a_chunk, chunks_a_call } = self.load;
        let mut first = self.store.reserve(shard, recipients_a_chunk * chunks_a_call).await?;
        let mut chunks = Vec::new();
        for n in 0..chunks_a_call {
            let mut batch = BatchBuilder::new(3);
            for _ in 0..recipients_a_chunk {
                let recipient = self.recipients.recipient(*next);
                *next += 1;
                let address: Address = recipient.address.parse().expect("the generator's");
                let values: Vec<String> = recipient.merge.into_iter().map(|(_, v)| v).collect();
                batch.push(&address, "", "", &values);
            }
            let event = Event {
                campaign: Some(CAMPAIGN),
                delivery: Some(DeliveryId { shard, seq: first.0 }),
                count: recipients_a_chunk as u32,
                ..Event::new(EventKind::Accepted, clock())
            };
            let command = Enqueue {
                lane: Lane { campaign: CAMPAIGN, domain: None },
                chunk: round * chunks_a_call + n,
                batch: first,
                count: recipients_a_chunk as u16,
                suppressed: Vec::new(),
                priority: 1,
            };
            let blob = batch.encode(CAMPAIGN, shard, first, clock());
            chunks.push((command, blob, Frame::encode(&[event])));
            first.0 += recipients_a_chunk;
        }
        Ok(chunks)
    }
}

const fn is_stored(answer: &Enqueued) -> bool {
    matches!(answer, Enqueued::Stored | Enqueued::Already)
}

/// Recipients that were acknowledged and are not there.
pub(super) async fn lost(store: &Store, acknowledged: &Acknowledged) -> Result<u64> {
    let mut lost = 0;
    for (shard, recipients) in acknowledged {
        let accounts = store.accounts(*shard).await?;
        let stored = accounts.campaigns.get(&CAMPAIGN).map_or(0, |c| c.accepted);
        lost += recipients.saturating_sub(stored);
    }
    Ok(lost)
}
