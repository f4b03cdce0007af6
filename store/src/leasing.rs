//! Leasing: what all shards have to lease, and leasing in all of them in one round trip a
//! server, because whoever shares fairly must see every shard before taking from one.

use mail::queue::{BatchId, Lane, Leased, SLOTS_MAX, Token};
use mail::{ShardId, Timestamp};
use redis::Value;
use serde::Serialize;

use crate::error::StoreError;
use crate::queue::{one, parse};
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

/// A lease, with the batch where the script had it at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedBatch {
    /// What is held.
    pub lease: Leased,
    /// The batch; empty when the relay is likely to know it, see [`Store::batch`].
    pub blob: Vec<u8>,
}

/// What a lease answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// These, perhaps none.
    Leases(Vec<LeasedBatch>),
    /// The relay's deadline has passed: it holds nothing and must register again.
    Lost,
    /// The ledger is far behind: nothing is leased until it has caught up.
    OutboxFull,
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

    /// Leases up to a number of recipients from each lane.
    ///
    /// # Errors
    /// When Redis does not answer: then [`reconcile`](Self::reconcile) before the next lease.
    pub async fn lease(
        &self,
        shard: ShardId,
        relay: &str,
        wants: &[(Lane, u16)],
    ) -> Result<LeaseAnswer, StoreError> {
        self.lease_at(None, shard, relay, wants).await
    }

    /// `lease` by a clock that is handed in; for the conformance suite.
    #[doc(hidden)]
    pub async fn lease_at(
        &self,
        now: Option<Timestamp>,
        shard: ShardId,
        relay: &str,
        wants: &[(Lane, u16)],
    ) -> Result<LeaseAnswer, StoreError> {
        let args = self.lease_args(now, relay, wants);
        let key = self.shard_key(shard, "meta");
        let mut conn = self.conn_for(&key).await?;
        let answer = lease_answer(scripts::LEASE.call(&mut conn, &key, &args, &[]).await?)?;
        if matches!(&answer, LeaseAnswer::Leases(leases) if !leases.is_empty()) {
            // A lease that a failover can forget is none: two relays would send.
            self.confirm(&mut conn).await?;
        }
        Ok(answer)
    }

    pub(crate) fn lease_args(
        &self,
        now: Option<Timestamp>,
        relay: &str,
        wants: &[(Lane, u16)],
    ) -> impl Serialize + use<> {
        #[derive(Serialize)]
        struct Want {
            relay: String,
            slots_max: u8,
            wants: Vec<(String, u16)>,
        }
        let wants = wants.iter().map(|(lane, n)| (lane.to_string(), *n)).collect();
        self.args(now, Want { relay: relay.to_owned(), slots_max: SLOTS_MAX, wants })
    }

    /// A stored batch; `None` when all of it is at rest, or it never was.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn batch(
        &self,
        shard: ShardId,
        batch: BatchId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.shard_key(shard, "batch");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("HGET").arg(&key).arg(batch.0).query_async(&mut conn).await?)
    }

    /// The leases that a relay holds, over all shards.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn leases_of(&self, relay: &str) -> Result<Vec<(ShardId, Token)>, StoreError> {
        let keys = self.shard_keys(&format!("lease:{relay}"));
        let told = self.spread(&keys, |at| one("HKEYS", &keys[at])).await;
        let mut held = Vec::new();
        for (shard, tokens) in self.all_shards().zip(told) {
            let tokens: Vec<u64> = parse(tokens?)?;
            held.extend(tokens.into_iter().map(|token| (shard, Token(token))));
        }
        Ok(held)
    }

    /// Gives back every lease of the relay in this shard that it does not know of.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn reconcile(
        &self,
        shard: ShardId,
        relay: &str,
        known: &[Token],
    ) -> Result<u64, StoreError> {
        self.reconcile_at(None, shard, relay, known).await
    }

    /// `reconcile` by a clock that is handed in; for the conformance suite.
    #[doc(hidden)]
    pub async fn reconcile_at(
        &self,
        now: Option<Timestamp>,
        shard: ShardId,
        relay: &str,
        known: &[Token],
    ) -> Result<u64, StoreError> {
        #[derive(Serialize)]
        struct Known<'a> {
            relay: &'a str,
            known: Vec<u64>,
        }
        let args = self.args(now, Known { relay, known: known.iter().map(|t| t.0).collect() });
        parse(self.queue_call(&scripts::RECONCILE, shard, &args, &[]).await?)
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

pub(crate) fn lease_answer(value: Value) -> Result<LeaseAnswer, StoreError> {
    let mut rows: std::vec::IntoIter<Value> = parse::<Vec<Value>>(value)?.into_iter();
    match parse::<String>(rows.next().unwrap_or(Value::Nil))?.as_str() {
        "lost" => Ok(LeaseAnswer::Lost),
        "full" => Ok(LeaseAnswer::OutboxFull),
        _ => Ok(LeaseAnswer::Leases(rows.map(leased).collect::<Result<_, _>>()?)),
    }
}

type LeaseRow = (u64, u8, u64, String, u16, u8, Value, Vec<u8>, Vec<u8>);

fn leased(value: Value) -> Result<LeasedBatch, StoreError> {
    let (token, slot, batch, lane, count, cancelling, indices, attempts, blob): LeaseRow =
        parse(value)?;
    let items = match indices {
        Value::Int(first) => (first as u16..).zip(attempts).collect(),
        packed => {
            let packed: Vec<u8> = parse(packed)?;
            let indices = packed.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            indices.zip(attempts).collect()
        }
    };
    let lease = Leased {
        token: Token(token),
        slot,
        batch: BatchId(batch),
        lane: lane.parse().map_err(|e| StoreError::corrupt("a lease", e))?,
        count,
        cancelling: cancelling == 1,
        items,
    };
    Ok(LeasedBatch { lease, blob })
}
