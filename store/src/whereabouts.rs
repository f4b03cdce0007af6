//! Where one recipient of the queue is, for whoever asks. It looks through a lane batch by batch and
//! is not for the way that mail takes.

use std::collections::HashMap;
use std::fmt;

use mail::queue::{BATCH_RECIPIENTS_MAX, BatchId, End, Lane, State};
use mail::{Address, CampaignId, DeliveryId, ShardId, Timestamp};
use redis::aio::ConnectionLike;
use serde::de::{Deserialize, Deserializer, Visitor};

use crate::Store;
use crate::batch::Batch;
use crate::error::StoreError;

/// Batches of a campaign that are looked through: two million recipients of one domain, or of the
/// small domains of one shard.
const BATCHES_MAX: usize = 4_000;
/// Batches that are read in one round trip.
const READ_TOGETHER: usize = 16;

/// What a recipient does in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rests {
    /// It was never tried.
    Fresh,
    /// It was tried, and its turn has come again.
    Due,
    /// It waits until then.
    Delayed(Option<Timestamp>),
    /// A relay has it in hand.
    InHand,
    /// It is at rest.
    Ended(End),
}

/// Where a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its lane.
    pub lane: Lane,
    /// Its delivery.
    pub delivery: DeliveryId,
    /// Its address as it was accepted.
    pub address: String,
    /// Its time zone; empty: not known.
    pub zone: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What it does.
    pub rests: Rests,
    /// Attempts that were made.
    pub attempts: u8,
}

/// Where in a batch a recipient is, by the address without regard to case.
fn index_of(batch: &Batch, folded: &str) -> Option<u16> {
    let all = 0..u16::try_from(batch.len()).unwrap_or(u16::MAX);
    let is_it = |i: &u16| {
        let there = batch.has(*i).then(|| batch.address(*i).parse::<Address>());
        there.is_some_and(|a| a.is_ok_and(|a| a.folded() == folded))
    };
    all.into_iter().find(is_it)
}

/// The open state of a batch, as far as it is looked at.
#[derive(serde::Deserialize)]
struct Open {
    #[serde(rename = "l")]
    lane: String,
    #[serde(rename = "st")]
    states: Octets,
    #[serde(rename = "at")]
    attempts: Octets,
}

/// What a script packed as a string, whatever its octets.
struct Octets(Vec<u8>);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Octets;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("octets")
            }
            fn visit_bytes<E>(self, octets: &[u8]) -> Result<Octets, E> {
                Ok(Octets(octets.to_vec()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Octets, E> {
                Ok(Octets(text.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Any)
    }
}

impl Store {
    /// A recipient of a campaign by the address. `None` when none is in the queue: it was never
    /// accepted, or all of its batch is at rest.
    ///
    /// # Errors
    /// When Redis does not answer or a batch does not read.
    pub async fn find_recipient(
        &self,
        campaign: CampaignId,
        address: &Address,
    ) -> Result<Option<Whereabouts>, StoreError> {
        let shard = self.shard_of(address.domain_str());
        let folded = address.folded();
        let own = Lane { campaign, domain: address.domain_str().parse().ok() };
        for lane in [own, Lane { campaign, domain: None }] {
            let batches = self.batches_of(shard, &lane).await?;
            for some in batches.chunks(READ_TOGETHER) {
                for (id, batch) in self.read_batches(shard, some).await? {
                    if let Some(index) = index_of(&batch, &folded) {
                        return self.whereabouts(shard, id, &batch, index).await.map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Those of some batches that are still there, in one round trip.
    async fn read_batches(
        &self,
        shard: ShardId,
        ids: &[u64],
    ) -> Result<Vec<(BatchId, Batch)>, StoreError> {
        let key = self.shard_key(shard, "batch");
        let mut conn = self.conn_for(&key).await?;
        let blobs: Vec<Option<Vec<u8>>> =
            redis::cmd("HMGET").arg(&key).arg(ids).query_async(&mut conn).await?;
        let there = ids.iter().zip(blobs).filter_map(|(id, blob)| Some((BatchId(*id), blob?)));
        there.map(|(id, blob)| Ok((id, Batch::decode(&blob)?))).collect()
    }

    /// The same by the delivery.
    ///
    /// # Errors
    /// When Redis does not answer or the batch does not read.
    pub async fn find_delivery(
        &self,
        delivery: DeliveryId,
    ) -> Result<Option<Whereabouts>, StoreError> {
        let shard = delivery.shard;
        if shard.0 >= self.shards() {
            return Ok(None);
        }
        let key = self.shard_key(shard, "batch");
        let first = delivery.seq.saturating_sub(BATCH_RECIPIENTS_MAX as u64 - 1);
        let mut pipe = redis::pipe();
        for seq in first..=delivery.seq {
            pipe.cmd("HEXISTS").arg(&key).arg(seq);
        }
        let mut conn = self.conn_for(&key).await?;
        let there: Vec<bool> = pipe.query_async(&mut conn).await?;
        drop(conn);
        let Some(at) = there.iter().rposition(|is_there| *is_there) else { return Ok(None) };
        let id = BatchId(first + at as u64);
        let Some(blob) = self.batch(shard, id).await? else { return Ok(None) };
        let batch = Batch::decode(&blob)?;
        let index = u16::try_from(delivery.seq - id.0).unwrap_or(u16::MAX);
        if usize::from(index) >= batch.len() || !batch.has(index) {
            return Ok(None);
        }
        self.whereabouts(shard, id, &batch, index).await.map(Some)
    }

    /// Batches of a lane that are not wholly at rest.
    async fn batches_of(&self, shard: ShardId, lane: &Lane) -> Result<Vec<u64>, StoreError> {
        let key = self.shard_key(shard, &format!("fresh:{lane}"));
        let open = self.shard_key(shard, "open");
        let mut conn = self.conn_for(&key).await?;
        let (fresh, open): (Vec<String>, HashMap<u64, Vec<u8>>) = redis::pipe()
            .cmd("LRANGE")
            .arg(&key)
            .arg(0)
            .arg(-1)
            .cmd("HGETALL")
            .arg(&open)
            .query_async(&mut conn)
            .await?;
        let number = |entry: &String| entry.split(':').next()?.parse().ok();
        let mut batches: Vec<u64> = fresh.iter().filter_map(number).collect();
        let name = lane.to_string();
        for (id, packed) in open {
            let open: Option<Open> = rmp_serde::from_slice(&packed).ok();
            batches.extend(open.filter(|open| open.lane == name).map(|_| id));
        }
        batches.sort_unstable();
        batches.dedup();
        batches.truncate(BATCHES_MAX);
        Ok(batches)
    }

    async fn whereabouts(
        &self,
        shard: ShardId,
        id: BatchId,
        batch: &Batch,
        index: u16,
    ) -> Result<Whereabouts, StoreError> {
        let key = self.shard_key(shard, "open");
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(id.0).query_async(&mut conn).await?;
        let open: Option<Open> = packed.and_then(|packed| rmp_serde::from_slice(&packed).ok());
        let at = usize::from(index);
        let attempts = open.as_ref().and_then(|open| open.attempts.0.get(at).copied());
        let state = open.as_ref().and_then(|open| open.states.0.get(at).copied()).unwrap_or(0);
        let wrong = || StoreError::corrupt("the state of a recipient", state);
        let rests = match State::from_byte(state).ok_or_else(wrong)? {
            State::Fresh => Rests::Fresh,
            State::Retry => Rests::Due,
            State::Delayed => Rests::Delayed(self.due(&mut conn, shard, id, index).await?),
            State::Leased(_) => Rests::InHand,
            State::Done(end) => Rests::Ended(end),
        };
        let named = open.and_then(|open| open.lane.parse().ok());
        let domain = batch.address(index).parse::<Address>().ok();
        let domain = domain.and_then(|address| address.domain_str().parse().ok());
        let lane = named.unwrap_or(Lane { campaign: batch.campaign(), domain });
        Ok(Whereabouts {
            lane,
            delivery: DeliveryId { shard, seq: id.0 + u64::from(index) },
            address: batch.address(index).to_owned(),
            zone: batch.zone(index).to_owned(),
            accepted_at: batch.accepted_at(),
            rests,
            attempts: attempts.unwrap_or(0),
        })
    }

    /// When a delayed recipient is due.
    async fn due(
        &self,
        conn: &mut impl ConnectionLike,
        shard: ShardId,
        id: BatchId,
        index: u16,
    ) -> Result<Option<Timestamp>, StoreError> {
        let key = self.shard_key(shard, "delayed");
        let mut cursor = 0u64;
        loop {
            let (next, groups): (u64, Vec<(String, Vec<u8>)>) = redis::cmd("HSCAN")
                .arg(&key)
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("{}:*", id.0))
                .arg("COUNT")
                .arg(1000)
                .query_async(conn)
                .await?;
            for (group, packed) in groups {
                let has = packed.chunks_exact(2).any(|p| u16::from_le_bytes([p[0], p[1]]) == index);
                if has {
                    let due = group.split_once(':').and_then(|(_, due)| due.parse().ok());
                    return Ok(due.map(Timestamp));
                }
            }
            if next == 0 {
                return Ok(None);
            }
            cursor = next;
        }
    }
}
