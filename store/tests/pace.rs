//! The slices of a shared rate: never more than the rate over time, never nothing for ever.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod support;

use std::time::{Duration, Instant};

use mail::Site;
use store::{SliceRequest, Store};

const SLICE: Duration = Duration::from_millis(100);

fn request(relay: &str, demand: u32) -> SliceRequest<'_> {
    SliceRequest { relay, demand, in_use: 1, slice: SLICE, expiry: Duration::from_secs(5) }
}

/// Asks as relays do, for a time; answers what each was granted.
async fn granted(store: &Store, site: &Site, relays: &[&str], time: Duration) -> Vec<u32> {
    let mut sums = vec![0; relays.len()];
    let start = Instant::now();
    while start.elapsed() < time {
        for (relay, sum) in relays.iter().zip(&mut sums) {
            *sum += store.pace_slice("s", site, request(relay, 1000)).await.unwrap().granted;
        }
        tokio::time::sleep(SLICE).await;
    }
    sums
}

#[tokio::test]
async fn a_rate_is_kept_however_slow_or_fast() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    for rate in [0.5, 2.0, 4.9, 50.0, 2000.0] {
        let site = Site::from_name(&format!("mx{rate}.example"));
        store.put_pace("s", &site, 0, b"state", rate, 10).await.unwrap();
        let start = Instant::now();
        let sum: u32 =
            granted(&store, &site, &["r1", "r2"], Duration::from_secs(3)).await.iter().sum();
        // What was sent at once, and what time has brought since.
        let most = rate * (start.elapsed().as_secs_f64() + 0.2) + 1.0;
        let least = (rate * 3.0 * 0.8).floor().max(1.0);
        assert!((least..=most).contains(&f64::from(sum)), "{rate}/s: {sum} of {least} to {most}");
    }
}

#[tokio::test]
async fn relays_with_equal_demand_have_equal_parts() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let site = Site::from_name("mx.example");
    store.put_pace("s", &site, 0, b"state", 200.0, 10).await.unwrap();
    let parts = granted(&store, &site, &["r1", "r2"], Duration::from_secs(3)).await;
    let (most, least) = (*parts.iter().max().unwrap(), *parts.iter().min().unwrap());
    assert!(f64::from(most) <= 1.3 * f64::from(least), "{parts:?}");
    let slice = store.pace_slice("s", &site, request("r1", 10)).await.unwrap();
    assert_eq!((slice.sharing, slice.connections), (2, 5), "half of the connections each");
}
