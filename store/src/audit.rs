//! Every recipient of a shard, looked at: for the comparison with the model and for audits.

use mail::queue::{BatchId, Lane};
use mail::{CampaignId, ShardId};
use serde::Serialize;

use crate::error::StoreError;
use crate::queue::parse;
use crate::{Store, scripts};

/// A batch of which something was leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBatch {
    /// Which.
    pub batch: BatchId,
    /// Its lane.
    pub lane: String,
    /// One byte per recipient.
    pub states: Vec<u8>,
    /// One byte per recipient.
    pub attempts: Vec<u8>,
    /// Not at rest.
    pub left: u64,
}

/// A shard as its bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Batches of which something was leased.
    pub open: Vec<OpenBatch>,
    /// Batches with something never leased: lane, batch, recipients in it.
    pub fresh: Vec<(String, BatchId, u16)>,
    /// The ready index.
    pub ready: Vec<String>,
    /// Groups of the delay index: `batch:due`.
    pub delayed: Vec<String>,
    /// Batches stored.
    pub batches: u64,
}

impl Audit {
    /// Recipients of a campaign not at rest, counted from states.
    #[must_use]
    pub fn waiting(&self, campaign: CampaignId) -> u64 {
        let prefix = format!("{campaign}/");
        let is_done = |b: &u8| (4..=9).contains(b);
        let open = self.open.iter().filter(|o| o.lane.starts_with(&prefix));
        let waiting: usize = open.map(|o| o.states.iter().filter(|b| !is_done(b)).count()).sum();
        let known: std::collections::HashSet<BatchId> = self.open.iter().map(|o| o.batch).collect();
        let unopened: u64 = self
            .fresh
            .iter()
            .filter(|(lane, batch, _)| lane.starts_with(&prefix) && !known.contains(batch))
            .map(|(_, _, n)| u64::from(*n))
            .sum();
        waiting as u64 + unopened
    }
}

impl Store {
    /// Every lane that a campaign ever had in a shard.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn lanes(&self, shard: ShardId, id: CampaignId) -> Result<Vec<Lane>, StoreError> {
        let key = self.shard_key(shard, &format!("lanes:{id}"));
        let mut conn = self.conn_for(&key).await?;
        let names: Vec<String> = redis::cmd("SMEMBERS").arg(&key).query_async(&mut conn).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Every batch of a shard as its bytes say. For small shards: it reads everything.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn audit(&self, shard: ShardId) -> Result<Audit, StoreError> {
        #[derive(Serialize)]
        struct Nothing {}
        type Rows = (
            Vec<(u64, String, Vec<u8>, Vec<u8>, u64, u64)>,
            Vec<(String, String)>,
            Vec<String>,
            Vec<String>,
            u64,
        );
        let value =
            self.queue_call(&scripts::AUDIT, shard, &self.args(None, Nothing {}), &[]).await?;
        let (open, fresh, ready, delayed, batches): Rows = parse(value)?;
        let fresh = fresh
            .into_iter()
            .map(|(lane, entry)| {
                let parts = entry
                    .split_once(':')
                    .and_then(|(b, n)| Some((b.parse().ok()?, n.parse().ok()?)));
                let (batch, n) =
                    parts.ok_or_else(|| StoreError::corrupt("a fresh entry", &entry))?;
                Ok((lane, BatchId(batch), n))
            })
            .collect::<Result<_, StoreError>>()?;
        let open = open
            .into_iter()
            .map(|(batch, lane, states, attempts, left, _)| OpenBatch {
                batch: BatchId(batch),
                lane,
                states,
                attempts,
                left,
            })
            .collect();
        Ok(Audit { open, fresh, ready, delayed, batches })
    }
}
