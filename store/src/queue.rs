//! The queue's commands: typed in, one script, typed out. docs/QUEUE.md has the table.

use mail::queue::{
    BatchId, CampaignState, Enqueue, Enqueued, Judgement, LEASE_PERIOD, Lane, Leased, Outcome,
    PROMOTE_GROUPS_MAX, REAP_LEASES_MAX, SLOTS_MAX, Settle, Standing, Token,
};
use mail::{CampaignId, ShardId, Timestamp};
use redis::{FromRedisValue, Value};
use serde::Serialize;

use crate::error::StoreError;
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

/// A lease, with the batch where the script had it at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedBatch {
    /// What is held.
    pub lease: Leased,
    /// The batch; empty when the relay is likely to know it, see [`Store::batch`].
    pub blob: Vec<u8>,
}

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

#[derive(Serialize)]
struct GroupArgs {
    token: u64,
    slot: u8,
    batch: u64,
    lane: String,
    count: u16,
    /// Runs of recipients that follow one another and have the same outcome: the first of each,
    /// how many they are, a letter.
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
        let follow = |a: &(u16, Outcome), b: &(u16, Outcome)| {
            a.1 == b.1 && b.0.checked_sub(1).is_some_and(|before| before == a.0)
        };
        for run in settle.outcomes.chunk_by(follow) {
            let (first, outcome) = run[0];
            args.indices.push(first);
            // As many as a batch has rows at most.
            args.lengths.push(run.len() as u16);
            args.outcomes.push(outcome.letter());
            if let Outcome::Deferred { due } | Outcome::Waits { due } = outcome {
                args.due.push(due.0);
            }
        }
        args
    }
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
    pub async fn renew(
        &self,
        relay: &str,
        fresh: impl Fn(ShardId) -> bool + Sync,
    ) -> Vec<Result<Renewal, StoreError>> {
        let keys = self.shard_keys("meta");
        let told = self.spread(&keys, |at| {
            let args = self.renewal(None, relay, fresh(ShardId(at as u16)));
            scripts::RENEW.command(&keys[at], &args, &[])
        });
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

    /// Leases that a relay holds, over all shards.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn leases_held(&self, relay: &str) -> Result<u64, StoreError> {
        let keys = self.shard_keys(&format!("lease:{relay}"));
        let counts = self.spread(&keys, |at| one("HLEN", &keys[at])).await;
        counts.into_iter().try_fold(0, |sum, count| Ok(sum + parse::<u64>(count?)?))
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

pub(crate) fn lease_answer(value: Value) -> Result<LeaseAnswer, StoreError> {
    let mut rows: std::vec::IntoIter<Value> = parse::<Vec<Value>>(value)?.into_iter();
    match parse::<String>(rows.next().unwrap_or(Value::Nil))?.as_str() {
        "lost" => Ok(LeaseAnswer::Lost),
        "full" => Ok(LeaseAnswer::OutboxFull),
        _ => Ok(LeaseAnswer::Leases(rows.map(leased).collect::<Result<_, _>>()?)),
    }
}

fn judgements(value: Value) -> Result<Vec<Judgement>, StoreError> {
    let judgement =
        |b| Judgement::from_letter(b).ok_or_else(|| StoreError::corrupt("the answer to settle", b));
    parse::<Vec<u8>>(value)?.into_iter().map(judgement).collect()
}

fn renewal((word, now, ready): (String, u64, u64)) -> Renewal {
    let standing = if word == "known" { Standing::Known } else { Standing::Lost };
    Renewal { standing, now: Timestamp(now), ready }
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
