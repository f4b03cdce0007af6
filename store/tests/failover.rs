//! A primary is killed under load: through sentinels, and a node of a cluster. What was
//! acknowledged at the level `replicated` is there afterwards, and the accounts balance.

use std::time::{Duration, Instant};

use mail::ShardId;
use store::{Config, Durability, Store};

use crate::topologies::{
    cluster::Cluster, sentinel::Sentinels, server::eventually, traffic::Traffic,
};

fn replicated(config: Config) -> Config {
    Config {
        durability: Durability::Replicated,
        confirm_timeout_ms: 500,
        answer_timeout_ms: 2000,
        ..config
    }
}

/// Waits until so many more recipients are acknowledged.
async fn more(traffic: &Traffic, recipients: u64) {
    let from = traffic.acknowledged();
    eventually("traffic flows", Duration::from_secs(40), async || {
        traffic.acknowledged() >= from + recipients
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_sentinels_promote_another_primary() {
    let mut set = Sentinels::start().await;
    let store = Store::open(&replicated(set.config())).await.unwrap();
    let traffic = Traffic::start(&store).await;
    more(&traffic, 1_000).await;
    set.servers[0].kill();
    let killed = Instant::now();
    eventually("another primary", Duration::from_secs(30), async || set.primary().await.is_some())
        .await;
    let promoted = killed.elapsed();
    more(&traffic, 1_000).await;
    // It comes back as a replica and is no trouble.
    set.servers[0].start_again();
    more(&traffic, 1_000).await;
    let said = traffic.finish().await;
    let gap = said.gaps.values().max().unwrap();
    println!(
        "sentinel: promoted after {promoted:.1?}, longest silence {gap:.1?}, {} accepted, \
         {} settled, {} failures of which {} unconfirmed",
        said.accepted.values().sum::<u64>(),
        said.delivered.len(),
        said.failures,
        said.unconfirmed
    );
    assert!(said.failures > 0, "the failover was noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_with_a_cluster_node_and_the_others_flow_on() {
    let mut cluster = Cluster::start().await;
    let store = Store::open(&replicated(cluster.config())).await.unwrap();
    let traffic = Traffic::start(&store).await;
    more(&traffic, 2_000).await;
    let mut owners = Vec::new();
    for shard in store.all_shards() {
        owners.push(cluster.owner_of(&format!("{{mp:{}}}:meta", shard.0)).await.unwrap());
    }
    let victim = owners[0];
    cluster.nodes[victim].kill();
    more(&traffic, 4_000).await;
    eventually("the replica took over", Duration::from_secs(30), async || {
        cluster.owner_of("{mp:0}:meta").await.is_some_and(|owner| owner != victim)
    })
    .await;
    more(&traffic, 2_000).await;
    cluster.nodes[victim].start_again();
    more(&traffic, 2_000).await;
    let said = traffic.finish().await;
    let longest = |on_victim: bool| {
        let shards = (0..owners.len()).filter(|at| (owners[*at] == victim) == on_victim);
        shards.map(|at| said.gaps[&ShardId(at as u16)]).max().unwrap()
    };
    let (lost, living) = (longest(true), longest(false));
    println!(
        "cluster: longest silence {lost:.1?} on the lost node's shards, {living:.1?} on the \
         others; {} accepted, {} settled, {} failures of which {} unconfirmed",
        said.accepted.values().sum::<u64>(),
        said.delivered.len(),
        said.failures,
        said.unconfirmed
    );
    assert!(said.failures > 0, "the loss was noticed");
    assert!(living < lost, "the others flow on");
}
