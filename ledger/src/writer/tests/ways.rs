//! The way that mail went by which comes back.

use super::*;

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
fn what_comes_back_in_the_next_month_is_put_down_to_its_way_too() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    let complaint = |n: u64, of, address: &str| {
        let about = Event { recipient: address.into(), ..event(EventKind::Complained, n, of) };
        frame(DECEMBER + n, 0, &[about])
    };
    let sent = [1, 2].map(|of| attempt(EventKind::Delivered, NOVEMBER, of, "250 ok"));
    writer.write(&part(vec![frame(NOVEMBER, 0, &sent)])).unwrap();
    // Of somebody new in December, of somebody who had mail there too, of another's mail, of nobody's.
    let more = attempt(EventKind::Delivered, DECEMBER, 12, "250 ok");
    let more = Event { recipient: "user2@example.org".into(), site: "new.example".into(), ..more };
    let frames = vec![
        frame(DECEMBER, 0, &[more]),
        complaint(1, 1, "User1@Example.ORG"),
        complaint(2, 2, "user2@example.org"),
        complaint(3, 12, "user2@example.org"),
        complaint(4, 2, "user1@example.org"),
        complaint(5, 5, "stranger"),
    ];
    writer.write(&part(frames)).unwrap();
    let complained = || TraceFilter { kind: Some(EventKind::Complained), ..TraceFilter::default() };
    let found = ledger.trace(&complained(), 10, None).unwrap().entries;
    let sites: Vec<&str> = found.iter().rev().map(|entry| entry.event.site.as_str()).collect();
    assert_eq!(sites, ["mx.example.org", "mx.example.org", "new.example", "", ""]);
    assert_eq!(found[4].event.source, "eu-1");

    // Nothing of the month before stays open: the last who closes it may write, and folds its journal in.
    let november = ledger.path(Month::of(Timestamp(NOVEMBER)));
    assert!(november.with_extension("db-wal").exists());
    let service = Event::new(EventKind::Service, Timestamp(JANUARY));
    writer.write(&part(vec![frame(JANUARY, 0, &[service])])).unwrap();
    assert!(november.exists() && !november.with_extension("db-wal").exists());
}

#[test]
fn a_month_before_that_does_not_read_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let mut writer = Writer::open(&ledger.config).unwrap();
    std::fs::write(ledger.path(Month::of(Timestamp(NOVEMBER))), "no database").unwrap();
    let back = Event {
        recipient: "user1@example.org".into(),
        ..event(EventKind::Complained, DECEMBER, 1)
    };
    let sent = attempt(EventKind::Delivered, DECEMBER, 2, "250 ok");
    let later =
        Event { recipient: "user2@example.org".into(), delivery: sent.delivery, ..back.clone() };
    let stored = writer.write(&part(vec![frame(DECEMBER, 0, &[back, sent, later])])).unwrap();
    assert_eq!(stored.events, 3);
    let mut found = ledger.trace(&TraceFilter::default(), 10, None).unwrap().entries;
    found.retain(|entry| entry.event.kind == EventKind::Complained);
    let sites: Vec<&str> = found.iter().map(|entry| entry.event.site.as_str()).collect();
    assert_eq!(sites, ["mx.example.org", ""]);
}
