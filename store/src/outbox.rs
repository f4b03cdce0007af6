//! The outbox: frames of events, read by the ledger shard by shard, and the counters
//! at the same position, so that the two can be compared.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use mail::gate::Counts;
use mail::queue::{Counters, Judgement};
use mail::{CampaignId, Event, ShardId};
use serde::{Deserialize, Serialize};

use crate::durability::Durability;
use crate::error::StoreError;
use crate::frame::{Frame, Settled};
use crate::queue::{one, parse};
use crate::{Conn, Store, scripts};

/// A place in a shard's outbox. Ordered; `Position::default()` is before everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Position {
    ms: u64,
    n: u64,
}

impl Position {
    /// When the frame was appended, in milliseconds since 1970 by Redis's clock.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.ms
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}

impl FromStr for Position {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        text.split_once('-')
            .and_then(|(ms, n)| Some(Self { ms: ms.parse().ok()?, n: n.parse().ok()? }))
            .ok_or_else(|| StoreError::corrupt("an outbox position", text))
    }
}

/// A frame of the outbox, and what it reads as.
#[derive(Debug)]
pub struct OutboxFrame {
    /// Where it lies.
    pub position: Position,
    /// Its events; an error concerns this frame alone.
    pub events: Result<Vec<Settled>, StoreError>,
    /// What lies there, field by field, when it does not read; otherwise empty.
    pub raw: Vec<(String, Vec<u8>)>,
}

/// Frames that cannot be lost any more at the store's level of durability.
#[derive(Debug)]
pub struct DurableFrames {
    /// They come after this: the position that was asked for, or an earlier one when the
    /// queue has lost its end.
    pub from: Position,
    /// In order.
    pub frames: Vec<OutboxFrame>,
}

/// At `everysec` events younger than this may be lost yet: a second between two fsyncs, and
/// two more that Redis lets a slow one take before it makes writers wait.
const HELD_BACK_MS: u64 = 3_000;

/// A shard's accounts and the outbox position that they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardAccounts {
    /// Every event up to here, and none after, is in the counters.
    pub position: Position,
    /// Per campaign.
    pub campaigns: HashMap<CampaignId, Counters>,
}

impl Store {
    /// Frames after a position, at most `count`, each with its position and what the
    /// queue made of its events. A frame that does not read is an error that names its
    /// position; nothing after it is read.
    ///
    /// # Errors
    /// When Redis does not answer, or a frame is damaged or newer than this program.
    pub async fn outbox(
        &self,
        shard: ShardId,
        after: Position,
        count: usize,
    ) -> Result<Vec<(Position, Vec<Settled>)>, StoreError> {
        let frames = self.outbox_frames(shard, after, count).await?;
        frames.into_iter().map(|frame| Ok((frame.position, frame.events?))).collect()
    }

    /// Like [`outbox`](Self::outbox), for a reader that has to get past a frame that
    /// does not read.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn outbox_frames(
        &self,
        shard: ShardId,
        after: Position,
        count: usize,
    ) -> Result<Vec<OutboxFrame>, StoreError> {
        let key = self.shard_key(shard, "out");
        let mut conn = self.conn_for(&key).await?;
        let rows: Vec<Row> = redis::cmd("XRANGE")
            .arg(&key)
            .arg(format!("({after}"))
            .arg("+")
            .arg("COUNT")
            .arg(count)
            .query_async(&mut conn)
            .await?;
        rows.into_iter().map(outbox_frame).collect()
    }

    /// Like [`outbox_frames`](Self::outbox_frames), only those that the queue cannot lose any
    /// more at its level: history must never know more than the queue. docs/QUEUE.md says why
    /// this is enough at each level.
    ///
    /// # Errors
    /// When Redis does not answer, or too few replicas confirm.
    pub async fn durable_frames(
        &self,
        shard: ShardId,
        after: Position,
        count: usize,
    ) -> Result<DurableFrames, StoreError> {
        let key = self.shard_key(shard, "meta");
        let mut conn = self.conn_for(&key).await?;
        let from = self.resumed(&mut conn, &key, after).await?;
        let mut pipe = redis::pipe();
        pipe.cmd("TIME");
        pipe.cmd("XRANGE").arg(self.shard_key(shard, "out")).arg(format!("({from}")).arg("+");
        pipe.arg("COUNT").arg(count);
        let ((seconds, micros), rows): ((u64, u64), Vec<Row>) = pipe.query_async(&mut conn).await?;
        let mut frames: Vec<OutboxFrame> =
            rows.into_iter().map(outbox_frame).collect::<Result<_, _>>()?;
        if self.confirm.level == Durability::Everysec {
            let durable = (seconds * 1000 + micros / 1000).saturating_sub(HELD_BACK_MS);
            frames.retain(|frame| frame.position.ms <= durable);
        }
        if !frames.is_empty() {
            self.confirm(&mut conn).await?;
        }
        Ok(DurableFrames { from, frames })
    }

    /// Where a reader that has stored everything up to `after` goes on: there, or earlier
    /// when the queue has lost what came before it.
    async fn resumed(
        &self,
        conn: &mut Conn,
        key: &str,
        after: Position,
    ) -> Result<Position, StoreError> {
        #[derive(Serialize)]
        struct Known {
            now: u64,
            position: String,
            ms: u64,
            n: u64,
        }
        if after == Position::default() {
            return Ok(after);
        }
        let known = Known { now: 1, position: after.to_string(), ms: after.ms, n: after.n };
        let from: String = parse(scripts::RESUME.call(conn, key, &known, &[]).await?)?;
        from.parse()
    }

    /// Drops every frame up to and including a position: they are stored elsewhere now.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn trim_outbox(&self, shard: ShardId, upto: Position) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Upto {
            now: u64,
            upto: String,
            after: String,
        }
        let after = Position { ms: upto.ms, n: upto.n + 1 };
        let args = Upto { now: 1, upto: upto.to_string(), after: after.to_string() };
        let key = self.shard_key(shard, "meta");
        let mut conn = self.conn_for(&key).await?;
        scripts::TRIM.call(&mut conn, &key, &args, &[]).await?;
        Ok(())
    }

    /// Frames that wait in a shard.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn outbox_len(&self, shard: ShardId) -> Result<u64, StoreError> {
        let key = self.shard_key(shard, "out");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("XLEN").arg(&key).query_async(&mut conn).await?)
    }

    /// How full the fullest shard's outbox is: 1 when nothing is leased there any more.
    ///
    /// # Errors
    /// When a server of Redis does not answer.
    pub async fn outbox_fullness(&self) -> Result<f64, StoreError> {
        let keys = self.shard_keys("out");
        let mut most = 0;
        for answer in self.spread(&keys, |at| one("XLEN", &keys[at])).await {
            most = most.max(parse::<u64>(answer?)?);
        }
        Ok(most as f64 / self.outbox_max as f64)
    }

    /// Appends events that move no account.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn emit(&self, shard: ShardId, events: &[Event]) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Args {
            now: u64,
            count: usize,
        }
        if events.is_empty() {
            return Ok(());
        }
        let args = Args { now: 1, count: events.len() };
        let frame = Frame::encode(events);
        let key = self.shard_key(shard, "meta");
        let mut conn = self.conn_for(&key).await?;
        scripts::EMIT.call(&mut conn, &key, &args, &[&frame]).await?;
        self.confirm(&mut conn).await
    }

    /// A shard's accounts together with their outbox position.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn accounts(&self, shard: ShardId) -> Result<ShardAccounts, StoreError> {
        #[derive(Serialize)]
        struct Args {
            now: u64,
        }
        let key = self.shard_key(shard, "meta");
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::COUNTERS.call(&mut conn, &key, &Args { now: 1 }, &[]).await?;
        type Rows = Vec<(String, HashMap<String, String>)>;
        let (position, rows): (String, Rows) = parse(value)?;
        let campaigns = rows
            .into_iter()
            .map(|(id, fields)| {
                let id = id.parse().map_err(|e| StoreError::corrupt("a shard's campaigns", e))?;
                Ok((id, counters(&fields)))
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(ShardAccounts { position: position.parse()?, campaigns })
    }

    /// A campaign's accounts, summed over all shards.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn campaign_counters(&self, id: CampaignId) -> Result<Counters, StoreError> {
        Ok(self.campaign_counts(id).await?.0)
    }

    /// A campaign's accounts, and what its gates judge, summed over all shards.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn campaign_counts(&self, id: CampaignId) -> Result<(Counters, Counts), StoreError> {
        let keys = self.shard_keys(&format!("camp:{id}"));
        let rows = self.spread(&keys, |at| one("HGETALL", &keys[at])).await;
        let nothing = (Counters::default(), Counts::default());
        rows.into_iter().try_fold(nothing, |(accounts, judged), row| {
            let row: HashMap<String, String> = parse(row?)?;
            Ok((accounts.plus(&counters(&row)), judged.plus(&counts(&row))))
        })
    }
}

/// An entry of the stream.
type Row = (String, Vec<(String, Vec<u8>)>);

fn outbox_frame((id, fields): Row) -> Result<OutboxFrame, StoreError> {
    let events = settled(&id, &fields);
    let raw = if events.is_ok() { Vec::new() } else { fields };
    Ok(OutboxFrame { position: id.parse()?, events, raw })
}

fn settled(id: &str, fields: &[(String, Vec<u8>)]) -> Result<Vec<Settled>, StoreError> {
    let field = |name: &str| {
        let found = fields.iter().find(|(n, _)| n == name);
        found
            .map(|(_, v)| v.as_slice())
            .ok_or_else(|| StoreError::corrupt(format!("frame {id}"), "a field is missing"))
    };
    let letters = field("j")?;
    let events = Frame::decode(field("f")?)?;
    if letters.len() != events.len() {
        let why = format!("{} events and {} judgements", events.len(), letters.len());
        return Err(StoreError::corrupt(format!("frame {id}"), why));
    }
    let pair = |(event, letter): (Event, &u8)| {
        let judgement = Judgement::from_letter(*letter)
            .ok_or_else(|| StoreError::corrupt(format!("frame {id}"), "an unknown judgement"))?;
        Ok(Settled { event, judgement })
    };
    events.into_iter().zip(letters).map(pair).collect()
}

fn number(fields: &HashMap<String, String>, name: &str) -> u64 {
    fields.get(name).and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn counts(fields: &HashMap<String, String>) -> Counts {
    let n = |name: &str| number(fields, name);
    Counts {
        accepted: n("accepted"),
        delivered: n("delivered"),
        dead: n("dead"),
        returned_dead: n("returned_dead"),
        complained: n("complained"),
    }
}

fn counters(fields: &HashMap<String, String>) -> Counters {
    let n = |name: &str| number(fields, name);
    Counters {
        accepted: n("accepted"),
        delivered: n("delivered"),
        failed: n("failed"),
        suppressed: n("suppressed"),
        expired: n("expired"),
        cancelled: n("cancelled"),
        set_aside: n("set_aside"),
        waiting: n("waiting"),
        deferrals: n("deferrals"),
        late: n("late"),
        duplicates: n("duplicates"),
        returned: n("returned"),
        complained: n("complained"),
    }
}
