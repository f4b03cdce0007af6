//! Into an empty store.

use std::sync::Arc;

use mail::ShardId;
use redis::Cmd;

use super::{Blob, DumpedKey, ShardPart};
use crate::arrival::Arrivals;
use crate::config::Config;
use crate::durability::{Confirm, fitness};
use crate::error::StoreError;
use crate::{LAYOUT, Store, dial};

/// Keys, fields or frames that are put back in one round trip, at most.
const ENTRIES_A_PAGE: usize = 500;
/// And so many octets, whichever comes first: several servers answer within a second and a half.
const PAGE_BYTES: usize = 4 << 20;
/// The layout of a store that is being filled: no program knows it, so none begins to work.
const UNFINISHED: u32 = u32::MAX;

/// A store that is being filled from a copy. Until [`finish`](Self::finish) no program opens it.
pub struct Refill {
    store: Store,
}

impl Refill {
    /// A store to be filled from a copy that has so many shards. Marks it as unfinished. A
    /// record of the store without anything else does not count as filled: a command that
    /// asked something has left it.
    ///
    /// # Errors
    /// When something is there already, or Redis cannot be reached or is unfit.
    pub async fn begin(config: &Config, shards: u16) -> Result<Self, StoreError> {
        config.check()?;
        // Without arrivals: a shard's first words would make the key that is to be put back.
        let topology = Arc::new(dial::topology(config, Arc::<Arrivals>::default())?);
        let level = fitness(&topology, config.durability).await?;
        let store = Store {
            topology,
            prefix: config.prefix.as_str().into(),
            shards,
            outbox_max: config.outbox_max,
            confirm: Confirm {
                level,
                wait_ms: config.confirm_timeout_ms,
                replicas_min: config.replicas_min,
            },
        };
        store.refuse_filled().await?;
        store.put_record(UNFINISHED).await?;
        Ok(Self { store })
    }

    /// The store, to set right what was put back. Only for that: shards do not yet know that
    /// they are in a new run of their server.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Puts back a piece of a shard.
    ///
    /// # Errors
    /// When Redis does not take it: it is older than the one it comes from, or full.
    pub async fn put_shard(&self, shard: ShardId, part: &ShardPart) -> Result<(), StoreError> {
        match part {
            ShardPart::Keys(keys) => {
                self.put_keys(keys, |name| self.store.shard_key(shard, name)).await
            }
            ShardPart::Fields { name, fields } => {
                let key = self.store.shard_key(shard, name);
                let commands = fields.iter().map(|(field, value)| {
                    let mut cmd = redis::cmd("HSET");
                    cmd.arg(&key).arg(field).arg(value);
                    (key.clone(), cmd, field.0.len() + value.0.len())
                });
                self.put(commands).await
            }
            ShardPart::Frames(frames) => {
                let key = self.store.shard_key(shard, "out");
                let commands = frames.iter().map(|(id, fields)| {
                    let mut cmd = redis::cmd("XADD");
                    cmd.arg(&key).arg(id);
                    let mut bytes = id.len();
                    for (field, value) in fields {
                        cmd.arg(field).arg(value);
                        bytes += field.0.len() + value.0.len();
                    }
                    (key.clone(), cmd, bytes)
                });
                self.put(commands).await
            }
            ShardPart::OutboxEnd(last) => self.end_outbox(shard, last).await,
        }
    }

    /// Puts back what lies outside of the shards.
    ///
    /// # Errors
    /// As [`put_shard`](Self::put_shard).
    pub async fn put_rest(&self, keys: &[DumpedKey]) -> Result<(), StoreError> {
        self.put_keys(keys, str::to_owned).await
    }

    /// Lifts the mark. Each shard then finds itself in a new run of its server: delivery
    /// numbers and events that the copied store gave out after the copy are not used again.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn finish(self) -> Result<(), StoreError> {
        let metas = self.store.shard_keys("meta");
        let forget = |at: usize| {
            let mut cmd = redis::cmd("HDEL");
            cmd.arg(&metas[at]).arg("run");
            cmd
        };
        for answer in self.store.spread_confirmed(&metas, forget).await {
            answer?;
        }
        self.store.put_record(LAYOUT).await
    }

    async fn put_keys(
        &self,
        keys: &[DumpedKey],
        full: impl Fn(&str) -> String,
    ) -> Result<(), StoreError> {
        let commands = keys.iter().map(|key| {
            let name = full(&key.name);
            let mut cmd = redis::cmd("RESTORE");
            cmd.arg(&name).arg(key.left_ms).arg(&key.dump);
            (name, cmd, key.dump.0.len())
        });
        self.put(commands).await
    }

    async fn put(
        &self,
        commands: impl Iterator<Item = (String, Cmd, usize)>,
    ) -> Result<(), StoreError> {
        let (mut keys, mut page, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (key, cmd, len) in commands {
            keys.push(key);
            page.push(cmd);
            bytes += len;
            if page.len() == ENTRIES_A_PAGE || bytes >= PAGE_BYTES {
                self.put_page(&keys, &page).await?;
                keys.clear();
                page.clear();
                bytes = 0;
            }
        }
        self.put_page(&keys, &page).await
    }

    async fn put_page(&self, keys: &[String], page: &[Cmd]) -> Result<(), StoreError> {
        let answers = self.store.spread_confirmed(keys, |at| page[at].clone()).await;
        for (key, answer) in keys.iter().zip(answers) {
            answer.map_err(|e| match e {
                StoreError::Unavailable(why) if !why.is_io_error() => StoreError::Unfit(format!(
                    "it does not take the key {key:?} ({why}): a copy can be put back into a \
                     server of the same or a newer version"
                )),
                e => e,
            })?;
        }
        Ok(())
    }

    /// The outbox remembers its end even when that frame is gone.
    async fn end_outbox(&self, shard: ShardId, last: &str) -> Result<(), StoreError> {
        let key = self.store.shard_key(shard, "out");
        let mut conn = self.store.conn_for(&key).await?;
        let info: Vec<(String, Vec<(Blob, Blob)>)> = redis::cmd("XREVRANGE")
            .arg(&key)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(&mut conn)
            .await?;
        if info.first().is_some_and(|(id, _)| id == last) {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        pipe.cmd("XADD").arg(&key).arg(last).arg("j").arg("").arg("f").arg("").ignore();
        pipe.cmd("XDEL").arg(&key).arg(last).ignore();
        let () = pipe.query_async(&mut conn).await?;
        self.store.confirm(&mut conn).await
    }
}

impl Store {
    async fn refuse_filled(&self) -> Result<(), StoreError> {
        let own = self.key("store");
        let mut names: Vec<String> = self.all_keys().await?.into_iter().collect();
        let mut conn = self.conn_for(&own).await?;
        let layout: Option<u32> =
            redis::cmd("HGET").arg(&own).arg("layout").query_async(&mut conn).await?;
        names.retain(|name| *name != own);
        if names.is_empty() {
            return Ok(());
        }
        let what = if layout == Some(UNFINISHED) {
            "a restore that was cut off has left it half filled"
        } else {
            "it is not empty"
        };
        names.sort_unstable();
        names.truncate(3);
        Err(StoreError::Unfit(format!(
            "{what}: there are keys such as {names:?}; delete every key of it, name an empty one \
             in `store.url`, or choose another `store.prefix`"
        )))
    }

    async fn put_record(&self, layout: u32) -> Result<(), StoreError> {
        let own = self.key("store");
        let mut conn = self.conn_for(&own).await?;
        let () = redis::cmd("HSET")
            .arg(&own)
            .arg("layout")
            .arg(layout)
            .arg("shards")
            .arg(self.shards)
            .query_async(&mut conn)
            .await?;
        self.confirm(&mut conn).await
    }

    /// Says of a store that a restore has not finished what it is.
    pub(crate) fn refuse_unfinished(layout: u32) -> Result<(), StoreError> {
        if layout == UNFINISHED {
            return Err(StoreError::Unfit(
                "a restore into it is under way, or was cut off: let it end, or delete every key \
                 and restore again"
                    .into(),
            ));
        }
        Ok(())
    }
}
