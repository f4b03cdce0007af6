//! The outbox: frames of events, read by the ledger shard by shard, and the counters
//! at the same position, so that the two can be compared.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use mail::queue::{Counters, Judgement};
use mail::{CampaignId, Event, ShardId};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::frame::{Frame, Settled};
use crate::queue::parse;
use crate::{Store, scripts};

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
        type Row = (String, Vec<(String, Vec<u8>)>);
        let mut conn = self.conn().await?;
        let rows: Vec<Row> = redis::cmd("XRANGE")
            .arg(self.shard_key(shard, "out"))
            .arg(format!("({after}"))
            .arg("+")
            .arg("COUNT")
            .arg(count)
            .query_async(&mut *conn)
            .await?;
        let frame = |(id, fields): Row| {
            let events = settled(&id, &fields);
            let raw = if events.is_ok() { Vec::new() } else { fields };
            Ok(OutboxFrame { position: id.parse()?, events, raw })
        };
        rows.into_iter().map(frame).collect()
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
        let mut conn = self.conn().await?;
        scripts::TRIM.call(&mut *conn, &self.shard_key(shard, "meta"), &args, &[]).await?;
        Ok(())
    }

    /// Frames that wait in a shard.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn outbox_len(&self, shard: ShardId) -> Result<u64, StoreError> {
        let mut conn = self.conn().await?;
        Ok(redis::cmd("XLEN").arg(self.shard_key(shard, "out")).query_async(&mut *conn).await?)
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
        let mut conn = self.conn().await?;
        let args = Args { now: 1, count: events.len() };
        let frame = Frame::encode(events);
        scripts::EMIT.call(&mut *conn, &self.shard_key(shard, "meta"), &args, &[&frame]).await?;
        Ok(())
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
        let mut conn = self.conn().await?;
        let key = self.shard_key(shard, "meta");
        let value = scripts::COUNTERS.call(&mut *conn, &key, &Args { now: 1 }, &[]).await?;
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
        let mut pipe = redis::pipe();
        for shard in self.all_shards() {
            pipe.cmd("HGETALL").arg(self.shard_key(shard, &format!("camp:{id}")));
        }
        let mut conn = self.conn().await?;
        let rows: Vec<HashMap<String, String>> = pipe.query_async(&mut *conn).await?;
        Ok(rows.iter().fold(Counters::default(), |sum, row| sum.plus(&counters(row))))
    }
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

fn counters(fields: &HashMap<String, String>) -> Counters {
    let n = |name: &str| fields.get(name).and_then(|v| v.parse().ok()).unwrap_or(0);
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
