//! Copying a store out while it is used, and into an empty one. What a copy is worth as a
//! whole, with the history, is for whoever calls; docs/OPERATIONS.md has the reasoning.
//!
//! A copy is logical, shard by shard, and knows nothing of servers: it can be restored on any
//! number of them. What moves in a shard (states, lanes, counters, delays, leases) is copied
//! at one moment, by one script. What never changes (batches) is read before, in pages, and
//! what only grows (the outbox) or stands for itself (suppressions) after: so the script, and
//! with it the pause, is as short as can be.

mod copy;
mod refill;

use std::time::Duration;

use mail::ShardId;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::queue::parse;
use crate::{LAYOUT, Store, scripts};

pub use refill::Refill;

/// Octets; one value of MessagePack instead of a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'d> Deserialize<'d> for Blob {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        struct Octets;
        impl Visitor<'_> for Octets {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("octets")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        from.deserialize_byte_buf(Octets)
    }
}

impl redis::FromRedisValue for Blob {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        Vec::<u8>::from_redis_value(value).map(Self)
    }
}

impl redis::ToRedisArgs for Blob {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        out.write_arg(&self.0);
    }
}

/// A key as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpedKey {
    /// Its name; within a shard without the shard's own part.
    pub name: String,
    /// How long it had left, in milliseconds; 0: for ever.
    pub left_ms: u64,
    /// What Redis's DUMP said: it carries a version and a checksum of its own.
    pub dump: Blob,
}

impl DumpedKey {
    fn new((name, left, dump): (String, i64, Blob)) -> Self {
        // -1 is for ever; less than a millisecond left is still something.
        let left_ms = if left < 0 { 0 } else { left.max(1) as u64 };
        Self { name, left_ms, dump }
    }
}

/// A piece of a shard, to be put back in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardPart {
    /// Whole keys, all of one moment.
    Keys(Vec<DumpedKey>),
    /// Some fields of a hash that is copied in pieces.
    Fields {
        /// The hash, without the shard's own part.
        name: String,
        /// Names and values.
        fields: Vec<(Blob, Blob)>,
    },
    /// Frames of the outbox, each with its id.
    Frames(Vec<(String, Vec<(Blob, Blob)>)>),
    /// The id of the last frame that the outbox ever had.
    OutboxEnd(String),
}

/// Keeps every shard's outbox whole until its copy is made, or until the time is over.
#[derive(Debug)]
pub struct OutboxHold {
    token: String,
    period: Duration,
}

#[derive(Clone, Copy)]
enum Verb {
    Hold,
    Extend,
    Release,
}

impl Store {
    /// The version of the keys' layout that this program writes.
    pub const LAYOUT: u32 = LAYOUT;

    /// What begins every key.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Begins a copy: no frame leaves the outboxes before [`release_outbox`](Self::release_outbox).
    /// `token` is the backup's own; a hold that is not extended within `period` ends.
    ///
    /// # Errors
    /// When another backup runs, or Redis does not answer.
    pub async fn hold_outbox(
        &self,
        token: &str,
        period: Duration,
    ) -> Result<OutboxHold, StoreError> {
        let hold = OutboxHold { token: token.to_owned(), period };
        let keys = self.shard_keys("meta");
        if let Err(e) = self.change_hold(&hold, Verb::Hold, &keys).await {
            // Some shards may be held by us, others by another backup.
            let _ = self.change_hold(&hold, Verb::Release, &keys).await;
            return Err(e);
        }
        Ok(hold)
    }

    /// Another period, for the shards from this one on; those before it are copied and let go.
    ///
    /// # Errors
    /// When the hold had run out: what was copied is of no use then.
    pub async fn extend_hold(&self, hold: &OutboxHold, from: ShardId) -> Result<(), StoreError> {
        let keys = self.shard_keys("meta");
        let left = keys.get(usize::from(from.0)..).unwrap_or_default();
        self.change_hold(hold, Verb::Extend, left).await
    }

    /// Ends it: the ledger's next trim takes what has gathered.
    ///
    /// # Errors
    /// When Redis does not answer; the hold then ends by itself.
    pub async fn release_outbox(&self, hold: OutboxHold) -> Result<(), StoreError> {
        self.change_hold(&hold, Verb::Release, &self.shard_keys("meta")).await
    }

    async fn change_hold(
        &self,
        hold: &OutboxHold,
        verb: Verb,
        keys: &[String],
    ) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Args<'a> {
            now: u64,
            verb: &'a str,
            token: &'a str,
            period_ms: u64,
        }
        let verb = match verb {
            Verb::Hold => "hold",
            Verb::Extend => "extend",
            Verb::Release => "release",
        };
        let period_ms = hold.period.as_millis() as u64;
        let args = Args { now: 1, verb, token: &hold.token, period_ms };
        let answers = self.spread(keys, |at| scripts::HOLD.command(&keys[at], &args, &[])).await;
        answers.into_iter().try_for_each(|word| held(&parse::<String>(word?)?))
    }
}

/// The word of a script that looked at the hold.
fn held(word: &str) -> Result<(), StoreError> {
    match word {
        "held" => Ok(()),
        "busy" => Err(StoreError::Refuses(
            "another backup is being made of it; wait for its end, or a minute if it died".into(),
        )),
        _ => Err(StoreError::Refuses(
            "the hold on its outbox ran out before the backup was done; make it again".into(),
        )),
    }
}
