//! The settler against a real Redis that goes away and comes back.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[path = "../../store/tests/support/mod.rs"]
mod support;

use mail::queue::{BatchId, Lane};
use support::Redis;

use super::*;

const SHARD: ShardId = ShardId(1);

fn outcome(token: u64) -> Settlement {
    let lane = Lane { campaign: "c1".parse().unwrap(), domain: None };
    let (token, batch) = (Token(token), BatchId(token));
    let lease = Lease { shard: SHARD, token, slot: 0, batch, lane, count: 1, epoch: 1 };
    Settlement::unread(Arc::new(lease), 0, Outcome::Back, None, 0)
}

/// What a connection has sent holds a place until it is settled; with all places taken it sends
/// nothing more, and nothing else would come to settle.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_redis_was_away_is_settled_though_nothing_more_comes() {
    let mut redis = Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let register = Arc::new(Register::default());
    let closed = Arc::new(Semaphore::new(10));
    let places = Places { closed, connections_max: 10, unsettled_max: 8 };
    let settler = Settler::new(store, "relay".to_owned(), register.clone(), places);
    let (sender, inbox) = mpsc::channel(WAITING_MAX);
    let settler = tokio::spawn(settler.run(inbox));
    for token in 1..=2 {
        register.leased(SHARD, Token(token), 1);
    }

    redis.kill();
    sender.send(outcome(1)).await.unwrap();
    tokio::time::sleep(AGAIN * 2).await;
    sender.send(outcome(2)).await.unwrap();
    tokio::time::sleep(AGAIN * 2).await;
    assert_eq!(register.held(SHARD).len(), 2);

    redis.restart(&["--appendonly", "no"]);
    let patience = Instant::now() + Duration::from_secs(10);
    while !register.held(SHARD).is_empty() {
        assert!(Instant::now() < patience, "not settled: {:?}", register.held(SHARD));
        tokio::time::sleep(AGAIN).await;
    }
    drop(sender);
    settler.await.unwrap();
}
