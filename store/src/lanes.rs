//! What all shards have to lease, and leasing in all of them: one round trip each, because
//! whoever shares fairly must see every shard before taking from one.

use mail::ShardId;
use mail::queue::Lane;
use redis::aio::ConnectionLike;

use crate::error::StoreError;
use crate::queue::{LeaseAnswer, lease_answer, parse};
use crate::{Store, scripts};

/// A part of a shard's ready index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Where.
    pub shard: ShardId,
    /// The place of the first lane.
    pub from: usize,
    /// Lanes at most.
    pub count: usize,
}

impl Store {
    /// Pages of the ready indexes: lanes with their priorities, those of low numbers first.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn ready_pages(&self, pages: &[Page]) -> Result<Vec<Vec<(Lane, u8)>>, StoreError> {
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for page in pages {
            pipe.cmd("ZRANGE")
                .arg(self.shard_key(page.shard, "ready"))
                .arg(page.from)
                .arg(page.from + page.count.max(1) - 1)
                .arg("WITHSCORES");
        }
        let mut conn = self.conn().await?;
        let answers: Vec<Vec<(String, f64)>> = pipe.query_async(&mut *conn).await?;
        let lane = |(name, priority): (String, f64)| {
            let lane = name.parse().map_err(|e| StoreError::corrupt("the ready index", e))?;
            Ok((lane, priority as u8))
        };
        answers.into_iter().map(|lanes| lanes.into_iter().map(lane).collect()).collect()
    }

    /// Leases in several shards at once. Each shard's answer is its own.
    ///
    /// # Errors
    /// When Redis does not answer: then [`reconcile`](Self::reconcile) every one of them
    /// before the next lease.
    pub async fn lease_together(
        &self,
        relay: &str,
        wants: &[(ShardId, Vec<(Lane, u16)>)],
    ) -> Result<Vec<Result<LeaseAnswer, StoreError>>, StoreError> {
        let mut pipe = redis::pipe();
        for (shard, wants) in wants {
            let args = self.lease_args(None, relay, wants);
            pipe.add_command(scripts::LEASE.command(&self.shard_key(*shard, "meta"), &args, &[]));
        }
        let mut conn = self.conn().await?;
        let values = conn.req_packed_commands(&pipe, 0, wants.len()).await?;
        drop(conn);
        if values.len() != wants.len() {
            return Err(StoreError::corrupt("the answers to lease", values.len()));
        }
        let mut answers = Vec::with_capacity(wants.len());
        for ((shard, wants), value) in wants.iter().zip(values) {
            answers.push(match value.extract_error() {
                Ok(value) => parse(value).and_then(lease_answer),
                // The server forgot the scripts; this call teaches it again.
                Err(e) if e.code() == Some("NOSCRIPT") => self.lease(*shard, relay, wants).await,
                Err(e) => Err(e.into()),
            });
        }
        Ok(answers)
    }
}
