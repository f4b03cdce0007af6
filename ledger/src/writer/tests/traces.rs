//! What a trace finds of what was written.

use super::*;

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
