//! A Redis that takes no more: said as what it is, and over when there is room again.

use mail::ShardId;
use store::{Store, StoreError};

use crate::support;

async fn set_memory(redis: &support::Redis, maxmemory: &str) {
    let status = std::process::Command::new("redis-cli")
        .args(["-s", redis.url().trim_start_matches("redis+unix://")])
        .args(["config", "set", "maxmemory", maxmemory])
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
}

#[tokio::test]
async fn a_full_redis_refuses_and_says_so_alone_and_in_a_pipeline() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    set_memory(&redis, "1").await;
    let alone = store.reserve(ShardId(0), 1).await.unwrap_err();
    let together = store.renew("r1", |_| true).await.pop().unwrap().unwrap_err();
    for error in [alone, together] {
        assert!(matches!(&error, StoreError::Refuses(why) if why.contains("OOM")), "{error:?}");
        assert!(error.is_passing());
    }
    set_memory(&redis, "0").await;
    store.reserve(ShardId(0), 1).await.unwrap();
    let renewals = store.renew("r1", |_| true).await;
    assert_eq!(renewals.iter().filter(|r| r.is_ok()).count(), 4);
}
