//! The queue's commands: typed in, one script, typed out. docs/QUEUE.md has the table.

use mail::queue::{
    BatchId, CampaignState, Enqueue, Enqueued, LEASE_PERIOD, Lane, PROMOTE_GROUPS_MAX,
    REAP_LEASES_MAX, Standing,
};
use mail::{CampaignId, ShardId, Timestamp};
use redis::{FromRedisValue, Value};
use serde::Serialize;

use crate::error::StoreError;
use crate::nodes::Spread;
use crate::{Store, scripts};

/// Arguments that every queue script takes.
#[derive(Serialize)]
pub(crate) struct Args<T: Serialize> {
    /// 0: by Redis's clock.
    now: u64,
    period: u64,
    outbox_max: u64,
    #[serde(flatten)]
    rest: T,
}

/// What a renewal answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// Whether the relay still holds what it leased.
    pub standing: Standing,
    /// Redis's clock.
    pub now: Timestamp,
    /// Lanes with something to lease.
    pub ready: u64,
}

impl Store {
    pub(crate) fn args<T: Serialize>(&self, now: Option<Timestamp>, rest: T) -> Args<T> {
        Args {
            now: now.map_or(0, |t| t.0),
            period: LEASE_PERIOD.as_millis() as u64,
            outbox_max: self.outbox_max,
            rest,
        }
    }

    pub(crate) async fn queue_call<T: Serialize>(
        &self,
        script: &scripts::QueueScript,
        shard: ShardId,
        args: &T,
        blobs: &[&[u8]],
    ) -> Result<Value, StoreError> {
        let key = self.shard_key(shard, "meta");
        let mut conn = self.conn_for(&key).await?;
        Ok(script.call(&mut conn, &key, args, blobs).await?)
    }

    /// Takes `count` sequence numbers of a shard; answers the first. None is ever given out
    /// twice, whatever a server lost: see `arrival.rs`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn reserve(&self, shard: ShardId, count: u64) -> Result<BatchId, StoreError> {
        let key = self.shard_key(shard, "seq");
        let mut conn = self.conn_for(&key).await?;
        let last: u64 = redis::cmd("INCRBY").arg(&key).arg(count).query_async(&mut conn).await?;
        Ok(BatchId(last - count + 1))
    }

    /// Stores chunks, in order, in one round trip; each is atomic by itself. The level of
    /// durability is reached before the answer. Each comes with its blob and its frame,
    /// whose events are one `accepted` and one per suppressed recipient.
    ///
    /// # Errors
    /// When Redis does not answer: what was stored is found again by its chunk numbers.
    pub async fn enqueue(
        &self,
        shard: ShardId,
        chunks: &[(Enqueue, Vec<u8>, Vec<u8>)],
    ) -> Result<Vec<Enqueued>, StoreError> {
        self.enqueue_at(None, shard, chunks).await
    }

    /// `enqueue` by a clock that is handed in; for the conformance suite.
    #[doc(hidden)]
    pub async fn enqueue_at(
        &self,
        now: Option<Timestamp>,
        shard: ShardId,
        chunks: &[(Enqueue, Vec<u8>, Vec<u8>)],
    ) -> Result<Vec<Enqueued>, StoreError> {
        #[derive(Serialize)]
        struct Chunk<'a> {
            lane: String,
            chunk: u64,
            batch: u64,
            count: u16,
            suppressed: &'a [u16],
            priority: u8,
        }
        let key = self.shard_key(shard, "meta");
        let mut pipe = redis::pipe();
        for (e, blob, frame) in chunks {
            let chunk = Chunk {
                lane: e.lane.to_string(),
                chunk: e.chunk,
                batch: e.batch.0,
                count: e.count,
                suppressed: &e.suppressed,
                priority: e.priority,
            };
            pipe.add_command(scripts::ENQUEUE.command(
                &key,
                &self.args(now, chunk),
                &[blob, frame],
            ));
        }
        let mut conn = self.conn_for(&key).await?;
        let words: Vec<String> = pipe.query_async(&mut conn).await?;
        self.confirm(&mut conn).await?;
        words
            .iter()
            .map(|word| match word.as_str() {
                "stored" => Ok(Enqueued::Stored),
                "already" => Ok(Enqueued::Already),
                "gap" => Ok(Enqueued::Gap),
                "full" => Ok(Enqueued::OutboxFull),
                other => Err(StoreError::corrupt("the answer to enqueue", other)),
            })
            .collect()
    }

    /// Sets what all shards know of a campaign, in one round trip.
    ///
    /// # Errors
    /// When Redis does not answer; doing it again is harmless.
    pub async fn set_campaign_state(
        &self,
        id: CampaignId,
        state: CampaignState,
        priority: u8,
    ) -> Result<(), StoreError> {
        let change = self.campaign_change(None, id, state, priority);
        let keys = self.shard_keys("meta");
        let told =
            self.spread_confirmed(&keys, |at| scripts::CAMPAIGN.command(&keys[at], &change, &[]));
        told.await.into_iter().try_for_each(|answer| answer.map(|_| ()))
    }

    /// One shard's part, by a clock that is handed in; for the conformance suite.
    #[doc(hidden)]
    pub async fn set_campaign_state_at(
        &self,
        now: Option<Timestamp>,
        shard: ShardId,
        id: CampaignId,
        state: CampaignState,
        priority: u8,
    ) -> Result<(), StoreError> {
        let change = self.campaign_change(now, id, state, priority);
        self.queue_call(&scripts::CAMPAIGN, shard, &change, &[]).await?;
        Ok(())
    }

    fn campaign_change(
        &self,
        now: Option<Timestamp>,
        id: CampaignId,
        state: CampaignState,
        priority: u8,
    ) -> impl Serialize + Sync + use<> {
        #[derive(Serialize)]
        struct Change {
            campaign: String,
            state: &'static str,
            priority: u8,
        }
        self.args(now, Change { campaign: id.to_string(), state: state.as_str(), priority })
    }

    /// Says in every shard that the relay lives, and registers it in those that are
    /// `fresh`. One round trip a server. Takes back what the dead held and makes ready what is
    /// due. Each shard has its own answer: a server that is away takes only its own along.
    /// Over a connection of its own: leases do not run out because others keep Redis busy.
    pub async fn renew(
        &self,
        relay: &str,
        fresh: impl Fn(ShardId) -> bool + Sync,
    ) -> Vec<Result<Renewal, StoreError>> {
        let keys = self.shard_keys("meta");
        let command = |at: usize| {
            let args = self.renewal(None, relay, fresh(ShardId(at as u16)));
            scripts::RENEW.command(&keys[at], &args, &[])
        };
        let told = self.send(Spread { keys: &keys, command: &command, confirm: None, apart: true });
        told.await.into_iter().map(|answer| Ok(renewal(parse(answer?)?))).collect()
    }

    /// One shard's part, by a clock that is handed in; for the conformance suite.
    #[doc(hidden)]
    pub async fn renew_at(
        &self,
        now: Option<Timestamp>,
        shard: ShardId,
        relay: &str,
        fresh: bool,
    ) -> Result<Renewal, StoreError> {
        let args = self.renewal(now, relay, fresh);
        let value = self.queue_call(&scripts::RENEW, shard, &args, &[]).await?;
        Ok(renewal(parse(value)?))
    }

    fn renewal(
        &self,
        now: Option<Timestamp>,
        relay: &str,
        fresh: bool,
    ) -> impl Serialize + Sync + use<> {
        #[derive(Serialize)]
        struct Renew {
            relay: String,
            fresh: bool,
            reap_max: usize,
            promote_max: usize,
        }
        self.args(
            now,
            Renew {
                relay: relay.to_owned(),
                fresh,
                reap_max: REAP_LEASES_MAX,
                promote_max: PROMOTE_GROUPS_MAX,
            },
        )
    }

    /// What the shards know of campaigns: asked of one of them, for they are told together.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn campaign_states(
        &self,
        ids: &[CampaignId],
    ) -> Result<Vec<Option<CampaignState>>, StoreError> {
        let last = ShardId(self.shards - 1);
        let key = |id: &CampaignId| self.shard_key(last, &format!("camp:{id}"));
        let keys: Vec<String> = ids.iter().map(key).collect();
        let words = self.spread(&keys, |at| {
            let mut cmd = one("HGET", &keys[at]);
            cmd.arg("state");
            cmd
        });
        let state = |word: Result<Value, StoreError>| {
            let word: Option<String> = parse(word?)?;
            Ok(word.and_then(|word| CampaignState::from_word(&word)))
        };
        words.await.into_iter().map(state).collect()
    }

    /// Makes what is delayed of a campaign due now, in every shard.
    ///
    /// # Errors
    /// When Redis does not answer; doing it again is harmless.
    pub async fn expedite(&self, id: CampaignId) -> Result<(), StoreError> {
        let which = self.expedition(None, id.to_string(), &[]);
        let keys = self.shard_keys("meta");
        let told = self.spread(&keys, |at| scripts::EXPEDITE.command(&keys[at], &which, &[]));
        told.await.into_iter().try_for_each(|answer| answer.map(|_| ()))
    }

    /// One shard's part, by a clock that is handed in; for the conformance suite.
    #[doc(hidden)]
    pub async fn expedite_at(
        &self,
        now: Option<Timestamp>,
        shard: ShardId,
        id: CampaignId,
    ) -> Result<(), StoreError> {
        self.make_due(now, shard, id.to_string(), &[]).await
    }

    /// Makes what is delayed of these lanes due now.
    ///
    /// # Errors
    /// When Redis does not answer; doing it again is harmless.
    pub async fn expedite_lanes(&self, shard: ShardId, lanes: &[Lane]) -> Result<(), StoreError> {
        self.make_due(None, shard, String::new(), lanes).await
    }

    async fn make_due(
        &self,
        now: Option<Timestamp>,
        shard: ShardId,
        campaign: String,
        lanes: &[Lane],
    ) -> Result<(), StoreError> {
        let args = self.expedition(now, campaign, lanes);
        self.queue_call(&scripts::EXPEDITE, shard, &args, &[]).await?;
        Ok(())
    }

    fn expedition(
        &self,
        now: Option<Timestamp>,
        campaign: String,
        lanes: &[Lane],
    ) -> impl Serialize + Sync + use<> {
        #[derive(Serialize)]
        struct Which {
            campaign: String,
            lanes: Vec<String>,
        }
        let lanes = lanes.iter().map(ToString::to_string).collect();
        self.args(now, Which { campaign, lanes })
    }

    /// Every shard of the store.
    pub fn all_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    /// The shard of a domain.
    #[must_use]
    pub fn shard_of(&self, domain: &str) -> ShardId {
        ShardId::of_domain(domain, self.shards)
    }
}

/// A command on one key.
pub(crate) fn one(name: &str, key: &str) -> redis::Cmd {
    let mut cmd = redis::cmd(name);
    cmd.arg(key);
    cmd
}

pub(crate) fn parse<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    T::from_redis_value(value).map_err(|e| StoreError::corrupt("an answer of redis", e))
}

fn renewal((word, now, ready): (String, u64, u64)) -> Renewal {
    let standing = if word == "known" { Standing::Known } else { Standing::Lost };
    Renewal { standing, now: Timestamp(now), ready }
}
