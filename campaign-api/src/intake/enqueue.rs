//! The last stretch: chunks are checked against the suppression lists, given their
//! sequence numbers, packed, and handed to the queue, which accepts each as a whole.

use std::sync::Arc;
use std::time::Duration;

use mail::event::EventKind;
use mail::queue::{BatchId, Enqueue, Enqueued, Lane};
use mail::{Address, DeliveryId, Event, ShardId};
use store::{BatchBuilder, Frame, Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::chunks::{Chunk, Group};
use super::{IntakeError, Order};
use crate::clock;

/// How often a full outbox is tried again before the campaign is left for later: half a
/// minute, in which a ledger that lives has caught up.
const FULL_TRIES: u32 = 30;
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// A packed chunk: command, batch and frame of events.
pub type Ready = (Enqueue, Vec<u8>, Vec<u8>);

/// What taking in needs of the queue. [`Store`] is it; tests put failures in between.
pub trait Queue: Sync {
    /// Which of these folded addresses are suppressed.
    fn suppressed(
        &self,
        shard: ShardId,
        tenant: &str,
        addresses: &[String],
    ) -> impl Future<Output = Result<Vec<bool>, StoreError>> + Send;
    /// Takes sequence numbers; answers the first.
    fn reserve(
        &self,
        shard: ShardId,
        count: u64,
    ) -> impl Future<Output = Result<BatchId, StoreError>> + Send;
    /// Stores chunks in order.
    fn enqueue(
        &self,
        shard: ShardId,
        chunks: &[Ready],
    ) -> impl Future<Output = Result<Vec<Enqueued>, StoreError>> + Send;
}

impl Queue for Store {
    async fn suppressed(
        &self,
        shard: ShardId,
        tenant: &str,
        addresses: &[String],
    ) -> Result<Vec<bool>, StoreError> {
        Store::suppressed(self, shard, tenant, addresses, clock::now()).await
    }
    async fn reserve(&self, shard: ShardId, count: u64) -> Result<BatchId, StoreError> {
        Store::reserve(self, shard, count).await
    }
    async fn enqueue(&self, shard: ShardId, chunks: &[Ready]) -> Result<Vec<Enqueued>, StoreError> {
        Store::enqueue(self, shard, chunks).await
    }
}

/// Takes every group into the queue; the next is packed while one is on its way.
pub(super) async fn all<Q: Queue>(
    order: &Arc<Order>,
    queue: &Q,
    groups: mpsc::Receiver<Group>,
    stop: &CancellationToken,
) -> Result<(), IntakeError> {
    let (packed, ready) = mpsc::channel(1);
    let both = async { tokio::try_join!(pack(order, queue, groups, packed), send(queue, ready)) };
    tokio::select! {
        done = both => done.map(|_| ()),
        () = stop.cancelled() => Err(IntakeError::Stopped),
    }
}

async fn pack<Q: Queue>(
    order: &Arc<Order>,
    queue: &Q,
    mut groups: mpsc::Receiver<Group>,
    packed: mpsc::Sender<(ShardId, Vec<Ready>)>,
) -> Result<(), IntakeError> {
    while let Some(group) = groups.recv().await {
        let shard = group.shard;
        let rows = group.chunks.iter().flat_map(Chunk::rows);
        let addresses: Vec<String> = rows.map(|row| row.folded().to_owned()).collect();
        let suppressed = queue.suppressed(shard, &order.tenant, &addresses).await?;
        let first = queue.reserve(shard, addresses.len() as u64).await?;
        let order = Arc::clone(order);
        let work = move || pack_group(&order, &group, first, &suppressed);
        let ready = tokio::task::spawn_blocking(work).await.map_err(|_| IntakeError::Stopped)?;
        if packed.send((shard, ready)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn pack_group(order: &Order, group: &Group, first: BatchId, suppressed: &[bool]) -> Vec<Ready> {
    let (mut first, mut suppressed) = (first, suppressed);
    let mut ready = Vec::with_capacity(group.chunks.len());
    for chunk in &group.chunks {
        let (here, rest) = suppressed.split_at(chunk.len());
        ready.push(pack_chunk(order, group.shard, chunk, first, here));
        first = BatchId(first.0 + chunk.len() as u64);
        suppressed = rest;
    }
    ready
}

fn pack_chunk(
    order: &Order,
    shard: ShardId,
    chunk: &Chunk,
    first: BatchId,
    suppressed: &[bool],
) -> Ready {
    let now = clock::now();
    let fields = order.form.fields.len();
    let mut batch =
        if order.form.zones { BatchBuilder::with_zones(fields) } else { BatchBuilder::new(fields) };
    if order.form.files {
        batch = batch.with_files();
    }
    let mut values = Vec::with_capacity(fields);
    let event = |kind, index: usize| Event {
        campaign: Some(order.campaign),
        delivery: Some(DeliveryId { shard, seq: first.0 + index as u64 }),
        service: "api".into(),
        ..Event::new(kind, now)
    };
    let mut events = vec![Event { count: chunk.len() as u32, ..event(EventKind::Accepted, 0) }];
    let mut indices = Vec::new();
    for (index, row) in chunk.rows().enumerate() {
        let (address, name, zone) = row.read(&order.form.defaults, &mut values);
        let address: Address = address.parse().expect("the row was made of an address");
        batch.push(&address, name, zone, &values);
        if suppressed[index] {
            indices.push(index as u16);
            let recipient = address.as_str().to_owned();
            let note = "on a suppression list".to_owned();
            events.push(Event { recipient, note, ..event(EventKind::Suppressed, index) });
        }
    }
    let lane = Lane { campaign: order.campaign, domain: chunk.domain.clone() };
    let command = Enqueue {
        lane,
        chunk: chunk.number,
        batch: first,
        count: chunk.len() as u16,
        suppressed: indices,
        priority: order.priority,
    };
    let blob = batch.encode(order.campaign, shard, first, now);
    (command, blob, Frame::encode(&events))
}

async fn send<Q: Queue>(
    queue: &Q,
    mut ready: mpsc::Receiver<(ShardId, Vec<Ready>)>,
) -> Result<(), IntakeError> {
    while let Some((shard, chunks)) = ready.recv().await {
        let mut left = chunks.as_slice();
        let mut tries = 0;
        while !left.is_empty() {
            let answers = queue.enqueue(shard, left).await?;
            let stored = answers.iter().take_while(|a| is_stored(**a)).count();
            left = &left[stored..];
            match answers.get(stored) {
                None => {}
                Some(Enqueued::Stored | Enqueued::Already) => {}
                Some(Enqueued::Gap) => return Err(IntakeError::Gap(shard)),
                Some(Enqueued::OutboxFull) if tries == FULL_TRIES => {
                    return Err(IntakeError::OutboxFull);
                }
                Some(Enqueued::OutboxFull) => {
                    tries += 1;
                    tokio::time::sleep(FULL_PAUSE).await;
                }
            }
        }
    }
    Ok(())
}

fn is_stored(answer: Enqueued) -> bool {
    match answer {
        Enqueued::Stored | Enqueued::Already => true,
        Enqueued::Gap | Enqueued::OutboxFull => false,
    }
}
