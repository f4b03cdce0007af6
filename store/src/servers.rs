//! How the servers of Redis fare: for those who watch, never decided from.

use std::time::{Duration, Instant};

use crate::Store;
use crate::durability::Info;
use crate::error::StoreError;

/// One server that takes writes.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerState {
    /// Where it is.
    pub name: String,
    /// How long it took to answer.
    pub latency: Duration,
    /// Octets of its data.
    pub memory_bytes: u64,
    /// The most that it may have; 0: no limit.
    pub memory_max_bytes: u64,
    /// Connections.
    pub clients: u64,
    /// Commands since its start.
    pub commands: u64,
    /// Whether its last write to disk went well, or it writes none.
    pub is_persisting: bool,
    /// Replicas that follow.
    pub replicas: u64,
}

impl Store {
    /// Each server that takes writes.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn servers(&self) -> Result<Vec<ServerState>, StoreError> {
        let mut states = Vec::new();
        for node in self.topology.primaries().await? {
            let began = Instant::now();
            let mut link = node.link().await?;
            let _: String = redis::cmd("PING").query_async(&mut *link).await?;
            let latency = began.elapsed();
            let info = Info(redis::cmd("INFO").query_async(&mut *link).await?);
            let went_well = |name| matches!(info.word(name), "ok" | "");
            states.push(ServerState {
                name: node.place.to_string(),
                latency,
                memory_bytes: info.number("used_memory"),
                memory_max_bytes: info.number("maxmemory"),
                clients: info.number("connected_clients"),
                commands: info.number("total_commands_processed"),
                is_persisting: went_well("aof_last_write_status")
                    && went_well("rdb_last_bgsave_status"),
                replicas: info.number("connected_slaves"),
            });
        }
        Ok(states)
    }
}
