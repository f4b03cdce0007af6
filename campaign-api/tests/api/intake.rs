//! Taking in recipients: the same chunks every time, exact after any failure, nothing
//! lost and nothing twice however little memory there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use campaign_api::intake::{Form, IntakeError, Order, Queue, Ready, Totals, take_in};
use mail::queue::{BatchId, Enqueued};
use mail::{CampaignId, ShardId, Timestamp};
use store::{Batch, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::redis::Redis;

/// A queue that fails for a while after so many round trips, as a crash does: sometimes
/// after the queue has stored what it was given and before anybody heard of it.
struct Failing<'a> {
    store: &'a Store,
    left: AtomicU64,
    answers_last: bool,
}

impl Queue for Failing<'_> {
    async fn suppressed(&self, s: ShardId, t: &str, a: &[String]) -> Result<Vec<bool>, StoreError> {
        self.store.suppressed(s, t, a, Timestamp(1)).await
    }
    async fn reserve(&self, s: ShardId, n: u64) -> Result<BatchId, StoreError> {
        self.store.reserve(s, n).await
    }
    async fn enqueue(&self, s: ShardId, chunks: &[Ready]) -> Result<Vec<Enqueued>, StoreError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => self.store.enqueue(s, chunks).await,
            Err(_) => {
                if !self.answers_last {
                    // All but one chunk arrive.
                    self.store.enqueue(s, &chunks[..chunks.len() - 1]).await?;
                }
                Err(StoreError::Busy)
            }
        }
    }
}

struct Bench {
    _redis: Redis,
    store: Store,
    folder: tempfile::TempDir,
    campaign: CampaignId,
}

impl Bench {
    async fn new() -> Self {
        let redis = Redis::start();
        let store = Store::open(&redis.config()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { _redis: redis, store, folder, campaign: CampaignId(1) }
    }

    fn order(&self, text: &str, memory: usize) -> Order {
        let staged = self.folder.path().join("staged");
        std::fs::write(&staged, text).unwrap();
        Order {
            campaign: self.campaign,
            tenant: "acme".into(),
            priority: 1,
            form: Form {
                fields: vec!["first".into(), "points".into()],
                defaults: vec![None, Some("0".into())],
                zones: false,
                files: false,
                line_max: 64 << 10,
                shards: self.store.shards(),
            },
            staged,
            workspace: self.folder.path().join("runs"),
            report: self.folder.path().join("refused"),
            report_lines_max: 1000,
            memory,
        }
    }

    async fn run(&self, order: &Order) -> Totals {
        take_in(order, &self.store, &CancellationToken::new()).await.unwrap()
    }

    /// Every queued recipient with its lane, name and values.
    async fn queued(&self) -> BTreeMap<String, (String, Vec<String>)> {
        let mut all = BTreeMap::new();
        for shard in self.store.all_shards() {
            for (lane, batch, n) in self.store.audit(shard).await.unwrap().fresh {
                let blob = self.store.batch(shard, batch).await.unwrap().unwrap();
                let batch = Batch::decode(&blob).unwrap();
                assert_eq!(batch.len(), usize::from(n));
                for i in 0..n {
                    let values = [batch.name(i), batch.value(i, 0), batch.value(i, 1)];
                    let row = (lane.clone(), values.map(str::to_owned).to_vec());
                    let before = all.insert(batch.address(i).to_owned(), row);
                    assert!(before.is_none(), "{} is queued twice", batch.address(i));
                }
            }
        }
        all
    }
}

fn text(n: usize) -> String {
    // Domains of very different sizes, and every seventh address again in capitals.
    let address = |i: usize| format!("r{i}@d{}.example", (i * i) % 97 % (1 + i % 40));
    let line = |a: String, i: usize| {
        format!("{{\"email\":\"{a}\",\"merge\":{{\"first\":\"N{i}\",\"points\":{i}}}}}\n")
    };
    let all = (0..n).map(|i| line(address(i), i));
    let again = (0..n / 7).map(|i| line(address(i * 7).to_uppercase(), i));
    all.chain(again).collect()
}

#[tokio::test]
async fn little_memory_and_much_give_the_same() {
    let text = text(20_000);
    let mut results = Vec::new();
    for memory in [64 << 10, 1 << 20, 64 << 20] {
        let bench = Bench::new().await;
        let totals = bench.run(&bench.order(&text, memory)).await;
        assert_eq!(
            totals,
            Totals { lines: 22_857, refused: 2857, duplicates: 2857, recipients: 20_000 }
        );
        assert!(!bench.folder.path().join("runs").exists());
        results.push(bench.queued().await);
    }
    assert_eq!(results[0].len(), 20_000);
    assert!(results[0] == results[1] && results[1] == results[2]);
    // The first line of an address is the one that counts.
    assert_eq!(results[0]["r7@d1.example"].1, ["", "N7", "7"]);
}

#[tokio::test]
async fn a_domain_with_a_hundred_recipients_has_its_own_lane() {
    let bench = Bench::new().await;
    let line = |i: usize, domain: &str| {
        format!(
            "{{\"email\":\"r{i}@{domain}\",\"name\":\"R {i}\",\"merge\":{{\"first\":\"x\"}}}}\n"
        )
    };
    let mut text = String::new();
    for i in 0..1201 {
        text += &line(i, "big.example");
    }
    for i in 0..100 {
        text += &line(i, "hundred.example");
    }
    for i in 0..99 {
        text += &line(i, "small.example");
    }
    bench.run(&bench.order(&text, 1 << 20)).await;
    let queued = bench.queued().await;
    let lanes: BTreeSet<&str> = queued.values().map(|(lane, _)| lane.as_str()).collect();
    assert_eq!(
        lanes.into_iter().collect::<Vec<_>>(),
        ["c1/*", "c1/big.example", "c1/hundred.example"]
    );
    assert_eq!(
        queued["r5@small.example"],
        ("c1/*".into(), vec!["R 5".into(), "x".into(), "0".into()])
    );
    let big = bench.store.shard_of("big.example");
    let sizes: Vec<u16> = bench
        .store
        .audit(big)
        .await
        .unwrap()
        .fresh
        .into_iter()
        .filter(|(lane, ..)| lane == "c1/big.example")
        .map(|(.., n)| n)
        .collect();
    assert_eq!(sizes, [500, 500, 201]);
}

#[tokio::test]
async fn a_close_cut_off_anywhere_is_exact_when_done_again() {
    let text = text(6000);
    let bench = Bench::new().await;
    let order = bench.order(&text, 256 << 10);
    let mut failures = 0;
    for round_trips in 0..100 {
        let queue = Failing {
            store: &bench.store,
            left: AtomicU64::new(round_trips / 2),
            answers_last: round_trips % 2 == 0,
        };
        match take_in(&order, &queue, &CancellationToken::new()).await {
            Ok(totals) => {
                assert_eq!(totals.recipients, 6000);
                break;
            }
            Err(IntakeError::Store(StoreError::Busy)) => failures += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(failures >= 6, "only {failures} failures were tried");
    assert_eq!(bench.queued().await.len(), 6000);
    let counters = bench.store.campaign_counters(bench.campaign).await.unwrap();
    assert_eq!((counters.accepted, counters.waiting, counters.imbalance()), (6000, 6000, 0));
    let mut told = 0;
    for shard in bench.store.all_shards() {
        let frames = bench.store.outbox(shard, store::Position::default(), 10_000).await.unwrap();
        told += frames.iter().flat_map(|(_, f)| f).map(|s| s.event.count).sum::<u32>();
    }
    assert_eq!(told, 6000);
    // Once more changes nothing.
    bench.run(&order).await;
    assert_eq!(bench.store.campaign_counters(bench.campaign).await.unwrap(), counters);
}

#[tokio::test]
async fn large_values_end_a_batch_early() {
    let bench = Bench::new().await;
    let value = "x".repeat(30_000);
    let lines = (0..300).map(|i| {
        format!("{{\"email\":\"r{i}@big.example\",\"merge\":{{\"first\":\"{value}\",\"points\":{i}}}}}\n")
    });
    let totals = bench.run(&bench.order(&lines.collect::<String>(), 1 << 20)).await;
    assert_eq!(totals.recipients, 300);
    let shard = bench.store.shard_of("big.example");
    let batches = bench.store.audit(shard).await.unwrap().fresh;
    assert!(batches.iter().all(|(.., n)| *n <= 100), "{batches:?}");
    assert_eq!(bench.queued().await.len(), 300);
}

#[tokio::test]
async fn a_stopped_process_leaves_no_half_chunk() {
    let bench = Bench::new().await;
    let order = bench.order(&text(3000), 1 << 20);
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = take_in(&order, &bench.store, &stop).await;
    assert!(matches!(stopped, Err(IntakeError::Stopped)));
    assert_eq!(bench.run(&order).await.recipients, 3000);
    assert_eq!(bench.queued().await.len(), 3000);
}
