//! A primary with two replicas, watched by three sentinels.

use std::time::Duration;

use super::server::{Server, eventually, free_port};

pub const SERVICE: &str = "queue";

pub struct Sentinels {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
}

const KEEP: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"];

impl Sentinels {
    pub async fn start() -> Self {
        let primary = Server::start(&KEEP);
        let port = primary.port.to_string();
        let follow = [&KEEP[..], &["--replicaof", "127.0.0.1", &port]].concat();
        let servers = vec![primary, Server::start(&follow), Server::start(&follow)];
        eventually("two replicas follow", Duration::from_secs(20), async || {
            servers[0].online_replicas().await == 2
        })
        .await;
        let sentinels: Vec<Server> = (0..3).map(|_| sentinel(servers[0].port)).collect();
        for one in &sentinels {
            eventually("the sentinels know each other", Duration::from_secs(20), async || {
                knows(one, "num-slaves", "2").await && knows(one, "num-other-sentinels", "2").await
            })
            .await;
        }
        Self { servers, sentinels }
    }

    pub fn config(&self) -> store::Config {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
        store::Config {
            url: format!("redis+sentinel://{}/{SERVICE}", hosts.join(",")),
            shards: 4,
            ..store::Config::default()
        }
    }

    /// Where the primary is, by its own word.
    pub async fn primary(&self) -> Option<usize> {
        for (at, server) in self.servers.iter().enumerate() {
            if server.info("role").await.as_deref() == Some("master") {
                return Some(at);
            }
        }
        None
    }
}

fn sentinel(primary: u16) -> Server {
    let folder = tempfile::Builder::new().prefix("mp").tempdir().unwrap();
    let port = free_port();
    let file = folder.path().join("sentinel.conf");
    let dir = folder.path().display();
    let text = format!(
        "port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {dir}\n\
         sentinel monitor {SERVICE} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {SERVICE} 1000\n\
         sentinel failover-timeout {SERVICE} 3000\n\
         sentinel parallel-syncs {SERVICE} 2\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut server =
        Server::start_program("redis-server", port, &[file.to_str().unwrap(), "--sentinel"]);
    // The sentinel writes what it learns into its configuration.
    server.folder = folder;
    server
}

async fn knows(sentinel: &Server, name: &str, value: &str) -> bool {
    let words: Vec<String> =
        sentinel.ask(&["SENTINEL", "MASTER", SERVICE]).await.unwrap_or_default();
    words.chunks_exact(2).any(|pair| pair[0] == name && pair[1] == value)
}
