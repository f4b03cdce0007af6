//! The store's settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Where the queue lives and what an answer of it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of a Redis or Valkey: `redis://host:6379`, `redis+unix:///path`. Empty: `malleposte up`
    /// runs a private one. All services of a platform must name the same one.
    pub url: String,
    /// User of the Redis ACL. Empty: none.
    pub username: String,
    /// Password of that user; better given as a file, see `password_file`.
    pub password: String,
    /// File that holds the password.
    pub password_file: String,
    /// Begins every key, so that two platforms can share one Redis.
    pub prefix: String,
    /// Shards of a new store, 1 to 1024; a store that exists keeps its own number. More shards
    /// spread over more Redis Cluster nodes, and cost each relay a poll more.
    pub shards: u16,
    /// What an answer promises: always, everysec, replicated, fsynced-replicas. See docs/QUEUE.md.
    pub durability: Durability,
    /// How long replicas may take to confirm, in milliseconds.
    pub confirm_timeout_ms: u64,
    /// Frames of events that a shard keeps for the ledger. Near it sending slows; raise it to bear a
    /// longer absence of the ledger, at some 2 KB of Redis memory each.
    pub outbox_max: u64,
    /// Connections to Redis that one service holds at most.
    pub connections: usize,
    /// How long an answer of Redis may take, in milliseconds, before the connection is given up.
    pub answer_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: String::new(),
            password: String::new(),
            password_file: String::new(),
            prefix: "mp".into(),
            shards: 16,
            durability: Durability::Always,
            confirm_timeout_ms: 1000,
            outbox_max: 20_000,
            connections: 16,
            answer_timeout_ms: 5000,
        }
    }
}

impl Config {
    /// Whether the numbers make sense together.
    ///
    /// # Errors
    /// The first one that does not.
    pub fn check(&self) -> Result<(), StoreError> {
        let refuse = |what: String| Err(StoreError::Setting(what));
        if !(1..=1024).contains(&self.shards) {
            return refuse(format!("store.shards is {}: it must be 1 to 1024", self.shards));
        }
        if self.prefix.is_empty()
            || !self.prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return refuse(format!(
                "store.prefix {:?}: letters, digits and hyphens only",
                self.prefix
            ));
        }
        if self.connections < 2 {
            return refuse(format!(
                "store.connections is {}: at least 2 are needed",
                self.connections
            ));
        }
        if self.outbox_max < 100 {
            return refuse(format!("store.outbox_max is {}: at least 100", self.outbox_max));
        }
        if !self.password.is_empty() && !self.password_file.is_empty() {
            return refuse(
                "store.password and store.password_file are both given: keep one".into(),
            );
        }
        Ok(())
    }
}

/// What an answer of the store promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// On this disk.
    Always,
    /// In memory, on disk within about a second.
    Everysec,
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
            Self::Always => "always",
            Self::Everysec => "everysec",
            Self::Replicated => "replicated",
            Self::FsyncedReplicas => "fsynced-replicas",
        }
    }
}
