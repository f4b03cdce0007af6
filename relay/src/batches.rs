//! Batches read lately: a batch is leased in several ranges, and again for each retry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mail::ShardId;
use mail::queue::BatchId;
use store::{Batch, Store, StoreError};

/// Octets kept. What a relay needs does not grow with the queue.
const KEPT_OCTETS_MAX: usize = 8 << 20;

type Known = HashMap<(ShardId, BatchId), (Instant, Arc<Batch>)>;

#[derive(Default)]
pub(crate) struct Batches(Mutex<Known>);

impl Batches {
    /// A batch out of the blob that came with its lease, or out of memory, or out of the store.
    pub(crate) async fn read(
        &self,
        store: &Store,
        shard: ShardId,
        id: BatchId,
        blob: Vec<u8>,
    ) -> Result<Arc<Batch>, StoreError> {
        if let Some(known) = self.known(shard, id) {
            return Ok(known);
        }
        let blob = if blob.is_empty() { store.batch(shard, id).await? } else { Some(blob) };
        let blob = blob.ok_or_else(|| StoreError::Corrupt {
            what: format!("batch {} of shard {shard}", id.0),
            why: "it is not there".into(),
        })?;
        let batch = Arc::new(Batch::decode(&blob)?);
        self.keep(shard, id, &batch);
        Ok(batch)
    }

    fn known(&self, shard: ShardId, id: BatchId) -> Option<Arc<Batch>> {
        let mut known = self.lock();
        let (used, batch) = known.get_mut(&(shard, id))?;
        *used = Instant::now();
        Some(batch.clone())
    }

    fn keep(&self, shard: ShardId, id: BatchId, batch: &Arc<Batch>) {
        let mut known = self.lock();
        known.insert((shard, id), (Instant::now(), batch.clone()));
        let mut octets: usize = known.values().map(|(_, b)| b.memory()).sum();
        while octets > KEPT_OCTETS_MAX {
            let oldest = known.iter().min_by_key(|(_, (used, _))| *used).map(|(k, _)| *k);
            let Some((_, gone)) = oldest.and_then(|k| known.remove(&k)) else { return };
            octets -= gone.memory();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
