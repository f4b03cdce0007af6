//! A server whose end was lost: what stood last in its append-only file is gone. No
//! number is given out twice, and no event is skipped by a reader who knew more.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use mail::event::EventKind;
use mail::{Event, ShardId};
use store::{Config, Durability, Position, Store};

use crate::topologies::server::Server;

const SHARD: ShardId = ShardId(0);
const KEEP: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn config(server: &Server) -> Config {
    Config { url: format!("redis://127.0.0.1:{}", server.port), shards: 2, ..Config::default() }
}

/// A server that has just come up is still reading its file.
async fn open_again(server: &Server) -> Store {
    let start = Instant::now();
    loop {
        match Store::open(&config(server)).await {
            Ok(store) => return store,
            Err(e) => assert!(e.is_passing() && start.elapsed() < Duration::from_secs(10), "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The newest part of the append-only file.
fn aof(server: &Server) -> std::path::PathBuf {
    let folder = server.folder.path().join("appendonlydir");
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    files.filter(|f| f.to_string_lossy().ends_with(".incr.aof")).max().unwrap()
}

fn event() -> Event {
    Event { kind: EventKind::Accepted, ..Event::default() }
}

async fn take(store: &Store) -> Result<std::ops::Range<u64>, store::StoreError> {
    let first = store.reserve(SHARD, 100).await?.0;
    Ok(first..first + 100)
}

#[tokio::test]
async fn no_delivery_number_is_given_out_twice_by_a_server_that_lost_its_end() {
    let mut server = Server::start(&KEEP);
    let store = Store::open(&config(&server)).await.unwrap();
    let mut given: HashSet<u64> = HashSet::new();
    given.extend(take(&store).await.unwrap());
    let length = std::fs::metadata(aof(&server)).unwrap().len();
    given.extend(take(&store).await.unwrap());
    // Twice from the same lost end: the two runs must part ways as well.
    for _ in 0..2 {
        server.kill();
        std::fs::File::options().write(true).open(aof(&server)).unwrap().set_len(length).unwrap();
        server.start_again();
        let start = Instant::now();
        let ahead = loop {
            match take(&store).await {
                Ok(numbers) => break numbers,
                Err(e) => assert!(e.is_passing(), "{e}"),
            }
            assert!(start.elapsed() < Duration::from_secs(5), "redis is back");
        };
        assert!(ahead.start > 1_000_000, "{ahead:?}");
        for number in ahead {
            assert!(given.insert(number), "{number} was given out twice");
        }
    }
    // The same run skips nothing more, whoever connects.
    let again = Store::open(&config(&server)).await.unwrap();
    let a = again.reserve(SHARD, 1).await.unwrap().0;
    let b = store.reserve(SHARD, 1).await.unwrap().0;
    assert_eq!(b, a + 1);
}

#[tokio::test]
async fn no_event_is_skipped_when_the_outbox_lost_its_end() {
    let mut server = Server::start(&KEEP);
    let store = Store::open(&config(&server)).await.unwrap();
    store.emit(SHARD, &[event()]).await.unwrap();
    let length = std::fs::metadata(aof(&server)).unwrap().len();
    let read = store.durable_frames(SHARD, Position::default(), 10).await.unwrap();
    assert_eq!(read.frames.len(), 1);
    let first = read.frames[0].position;
    // A server whose clock was ahead by an hour told one more, which a reader knows.
    let known: Position = format!("{}-0", first.millis() + 3_600_000).parse().unwrap();
    let raw: Vec<u8> = store::Frame::encode(&[event()]);
    let client = redis::Client::open(config(&server).url).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let mut add = redis::cmd("XADD");
    add.arg("{mp:0}:out").arg(known.to_string()).arg("j").arg("a").arg("f").arg(raw);
    let _: () = add.query_async(&mut conn).await.unwrap();
    let read = store.durable_frames(SHARD, first, 10).await.unwrap();
    assert_eq!(read.frames[0].position, known);

    server.kill();
    std::fs::File::options().write(true).open(aof(&server)).unwrap().set_len(length).unwrap();
    server.start_again();
    let store = open_again(&server).await;
    // Told before the reader looks, and after.
    store.emit(SHARD, &[event()]).await.unwrap();
    let read = store.durable_frames(SHARD, known, 10).await.unwrap();
    assert!(read.from < known, "the reader learns that it must go back");
    assert_eq!(read.frames.len(), 1, "and finds what it would have skipped");
    let early = read.frames[0].position;
    assert!(early > first);
    store.emit(SHARD, &[event()]).await.unwrap();
    let read = store.durable_frames(SHARD, early, 10).await.unwrap();
    assert_eq!((read.from, read.frames.len()), (early, 1));
    assert!(read.frames[0].position > known, "new ones come after all that was ever known");
}

#[tokio::test]
async fn after_a_restart_events_begin_beyond_what_the_last_run_may_have_told() {
    let mut server = Server::start(&KEEP);
    let store = Store::open(&config(&server)).await.unwrap();
    store.emit(SHARD, &[event()]).await.unwrap();
    server.kill();
    let ended = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    server.start_again();
    let store = open_again(&server).await;
    store.emit(SHARD, &[event()]).await.unwrap();
    let read = store.durable_frames(SHARD, Position::default(), 10).await.unwrap();
    let last = read.frames.last().unwrap().position.millis();
    assert!(u128::from(last) > ended.as_millis() + 4_000, "a clock behind by seconds does no harm");
}

#[tokio::test]
async fn at_everysec_an_event_is_held_back_until_it_cannot_be_lost() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let everysec = Config { durability: Durability::Everysec, ..config(&server) };
    let store = Store::open(&everysec).await.unwrap();
    assert_eq!(store.durability(), Durability::Everysec);
    store.emit(SHARD, &[event()]).await.unwrap();
    let told = Instant::now();
    assert_eq!(store.outbox(SHARD, Position::default(), 10).await.unwrap().len(), 1);
    while store.durable_frames(SHARD, Position::default(), 10).await.unwrap().frames.is_empty() {
        assert!(told.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(told.elapsed() > Duration::from_millis(2_500), "{:?}", told.elapsed());
}
