//! A store is copied while it is used, and put back into servers of another kind: every
//! shard is as it was at one moment, and everybody who waited there is delivered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mail::queue::{CampaignState, Enqueue};
use mail::{CampaignId, Event, ShardId, Timestamp};
use store::{
    AddressChange, Config, DumpedKey, Frame, Position, Refill, ShardPart, Store, StoreError,
    SuppressionRecord,
};

use crate::support;
use crate::topologies::{
    cluster::Cluster,
    sentinel::Sentinels,
    server::eventually,
    traffic::{Said, Traffic, balanced, drain},
};

const PERIOD: Duration = Duration::from_secs(20);
const TENANT: &str = "a";

#[derive(Default)]
struct Copy {
    shards: u16,
    parts: Vec<(ShardId, ShardPart)>,
    rest: Vec<DumpedKey>,
}

async fn copy(store: &Store) -> Copy {
    let mut copy = Copy { shards: store.shards(), ..Copy::default() };
    let hold = store.hold_outbox("one", PERIOD).await.unwrap();
    for shard in store.all_shards() {
        let take = |part| {
            copy.parts.push((shard, part));
            Ok::<_, StoreError>(())
        };
        store.copy_shard(shard, &hold, take).await.unwrap();
    }
    store.release_outbox(hold).await.unwrap();
    let rest = |keys| {
        copy.rest.extend(keys);
        Ok::<_, StoreError>(())
    };
    store.copy_rest(rest).await.unwrap();
    copy
}

async fn put_back(copy: &Copy, config: &Config) -> Store {
    let refill = Refill::begin(config, copy.shards).await.unwrap();
    for (shard, part) in &copy.parts {
        refill.put_shard(*shard, part).await.unwrap();
    }
    refill.put_rest(&copy.rest).await.unwrap();
    let Err(early) = Store::open(config).await else { panic!("it opens half filled") };
    assert!(early.to_string().contains("a restore into it is under way"), "{early}");
    refill.finish().await.unwrap();
    Store::open(config).await.unwrap()
}

fn listed() -> SuppressionRecord {
    SuppressionRecord {
        reason: "operator".into(),
        category: None,
        at: Timestamp(1),
        evidence: String::new(),
        delivery: None,
        expires_at: None,
    }
}

async fn suppress(store: &Store, address: &str) {
    let change = AddressChange {
        tenant: Some(TENANT),
        address,
        history_before: b"",
        history_after: b"history",
        listing_before: None,
        suppression: Some(Some(&listed())),
        events: &[],
    };
    assert!(store.change_address(&change).await.unwrap());
}

async fn more(traffic: &Traffic, recipients: u64) {
    let from = traffic.acknowledged();
    eventually("traffic flows", Duration::from_secs(40), async || {
        traffic.acknowledged() >= from + recipients
    })
    .await;
}

/// Copies `from` under traffic into `to`.
async fn moved(from: &Config, to: &Config) {
    let store = Store::open(from).await.unwrap();
    let traffic = Traffic::start(&store).await;
    suppress(&store, "ana@a.example").await;
    let key = store.reserve_campaign().await.unwrap();
    more(&traffic, 2_000).await;
    let begun = Instant::now();
    let copy = copy(&store).await;
    let took = begun.elapsed();
    more(&traffic, 500).await;
    let said = traffic.finish().await;

    let there = put_back(&copy, to).await;
    assert_eq!(there.shards(), store.shards(), "whatever the settings say");
    let (mut accepted, mut waiting) = (0, 0);
    for shard in there.all_shards() {
        let counters = balanced(&there, shard).await;
        accepted += counters.accepted;
        waiting += counters.waiting;
    }
    println!(
        "copied in {took:.1?}, {accepted} accepted, {waiting} waiting; longest silence {:.1?}",
        said.gaps.values().max().unwrap()
    );
    assert!(accepted >= 2_000 && accepted < said.accepted.values().sum());
    let found = there.listing(TENANT, "ana@a.example").await.unwrap();
    assert_eq!(found.map(|f| f.reason), Some("operator".into()));
    assert_eq!(there.address_history(Some(TENANT), "ana@a.example").await.unwrap(), b"history");
    assert_eq!(there.reserve_campaign().await.unwrap().0, key.0 + 1);
    // What was given out after the copy is not given out again.
    for shard in there.all_shards() {
        assert!(there.reserve(shard, 1).await.unwrap().0 > 1_000_000, "{shard}");
    }
    let said = Arc::<Mutex<Said>>::default();
    drain(&there, &said).await;
    assert_eq!(said.lock().unwrap().wrong, [""; 0]);
    for shard in there.all_shards() {
        let counters = balanced(&there, shard).await;
        assert_eq!((counters.waiting, counters.duplicates), (0, 0), "{shard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_store_is_copied_under_traffic_and_goes_on_as_a_cluster() {
    let (redis, cluster) = (support::Redis::start(), Cluster::start().await);
    moved(&redis.config(), &cluster.config()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_copied_under_traffic_and_goes_on_behind_sentinels() {
    let (cluster, sentinels) = (Cluster::start().await, Sentinels::start().await);
    moved(&cluster.config(), &sentinels.config()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_behind_sentinels_is_copied_under_traffic_and_goes_on_as_a_single_one() {
    let (sentinels, redis) = (Sentinels::start().await, support::Redis::start());
    moved(&sentinels.config(), &redis.config()).await;
}

/// The run of the server is the one that the copy knows: that alone would not skip ahead.
#[tokio::test]
async fn numbers_skip_ahead_even_in_the_run_that_the_copy_was_made_in() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let before = store.reserve(ShardId(2), 10).await.unwrap();
    let copy = copy(&store).await;
    let lost = store.reserve(ShardId(2), 10).await.unwrap();
    assert_eq!(lost.0, before.0 + 10);
    let client = redis::Client::open(redis.url()).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let () = redis::cmd("FLUSHALL").query_async(&mut conn).await.unwrap();
    let again = put_back(&copy, &redis.config()).await;
    assert!(again.reserve(ShardId(2), 10).await.unwrap().0 > 1_000_000);
}

#[tokio::test]
async fn a_store_that_holds_anything_is_not_filled() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    store.reserve_campaign().await.unwrap();
    let Err(refused) = Refill::begin(&redis.config(), 4).await else { panic!("filled twice") };
    let said = refused.to_string();
    assert!(said.contains("it is not empty") && said.contains("mp:campaign-seq"), "{said}");
    assert!(said.contains("store.prefix"), "{said}");
    // Under another prefix it is none of ours.
    let other = Config { prefix: "other".into(), ..redis.config() };
    Refill::begin(&other, 4).await.unwrap();
}

#[tokio::test]
async fn what_a_cut_off_restore_has_left_is_neither_opened_nor_filled_again() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    store.emit(ShardId(0), &[Event::default()]).await.unwrap();
    let copy = copy(&store).await;
    let there = support::Redis::start();
    let refill = Refill::begin(&there.config(), copy.shards).await.unwrap();
    refill.put_shard(copy.parts[0].0, &copy.parts[0].1).await.unwrap();
    drop(refill);
    let Err(refused) = Store::open(&there.config()).await else { panic!("it opens") };
    assert!(refused.to_string().contains("delete every key"), "{refused}");
    assert!(!refused.is_passing());
    let Err(refused) = Refill::begin(&there.config(), 4).await else { panic!("filled twice") };
    assert!(refused.to_string().contains("half filled"), "{refused}");
}

#[tokio::test]
async fn no_frame_leaves_the_outbox_while_a_copy_is_made_and_two_copies_do_not_mix() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let shard = ShardId(1);
    let mut last = Position::default();
    for _ in 0..3 {
        store.emit(shard, &[Event::default()]).await.unwrap();
        last = store.outbox(shard, last, 10).await.unwrap()[0].0;
    }
    let hold = store.hold_outbox("one", PERIOD).await.unwrap();
    store.trim_outbox(shard, last).await.unwrap();
    assert_eq!(store.outbox_len(shard).await.unwrap(), 3, "held");
    let Err(busy) = store.hold_outbox("two", PERIOD).await else { panic!("two at once") };
    assert!(busy.to_string().contains("another backup"), "{busy}");
    // The failure of the second does not end the first.
    store.trim_outbox(shard, last).await.unwrap();
    assert_eq!(store.outbox_len(shard).await.unwrap(), 3, "still held");
    let mut parts = Vec::new();
    let take = |part| {
        parts.push(part);
        Ok::<_, StoreError>(())
    };
    store.copy_shard(shard, &hold, take).await.unwrap();
    assert!(parts.iter().any(|p| matches!(p, ShardPart::Frames(frames) if frames.len() == 3)));
    assert!(parts.iter().any(|p| *p == ShardPart::OutboxEnd(last.to_string())));
    store.extend_hold(&hold, ShardId(2)).await.unwrap();
    // A shard that is copied is let go at once; the others with the copy.
    store.trim_outbox(shard, last).await.unwrap();
    assert_eq!(store.outbox_len(shard).await.unwrap(), 0);
    store.release_outbox(hold).await.unwrap();
    store.hold_outbox("two", PERIOD).await.unwrap();
}

#[tokio::test]
async fn a_copy_whose_hold_ran_out_fails() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let hold = store.hold_outbox("one", Duration::from_millis(20)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let shard = ShardId(0);
    let failed = store.copy_shard(shard, &hold, |_| Ok::<_, StoreError>(())).await.unwrap_err();
    assert!(failed.to_string().contains("ran out"), "{failed}");
    let failed = store.extend_hold(&hold, shard).await.unwrap_err();
    assert!(failed.to_string().contains("ran out"), "{failed}");
}

/// `cargo nextest run -p store --test backup --run-ignored only --no-capture`: how long a copy
/// takes, and for how long a heartbeat has to wait meanwhile.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: a million recipients"]
async fn measured_copy_of_a_million_waiting() {
    const BATCHES: u64 = 2_000;
    const SIZE: u16 = 500;
    let config = |redis: &support::Redis| Config { shards: 16, ..redis.config() };
    let redis = support::Redis::start();
    let store = Store::open(&config(&redis)).await.unwrap();
    store.set_campaign_state(CampaignId(1), CampaignState::Running, 1).await.unwrap();
    for batch in 0..BATCHES {
        let shard = ShardId((batch % 16) as u16);
        let enqueue = Enqueue {
            lane: format!("c1/{}.example", batch % 100).parse().unwrap(),
            chunk: batch / 16,
            batch: store.reserve(shard, u64::from(SIZE)).await.unwrap(),
            count: SIZE,
            suppressed: vec![0],
            priority: 1,
        };
        // Some 24 octets a recipient that do not compress.
        let blob = (0..12_000u64).map(|i| ((i * i * (batch + 7919)) >> 9) as u8).collect();
        let frame = Frame::encode(&[Event::default(), Event::default()]);
        store.enqueue(shard, &[(enqueue, blob, frame)]).await.unwrap();
    }
    let stop = Arc::<std::sync::atomic::AtomicBool>::default();
    let (beats, stopped) = (store.clone(), stop.clone());
    let heart = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let begun = Instant::now();
            beats.renew("r1", |_| true).await;
            longest = longest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        longest
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let copy = copy(&store).await;
    let took = begun.elapsed();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let longest = heart.await.unwrap();
    let there = support::Redis::start();
    let begun = Instant::now();
    put_back(&copy, &config(&there)).await;
    println!(
        "{} recipients: copied in {took:.2?}, a heartbeat of all shards waited {longest:.2?} at \
         most; put back in {:.2?}",
        BATCHES * u64::from(SIZE),
        begun.elapsed()
    );
}
