//! What an answer promises, and how the promise is kept: the words of the configuration,
//! the wait for replicas, and whether the servers do what is promised in their name.

use std::time::Duration;

use redis::aio::ConnectionLike;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::topology::{Topology, ask};
use crate::url::Place;

/// What an answer of the store promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Nothing: in this server's memory, lost when it ends. For tests, and what is answered
    /// in the name of a server without an append-only file.
    Memory,
    /// In memory, on disk within about a second.
    Everysec,
    /// On this disk.
    Always,
    /// In the memory of every live replica.
    Replicated,
    /// On this disk and on the replicas'.
    FsyncedReplicas,
}

impl Durability {
    /// The word for it in the configuration and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Everysec => "everysec",
            Self::Always => "always",
            Self::Replicated => "replicated",
            Self::FsyncedReplicas => "fsynced-replicas",
        }
    }
}

/// Waits until what was written is as durable as the level says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Confirm {
    pub(crate) level: Durability,
    pub(crate) wait_ms: u64,
    pub(crate) replicas_min: u64,
}

impl Confirm {
    /// How long [`wait`](Self::wait) may take.
    pub(crate) fn patience(&self) -> Duration {
        match self.level {
            Durability::Memory | Durability::Everysec | Durability::Always => Duration::ZERO,
            Durability::Replicated | Durability::FsyncedReplicas => {
                Duration::from_millis(self.wait_ms)
            }
        }
    }

    /// Waits, on the connection that wrote or found written, until the level's replicas have
    /// it. The server waits for its whole stream as it was at the last command of this
    /// connection, a reading one included (`c->woff` in its source): so a repetition that
    /// only finds what an earlier connection wrote is confirmed as truly as the first try.
    pub(crate) async fn wait(&self, conn: &mut impl ConnectionLike) -> Result<(), StoreError> {
        let (wanted, got): (u64, u64) = match self.level {
            Durability::Memory | Durability::Everysec | Durability::Always => return Ok(()),
            Durability::Replicated => {
                let wanted = self.wanted(conn).await?;
                let got =
                    redis::cmd("WAIT").arg(wanted).arg(self.wait_ms).query_async(conn).await?;
                (wanted, got)
            }
            Durability::FsyncedReplicas => {
                let wanted = self.wanted(conn).await?;
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

    /// Every replica that is in step, but never fewer than the configuration asks for.
    async fn wanted(&self, conn: &mut impl ConnectionLike) -> Result<u64, StoreError> {
        let text: String = redis::cmd("INFO").arg("replication").query_async(conn).await?;
        Ok(Info(text).online_replicas().max(self.replicas_min).max(1))
    }
}

/// Redis's `INFO` text.
pub(crate) struct Info(pub(crate) String);

impl Info {
    pub(crate) fn word(&self, name: &str) -> &str {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_default()
            .trim()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.word(name).parse().unwrap_or(0)
    }

    /// Replicas that follow; one that is still being copied to cannot confirm anything.
    fn online_replicas(&self) -> u64 {
        let is_online = |line: &&str| line.starts_with("slave") && line.contains("state=online");
        self.0.lines().filter(is_online).count() as u64
    }

    /// Whether it knows WAITAOF, which came with 7.2 (Valkey says that it is one, too).
    fn knows_waitaof(&self) -> bool {
        let mut parts =
            self.word("redis_version").split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (7, 2)
    }
}

/// Looks at every server: refuses those that may drop keys or can never confirm, says what
/// else is not as promised, and answers the level that may be promised.
pub(crate) async fn fitness(
    topology: &Topology,
    wanted: Durability,
) -> Result<Durability, StoreError> {
    let mut level = wanted;
    for node in topology.primaries().await? {
        match look_at(topology, &node.place, wanted).await {
            Ok(kept) => level = weaker(level, kept),
            // Its part waits until it is back; the others' shall not wait for it.
            Err(e) if e.is_passing() && topology.is_cluster() => {
                tracing::warn!(server = %node.place, "a node of the cluster is away: {e}");
            }
            Err(e) => return Err(e),
        }
    }
    for place in topology.replicas() {
        match look_at(topology, &place, wanted).await {
            Ok(kept) => level = weaker(level, kept),
            Err(e) if e.is_passing() => {
                tracing::warn!(server = %place, "a replica is away: {e}");
            }
            Err(e) => return Err(e),
        }
    }
    if level != wanted {
        tracing::warn!(
            "store.durability is {:?}, but redis does not keep that: answers say {:?}; set \
             `appendonly yes` and `appendfsync always` on every server, or lower the setting",
            wanted.as_str(),
            level.as_str()
        );
    }
    Ok(level)
}

fn weaker(a: Durability, b: Durability) -> Durability {
    if (b as u8) < (a as u8) { b } else { a }
}

/// One server; answers the level that it keeps of the one that is wanted.
async fn look_at(
    topology: &Topology,
    place: &Place,
    wanted: Durability,
) -> Result<Durability, StoreError> {
    let info = Info(ask(topology.dial(), place, &["INFO"]).await?);
    let policy = info.word("maxmemory_policy");
    if info.number("maxmemory") > 0 && policy != "noeviction" && !policy.is_empty() {
        return Err(StoreError::Unfit(format!(
            "the maxmemory-policy of {place} is {policy:?}, which may drop queued mail; set it to noeviction"
        )));
    }
    let has_aof = info.number("aof_enabled") == 1;
    match wanted {
        Durability::Memory => Ok(wanted),
        Durability::Everysec if has_aof => Ok(wanted),
        Durability::Always if has_aof => Ok(kept_by_fsync(topology, place).await),
        Durability::Everysec | Durability::Always => {
            tracing::warn!(server = %place,
                "redis keeps no append-only file: what it holds is lost when it ends");
            Ok(Durability::Memory)
        }
        Durability::Replicated => {
            warn_without_replicas(&info, place);
            if !has_aof {
                tracing::warn!(server = %place, "redis keeps no append-only file: what it holds \
                    is lost when it and its replicas end together");
            }
            Ok(wanted)
        }
        Durability::FsyncedReplicas if !has_aof || !info.knows_waitaof() => {
            let version = info.word("redis_version");
            Err(StoreError::Unfit(format!(
                "store.durability is \"fsynced-replicas\", which needs WAITAOF (Redis or Valkey \
                 7.2) and `appendonly yes`; {place} is {version}{}",
                if has_aof { "" } else { " without an append-only file" }
            )))
        }
        // At `everysec` some servers answer WAITAOF before the fsync (redis/redis#13793).
        Durability::FsyncedReplicas => {
            warn_without_replicas(&info, place);
            match kept_by_fsync(topology, place).await {
                Durability::Always => Ok(wanted),
                _ => Ok(Durability::Replicated),
            }
        }
    }
}

fn warn_without_replicas(info: &Info, place: &Place) {
    if info.word("role") == "master" && info.online_replicas() == 0 {
        tracing::warn!(server = %place, "redis has no replica that follows: at this \
            store.durability nothing is confirmed until it has one");
    }
}

/// What the server's fsync keeps of `always`. INFO does not tell; a server that hides its
/// configuration is believed.
async fn kept_by_fsync(topology: &Topology, place: &Place) -> Durability {
    let words: Result<Vec<String>, _> =
        ask(topology.dial(), place, &["CONFIG", "GET", "appendfsync"]).await;
    match words.as_deref() {
        Ok([_, policy]) if policy == "always" => Durability::Always,
        Ok([_, policy]) => {
            tracing::warn!(server = %place, "the appendfsync of redis is {policy:?}");
            if policy == "everysec" { Durability::Everysec } else { Durability::Memory }
        }
        Ok(_) | Err(_) => {
            tracing::warn!(server = %place, "redis does not show its appendfsync: make sure \
                that it is `always`, or allow `config|get`");
            Durability::Always
        }
    }
}
