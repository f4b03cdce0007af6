//! What all shards have to lease, and leasing in all of them: one round trip each, because
//! whoever shares fairly must see every shard before taking from one.

use mail::ShardId;
use mail::queue::Lane;

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
    /// Each page has its own answer: a server that is away takes only its own along.
    pub async fn ready_pages(&self, pages: &[Page]) -> Vec<Result<Vec<(Lane, u8)>, StoreError>> {
        let key = |page: &Page| self.shard_key(page.shard, "ready");
        let keys: Vec<String> = pages.iter().map(key).collect();
        let told = self.spread(&keys, |at| {
            let Page { shard: _, from, count } = pages[at];
            let mut range = redis::cmd("ZRANGE");
            range.arg(&keys[at]).arg(from).arg(from + count.max(1) - 1).arg("WITHSCORES");
            range
        });
        told.await.into_iter().map(|answer| Ok(lanes(parse(answer?)?))).collect()
    }

    /// Leases in several shards in one round trip a server. Each shard's answer is its own:
    /// after an error [`reconcile`](Self::reconcile) it before the next lease.
    pub async fn lease_together(
        &self,
        relay: &str,
        wants: &[(ShardId, Vec<(Lane, u16)>)],
    ) -> Vec<Result<LeaseAnswer, StoreError>> {
        let keys: Vec<String> =
            wants.iter().map(|(shard, _)| self.shard_key(*shard, "meta")).collect();
        // A lease that a failover can forget is none: two relays would send.
        let told = self.spread_confirmed(&keys, |at| {
            let args = self.lease_args(None, relay, &wants[at].1);
            scripts::LEASE.command(&keys[at], &args, &[])
        });
        told.await.into_iter().map(|answer| lease_answer(answer?)).collect()
    }
}

/// One entry that does not read must not hold up all the others.
fn lanes(rows: Vec<(String, f64)>) -> Vec<(Lane, u8)> {
    let readable = |(name, priority): (String, f64)| match name.parse() {
        Ok(lane) => Some((lane, priority as u8)),
        Err(error) => {
            tracing::error!(%error, "left alone in the ready index");
            None
        }
    };
    rows.into_iter().filter_map(readable).collect()
}
