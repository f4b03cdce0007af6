//! The slices of a shared rate: never more than the rate over time, never nothing for ever.

use std::time::{Duration, Instant};

use mail::share::{Demand, Weight};
use mail::{CampaignId, Site, Timestamp};
use store::{NewPace, SliceRequest, Store};

use crate::ask;
use crate::support;

const SLICE: Duration = Duration::from_millis(100);

fn demand(waiting: u32) -> [Demand; 1] {
    [Demand { campaign: CampaignId(1), weight: Weight::default(), priority: 1, waiting }]
}

fn request<'a>(relay: &'a str, flows: &'a [Demand]) -> SliceRequest<'a> {
    let expiry = Duration::from_secs(5);
    SliceRequest {
        relay,
        flows,
        in_use: 1,
        slice: SLICE,
        expiry,
        start: (20.0, 4),
        fixed: (None, None),
    }
}

fn pace(rate: f64) -> NewPace<'static> {
    NewPace { state: b"state", rate, connections: 10, is_taught: true, is_held: false }
}

/// Asks as relays do, for a time; answers what each was granted. Each is the first in turn: what
/// nobody fetched goes to whoever asks.
async fn granted(store: &Store, site: &Site, relays: &[&str], time: Duration) -> Vec<u32> {
    let mut sums = vec![0; relays.len()];
    let (start, mut turn) = (Instant::now(), 0);
    while start.elapsed() < time {
        for n in 0..relays.len() {
            let at = (turn + n) % relays.len();
            let flows = demand(1000);
            let slice = store.pace_slice("s", site, request(relays[at], &flows)).await.unwrap();
            sums[at] += slice.sum();
        }
        turn += 1;
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
        store.put_pace("s", &site, 0, pace(rate)).await.unwrap();
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
    store.put_pace("s", &site, 0, pace(200.0)).await.unwrap();
    let parts = granted(&store, &site, &["r1", "r2"], Duration::from_secs(3)).await;
    let (most, least) = (*parts.iter().max().unwrap(), *parts.iter().min().unwrap());
    assert!(f64::from(most) <= 1.3 * f64::from(least), "{parts:?}");
    let slice = store.pace_slice("s", &site, request("r1", &demand(10))).await.unwrap();
    assert_eq!((slice.sharing, slice.connections), (2, 5), "half of the connections each");
}

#[tokio::test]
async fn a_site_never_spoken_to_costs_one_question_and_leaves_little() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let site = Site::from_name("mx.example");
    let slice = store.pace_slice("s", &site, request("r1", &demand(3))).await.unwrap();
    assert_eq!((slice.sum(), slice.version, slice.connections), (3, 0, 4));
    assert_eq!(slice.rate, 20.0);
    assert!(store.paces().await.unwrap().is_empty(), "nothing was learnt");
    let keys: Vec<String> = ask::ask(&redis, redis::cmd("KEYS").arg("*pace*")).await;
    for key in keys {
        let left: i64 = ask::ask(&redis, redis::cmd("PTTL").arg(&key)).await;
        assert!((1..=5000).contains(&left), "{key} stays for {left} ms");
    }
}

#[tokio::test]
async fn the_list_of_paces_follows_the_records() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    for i in 0..200 {
        let site = Site::from_name(&format!("mx{i}.example"));
        store.put_pace("s", &site, 0, pace(20.0)).await.unwrap();
        // As if its time had come.
        let key: Vec<String> =
            ask::ask(&redis, redis::cmd("KEYS").arg(format!("*mx{i}.example*"))).await;
        let _: u64 = ask::ask(&redis, redis::cmd("DEL").arg(key)).await;
    }
    let listed = store.paces().await.unwrap().len();
    assert!(listed < 100, "{listed} of 200 that are gone are still listed");
}

/// With two connections and many callers none may hold one while it waits for another.
#[tokio::test(flavor = "multi_thread")]
async fn many_new_sites_and_campaigns_at_once_need_no_more_connections_than_there_are() {
    let redis = support::Redis::start();
    let config = store::Config { connections: 2, answer_timeout_ms: 2000, ..redis.config() };
    let store = Store::open(&config).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200u64 {
        let store = store.clone();
        tasks.spawn(async move {
            let site = Site::from_name(&format!("mx{n}.example"));
            let pace =
                NewPace { state: b"s", rate: 5.0, connections: 3, is_taught: true, is_held: false };
            store.put_pace("s", &site, 0, pace).await.unwrap();
            store.create_campaign(&support::campaign()).await.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(store.paces().await.unwrap().len(), 200);
}

/// Two connections and five relays: each has one in its turn, two at a time, and who has none is
/// granted nothing.
#[tokio::test]
async fn where_connections_are_fewer_than_relays_each_has_one_in_its_turn() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let site = Site::from_name("mx.example");
    let pace =
        NewPace { state: b"s", rate: 100.0, connections: 2, is_taught: true, is_held: false };
    store.put_pace("s", &site, 0, pace).await.unwrap();
    let relays = ["r1", "r2", "r3", "r4", "r5"];
    let mut now = Timestamp(1_800_000_000_000);
    // What each has, and what it last said that it has.
    let (mut in_use, mut told) = ([0; 5], [0; 5]);
    let mut turns = [0; 5];
    for step in 0..400 {
        for (n, relay) in relays.iter().enumerate() {
            let flows = demand(100);
            told[n] = in_use[n];
            let request = SliceRequest { in_use: in_use[n], ..request(relay, &flows) };
            let slice = store.pace_slice_at(Some(now), "s", &site, request).await.unwrap();
            // In the first round they do not know of one another yet.
            if step > 1 {
                assert!(slice.connections <= 1 && (slice.connections == 1 || slice.sum() == 0));
                let others: u32 = (0..5).filter(|m| *m != n).map(|m| told[m]).sum();
                let rank = n as u32;
                let model = mail::share::connections(2, others, 5, rank, now);
                assert_eq!(slice.connections, model, "step {step}, {relay}");
            }
            in_use[n] = slice.connections;
            turns[n] += slice.connections;
        }
        assert!(step < 2 || in_use.iter().sum::<u32>() <= 2, "step {step}: {in_use:?}");
        now = now + Duration::from_millis(250);
    }
    let (most, least) = (turns.iter().max().unwrap(), turns.iter().min().unwrap());
    assert!(*least > 120 && most * 10 <= least * 12, "{turns:?}");
}
