//! Months: what is carried from one into the next, and what becomes of a damaged one.

use super::*;

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
    let more = Event::new(EventKind::Service, Timestamp(JANUARY));
    writer.write(&part(vec![frame(JANUARY, 0, &[more])])).unwrap();
    drop(writer);
    let months = Month::list(ledger.folder()).unwrap();
    assert!(!months.contains(&Month::of(Timestamp(NOVEMBER))), "{months:?}");
    assert_eq!(ledger.campaign_summary(CAMPAIGN).unwrap().counters, whole.counters);
    let writer = Writer::open(&config).unwrap();
    assert_eq!(writer.position(SHARD).millis(), JANUARY);
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
