//! Three primaries with a replica each, as one cluster.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::server::{Server, eventually, free_port};

pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub async fn start() -> Self {
        let nodes: Vec<Server> = (0..6).map(|_| node()).collect();
        let places: Vec<String> = nodes.iter().map(|n| format!("127.0.0.1:{}", n.port)).collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&places)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { nodes };
        eventually("the cluster is whole", Duration::from_secs(30), async || {
            let mut whole = 0;
            for node in &cluster.nodes {
                let agrees = node.ask::<String>(&["CLUSTER", "INFO"]).await.is_some_and(|info| {
                    info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
                });
                let role = node.info("role").await;
                let follows = match role.as_deref() {
                    Some("master") => node.online_replicas().await == 1,
                    _ => node.info("master_link_status").await.as_deref() == Some("up"),
                };
                whole += usize::from(agrees && follows);
            }
            whole == 6
        })
        .await;
        cluster
    }

    pub fn config(&self) -> store::Config {
        // Not all of them: the others are learned.
        let hosts: Vec<String> =
            self.nodes[..2].iter().map(|n| format!("127.0.0.1:{}", n.port)).collect();
        store::Config {
            url: format!("redis+cluster://{}", hosts.join(",")),
            shards: 8,
            ..store::Config::default()
        }
    }

    /// The primary of a key, and whether each of the shards' keys lies there.
    pub async fn owner_of(&self, key: &str) -> Option<usize> {
        let slot: u16 = self.any().await.ask(&["CLUSTER", "KEYSLOT", key]).await?;
        let rows: Vec<Vec<redis::Value>> = self.any().await.ask(&["CLUSTER", "SLOTS"]).await?;
        for row in rows {
            let (from, to): (u16, u16) = (value(&row[0]), value(&row[1]));
            if (from..=to).contains(&slot) {
                let redis::Value::Array(owner) = &row[2] else { return None };
                let port: u16 = value(&owner[1]);
                return self.nodes.iter().position(|n| n.port == port);
            }
        }
        None
    }

    async fn any(&self) -> &Server {
        for node in &self.nodes {
            if node.ask::<String>(&["PING"]).await.is_some() {
                return node;
            }
        }
        panic!("no node answers");
    }
}

fn value(v: &redis::Value) -> u16 {
    redis::from_redis_value_ref(v).unwrap()
}

fn node() -> Server {
    let bus = free_port().to_string();
    Server::start(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        "1500",
        // A node that is lost takes only its own slots along.
        "--cluster-require-full-coverage",
        "no",
        "--repl-diskless-sync-delay",
        "0",
    ])
}
