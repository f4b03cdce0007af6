//! Settling: outcomes of leases and the events about them, in one script a shard.

use mail::queue::{Judgement, Outcome, Settle};
use mail::{ShardId, Timestamp};
use redis::Value;
use serde::Serialize;

use crate::error::StoreError;
use crate::queue::parse;
use crate::{Store, scripts};

/// What a relay settles in one shard.
#[derive(Debug, Clone, Copy)]
pub struct ShardSettle<'a> {
    /// Where.
    pub shard: ShardId,
    /// See [`Store::settle`].
    pub number: u64,
    /// Outcomes by lease.
    pub groups: &'a [Settle],
    /// Their events.
    pub frame: &'a [u8],
}

#[derive(Serialize)]
struct GroupArgs {
    token: u64,
    slot: u8,
    batch: u64,
    lane: String,
    count: u16,
    /// Runs of recipients that follow one another and have the same outcome: the first of each,
    /// how many they are, a letter: a capital where they ended because the address is dead.
    indices: Vec<u16>,
    lengths: Vec<u16>,
    outcomes: String,
    /// Of those runs that wait, when.
    due: Vec<u64>,
    /// Why some are set aside; empty where none is.
    reason: String,
    /// See [`Settle`].
    newer: u8,
}

impl GroupArgs {
    fn new(settle: &Settle) -> Self {
        let mut args = Self {
            token: settle.token.0,
            slot: settle.slot,
            batch: settle.batch.0,
            lane: settle.lane.to_string(),
            count: settle.count,
            indices: Vec::new(),
            lengths: Vec::new(),
            outcomes: String::new(),
            due: Vec::new(),
            reason: settle.reason.clone(),
            newer: settle.newer,
        };
        let is_dead = |index: &u16| settle.dead.binary_search(index).is_ok();
        let follow = |a: &(u16, Outcome), b: &(u16, Outcome)| {
            a.1 == b.1
                && b.0.checked_sub(1).is_some_and(|before| before == a.0)
                && is_dead(&a.0) == is_dead(&b.0)
        };
        for run in settle.outcomes.chunk_by(follow) {
            let (first, outcome) = run[0];
            args.indices.push(first);
            // As many as a batch has rows at most.
            args.lengths.push(run.len() as u16);
            let letter = outcome.letter();
            args.outcomes.push(if is_dead(&first) { letter.to_ascii_uppercase() } else { letter });
            if let Outcome::Deferred { due } | Outcome::Waits { due } = outcome {
                args.due.push(due.0);
            }
        }
        args
    }
}

impl Store {
    /// Settles outcomes. `number` counts this relay's settles in this shard: after an
    /// error the same ones are sent again under the same number. `frame` holds one event
    /// per outcome that is told, in order. The level of durability is reached before the answer.
    ///
    /// # Errors
    /// When Redis does not answer: send the same again.
    pub async fn settle(
        &self,
        shard: ShardId,
        relay: &str,
        number: u64,
        groups: &[Settle],
        frame: &[u8],
    ) -> Result<Vec<Judgement>, StoreError> {
        self.settle_at(None, shard, relay, number, groups, frame).await
    }

    /// `settle` by a clock that is handed in; for the conformance suite.
    #[doc(hidden)]
    pub async fn settle_at(
        &self,
        now: Option<Timestamp>,
        shard: ShardId,
        relay: &str,
        number: u64,
        groups: &[Settle],
        frame: &[u8],
    ) -> Result<Vec<Judgement>, StoreError> {
        let args = self.settlement(now, relay, number, groups);
        let key = self.shard_key(shard, "meta");
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::SETTLE.call(&mut conn, &key, &args, &[frame]).await?;
        self.confirm(&mut conn).await?;
        judgements(value)
    }

    /// Settles in several shards in one round trip a server, which costs one fsync and not one
    /// a shard. Each part has its own answer: what failed is sent again, alone or together.
    pub async fn settle_together(
        &self,
        relay: &str,
        parts: &[ShardSettle<'_>],
    ) -> Vec<Result<Vec<Judgement>, StoreError>> {
        let keys: Vec<String> =
            parts.iter().map(|part| self.shard_key(part.shard, "meta")).collect();
        let told = self.spread_confirmed(&keys, |at| {
            let part = &parts[at];
            let args = self.settlement(None, relay, part.number, part.groups);
            scripts::SETTLE.command(&keys[at], &args, &[part.frame])
        });
        told.await.into_iter().map(|answer| judgements(answer?)).collect()
    }

    fn settlement(
        &self,
        now: Option<Timestamp>,
        relay: &str,
        number: u64,
        groups: &[Settle],
    ) -> impl Serialize + use<> {
        #[derive(Serialize)]
        struct Settled {
            relay: String,
            number: u64,
            groups: Vec<GroupArgs>,
        }
        let groups = groups.iter().map(GroupArgs::new).collect();
        self.args(now, Settled { relay: relay.to_owned(), number, groups })
    }
}

fn judgements(value: Value) -> Result<Vec<Judgement>, StoreError> {
    let judgement =
        |b| Judgement::from_letter(b).ok_or_else(|| StoreError::corrupt("the answer to settle", b));
    parse::<Vec<u8>>(value)?.into_iter().map(judgement).collect()
}
