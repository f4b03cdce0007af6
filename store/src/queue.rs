//! The queue's commands: typed in, one script, typed out. docs/QUEUE.md has the table.

use mail::queue::{
    BatchId, CampaignState, Enqueue, Enqueued, Judgement, LEASE_PERIOD, Lane, Leased, Outcome,
    PROMOTE_GROUPS_MAX, REAP_LEASES_MAX, SLOTS_MAX, Settle, Standing, Token,
};
use mail::{CampaignId, ShardId, Timestamp};
use redis::aio::ConnectionLike;
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

/// A lane that may be leased from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyLane {
    /// The lane.
    pub lane: Lane,
    /// 0 goes first.
    pub priority: u8,
    /// Batches never leased.
    pub fresh_batches: u64,
    /// Groups of recipients whose turn has come again.
    pub retry_groups: u64,
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
    indices: Vec<u16>,
    outcomes: String,
    due: Vec<u64>,
    /// Why some are set aside; empty where none is.
    reason: String,
    /// See [`Settle`].
    newer: u8,
}

impl GroupArgs {
    fn new(settle: &Settle) -> Self {
        let due = |o: &Outcome| match o {
            Outcome::Deferred { due } | Outcome::Waits { due } => Some(due.0),
            Outcome::End(_) | Outcome::Back => None,
        };
        Self {
            token: settle.token.0,
            slot: settle.slot,
            batch: settle.batch.0,
            lane: settle.lane.to_string(),
            count: settle.count,
            indices: settle.outcomes.iter().map(|(i, _)| *i).collect(),
            outcomes: settle.outcomes.iter().map(|(_, o)| o.letter()).collect(),
            due: settle.outcomes.iter().filter_map(|(_, o)| due(o)).collect(),
            reason: settle.reason.clone(),
            newer: settle.newer,
        }
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
        let mut conn = self.conn().await?;
        Ok(script.call(&mut *conn, &self.shard_key(shard, "meta"), args, blobs).await?)
    }

    /// Takes `count` sequence numbers of a shard; answers the first.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn reserve(&self, shard: ShardId, count: u64) -> Result<BatchId, StoreError> {
        let mut conn = self.conn().await?;
        let last: u64 = redis::cmd("INCRBY")
            .arg(self.shard_key(shard, "seq"))
            .arg(count)
            .query_async(&mut *conn)
            .await?;
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
        let mut conn = self.conn().await?;
        let words: Vec<String> = pipe.query_async(&mut *conn).await?;
        self.confirm(&mut *conn).await?;
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
        for shard in self.all_shards() {
            self.set_campaign_state_at(None, shard, id, state, priority).await?;
        }
        Ok(())
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
        #[derive(Serialize)]
        struct Change {
            campaign: String,
            state: &'static str,
            priority: u8,
        }
        let change = Change { campaign: id.to_string(), state: state.as_str(), priority };
        self.queue_call(&scripts::CAMPAIGN, shard, &self.args(now, change), &[]).await?;
        Ok(())
    }

    /// Says in every shard that the relay lives, and registers it in those that are
    /// `fresh`. One round trip. Takes back what the dead held and makes ready what is due.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn renew(
        &self,
        relay: &str,
        fresh: impl Fn(ShardId) -> bool,
    ) -> Result<Vec<Renewal>, StoreError> {
        let mut pipe = redis::pipe();
        for shard in self.all_shards() {
            let key = self.shard_key(shard, "meta");
            pipe.add_command(scripts::RENEW.command(
                &key,
                &self.renewal(None, relay, fresh(shard)),
                &[],
            ));
        }
        let mut conn = self.conn().await?;
        let rows: Vec<(String, u64, u64)> = pipe.query_async(&mut *conn).await?;
        Ok(rows.into_iter().map(renewal).collect())
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

    fn renewal(&self, now: Option<Timestamp>, relay: &str, fresh: bool) -> impl Serialize + use<> {
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

    /// Lanes with something to lease in each shard, in one round trip.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn ready_counts(&self) -> Result<Vec<u64>, StoreError> {
        let mut pipe = redis::pipe();
        for shard in self.all_shards() {
            pipe.cmd("ZCARD").arg(self.shard_key(shard, "ready"));
        }
        let mut conn = self.conn().await?;
        Ok(pipe.query_async(&mut *conn).await?)
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
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.cmd("HGET").arg(self.shard_key(last, &format!("camp:{id}"))).arg("state");
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut conn = self.conn().await?;
        let words: Vec<Option<String>> = pipe.query_async(&mut *conn).await?;
        Ok(words.iter().map(|w| CampaignState::from_word(w.as_deref()?)).collect())
    }

    /// A page of the lanes that may be leased from, those of low priority numbers first.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn ready(
        &self,
        shard: ShardId,
        from: usize,
        count: usize,
    ) -> Result<Vec<ReadyLane>, StoreError> {
        let mut conn = self.conn().await?;
        let lanes: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(self.shard_key(shard, "ready"))
            .arg(from)
            .arg(from + count.max(1) - 1)
            .arg("WITHSCORES")
            .query_async(&mut *conn)
            .await?;
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for (lane, _) in &lanes {
            pipe.cmd("LLEN").arg(self.shard_key(shard, &format!("fresh:{lane}")));
            pipe.cmd("LLEN").arg(self.shard_key(shard, &format!("retry:{lane}")));
        }
        let lengths: Vec<u64> = pipe.query_async(&mut *conn).await?;
        let readable = |((lane, priority), n): ((String, f64), &[u64])| {
            // One entry that does not read must not hold up all the others.
            let lane = match lane.parse() {
                Ok(lane) => lane,
                Err(error) => {
                    tracing::error!(%shard, %error, "left alone in the ready index");
                    return None;
                }
            };
            let (priority, fresh_batches, retry_groups) = (priority as u8, n[0], n[1]);
            Some(ReadyLane { lane, priority, fresh_batches, retry_groups })
        };
        Ok(lanes.into_iter().zip(lengths.chunks(2)).filter_map(readable).collect())
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
        lease_answer(self.queue_call(&scripts::LEASE, shard, &args, &[]).await?)
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
        let mut conn = self.conn().await?;
        Ok(redis::cmd("HGET")
            .arg(self.shard_key(shard, "batch"))
            .arg(batch.0)
            .query_async(&mut *conn)
            .await?)
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
        let mut conn = self.conn().await?;
        let key = self.shard_key(shard, "meta");
        let value = scripts::SETTLE.call(&mut *conn, &key, &args, &[frame]).await?;
        self.confirm(&mut *conn).await?;
        judgements(value)
    }

    /// Settles in several shards in one round trip, which costs one fsync and not one a
    /// shard. Each part has its own answer: what failed is sent again, alone or together.
    ///
    /// # Errors
    /// When Redis does not answer: send all of them again.
    pub async fn settle_together(
        &self,
        relay: &str,
        parts: &[ShardSettle<'_>],
    ) -> Result<Vec<Result<Vec<Judgement>, StoreError>>, StoreError> {
        let mut pipe = redis::pipe();
        for part in parts {
            let args = self.settlement(None, relay, part.number, part.groups);
            let key = self.shard_key(part.shard, "meta");
            pipe.add_command(scripts::SETTLE.command(&key, &args, &[part.frame]));
        }
        let mut conn = self.conn().await?;
        let values = conn.req_packed_commands(&pipe, 0, parts.len()).await?;
        if values.len() != parts.len() {
            return Err(StoreError::corrupt("the answers to settle", values.len()));
        }
        self.confirm(&mut *conn).await?;
        drop(conn);
        let mut answers = Vec::with_capacity(parts.len());
        for (part, value) in parts.iter().zip(values) {
            answers.push(match value.extract_error() {
                Ok(value) => judgements(value),
                // The server forgot the scripts; this call teaches it again.
                Err(e) if e.code() == Some("NOSCRIPT") => {
                    self.settle(part.shard, relay, part.number, part.groups, part.frame).await
                }
                Err(e) => Err(e.into()),
            });
        }
        Ok(answers)
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
        let mut pipe = redis::pipe();
        for shard in self.all_shards() {
            pipe.cmd("HLEN").arg(self.shard_key(shard, &format!("lease:{relay}")));
        }
        let mut conn = self.conn().await?;
        let counts: Vec<u64> = pipe.query_async(&mut *conn).await?;
        Ok(counts.iter().sum())
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
        for shard in self.all_shards() {
            self.expedite_at(None, shard, id).await?;
        }
        Ok(())
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
        #[derive(Serialize)]
        struct Which {
            campaign: String,
            lanes: Vec<String>,
        }
        let lanes = lanes.iter().map(ToString::to_string).collect();
        let args = self.args(now, Which { campaign, lanes });
        self.queue_call(&scripts::EXPEDITE, shard, &args, &[]).await?;
        Ok(())
    }

    /// Every lane that a campaign ever had in a shard.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn lanes(&self, shard: ShardId, id: CampaignId) -> Result<Vec<Lane>, StoreError> {
        let mut conn = self.conn().await?;
        let names: Vec<String> = redis::cmd("SMEMBERS")
            .arg(self.shard_key(shard, &format!("lanes:{id}")))
            .query_async(&mut *conn)
            .await?;
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

type LeaseRow = (u64, u8, u64, String, u16, u8, Vec<u8>, Vec<u8>, Vec<u8>);

fn leased(value: Value) -> Result<LeasedBatch, StoreError> {
    let (token, slot, batch, lane, count, cancelling, indices, attempts, blob): LeaseRow =
        parse(value)?;
    let items = indices
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .zip(attempts)
        .collect();
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
