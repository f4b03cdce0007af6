//! What lives in Redis, and the only way to it: keys, versioned records, one
//! script per command. No policy: which lane goes first, what a reply means, when
//! to try again is decided elsewhere. No service talks to Redis but through here.

mod backup;
mod batch;
mod campaigns;
mod config;
mod credentials;
mod error;
mod feedback;
mod frame;
mod hygiene;
mod outbox;
mod pace;
mod pool;
mod queue;
mod relays;
mod scripts;
mod seal;
mod senders;
mod suppression;

use std::sync::Arc;

use deadpool::managed::{Object, Pool};
use redis::aio::ConnectionLike;

pub use backup::{DumpedKey, OutboxHold};
pub use batch::{Batch, BatchBuilder};
pub use campaigns::{Begun, Campaign, CampaignRecord, CampaignStatus, StartAt, TemplateRecord};
pub use config::{Config, Durability};
pub use credentials::{ApiKey, ApiKeyRecord, Right};
pub use error::StoreError;
pub use feedback::Feedback;
pub use frame::{Frame, Settled};
pub use hygiene::AddressNews;
pub use outbox::{OutboxFrame, Position, ShardAccounts};
pub use pace::{PaceRecord, PaceSlice, SliceRequest};
pub use queue::{Audit, LeaseAnswer, LeasedBatch, OpenBatch, ReadyLane, Renewal, ShardSettle};
pub use relays::RelayRecord;
pub use seal::SealKeys;
pub use senders::{Selector, SenderRecord, SigningKey};
pub use suppression::{AddressChange, Returned, Suppression, SuppressionRecord};

use pool::Manager;

/// The version of the layout that this program writes; a store with a higher one is refused.
const LAYOUT: u32 = 1;

/// A connected store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool<Manager>,
    prefix: Arc<str>,
    shards: u16,
    outbox_max: u64,
    durability: Durability,
    wait_ms: u64,
}

impl Store {
    /// Connects, refuses a Redis that may drop keys, and makes the store's own
    /// record where there is none.
    ///
    /// # Errors
    /// When Redis cannot be reached or is unfit, or the store was made by a newer program.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        config.check()?;
        let pool = pool::build(config)?;
        let mut store = Self {
            pool,
            prefix: config.prefix.as_str().into(),
            shards: config.shards,
            outbox_max: config.outbox_max,
            durability: config.durability,
            wait_ms: config.confirm_timeout_ms,
        };
        store.refuse_unfit().await?;
        store.shards = store.claim_layout(config.shards).await?;
        Ok(store)
    }

    /// The number of shards, fixed when the store was made.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The level at which this store answers.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// How long Redis takes to answer a ping.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<std::time::Duration, StoreError> {
        let start = std::time::Instant::now();
        let _: String = redis::cmd("PING").query_async(&mut *self.conn().await?).await?;
        Ok(start.elapsed())
    }

    /// Octets that Redis says its data take.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn used_memory(&self) -> Result<u64, StoreError> {
        Ok(self.info("memory").await?.number("used_memory"))
    }

    async fn conn(&self) -> Result<Object<Manager>, StoreError> {
        self.pool.get().await.map_err(StoreError::from_pool)
    }

    /// A key outside the shards, with a hash tag of its own where the name brings one.
    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// A key of a shard: all of a shard's keys share its hash tag.
    fn shard_key(&self, shard: mail::ShardId, name: &str) -> String {
        format!("{{{}:{}}}:{name}", self.prefix, shard.0)
    }

    /// Waits, on the connection that wrote, until the level's replicas have it.
    async fn confirm(&self, conn: &mut impl ConnectionLike) -> Result<(), StoreError> {
        let (wanted, got): (u64, u64) = match self.durability {
            Durability::Always | Durability::Everysec => return Ok(()),
            Durability::Replicated => {
                let wanted = self.live_replicas(conn).await?;
                let got =
                    redis::cmd("WAIT").arg(wanted).arg(self.wait_ms).query_async(conn).await?;
                (wanted.max(1), got)
            }
            Durability::FsyncedReplicas => {
                let wanted = self.live_replicas(conn).await?.max(1);
                let (local, got): (u64, u64) = redis::cmd("WAITAOF")
                    .arg(1)
                    .arg(wanted)
                    .arg(self.wait_ms)
                    .query_async(conn)
                    .await?;
                (wanted, if local == 0 { 0 } else { got })
            }
        };
        if got < wanted { Err(StoreError::Unconfirmed { wanted, got }) } else { Ok(()) }
    }

    async fn live_replicas(&self, conn: &mut impl ConnectionLike) -> Result<u64, StoreError> {
        let text: String = redis::cmd("INFO").arg("replication").query_async(conn).await?;
        Ok(Info(text).number("connected_slaves"))
    }

    async fn info(&self, section: &str) -> Result<Info, StoreError> {
        let mut conn = self.conn().await?;
        Ok(Info(redis::cmd("INFO").arg(section).query_async(&mut *conn).await?))
    }

    async fn refuse_unfit(&self) -> Result<(), StoreError> {
        let memory = self.info("memory").await?;
        let policy = memory.word("maxmemory_policy");
        if memory.number("maxmemory") > 0 && policy != "noeviction" && !policy.is_empty() {
            return Err(StoreError::Unfit(format!(
                "its maxmemory-policy is {policy:?}, which may drop queued mail; set it to noeviction"
            )));
        }
        if self.info("persistence").await?.number("aof_enabled") == 0 {
            tracing::warn!("redis keeps no append-only file: what it holds is lost when it ends");
        }
        Ok(())
    }

    async fn claim_layout(&self, shards: u16) -> Result<u16, StoreError> {
        let key = self.key("store");
        let mut conn = self.conn().await?;
        let _: () = redis::pipe()
            .cmd("HSETNX")
            .arg(&key)
            .arg("layout")
            .arg(LAYOUT)
            .ignore()
            .cmd("HSETNX")
            .arg(&key)
            .arg("shards")
            .arg(shards)
            .ignore()
            .query_async(&mut *conn)
            .await?;
        let (layout, made_with): (u32, u16) = redis::cmd("HMGET")
            .arg(&key)
            .arg("layout")
            .arg("shards")
            .query_async(&mut *conn)
            .await?;
        if layout > LAYOUT {
            return Err(StoreError::Unfit(format!(
                "its layout is version {layout} and this program knows {LAYOUT}: upgrade the program"
            )));
        }
        if made_with != shards {
            tracing::info!(
                shards = made_with,
                "the store keeps the number of shards it was made with"
            );
        }
        Ok(made_with)
    }
}

/// Redis's `INFO` text.
struct Info(String);

impl Info {
    fn word(&self, name: &str) -> &str {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_default()
            .trim()
    }

    fn number(&self, name: &str) -> u64 {
        self.word(name).parse().unwrap_or(0)
    }
}
