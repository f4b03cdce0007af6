//! What the levels of durability promise, on servers that keep it and on servers that
//! do not.

use std::path::PathBuf;
use std::time::Duration;

use mail::queue::{BatchId, CampaignState, End, Enqueue, Enqueued, Judgement, Outcome};
use mail::{CampaignId, Event, ShardId};
use store::{Config, Durability, Frame, LeaseAnswer, Position, Store, StoreError};

use crate::topologies::server::{Server, eventually, free_port};

const SHARD: ShardId = ShardId(0);

fn config(server: &Server, durability: Durability) -> Config {
    Config {
        url: format!("redis://127.0.0.1:{}", server.port),
        shards: 1,
        durability,
        confirm_timeout_ms: 300,
        ..Config::default()
    }
}

async fn pair(program: &str, args: &[&str]) -> (Server, Server) {
    let primary = Server::start_program(program, free_port(), args);
    let port = primary.port.to_string();
    let follow = [args, &["--replicaof", "127.0.0.1", &port]].concat();
    let replica = Server::start_program(program, free_port(), &follow);
    eventually("the replica follows", Duration::from_secs(20), async || {
        primary.online_replicas().await == 1
    })
    .await;
    (primary, replica)
}

fn chunk(number: u64) -> (Enqueue, Vec<u8>, Vec<u8>) {
    let enqueue = Enqueue {
        lane: "c1/a.example".parse().unwrap(),
        chunk: number,
        batch: BatchId(1 + number * 10),
        count: 3,
        suppressed: vec![],
        priority: 1,
    };
    (enqueue, b"blob".to_vec(), Frame::encode(&[Event::default()]))
}

fn is_unconfirmed<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> bool {
    match answer {
        Err(StoreError::Unconfirmed { wanted: 1, got: 0 }) => true,
        other => panic!("{other:?}"),
    }
}

/// With its replica stopped nothing is confirmed, however often and over however new a
/// connection it is repeated; when the replica is back the repetition is.
async fn confirms_truly(primary: &Server, replica: &Server, durability: Durability) {
    let open = async || Store::open(&config(primary, durability)).await.unwrap();
    // Who is to be confirmed may wait for it; who is not shall not wait long.
    let patient = Config { confirm_timeout_ms: 10_000, ..config(primary, durability) };
    let store = Store::open(&Config { answer_timeout_ms: 15_000, ..patient }).await.unwrap();
    assert_eq!(store.durability(), durability);
    assert_eq!(store.enqueue(SHARD, &[chunk(0)]).await.unwrap(), [Enqueued::Stored]);
    store.set_campaign_state(CampaignId(1), CampaignState::Running, 1).await.unwrap();
    assert!(store.renew("r1", |_| true).await[0].is_ok());
    let lane = "c1/a.example".parse().unwrap();
    let LeaseAnswer::Leases(leases) = store.lease(SHARD, "r1", &[(lane, 9)]).await.unwrap() else {
        panic!("no lease");
    };
    let lease = &leases[0].lease;
    let settle =
        [lease
            .settle(lease.items.iter().map(|(i, _)| (*i, Outcome::End(End::Delivered))).collect())];
    let frame = Frame::encode(&vec![Event::default(); 3]);
    let known = store.durable_frames(SHARD, Position::default(), 9).await.unwrap();
    assert_eq!(known.frames.len(), 1);

    replica.signal("STOP");
    let after = known.frames[0].position;
    for _ in 0..2 {
        let hasty = open().await;
        assert!(is_unconfirmed(hasty.enqueue(SHARD, &[chunk(1)]).await));
        assert!(is_unconfirmed(hasty.settle(SHARD, "r1", 1, &settle, &frame).await));
        assert!(is_unconfirmed(hasty.durable_frames(SHARD, after, 9).await), "nor is it history");
    }
    replica.signal("CONT");
    assert_eq!(store.enqueue(SHARD, &[chunk(1)]).await.unwrap(), [Enqueued::Already]);
    let judged = store.settle(SHARD, "r1", 1, &settle, &frame).await.unwrap();
    assert_eq!(judged, [Judgement::Applied; 3]);
    let counters = store.campaign_counters(CampaignId(1)).await.unwrap();
    assert_eq!((counters.accepted, counters.delivered, counters.duplicates), (6, 3, 0));
    assert_eq!(store.durable_frames(SHARD, after, 9).await.unwrap().frames.len(), 2);
}

#[tokio::test]
async fn a_repetition_is_confirmed_only_when_the_replica_has_what_it_repeats() {
    let (primary, replica) = pair("redis-server", &["--appendonly", "yes"]).await;
    confirms_truly(&primary, &replica, Durability::Replicated).await;
}

#[tokio::test]
async fn without_a_replica_nothing_is_confirmed_at_the_replicated_level() {
    let alone = Server::start(&["--appendonly", "yes"]);
    let store = Store::open(&config(&alone, Durability::Replicated)).await.unwrap();
    assert!(is_unconfirmed(store.enqueue(SHARD, &[chunk(0)]).await));
}

#[tokio::test]
async fn a_renewal_does_not_wait_behind_commands_that_hold_all_connections() {
    let alone = Server::start(&["--appendonly", "yes"]);
    let few = Config { connections: 2, confirm_timeout_ms: 2000, ..Config::default() };
    let known = config(&alone, Durability::Replicated);
    let store = Store::open(&Config { url: known.url, durability: known.durability, ..few }).await;
    let store = store.unwrap();
    let mut held = tokio::task::JoinSet::new();
    for number in 0..4 {
        let store = store.clone();
        held.spawn(async move { store.enqueue(SHARD, &[chunk(number)]).await });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let renewal = tokio::time::timeout(Duration::from_secs(1), store.renew("r1", |_| true)).await;
    assert!(renewal.unwrap()[0].is_ok());
    assert!(held.join_all().await.into_iter().all(is_unconfirmed), "they were held by no replica");
}

#[tokio::test]
async fn fewer_replicas_than_the_configured_least_confirm_nothing() {
    let (primary, _replica) = pair("redis-server", &["--appendonly", "yes"]).await;
    let two = Config { replicas_min: 2, ..config(&primary, Durability::Replicated) };
    let store = Store::open(&two).await.unwrap();
    let error = store.enqueue(SHARD, &[chunk(0)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unconfirmed { wanted: 2, got: 0 | 1 }), "{error:?}");
}

#[tokio::test]
async fn answers_promise_no_more_than_the_server_keeps() {
    for (args, wanted, kept) in [
        (
            vec!["--appendonly", "yes", "--appendfsync", "always"],
            Durability::Always,
            Durability::Always,
        ),
        (
            vec!["--appendonly", "yes", "--appendfsync", "everysec"],
            Durability::Always,
            Durability::Everysec,
        ),
        (
            vec!["--appendonly", "yes", "--appendfsync", "no"],
            Durability::Always,
            Durability::Memory,
        ),
        (vec!["--appendonly", "no"], Durability::Always, Durability::Memory),
        (vec!["--appendonly", "no"], Durability::Everysec, Durability::Memory),
        (
            vec!["--appendonly", "yes", "--appendfsync", "always"],
            Durability::Everysec,
            Durability::Everysec,
        ),
    ] {
        let server = Server::start(&args);
        let store = Store::open(&config(&server, wanted)).await.unwrap();
        assert_eq!(store.durability(), kept, "{args:?}");
    }
}

#[tokio::test]
async fn a_server_without_waitaof_is_refused_at_the_level_that_needs_it() {
    let version = Server::start(&["--appendonly", "no"]);
    let error = Store::open(&config(&version, Durability::FsyncedReplicas)).await.err().unwrap();
    assert!(matches!(&error, StoreError::Unfit(why) if why.contains("WAITAOF")), "{error}");
}

/// A server that knows WAITAOF: the one in PATH, or the one that ops/install.sh fetched.
fn valkey() -> String {
    let fetched = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/valkey/valkey-server");
    for program in [PathBuf::from("valkey-server"), fetched] {
        if std::process::Command::new(&program).arg("--version").output().is_ok() {
            return program.to_string_lossy().into_owned();
        }
    }
    panic!(
        "no valkey-server, which knows WAITAOF: run `ops/install.sh --tests`, which fetches one"
    );
}

#[tokio::test]
async fn waitaof_confirms_what_is_on_both_disks() {
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let (primary, replica) = pair(&valkey(), &args).await;
    confirms_truly(&primary, &replica, Durability::FsyncedReplicas).await;
}

/// WAITAOF alone may answer before the fsync: without `always` the replicas' memory is all that
/// is promised.
#[tokio::test]
async fn waitaof_is_not_trusted_without_appendfsync_always() {
    let args = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let (primary, _replica) = pair(&valkey(), &args).await;
    let store = Store::open(&config(&primary, Durability::FsyncedReplicas)).await.unwrap();
    assert_eq!(store.durability(), Durability::Replicated);
}
