//! A whole platform on servers of which one is killed while a campaign is under way: the
//! primary behind sentinels, and a node of a cluster. The sentinels, or the cluster, go on
//! with a replica; so does the campaign, and at its end both books agree.

use std::time::{Duration, Instant};

use loadtests::{Audit, Generator, Scenario};
use mail::CampaignId;
use ops::demo::{Platform, Stage, await_returns, submit};
use store::{Config, Durability};

use crate::topologies::{cluster::Cluster, sentinel::Sentinels, server::eventually};

const RECIPIENTS: u64 = 2_000;
/// A run that takes longer has gone wrong.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
/// The server is killed when this part of the campaign is done.
const KILL_AT: f64 = 0.3;

fn replicated(config: Config) -> Config {
    Config { durability: Durability::Replicated, answer_timeout_ms: 2000, ..config }
}

/// One campaign, with the kill on its way.
async fn campaign_through(servers: Config, seed: u64, kill: impl AsyncFnOnce()) {
    let mut scenario = Scenario::named("chaos").unwrap();
    scenario.seed = seed;
    let stage = Stage {
        program: env!("CARGO_BIN_EXE_malleposte").into(),
        data_dir: None,
        scenario,
        // As in the chaos run: what is looked at here are the books, not the pace.
        adjust: |config| {
            config.relay.pace.rate_start = 40.0;
            config.relay.pace.rate_min = 40.0;
            config.relay.load.enabled = false;
        },
    };
    let mut platform = Platform::start_on(stage, Some(servers)).await.unwrap();
    let recipients = Generator::new(seed, RECIPIENTS);
    let campaign = submit(&platform, &recipients).await.unwrap();
    let began = Instant::now();
    until(&mut platform, campaign, began, KILL_AT).await;
    kill().await;
    let killed = Instant::now();
    until(&mut platform, campaign, began, 1.0).await;
    await_returns(&platform).await;
    let audit = Audit::make(platform.books(), &[(campaign, recipients)]).await.unwrap();
    let counters = platform.store.campaign_counters(campaign).await.unwrap();
    let imbalance = platform.books().imbalance(&[campaign]).await.unwrap();
    println!(
        "{RECIPIENTS} recipients in {:.1?}, {:.1?} after the kill: lost {}, duplicates {} (unanswered {}), \
         imbalance {imbalance}, late {}",
        began.elapsed(),
        killed.elapsed(),
        audit.lost,
        audit.duplicates,
        audit.unanswered,
        counters.late
    );
    platform.stop().await.unwrap();
    let why = audit.samples.join("\n");
    assert_eq!((audit.lost, imbalance), (0, 0), "{why}");
    assert_eq!(counters.accepted, RECIPIENTS);
    // No relay was killed, and settles are acknowledged only when a replica has them: what is
    // left are endings without a reply.
    assert!(
        audit.duplicates <= audit.unanswered,
        "{} of {}: {why}",
        audit.duplicates,
        audit.unanswered
    );
}

async fn until(platform: &mut Platform, campaign: CampaignId, began: Instant, part: f64) {
    loop {
        assert!(began.elapsed() < PATIENCE, "the campaign does not come to its end");
        platform.is_well().unwrap();
        match platform.store.campaign_counters(campaign).await {
            Ok(counters) => {
                let done = 1.0 - counters.waiting as f64 / counters.accepted.max(1) as f64;
                if done >= part {
                    return;
                }
            }
            Err(e) => assert!(e.is_passing(), "{e}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_campaign_survives_a_failover_by_sentinels() {
    let mut set = Sentinels::start().await;
    let config = replicated(set.config());
    campaign_through(config, 1, async || set.servers[0].kill()).await;
    assert!(set.primary().await.is_some_and(|at| at != 0), "another server is primary");
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_campaign_survives_the_loss_of_a_cluster_node() {
    let mut cluster = Cluster::start().await;
    let config = replicated(cluster.config());
    let victim = cluster.owner_of("{mp:0}:meta").await.unwrap();
    campaign_through(config, 2, async || {
        cluster.nodes[victim].kill();
        eventually("its replica takes over", Duration::from_secs(20), async || {
            cluster.owner_of("{mp:0}:meta").await.is_some_and(|owner| owner != victim)
        })
        .await;
        // The one that took over has no replica itself, and what is written to it is confirmed
        // by nobody, until the lost node is back and follows it.
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.nodes[victim].start_again();
    })
    .await;
    let owner = cluster.owner_of("{mp:0}:meta").await.unwrap();
    assert_ne!(owner, victim, "its replica took over");
}
