//! The ledger against a real Redis: reads, stores, trims, compares, and survives.

use std::time::{Duration, Instant};

use ledger::{Config, Ledger, TraceFilter};
use mail::event::EventKind;
use mail::queue::{CampaignState, End, Enqueue, Lane, Outcome};
use mail::{Address, CampaignId, DeliveryId, Event, ShardId, Timestamp};
use store::{BatchBuilder, Frame, LeaseAnswer, Store};
use tokio_util::sync::CancellationToken;

use crate::support::Redis;

const CAMPAIGN: CampaignId = CampaignId(1);
const AT: Timestamp = Timestamp(1_795_000_000_000);

struct Platform {
    redis: Redis,
    store: Store,
    ledger: Ledger,
    _folder: tempfile::TempDir,
}

impl Platform {
    async fn new() -> Self {
        let redis = Redis::start();
        let store = Store::open(&redis.config()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            folder: folder.path().join("ledger"),
            store_every_ms: 20,
            ..Config::default()
        };
        Self { redis, store, ledger: Ledger::open(&config).unwrap(), _folder: folder }
    }

    fn shard(&self) -> ShardId {
        self.store.shard_of("example.org")
    }

    /// Four recipients accepted, one of them suppressed; answers the first's number.
    async fn accept(&self, chunk: u64) -> u64 {
        let shard = self.shard();
        let first = self.store.reserve(shard, 4).await.unwrap();
        let mut batch = BatchBuilder::new(0);
        for i in 0..4 {
            let address: Address = format!("user{i}@example.org").parse().unwrap();
            batch.push::<&str>(&address, "", "", &[]);
        }
        let enqueue = Enqueue {
            lane: lane(),
            chunk,
            batch: first,
            count: 4,
            suppressed: vec![3],
            priority: 1,
        };
        let events = [
            Event { count: 4, ..event(EventKind::Accepted, shard, first.0) },
            event(EventKind::Suppressed, shard, first.0 + 3),
        ];
        let blob = batch.encode(CAMPAIGN, shard, first, AT);
        self.store.enqueue(shard, &[(enqueue, blob, Frame::encode(&events))]).await.unwrap();
        first.0
    }

    /// Leases what there is and settles the first three: delivered, failed, deferred.
    async fn deliver(&self, number: u64) {
        let shard = self.shard();
        self.store.set_campaign_state(CAMPAIGN, CampaignState::Running, 1).await.unwrap();
        assert!(self.store.renew("relay-1", |_| true).await.iter().all(Result::is_ok));
        let answer = self.store.lease(shard, "relay-1", &[(lane(), 10)]).await.unwrap();
        let LeaseAnswer::Leases(leases) = answer else { panic!("{answer:?}") };
        let lease = &leases[0].lease;
        let outcomes = vec![
            (0, Outcome::End(End::Delivered)),
            (1, Outcome::End(End::Failed)),
            (2, Outcome::Deferred { due: Timestamp(AT.0 * 2) }),
        ];
        let events = [EventKind::Delivered, EventKind::Failed, EventKind::Deferred]
            .into_iter()
            .zip(0..)
            .map(|(kind, i)| event(kind, shard, lease.batch.0 + i))
            .collect::<Vec<_>>();
        let settle = lease.settle(outcomes);
        let frame = Frame::encode(&events);
        self.store.settle(shard, "relay-1", number, &[settle], &frame).await.unwrap();
    }

    fn raw(&self) -> redis::Connection {
        redis::Client::open(self.redis.url()).unwrap().get_connection().unwrap()
    }

    fn events(&self) -> usize {
        self.ledger.trace(&TraceFilter::default(), 1000, None).unwrap().entries.len()
    }

    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self).await {
            assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The ledger at work until dropped or stopped.
    fn start(
        &self,
    ) -> (CancellationToken, tokio::task::JoinHandle<Result<(), ledger::LedgerError>>) {
        let stop = CancellationToken::new();
        let (ledger, store, token) = (self.ledger.clone(), self.store.clone(), stop.clone());
        (stop, tokio::spawn(async move { ledger.run(&store, token).await }))
    }
}

fn lane() -> Lane {
    Lane { campaign: CAMPAIGN, domain: Some("example.org".parse().unwrap()) }
}

fn event(kind: EventKind, shard: ShardId, seq: u64) -> Event {
    Event {
        campaign: Some(CAMPAIGN),
        delivery: Some(DeliveryId { shard, seq }),
        recipient: match kind {
            EventKind::Accepted => String::new(),
            _ => "user@example.org".to_owned(),
        },
        ..Event::new(kind, AT)
    }
}

#[tokio::test]
async fn events_are_stored_then_trimmed_and_the_accounts_balance() {
    let p = Platform::new().await;
    p.accept(0).await;
    p.deliver(1).await;
    // Before any ledger ran, the balance is exact from the outbox alone.
    let balance = p.ledger.balance(&p.store).await.unwrap();
    assert_eq!((balance.imbalance, balance.uncompared.len()), (0, 0), "{balance:?}");
    assert_eq!(balance.campaigns[&CAMPAIGN].events.waiting, 1);

    let (stop, task) = p.start();
    p.until("stored", async |p| p.events() == 5).await;
    p.until("trimmed", async |p| p.store.outbox_len(p.shard()).await.unwrap() == 0).await;
    p.accept(1).await;
    p.until("read on", async |p| p.events() == 7).await;
    stop.cancel();
    task.await.unwrap().unwrap();
    let balance = p.ledger.balance(&p.store).await.unwrap();
    assert_eq!((balance.imbalance, balance.uncompared.len()), (0, 0), "{balance:?}");
    let campaign = &balance.campaigns[&CAMPAIGN];
    let sums = campaign.events;
    assert_eq!((sums.accepted, sums.delivered, sums.failed, sums.suppressed), (8, 1, 1, 2));
    assert_eq!(sums.waiting, campaign.queue.waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_again_and_again_every_event_is_stored_once() {
    let p = Platform::new().await;
    let mut chunk = 0;
    for cut in 0..25u64 {
        // The one before may still be in its last transaction, and hold the lock.
        let (_stop, task) = p.start();
        for _ in 0..4 {
            p.accept(chunk).await;
            chunk += 1;
        }
        tokio::time::sleep(Duration::from_millis(cut * 7 % 40)).await;
        task.abort();
        let _ = task.await;
    }
    let start = Instant::now();
    let (stop, task) = loop {
        let (stop, task) = p.start();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !task.is_finished() {
            break (stop, task);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", task.await);
    };
    p.until("all stored", async |p| p.store.outbox_len(p.shard()).await.unwrap() == 0).await;
    stop.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(p.events(), 200, "an acceptance and a suppression for each of 100 chunks");
    let balance = p.ledger.balance(&p.store).await.unwrap();
    assert_eq!((balance.imbalance, balance.campaigns[&CAMPAIGN].events.accepted), (0, 400));
}

#[tokio::test]
async fn a_forged_difference_is_found() {
    let p = Platform::new().await;
    p.accept(0).await;
    let (stop, task) = p.start();
    p.until("stored", async |p| p.events() == 2).await;
    let key = format!("{{mp:{}}}:camp:{CAMPAIGN}", p.shard());
    let _: () =
        redis::cmd("HINCRBY").arg(&key).arg("delivered").arg(1).query(&mut p.raw()).unwrap();
    let balance = p.ledger.balance(&p.store).await.unwrap();
    // One by the comparison, one by the queue's own equation.
    assert_eq!((balance.imbalance, balance.campaigns[&CAMPAIGN].imbalance), (2, 2));
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lost_event_is_found() {
    let p = Platform::new().await;
    p.accept(0).await;
    let key = format!("{{mp:{}}}:out", p.shard());
    let _: () = redis::cmd("XTRIM").arg(&key).arg("MAXLEN").arg(0).query(&mut p.raw()).unwrap();
    p.accept(1).await;
    let (stop, task) = p.start();
    p.until("stored", async |p| p.events() == 2).await;
    let balance = p.ledger.balance(&p.store).await.unwrap();
    assert_eq!(balance.imbalance, 5, "four accepted and one suppressed were never told");
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_frame_that_does_not_read_holds_up_nothing_and_a_newer_one_waits() {
    let p = Platform::new().await;
    let shard = p.shard();
    let add = |letters: &str, frame: &[u8]| {
        let key = format!("{{mp:{shard}}}:out");
        let mut cmd = redis::cmd("XADD");
        cmd.arg(key).arg("*").arg("j").arg(letters).arg("f").arg(frame);
        let _: String = cmd.query(&mut p.raw()).unwrap();
    };
    add("a", b"\x01garbage");
    add("aa", &Frame::encode(&[event(EventKind::Deferred, shard, 1)]));
    p.store.emit(shard, &[event(EventKind::Deferred, shard, 2)]).await.unwrap();
    add("a", b"\xc8from the future");
    p.store.emit(shard, &[event(EventKind::Deferred, shard, 3)]).await.unwrap();
    let (stop, task) = p.start();
    p.until("stored", async |p| p.events() == 1).await;
    p.until("trimmed", async |p| p.store.outbox_len(shard).await.unwrap() == 2).await;
    stop.cancel();
    task.await.unwrap().unwrap();
    assert_eq!((p.events(), p.store.outbox_len(shard).await.unwrap()), (1, 2));
}

#[tokio::test]
async fn the_ledger_outlives_a_killed_redis() {
    let mut p = Platform::new().await;
    p.redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    p.store = Store::open(&p.redis.config()).await.unwrap();
    p.accept(0).await;
    let (stop, task) = p.start();
    p.until("stored", async |p| p.events() == 2).await;
    p.redis.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    p.redis.restart(&["--appendonly", "yes", "--appendfsync", "always"]);
    p.deliver(1).await;
    p.until("stored after it", async |p| p.events() == 5).await;
    stop.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(p.ledger.balance(&p.store).await.unwrap().imbalance, 0);
}

/// Redis may die between the page's end and the trim, and no other event may ever come.
#[tokio::test]
async fn what_is_stored_is_trimmed_once_redis_is_back_though_nothing_new_comes() {
    const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut p = Platform::new().await;
    p.redis = Redis::start_with(&DURABLE);
    p.store = Store::open(&p.redis.config()).await.unwrap();
    p.accept(0).await;
    let outbox = format!("{{mp:{}}}:out", p.shard().0);
    let untrimmed: Vec<u8> = redis::cmd("DUMP").arg(&outbox).query(&mut p.raw()).unwrap();
    let (stop, task) = p.start();
    p.until("trimmed", async |p| p.store.outbox_len(p.shard()).await.unwrap() == 0).await;
    stop.cancel();
    task.await.unwrap().unwrap();
    redis::cmd("RESTORE").arg((&outbox, 0, untrimmed, "REPLACE")).exec(&mut p.raw()).unwrap();
    p.redis.kill();

    let (stop, task) = p.start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    p.redis.restart(&DURABLE);
    p.until("trimmed at last", async |p| matches!(p.store.outbox_len(p.shard()).await, Ok(0)))
        .await;
    stop.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(p.events(), 2);
}
