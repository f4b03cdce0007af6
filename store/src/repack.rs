//! Batches of which few recipients are left: the blob still holds all, and most of a
//! queue that has been sent once would be rows of people who have their mail. A relay
//! packs such a batch anew, with the rows that are needed yet and under the same name.

use mail::ShardId;
use mail::queue::BatchId;
use serde::Serialize;

use crate::batch::Batch;
use crate::error::StoreError;
use crate::queue::parse;
use crate::{Store, scripts};

/// Batches packed anew in one shard at a time.
const AT_A_TIME: usize = 20;

impl Store {
    /// Packs some sparse batches of a shard anew; answers how many. One that is not done, for
    /// whatever reason, is noted again by its next settle.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn repack(&self, shard: ShardId) -> Result<usize, StoreError> {
        #[derive(Serialize)]
        struct Max {
            max: usize,
        }
        #[derive(Serialize)]
        struct Shrunk {
            batch: u64,
            rows: usize,
        }
        type Row = (u64, Vec<u8>, Vec<u8>);
        let args = self.args(None, Max { max: AT_A_TIME });
        let rows: Vec<Row> = parse(self.queue_call(&scripts::SPARSE, shard, &args, &[]).await?)?;
        let mut done = 0;
        for (batch, left, blob) in rows {
            let left: Vec<u16> =
                left.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            let whole = match Batch::decode(&blob) {
                Ok(whole) => whole,
                // Whoever leases it says what is wrong with it.
                Err(error) => {
                    tracing::debug!(%shard, batch, %error, "left as it is");
                    continue;
                }
            };
            if !left.iter().any(|index| whole.has(*index)) {
                continue;
            }
            let args = self.args(None, Shrunk { batch, rows: left.len() });
            let small = whole.encode_only(&left);
            done +=
                parse::<usize>(self.queue_call(&scripts::SHRINK, shard, &args, &[&small]).await?)?;
            tracing::debug!(%shard, batch = BatchId(batch).0, rows = left.len(), "packed anew");
        }
        Ok(done)
    }
}
