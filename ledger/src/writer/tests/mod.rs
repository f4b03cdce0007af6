//! What writing promises: once, all or nothing, whatever is cut off or does not read.

mod months;
mod traces;
mod ways;

use mail::event::EventKind;
use mail::queue::Judgement;
use mail::{CampaignId, Category, DeliveryId, Event, Phase, Reply};
use store::{Settled, StoreError};

use super::*;
use crate::stats::{GroupBy, StatsQuestion};
use crate::trace::TraceFilter;

const NOVEMBER: u64 = 1_795_000_000_000;
const DECEMBER: u64 = NOVEMBER + 30 * 86_400_000;
const JANUARY: u64 = DECEMBER + 31 * 86_400_000;
const CAMPAIGN: CampaignId = CampaignId(12);
const SHARD: ShardId = ShardId(3);

fn ledger(folder: &tempfile::TempDir) -> Ledger {
    let config = Config { folder: folder.path().join("ledger"), ..Config::default() };
    Ledger::open(&config).unwrap()
}

fn event(kind: EventKind, at: u64, seq: u64) -> Event {
    Event {
        campaign: Some(CAMPAIGN),
        delivery: Some(DeliveryId { shard: SHARD, seq }),
        service: "relay-1".into(),
        ..Event::new(kind, Timestamp(at))
    }
}

fn accepted(at: u64, first: u64, count: u32) -> Event {
    Event { count, service: "api".into(), ..event(EventKind::Accepted, at, first) }
}

fn attempt(kind: EventKind, at: u64, seq: u64, reply: &str) -> Event {
    Event {
        recipient: format!("User{seq}@example.org"),
        attempt: 1,
        source: "eu-1".into(),
        site: "mx.example.org".into(),
        mx: "mx.example.org [127.0.0.2]".into(),
        phase: Some(Phase::Dot),
        reply: Reply::parse(reply),
        bytes: 10_240,
        elapsed_ms: 250,
        age_ms: 1_500,
        ..event(kind, at, seq)
    }
}

fn facts() -> Facts {
    Facts { tenant: "acme".into(), name: "Spring".into(), sender: "news@shop.example".into() }
}

fn frame(at: u64, n: u64, events: &[Event]) -> OutboxFrame {
    let settled = |event: &Event| Settled { event: event.clone(), judgement: Judgement::Applied };
    OutboxFrame {
        position: format!("{at}-{n}").parse().unwrap(),
        events: Ok(events.iter().map(settled).collect()),
        raw: Vec::new(),
    }
}

fn unreadable(at: u64) -> OutboxFrame {
    OutboxFrame {
        position: format!("{at}-0").parse().unwrap(),
        events: Err(StoreError::Corrupt { what: "a frame".into(), why: "bad zstd".into() }),
        raw: vec![("f".into(), vec![1, 0xff, 0]), ("j".into(), b"aa".to_vec())],
    }
}

fn part(frames: Vec<OutboxFrame>) -> [ShardFrames; 1] {
    [ShardFrames { shard: SHARD, frames }]
}

fn two_days(start: u64) -> Vec<OutboxFrame> {
    vec![
        frame(start, 0, &[accepted(start, 1, 3)]),
        frame(
            start + 2_000,
            0,
            &[
                attempt(EventKind::Delivered, start + 1_000, 1, "250 2.0.0 Ok: queued as 4F2"),
                attempt(EventKind::Failed, start + 1_100, 2, "550 5.1.1 no such user"),
            ],
        ),
    ]
}

/// Everything in a folder's files, table by table.
fn dump(ledger: &Ledger) -> String {
    let mut text = String::new();
    for month in Month::list(ledger.folder()).unwrap() {
        let conn = schema::readable(&ledger.path(month)).unwrap();
        let mut tables =
            conn.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1").unwrap();
        for table in tables.query_map([], |row| row.get::<_, String>(0)).unwrap().flatten() {
            let mut rows = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = rows.column_count();
            let mut rows = rows.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let cells: Vec<_> = (0..columns).map(|c| row.get_ref(c).unwrap()).collect();
                text.push_str(&format!("{month} {table} {cells:?}\n"));
            }
        }
    }
    text
}

#[test]
fn the_same_frames_twice_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    assert_eq!(writer.write(&part(two_days(NOVEMBER))).unwrap().events, 3);
    let once = dump(&ledger);
    assert_eq!(writer.write(&part(two_days(NOVEMBER))).unwrap().events, 0);
    drop(writer);
    let mut writer = Writer::open(&ledger.config).unwrap();
    assert_eq!(writer.write(&part(two_days(NOVEMBER))).unwrap(), Stored::default());
    assert_eq!(dump(&ledger), once);
}

#[test]
fn what_was_cut_off_before_its_commit_is_written_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    let frames = two_days(NOVEMBER);
    writer.write(&part(vec![frame(NOVEMBER - 5, 0, &[accepted(NOVEMBER - 5, 90, 1)])])).unwrap();
    let before = dump(&ledger);
    let month = Month::of(Timestamp(NOVEMBER));
    let file = writer.files.get_mut(&month).unwrap();
    let tx = file.conn.transaction().unwrap();
    let listed: Vec<_> = frames.iter().map(|f| (SHARD, f)).collect();
    let memory = (&mut file.dictionary, &mut file.busy);
    let months = (month, file.earlier.as_path());
    let page = Page::draft(&tx, memory, &writer.books, months, &listed).unwrap();
    assert_eq!(page.stored.events, 3);
    drop(tx);
    drop(writer);
    assert_eq!(dump(&ledger), before);

    let mut writer = Writer::open(&ledger.config).unwrap();
    assert_eq!(writer.write(&part(frames)).unwrap().events, 3);
    let summary = ledger.campaign_summary(CAMPAIGN).unwrap();
    let counters = summary.counters;
    assert_eq!((counters.accepted, counters.delivered, counters.failed), (4, 1, 1));
    assert_eq!(counters.waiting, 2);
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    writer.write(&part(vec![frame(NOVEMBER, 0, &[accepted(NOVEMBER, 1, 500)])])).unwrap();
    let month = Month::of(Timestamp(NOVEMBER));
    let conn = |w: &Writer, pages: i64| {
        w.files[&month].conn.pragma_update(None, "max_page_count", pages).unwrap();
    };
    conn(&writer, 1);
    let many: Vec<Event> = (1..=500)
        .map(|i| attempt(EventKind::Deferred, NOVEMBER + 1, i, &format!("451 4.0.0 later {i}")))
        .collect();
    let frames = || part(vec![frame(NOVEMBER + 1, 0, &many)]);
    let before = dump(&ledger);
    let refused = writer.write(&frames()).unwrap_err();
    assert!(refused.to_string().contains("full"), "{refused}");
    assert_eq!(dump(&ledger), before);
    conn(&writer, 1_000_000);
    assert_eq!(writer.write(&frames()).unwrap().events, 500);
    assert_eq!(ledger.campaign_summary(CAMPAIGN).unwrap().counters.deferrals, 500);
    let found = ledger.trace(&filter("user7@"), 10, None).unwrap();
    assert_eq!(found.entries.len(), 1);
    assert_eq!(found.entries[0].event.reply.as_ref().unwrap().text, "later 7");
}

fn filter(address: &str) -> TraceFilter {
    TraceFilter { address: Some(address.into()), ..TraceFilter::default() }
}

#[test]
fn a_frame_that_does_not_read_is_kept_and_passed() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    let frames = vec![
        frame(NOVEMBER, 0, &[accepted(NOVEMBER, 1, 1)]),
        unreadable(NOVEMBER + 1),
        frame(NOVEMBER + 2, 0, &[attempt(EventKind::Delivered, NOVEMBER + 2, 1, "250 ok")]),
    ];
    let stored = writer.write(&part(frames)).unwrap();
    assert_eq!(stored, Stored { events: 2, set_aside: 1 });
    assert_eq!(writer.position(SHARD).millis(), NOVEMBER + 2);
    let conn = schema::readable(&ledger.path(Month::of(Timestamp(NOVEMBER)))).unwrap();
    let kept: (String, Vec<u8>, String) = conn
        .query_row("SELECT position, octets, why FROM set_aside WHERE field = 'f'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(kept.0, format!("{}-0", NOVEMBER + 1));
    assert_eq!(kept.1, [1, 0xff, 0]);
    assert_eq!(kept.2, "a frame cannot be read: bad zstd");
    let found = ledger.trace(&TraceFilter::default(), 10, None).unwrap().entries;
    let about: Vec<&str> = found.iter().map(|entry| entry.event.recipient.as_str()).collect();
    assert_eq!(about, ["user1@example.org", ""]);
}

#[test]
fn there_is_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let first = Writer::open(&ledger.config).unwrap();
    assert!(matches!(Writer::open(&ledger.config), Err(LedgerError::Busy(_))));
    drop(first);
    assert!(Writer::open(&ledger.config).is_ok());
}
