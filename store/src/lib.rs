//! What lives in Redis, and the only way to it: keys, versioned records, one
//! script per command. No policy: which lane goes first, what a reply means, when
//! to try again is decided elsewhere. No service talks to Redis but through here.

mod alarms;
mod arrival;
mod asides;
mod audit;
mod backup;
mod batch;
mod campaign;
mod campaigns;
mod claims;
mod config;
mod credentials;
mod dial;
mod durability;
mod error;
mod feedback;
mod files;
mod frame;
mod gates;
mod holds;
mod hygiene;
mod key_state;
mod learned;
mod leasing;
mod listing;
mod nodes;
mod operators;
mod orders;
mod outbox;
mod pace;
mod pool;
mod queue;
mod quota;
mod relays;
mod repack;
mod requests;
mod returns;
mod scripts;
mod seal;
mod senders;
mod servers;
mod settling;
mod slot;
mod sts;
mod suppression;
mod tls_reports;
mod topology;
mod url;
mod whereabouts;

use std::pin::Pin;
use std::sync::Arc;

use redis::Value;
use redis::aio::ConnectionLike;

pub use alarms::{AlarmRecord, Untold};
pub use audit::{Audit, OpenBatch};
pub use backup::{Blob, DumpedKey, OutboxHold, Refill, ShardPart};
pub use batch::{Batch, BatchBuilder};
pub use campaign::{Campaign, CampaignRecord, CampaignStatus, StartAt, TemplateRecord};
pub use claims::{Claim, PaceNow};
pub use config::Config;
pub use credentials::{ApiKey, ApiKeyRecord, Right};
pub use durability::Durability;
pub use error::{StoreError, chain};
pub use feedback::Feedback;
pub use files::{FILE_PIECE_OCTETS, FileRecord, FilesChanged};
pub use frame::{Frame, Settled};
pub use gates::GateMemory;
pub use holds::{HoldPut, HoldRecord};
pub use hygiene::AddressNews;
pub use key_state::KeyState;
pub use learned::{LEARNED_BOOK, LearnedBook, LearnedRules};
pub use leasing::{LeaseAnswer, LeasedBatch, Page};
pub use listing::{ListPlace, Listed, listing_event};
pub use operators::{Operator, Role, SessionRecord};
pub use orders::NewOrder;
pub use outbox::{DurableFrames, OutboxFrame, Position, ShardAccounts};
pub use pace::{NewPace, PaceRecord, PaceSlice, SliceRequest};
pub use queue::Renewal;
pub use quota::QuotaRecord;
pub use relays::{RelayRecord, RelayState, relay_name};
pub use requests::Begun;
pub use returns::{Return, Returned, Shared, Taken};
pub use seal::SealKeys;
pub use senders::{KeyRefused, Selector, SenderRecord, SigningKey};
pub use servers::ServerState;
pub use settling::ShardSettle;
pub use sts::StsRecord;
pub use suppression::{AddressChange, PLATFORM, Suppression, SuppressionRecord, is_tenant};
pub use tls_reports::{TLS_COUNTS_KEPT, TlsCounted, TlsDay, TlsReportState};
pub use whereabouts::{Rests, Whereabouts};

use arrival::Arrivals;
use durability::{Confirm, Info};
use nodes::{Conn, Spread};
use topology::Topology;

/// The version of the layout that this program writes; a store with a higher one is refused.
const LAYOUT: u32 = 1;

/// A future without its name.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connected store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    topology: Arc<Topology>,
    prefix: Arc<str>,
    shards: u16,
    outbox_max: u64,
    confirm: Confirm,
}

impl Store {
    /// Connects, refuses a Redis that may drop keys, and makes the store's own
    /// record where there is none.
    ///
    /// # Errors
    /// When Redis cannot be reached or is unfit, or the store was made by a newer program.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        config.check()?;
        let arrivals = Arc::<Arrivals>::default();
        let topology = dial::topology(config, arrivals.clone())?;
        let mut store = Self {
            topology: Arc::new(topology),
            prefix: config.prefix.as_str().into(),
            shards: config.shards,
            outbox_max: config.outbox_max,
            confirm: Confirm {
                level: config.durability,
                wait_ms: config.confirm_timeout_ms,
                replicas_min: config.replicas_min,
            },
        };
        store.confirm.level = durability::fitness(&store.topology, config.durability).await?;
        store.shards = store.claim_layout(config.shards).await?;
        arrivals.name(store.shard_keys("meta"));
        store.topology.forget_connections();
        Ok(store)
    }

    /// The number of shards, fixed when the store was made.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The level at which this store answers: the configured one, or less where a server
    /// was found to keep less at the start.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.confirm.level
    }

    /// How long Redis takes to answer a ping; the slowest, where there are several.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<std::time::Duration, StoreError> {
        let mut slowest = std::time::Duration::ZERO;
        for node in self.topology.primaries().await? {
            let start = std::time::Instant::now();
            let _: String = redis::cmd("PING").query_async(&mut *node.link().await?).await?;
            slowest = slowest.max(start.elapsed());
        }
        Ok(slowest)
    }

    /// Octets that Redis says its data take.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn used_memory(&self) -> Result<u64, StoreError> {
        Ok(self.info("memory").await?.iter().map(|info| info.number("used_memory")).sum())
    }

    /// A connection to the server that holds a key. Boxed, as is [`spread`](Self::spread): what
    /// learns topologies and opens connections would else be a part of every future here.
    fn conn_for<'a>(&'a self, key: &'a str) -> Boxed<'a, Result<Conn, StoreError>> {
        Box::pin(Conn::open(&self.topology, key))
    }

    /// One command a key, in one round trip a server; each with its own answer.
    async fn spread(
        &self,
        keys: &[String],
        command: impl Fn(usize) -> redis::Cmd + Sync,
    ) -> Vec<Result<Value, StoreError>> {
        self.send(Spread { keys, command: &command, confirm: None, apart: false }).await
    }

    /// Like [`spread`](Self::spread) for writes: the answers wait for the level of durability.
    async fn spread_confirmed(
        &self,
        keys: &[String],
        command: impl Fn(usize) -> redis::Cmd + Sync,
    ) -> Vec<Result<Value, StoreError>> {
        let confirm = Some(&self.confirm);
        self.send(Spread { keys, command: &command, confirm, apart: false }).await
    }

    fn send<'a>(&'a self, spread: Spread<'a>) -> Boxed<'a, Vec<Result<Value, StoreError>>> {
        Box::pin(spread.send(&self.topology))
    }

    /// A key of every shard, in order.
    fn shard_keys(&self, name: &str) -> Vec<String> {
        self.all_shards().map(|shard| self.shard_key(shard, name)).collect()
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
        self.confirm.wait(conn).await
    }

    async fn info(&self, section: &str) -> Result<Vec<Info>, StoreError> {
        let mut infos = Vec::new();
        for node in self.topology.primaries().await? {
            let mut link = node.link().await?;
            infos.push(Info(redis::cmd("INFO").arg(section).query_async(&mut *link).await?));
        }
        Ok(infos)
    }

    async fn claim_layout(&self, shards: u16) -> Result<u16, StoreError> {
        let key = self.key("store");
        let mut conn = self.conn_for(&key).await?;
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
            .query_async(&mut conn)
            .await?;
        let (layout, made_with): (u32, u16) = redis::cmd("HMGET")
            .arg(&key)
            .arg("layout")
            .arg("shards")
            .query_async(&mut conn)
            .await?;
        Self::refuse_unfinished(layout)?;
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
