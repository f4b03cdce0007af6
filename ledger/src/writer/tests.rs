//! What writing promises: once, all or nothing, whatever is cut off or does not read.

use mail::event::EventKind;
use mail::queue::Judgement;
use mail::{CampaignId, Category, DeliveryId, Event, Phase, Reply};
use store::{Settled, StoreError};

use super::*;
use crate::stats::{GroupBy, StatsQuestion};
use crate::trace::TraceFilter;

const NOVEMBER: u64 = 1_795_000_000_000;
const DECEMBER: u64 = NOVEMBER + 30 * 86_400_000;
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
        for table in [
            "word",
            "recipient",
            "shape",
            "event",
            "shard",
            "account",
            "tally",
            "set_aside",
            "campaign",
            "what",
            "flow_minute",
            "flow_hour",
            "flow_day",
            "place_hour",
            "place_day",
            "hour",
        ] {
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
    let page = Page::draft(&tx, memory, &writer.books, month, &listed).unwrap();
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
fn what_comes_back_is_put_down_to_the_way_that_its_mail_went() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    let back = |kind, at, of, recipient: &str| Event {
        recipient: recipient.into(),
        service: "bounces".into(),
        ..event(kind, at, of)
    };
    let elsewhere = Event {
        site: "other.example".into(),
        ..attempt(EventKind::Delivered, NOVEMBER, 9, "250 ok")
    };
    // In the same page, later, of another delivery to the same person, and of one that nobody knows.
    let frames = vec![
        frame(
            NOVEMBER,
            0,
            &[
                attempt(EventKind::Delivered, NOVEMBER, 1, "250 ok"),
                back(EventKind::Complained, NOVEMBER + 1, 1, "user1@example.org"),
            ],
        ),
        frame(NOVEMBER + 2, 0, &[Event { recipient: "User1@example.org".into(), ..elsewhere }]),
    ];
    writer.write(&part(frames)).unwrap();
    let later = vec![
        frame(NOVEMBER + 3, 0, &[back(EventKind::Returned, NOVEMBER + 3, 9, "user1@example.org")]),
        frame(
            NOVEMBER + 4,
            0,
            &[back(EventKind::Complained, NOVEMBER + 4, 1, "user1@example.org")],
        ),
        frame(
            NOVEMBER + 5,
            0,
            &[back(EventKind::Complained, NOVEMBER + 5, 7, "user1@example.org")],
        ),
        frame(NOVEMBER + 6, 0, &[back(EventKind::Complained, NOVEMBER + 6, 1, "new@example.org")]),
    ];
    writer.write(&part(later)).unwrap();
    let conn = schema::readable(&ledger.path(Month::of(Timestamp(NOVEMBER)))).unwrap();
    let mut rows = conn
        .prepare("SELECT coalesce(source, '') || ' ' || coalesce(site, '') FROM history WHERE service = 'bounces'")
        .unwrap();
    let ways: Vec<String> = rows.query_map([], |row| row.get(0)).unwrap().flatten().collect();
    let (first, second) = ("eu-1 mx.example.org", "eu-1 other.example");
    assert_eq!(ways, [first, second, first, " ", " "]);
    let since = Timestamp(NOVEMBER - 3_600_000);
    let question = StatsQuestion::between(since, Timestamp(NOVEMBER + 3_600_000));
    let by_site = StatsQuestion { by: vec![GroupBy::Site], ..question };
    let rows = ledger.stats(&by_site).unwrap().rows;
    let of =
        |site: &str| rows.iter().find(|row| row.of == [site]).map(|row| &row.measures.accounts);
    assert_eq!(
        of("mx.example.org").map(|accounts| (accounts.delivered, accounts.complained)),
        Some((1, 2))
    );
    assert_eq!(
        of("other.example").map(|accounts| (accounts.delivered, accounts.returned)),
        Some((1, 1))
    );
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
}

#[test]
fn the_books_go_from_month_to_month_and_an_old_month_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let config = Config { keep_months: 1, ..ledger.config.clone() };
    let mut writer = Writer::open(&config).unwrap();
    let mut frames = two_days(NOVEMBER);
    let late = attempt(EventKind::Delivered, DECEMBER, 3, "250 ok");
    frames.push(frame(DECEMBER, 0, &[late]));
    writer.write(&part(frames)).unwrap();
    assert_eq!(Month::list(ledger.folder()).unwrap().len(), 2);
    let whole = ledger.campaign_summary(CAMPAIGN).unwrap();
    assert_eq!((whole.counters.accepted, whole.counters.delivered), (3, 2));
    assert_eq!(whole.counters.waiting, 0);
    assert_eq!(ledger.story("user1@example.org").unwrap().chapters.len(), 1);

    // January begins: November is past its keeping, and its books were carried on.
    let january = DECEMBER + 31 * 86_400_000;
    let more = Event::new(EventKind::Service, Timestamp(january));
    writer.write(&part(vec![frame(january, 0, &[more])])).unwrap();
    drop(writer);
    let months = Month::list(ledger.folder()).unwrap();
    assert!(!months.contains(&Month::of(Timestamp(NOVEMBER))), "{months:?}");
    assert_eq!(ledger.campaign_summary(CAMPAIGN).unwrap().counters, whole.counters);
    let writer = Writer::open(&config).unwrap();
    assert_eq!(writer.position(SHARD).millis(), january);
}

#[test]
fn a_damaged_month_is_set_aside_and_the_rest_serves() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    let mut frames = two_days(NOVEMBER);
    frames.push(frame(DECEMBER, 0, &[attempt(EventKind::Delivered, DECEMBER, 3, "250 ok")]));
    writer.write(&part(frames)).unwrap();
    drop(writer);
    let november = ledger.path(Month::of(Timestamp(NOVEMBER)));
    std::fs::write(&november, b"this is no database, but somebody's shopping list".repeat(99))
        .unwrap();

    std::fs::write(november.with_extension("db-wal"), b"its journal").unwrap();

    assert_eq!(ledger.trace(&TraceFilter::default(), 10, None).unwrap().entries.len(), 1);
    let writer = Writer::open(&ledger.config).unwrap();
    assert!(!november.exists() && !november.with_extension("db-wal").exists());
    assert!(november.with_extension("damaged-1").exists());
    assert!(november.with_extension("damaged-1-wal").exists());
    assert_eq!(writer.position(SHARD).millis(), DECEMBER);
}

#[test]
fn a_file_given_up_while_at_work_is_begun_again_with_all_that_the_books_know() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    writer.write(&part(two_days(NOVEMBER))).unwrap();
    let before = ledger.campaign_summary(CAMPAIGN).unwrap().counters;
    let month = Month::of(Timestamp(NOVEMBER));
    let why = LedgerError::Defect("a test".into());
    writer.give_up(month, &why).unwrap();
    let next = attempt(EventKind::Delivered, NOVEMBER + 9_000, 3, "250 ok");
    writer.write(&part(vec![frame(NOVEMBER + 9_000, 0, &[next])])).unwrap();
    let after = ledger.campaign_summary(CAMPAIGN).unwrap().counters;
    assert_eq!((after.accepted, after.delivered), (before.accepted, before.delivered + 1));
    assert_eq!(ledger.trace(&TraceFilter::default(), 10, None).unwrap().entries.len(), 1);
    drop(writer);
    assert_eq!(Writer::open(&ledger.config).unwrap().position(SHARD).millis(), NOVEMBER + 9_000);
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

#[test]
fn pages_of_a_trace_join_without_gap_over_months() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    let frames = [NOVEMBER, DECEMBER].iter().flat_map(|start| {
        (0..7).map(move |i| {
            let mut event = attempt(EventKind::Failed, start + i, i, "550 5.1.1 Héhé 100% gone");
            event.category = Some(Category::NoMailbox);
            frame(start + i, 0, &[event])
        })
    });
    writer.learn(CAMPAIGN, facts());
    writer.write(&part(frames.collect())).unwrap();
    let filter = TraceFilter {
        address: Some("USER".into()),
        domain: Some("Example.org".into()),
        campaign: Some(CAMPAIGN),
        kind: Some(EventKind::Failed),
        category: Some(Category::NoMailbox),
        site: Some("EXAMPLE".into()),
        source: Some("eu-1".into()),
        text: Some("100% GONE".into()),
        since: Some(Timestamp(NOVEMBER)),
        until: Some(Timestamp(DECEMBER + 7)),
        relay: Some("relay-1".into()),
        tenant: Some("acme".into()),
        sender: Some("NEWS@".into()),
        delivery: None,
    };
    let (mut seen, mut cursor) = (Vec::new(), None);
    for _ in 0..20 {
        let page = ledger.trace(&filter, 3, cursor).unwrap();
        seen.extend(page.entries.iter().map(|e| e.event.at.0));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<u64> =
        (0..7).rev().map(|i| DECEMBER + i).chain((0..7).rev().map(|i| NOVEMBER + i)).collect();
    assert_eq!(seen, expected);
    let text = |text: &str| Some(text.to_owned());
    let others = [
        TraceFilter { text: text("100_ gone"), ..filter.clone() },
        TraceFilter { tenant: text("acm"), ..filter.clone() },
        TraceFilter { sender: text("news@shop.example.org"), ..filter.clone() },
        TraceFilter { relay: text("relay-2"), ..filter.clone() },
        TraceFilter { address: text("user9"), ..filter },
    ];
    for none in others {
        assert!(ledger.trace(&none, 3, None).unwrap().entries.is_empty(), "{none:?}");
    }
    assert_eq!(cursor, None);
    let text = crate::Cursor { month: Month::of(Timestamp(DECEMBER)), id: 5 }.to_string();
    assert_eq!(text.parse::<crate::Cursor>().unwrap().to_string(), text);
}

/// Even a page that had no time at all brings whoever asks on further.
#[test]
fn what_is_rare_is_found_however_short_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    let rare = attempt(EventKind::Failed, NOVEMBER, 7, "550 5.1.1 nobody here");
    let common = |n| Event {
        recipient: format!("other{}@example.org", n % 50),
        ..attempt(EventKind::Delivered, NOVEMBER + n, n, "250 2.0.0 Ok")
    };
    let frames = std::iter::once(frame(NOVEMBER, 0, &[rare])).chain((1..80).map(|n| {
        let events: Vec<Event> = (n * 1_000..(n + 1) * 1_000).map(common).collect();
        frame(NOVEMBER + n, 0, &events)
    }));
    writer.write(&part(frames.collect())).unwrap();
    let filter = TraceFilter { text: Some("NOBODY".into()), ..TraceFilter::default() };
    let (mut found, mut pages, mut cursor) = (0, 0, None);
    loop {
        let page = ledger.trace_for(std::time::Duration::ZERO, &filter, 10, cursor).unwrap();
        (found, pages, cursor) = (found + page.entries.len(), pages + 1, page.next);
        assert_eq!(page.is_unfinished, cursor.is_some());
        assert!(pages < 50, "it comes no further");
        if cursor.is_none() {
            break;
        }
    }
    assert!(found == 1 && pages > 1, "{found} in {pages} pages");
    assert!(ledger.newest(&filter).unwrap().is_some());
}

#[test]
fn a_known_address_is_whole_in_every_month_and_others_are_parts() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    let to = |at, n, address: &str| {
        let event = attempt(EventKind::Delivered, at, n, "250 2.0.0 Ok");
        frame(at, n, &[Event { recipient: address.into(), ..event }])
    };
    let frames = vec![
        to(NOVEMBER, 1, "ann@example.org"),
        to(NOVEMBER, 2, "joann@example.org"),
        to(DECEMBER, 3, "marieann@example.org"),
    ];
    writer.write(&part(frames)).unwrap();
    let found = |address: &str| {
        let filter = TraceFilter { address: Some(address.into()), ..TraceFilter::default() };
        let page = ledger.trace(&filter, 10, None).unwrap();
        page.entries.into_iter().map(|e| e.event.recipient).collect::<Vec<_>>()
    };
    assert_eq!(found("Ann@Example.org"), ["ann@example.org"]);
    assert_eq!(found("n@example.org").len(), 3, "nobody's whole address");
    assert_eq!(found("ann@exam").len(), 3);
    assert_eq!(found("nobody@example.org"), [""; 0]);
}
