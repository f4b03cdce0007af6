//! The store's settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::durability::Durability;
use crate::error::StoreError;
use crate::url::Target;

/// Where the queue lives and what an answer of it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of a Redis or Valkey: `redis://host:6379`, `redis+unix:///path`; of a service behind
    /// sentinels: `redis+sentinel://one:26379,two:26379,three:26379/NAME`; of a cluster:
    /// `redis+cluster://one:6379,two:6379`. With `rediss` in place of `redis`: over TLS. Empty:
    /// `malleposte up` runs a private one. All services of a platform must name the same one.
    pub url: String,
    /// File with the authorities (PEM) that a server's certificate must come from. Empty: those of
    /// this system.
    pub tls_ca_file: String,
    /// File with the certificate (PEM) that this program shows, where the server asks for one.
    pub tls_cert_file: String,
    /// File with the private key (PEM) of that certificate.
    pub tls_key_file: String,
    /// User of the Redis ACL. Empty: none.
    pub username: String,
    /// Password of that user; better given as a file, see `password_file`.
    pub password: String,
    /// File that holds the password.
    pub password_file: String,
    /// User at the sentinels. Empty: none.
    pub sentinel_username: String,
    /// Password of that user; better given as a file, see `sentinel_password_file`.
    pub sentinel_password: String,
    /// File that holds the password for the sentinels.
    pub sentinel_password_file: String,
    /// Begins every key, so that two platforms can share one Redis.
    pub prefix: String,
    /// Shards of a new store, 1 to 1024; a store that exists keeps its own number. More shards
    /// spread over more Redis Cluster nodes, and cost each relay a poll more.
    pub shards: u16,
    /// What an answer promises: memory, everysec, always, replicated, fsynced-replicas. See docs/QUEUE.md.
    pub durability: Durability,
    /// Replicas that must confirm at the replicated levels even when fewer are alive. The majority of
    /// the servers without the primary (1 of 2 replicas) bears the loss of one server; all of them
    /// bears a primary that is cut off together with a replica, and stops when one is away.
    pub replicas_min: u64,
    /// How long replicas may take to confirm, in milliseconds.
    pub confirm_timeout_ms: u64,
    /// Frames of events that a shard keeps for the ledger. Near it sending slows; raise it to bear a
    /// longer absence of the ledger, at some 2 KB of Redis memory each.
    pub outbox_max: u64,
    /// Connections to Redis that one service holds at most; a relay has two more, for renewals alone.
    pub connections: usize,
    /// How long an answer of Redis may take, in milliseconds, before the connection is given up.
    pub answer_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            tls_ca_file: String::new(),
            tls_cert_file: String::new(),
            tls_key_file: String::new(),
            username: String::new(),
            password: String::new(),
            password_file: String::new(),
            sentinel_username: String::new(),
            sentinel_password: String::new(),
            sentinel_password_file: String::new(),
            prefix: "mp".into(),
            shards: 16,
            durability: Durability::Always,
            replicas_min: 1,
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
        let waits = matches!(self.durability, Durability::Replicated | Durability::FsyncedReplicas);
        if waits && self.confirm_timeout_ms >= self.answer_timeout_ms {
            return refuse(format!(
                "store.confirm_timeout_ms is {}: it must be less than store.answer_timeout_ms, {}",
                self.confirm_timeout_ms, self.answer_timeout_ms
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
        if !self.sentinel_password.is_empty() && !self.sentinel_password_file.is_empty() {
            return refuse(
                "store.sentinel_password and store.sentinel_password_file are both given: keep one"
                    .into(),
            );
        }
        if self.tls_cert_file.is_empty() != self.tls_key_file.is_empty() {
            return refuse(
                "store.tls_cert_file and store.tls_key_file belong together: give both".into(),
            );
        }
        // Bad addresses are told with the rest of the settings, before any socket opens.
        if !self.url.is_empty() {
            Target::parse(&self.url)?;
        }
        Ok(())
    }
}
