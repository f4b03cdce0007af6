//! Automatic holds: one small hash beside the operators' orders, read whole by every relay each
//! second, changed record by record if nobody was faster. What is decided is `mail::holds`'s.

use std::collections::HashMap;
use std::time::Duration;

use mail::event::EventKind;
use mail::holds::{HOLDS_MAX, Hold, Key, Kind, Standing};
use mail::{Event, ShardId, Timestamp};
use serde::Serialize;

use crate::campaigns::{pack, unpack};
use crate::error::StoreError;
use crate::queue::parse;
use crate::{Store, scripts};

const VERSION: u8 = 1;
/// Rounds against relays that write about the same hold at the same time.
const ROUNDS_MAX: u32 = 16;

/// A hold as it was read; none where nothing is known of its key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HoldRecord {
    /// The hold.
    pub hold: Option<Hold>,
    packed: Vec<u8>,
}

/// What became of a record that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldPut {
    /// It is written.
    Done,
    /// Somebody was faster: read it again.
    Changed,
    /// There are too many already.
    Full,
}

impl Store {
    /// Every record there is, held or only heard of. What a newer program wrote is left out: a
    /// hold protects, and mail without it goes as it did before there were any.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn hold_records(&self) -> Result<Vec<Hold>, StoreError> {
        let key = self.key("holds");
        let mut conn = self.conn_for(&key).await?;
        let all: HashMap<String, Vec<u8>> =
            redis::cmd("HGETALL").arg(&key).query_async(&mut conn).await?;
        let read = |(field, packed): (String, Vec<u8>)| match unpack(VERSION, &field, &packed) {
            Ok(hold) => Some(hold),
            Err(error) => {
                tracing::debug!(%error, "a hold does not read");
                None
            }
        };
        Ok(all.into_iter().filter_map(read).collect())
    }

    /// The holds in force, and those on trial, by their numbers.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn holds(&self, now: Timestamp) -> Result<Vec<Hold>, StoreError> {
        let mut all = self.hold_records().await?;
        all.retain(|hold| hold.standing(now) != Standing::Free);
        all.sort_by_key(|hold| hold.id);
        Ok(all)
    }

    /// The record of a key.
    ///
    /// # Errors
    /// When Redis does not answer, or the record does not read.
    pub async fn hold_record(&self, of: &Key) -> Result<HoldRecord, StoreError> {
        let key = self.key("holds");
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(of.to_string()).query_async(&mut conn).await?;
        let Some(packed) = packed else { return Ok(HoldRecord::default()) };
        Ok(HoldRecord { hold: Some(unpack(VERSION, &of.to_string(), &packed)?), packed })
    }

    /// Writes a record, if it is still what was read; `None` takes it out.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_hold(
        &self,
        of: &Key,
        before: &HoldRecord,
        after: Option<&Hold>,
    ) -> Result<HoldPut, StoreError> {
        #[derive(Serialize)]
        struct Args {
            now: u64,
            max: usize,
        }
        let key = self.key("holds");
        let mut conn = self.conn_for(&key).await?;
        let field = of.to_string();
        let packed = after.map(|hold| pack(VERSION, hold)).unwrap_or_default();
        let args = Args { now: 1, max: HOLDS_MAX };
        let blobs: [&[u8]; 3] = [field.as_bytes(), &before.packed, &packed];
        let value = scripts::HOLD_PUT.call(&mut conn, &key, &args, &blobs).await?;
        self.confirm(&mut conn).await?;
        match parse::<String>(value)?.as_str() {
            "ok" => Ok(HoldPut::Done),
            "changed" => Ok(HoldPut::Changed),
            "full" => Ok(HoldPut::Full),
            other => Err(StoreError::corrupt("the answer to hold_put", other)),
        }
    }

    /// A person lets go what is held by this number, for `respite` at least; answers the hold.
    /// `None` when there is none of that number.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn cancel_hold(
        &self,
        id: u64,
        by: &str,
        reason: &str,
        now: Timestamp,
        respite: Duration,
    ) -> Result<Option<Hold>, StoreError> {
        let Some(of) = self.holds(now).await?.into_iter().find(|hold| hold.id == id) else {
            return Ok(None);
        };
        for _ in 0..ROUNDS_MAX {
            let before = self.hold_record(&of.key).await?;
            let held = before.hold.clone().filter(|h| h.id == id);
            let Some(held) = held.filter(|h| h.standing(now) != Standing::Free) else {
                return Ok(None);
            };
            let mut after = held.clone();
            after.cancel(now, respite);
            if self.put_hold(&of.key, &before, Some(&after)).await? == HoldPut::Done {
                let note = format!("order {id} undone: {held} by {by}: {reason}");
                self.tell_hold(&held, note, now).await?;
                return Ok(Some(held));
            }
        }
        Err(StoreError::Busy)
    }

    /// Tells what became of a hold.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn tell_hold(
        &self,
        hold: &Hold,
        note: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut event = Event { note, ..Event::new(EventKind::Ordered, now) };
        event.site.clone_from(&hold.key.site);
        if hold.key.kind == Kind::Campaign {
            event.campaign = hold.key.name.parse().ok();
        }
        let shard = ShardId::of_domain(&hold.key.site, self.shards());
        self.emit(shard, &[event]).await
    }
}
