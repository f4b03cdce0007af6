//! Copying a store out while it is used, and into an empty one. What a copy is worth as a
//! whole, with the history, is for whoever calls; docs/OPERATIONS.md has the reasoning.
//!
//! A copy is logical: names and what `DUMP` says of them, shard by shard, each shard at one
//! moment. It knows nothing of servers, so it can be restored on any number of them.

use std::collections::HashSet;
use std::time::Duration;

use mail::ShardId;
use redis::Value;
use redis::aio::ConnectionLike;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::StoreError;
use crate::queue::parse;
use crate::{LAYOUT, Store, pool, scripts};

/// Keys asked for in one round trip outside of the shards.
const PAGE: usize = 500;

/// A key as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpedKey {
    /// Its name; within a shard without the shard's own part.
    pub name: String,
    /// How long it had left, in milliseconds; 0: for ever.
    pub left_ms: u64,
    /// What Redis's DUMP said.
    #[serde(with = "serde_bytes_vec")]
    pub dump: Vec<u8>,
}

/// Octets as one value of MessagePack instead of a list of numbers.
mod serde_bytes_vec {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Octets;
        impl Visitor<'_> for Octets {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("octets")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Octets)
    }
}

/// Keeps every shard's outbox whole until it is released, or until its time is over.
#[derive(Debug)]
pub struct OutboxHold {
    token: String,
    period: Duration,
}

impl Store {
    /// The layout of the keys that a copy of this program holds.
    pub const LAYOUT: u32 = LAYOUT;

    /// Begins a copy: no event leaves the outbox before [`release`](Self::release_outbox).
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
        self.change_hold(&hold, "hold").await?;
        Ok(hold)
    }

    /// Another period.
    ///
    /// # Errors
    /// When the hold had run out: what was copied is of no use then.
    pub async fn extend_hold(&self, hold: &OutboxHold) -> Result<(), StoreError> {
        self.change_hold(hold, "extend").await
    }

    /// Ends it: the ledger's next trim takes what has gathered.
    ///
    /// # Errors
    /// When Redis does not answer; the hold then ends by itself.
    pub async fn release_outbox(&self, hold: OutboxHold) -> Result<(), StoreError> {
        self.change_hold(&hold, "release").await
    }

    async fn change_hold(&self, hold: &OutboxHold, verb: &str) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Args<'a> {
            now: u64,
            verb: &'a str,
            token: &'a str,
            period_ms: u64,
        }
        let period_ms = hold.period.as_millis() as u64;
        let args = Args { now: 1, verb, token: &hold.token, period_ms };
        let mut conn = self.conn().await?;
        for shard in self.all_shards() {
            let key = self.shard_key(shard, "meta");
            let word: String = parse(scripts::HOLD.call(&mut *conn, &key, &args, &[]).await?)?;
            held(&word)?;
        }
        Ok(())
    }

    /// Every key of a shard at one moment.
    ///
    /// # Errors
    /// When the hold has run out, or Redis does not answer.
    pub async fn dump_shard(
        &self,
        shard: ShardId,
        hold: &OutboxHold,
    ) -> Result<Vec<DumpedKey>, StoreError> {
        #[derive(Serialize)]
        struct Args<'a> {
            now: u64,
            token: &'a str,
        }
        let mut conn = self.conn().await?;
        let args = Args { now: 1, token: &hold.token };
        let key = self.shard_key(shard, "meta");
        let answer = scripts::DUMP.call(&mut *conn, &key, &args, &[]).await?;
        let mut parts: std::vec::IntoIter<Value> = parse::<Vec<Value>>(answer)?.into_iter();
        held(&parse::<String>(parts.next().unwrap_or(Value::Nil))?)?;
        let rows: Vec<(String, i64, Vec<u8>)> = parse(parts.next().unwrap_or(Value::Nil))?;
        Ok(rows.into_iter().map(dumped).collect())
    }

    /// Every key outside of the shards: campaigns, senders, API keys, requests, the pace. Not
    /// at one moment, and after the shards: whatever they speak of is here then.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn dump_rest(&self) -> Result<Vec<DumpedKey>, StoreError> {
        let mut conn = self.conn().await?;
        let mut names: Vec<String> = self.all_keys(&mut *conn).await?.into_iter().collect();
        names.retain(|name| !self.is_in_shard(name));
        let mut dumped_keys = Vec::new();
        for page in names.chunks(PAGE) {
            let mut pipe = redis::pipe();
            for name in page {
                pipe.cmd("PTTL").arg(name).cmd("DUMP").arg(name);
            }
            let values: Vec<Value> = pipe.query_async(&mut *conn).await?;
            for (name, pair) in page.iter().zip(values.chunks(2)) {
                // Gone since: it had run out.
                let Some(dump) = parse::<Option<Vec<u8>>>(pair[1].clone())? else { continue };
                dumped_keys.push(dumped((name.clone(), parse(pair[0].clone())?, dump)));
            }
        }
        Ok(dumped_keys)
    }

    fn is_in_shard(&self, name: &str) -> bool {
        let number = name.strip_prefix(&format!("{{{}:", self.prefix));
        let number = number.and_then(|rest| rest.split_once("}:"));
        number.is_some_and(|(n, _)| n.parse::<u16>().is_ok())
    }

    /// The names that begin with this store's prefix.
    async fn all_keys(
        &self,
        conn: &mut impl ConnectionLike,
    ) -> Result<HashSet<String>, StoreError> {
        let mut names = HashSet::new();
        for pattern in [format!("{}:*", self.prefix), format!("{{{}:*", self.prefix)] {
            let mut cursor = "0".to_owned();
            loop {
                let (next, page): (String, Vec<String>) = redis::cmd("SCAN")
                    .arg(&cursor)
                    .arg("MATCH")
                    .arg(&pattern)
                    .arg("COUNT")
                    .arg(1000)
                    .query_async(conn)
                    .await?;
                names.extend(page);
                cursor = next;
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(names)
    }

    /// A store to be filled by a copy that has so many shards. A record of the layout alone
    /// does not count: a command that asked has left it.
    ///
    /// # Errors
    /// When something is there already, or Redis cannot be reached or is unfit.
    pub async fn open_empty(config: &Config, shards: u16) -> Result<Self, StoreError> {
        config.check()?;
        let store = Self {
            pool: pool::build(config)?,
            prefix: config.prefix.as_str().into(),
            shards,
            outbox_max: config.outbox_max,
            durability: config.durability,
            wait_ms: config.confirm_timeout_ms,
        };
        store.refuse_unfit().await?;
        let mut conn = store.conn().await?;
        let mut names = store.all_keys(&mut *conn).await?;
        names.remove(&store.key("store"));
        if !names.is_empty() {
            let some: Vec<&String> = names.iter().take(3).collect();
            return Err(StoreError::Unfit(format!(
                "it is not empty: {} keys, such as {some:?}; restore into an empty one, or under \
                 another `store.prefix`",
                names.len()
            )));
        }
        drop(conn);
        Ok(store)
    }

    /// Puts back a shard's keys.
    ///
    /// # Errors
    /// When Redis does not take one of them: it is older than the one they come from, or full.
    pub async fn restore_shard(
        &self,
        shard: ShardId,
        keys: &[DumpedKey],
    ) -> Result<(), StoreError> {
        self.restore(keys, |name| self.shard_key(shard, name)).await
    }

    /// Puts back what lies outside of the shards.
    ///
    /// # Errors
    /// As [`restore_shard`](Self::restore_shard).
    pub async fn restore_rest(&self, keys: &[DumpedKey]) -> Result<(), StoreError> {
        self.restore(keys, str::to_owned).await
    }

    async fn restore(
        &self,
        keys: &[DumpedKey],
        full: impl Fn(&str) -> String,
    ) -> Result<(), StoreError> {
        let mut conn = self.conn().await?;
        for page in keys.chunks(PAGE) {
            let mut pipe = redis::pipe();
            for key in page {
                let name = full(&key.name);
                let is_layout = name == self.key("store");
                pipe.cmd("RESTORE").arg(name).arg(key.left_ms).arg(&key.dump);
                if is_layout {
                    pipe.arg("REPLACE");
                }
                pipe.ignore();
            }
            let _: () = pipe.query_async(&mut *conn).await?;
        }
        self.confirm(&mut *conn).await
    }

    /// What begins every key.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

fn held(word: &str) -> Result<(), StoreError> {
    match word {
        "held" => Ok(()),
        "busy" => Err(StoreError::Unfit(
            "another backup is being made of it; wait for its end, or some minutes if it died"
                .into(),
        )),
        _ => Err(StoreError::Unfit(
            "the hold on its events ran out before the backup was done; make it again".into(),
        )),
    }
}

fn dumped((name, left, dump): (String, i64, Vec<u8>)) -> DumpedKey {
    // -1 is for ever; less than a millisecond left is still something.
    let left_ms = if left < 0 { 0 } else { left.max(1) as u64 };
    DumpedKey { name, left_ms, dump }
}
