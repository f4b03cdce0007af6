//! The first words on every new connection: has the server begun a new run since this
//! shard was last written? After a restart or a failover the newest writes may be gone,
//! and with them the numbers and stream positions that they took. A connection never
//! outlives its server's run, so whoever writes first in a new run has said these words
//! before, and no number is given out twice.

use std::sync::OnceLock;

use redis::RedisError;
use redis::aio::ConnectionLike;
use serde::Serialize;

use crate::pool::Health;
use crate::scripts;
use crate::slot::slot_of;

/// Delivery numbers that a new run skips, times 1 to 4096 by its own id: more than a shard
/// can give out in the seconds that a server may lose, and two runs that both begin at the
/// same lost end part ways.
const SKIP: u64 = 1_000_000;
/// A new run's events begin this far ahead of its clock, or where the last run ended: the
/// server that takes over may have a slower clock than the one whose end was lost.
const AHEAD_MS: u64 = 5_000;

/// The shards that a new connection has to greet.
#[derive(Default)]
pub(crate) struct Arrivals {
    metas: OnceLock<Vec<(u16, String)>>,
}

impl Arrivals {
    /// Names the `meta` keys of all shards, once they are known.
    pub(crate) fn name(&self, metas: Vec<String>) {
        let _ = self.metas.set(metas.into_iter().map(|key| (slot_of(&key), key)).collect());
    }

    pub(crate) async fn arrive(
        &self,
        conn: &mut impl ConnectionLike,
        health: &Health,
    ) -> Result<(), RedisError> {
        #[derive(Serialize)]
        struct Args {
            now: u64,
            skip: u64,
            ahead_ms: u64,
        }
        let Some(metas) = self.metas.get() else { return Ok(()) };
        let args = Args { now: 0, skip: SKIP, ahead_ms: AHEAD_MS };
        let mut pipe = redis::pipe();
        for (_, key) in metas.iter().filter(|(slot, _)| health.serves(*slot)) {
            pipe.add_command(scripts::ARRIVE.command(key, &args, &[]));
        }
        if pipe.is_empty() {
            return Ok(());
        }
        let began: Vec<u64> = pipe.query_async(conn).await?;
        let shards: u64 = began.iter().sum();
        if shards > 0 {
            tracing::info!(shards, "redis began a new run: delivery numbers skip ahead");
        }
        Ok(())
    }
}
