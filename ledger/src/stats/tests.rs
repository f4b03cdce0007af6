//! Whatever is asked, sums say what counting says: each question is answered from sums and, by a
//! file that has none, from its events; both must agree with a count of what was written.

use mail::event::EventKind;
use mail::queue::Judgement;
use mail::{DeliveryId, Event, ShardId};
use store::{OutboxFrame, Settled};

use super::*;
use crate::{Config, ShardFrames, schema};

/// 2026-11-30, 23:50:13: a month ends within.
const START: u64 = 1_796_082_613_000;
const STEP_MS: u64 = 17_000;
const EVENTS: u64 = 600;

fn events() -> Vec<Event> {
    let kinds = [
        (EventKind::Delivered, None),
        (EventKind::Delivered, None),
        (EventKind::Deferred, Some(Category::Greylisted)),
        (EventKind::Failed, Some(Category::NoMailbox)),
        (EventKind::Returned, Some(Category::MailboxFull)),
        (EventKind::Complained, None),
        (EventKind::PaceChanged, None),
    ];
    let event = |n: u64| {
        let (kind, category) = kinds[(n * 5 % 7) as usize];
        let host = n * n % 11;
        Event {
            campaign: Some(CampaignId(1 + n % 3)),
            delivery: Some(DeliveryId { shard: ShardId(0), seq: n }),
            recipient: format!("user{n}@d{host}.example"),
            // Two relays; one of them was started anew.
            service: format!("relay-{}-{}-1a21e077bf3", n % 2, 71 + n / 300),
            source: format!("out-{}", n % 3),
            // One busy site, and some with a message now and then.
            site: if host < 6 { "busy.example".into() } else { format!("mx{host}.example") },
            category,
            bytes: 1000 + n as u32,
            age_ms: n * 700,
            ..Event::new(kind, Timestamp(START + n * STEP_MS / 8))
        }
    };
    (0..EVENTS).map(event).collect()
}

fn written(folder: &std::path::Path) -> Ledger {
    let ledger = Ledger::open(&Config { folder: folder.to_owned(), ..Config::default() }).unwrap();
    let mut writer = ledger.writer().unwrap();
    for (tenant, campaign) in [("acme", 1), ("acme", 2), ("zoo", 3)] {
        let sender = format!("news@{tenant}.example");
        let facts = Facts { tenant: tenant.into(), name: "Spring".into(), sender };
        writer.learn(CampaignId(campaign), facts);
    }
    for chunk in events().chunks(40) {
        let at = chunk[0].at.0;
        let settled =
            |event: &Event| Settled { event: event.clone(), judgement: Judgement::Applied };
        let events = Ok(chunk.iter().map(settled).collect());
        let position = format!("{at}-0").parse().unwrap();
        let frames = vec![OutboxFrame { position, events, raw: Vec::new() }];
        writer.write(&[ShardFrames { shard: ShardId(0), frames }]).unwrap();
    }
    ledger
}

fn value(by: GroupBy, event: &Event) -> String {
    let tenant = if event.campaign == Some(CampaignId(3)) { "zoo" } else { "acme" };
    match by {
        GroupBy::Tenant => tenant.to_owned(),
        GroupBy::Sender => format!("news@{tenant}.example"),
        GroupBy::Campaign => event.campaign.unwrap().to_string(),
        GroupBy::Relay => event.service[..7].to_owned(),
        GroupBy::Source => event.source.clone(),
        GroupBy::Site => event.site.clone(),
        GroupBy::Domain => event.recipient.split_once('@').unwrap().1.to_owned(),
        GroupBy::Category => event.category.map_or("", |c| c.as_str()).to_owned(),
        GroupBy::Minute | GroupBy::Hour | GroupBy::Day => {
            let unit = by.unit_ms().unwrap();
            Timestamp(event.at.0 / unit * unit).to_string()
        }
    }
}

fn counted(question: &StatsQuestion, (since, until): (Timestamp, Timestamp)) -> Table {
    let mut table = Table::new();
    for event in events() {
        let fits = |by, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| *wanted == value(by, &event))
        };
        let is_in = event.at >= since
            && event.at < until
            && fits(GroupBy::Tenant, &question.tenant)
            && fits(GroupBy::Domain, &question.domain)
            && fits(GroupBy::Site, &question.site)
            && fits(GroupBy::Relay, &question.relay)
            && fits(GroupBy::Category, &question.category.map(|c| c.as_str().to_owned()));
        if is_in {
            let key = question.by.iter().map(|by| value(*by, &event)).collect();
            table.entry(key).or_default().book(&measures::Cell {
                kind: event.kind,
                judgement: Judgement::Applied,
                speeds: crate::Speeds::of(event.kind, event.age_ms, 1),
                events: 1,
                bytes: event.bytes.into(),
                age_s: event.age_ms / 1000,
            });
        }
    }
    table.retain(|_, measures| !measures.is_nothing());
    table
}

fn questions() -> Vec<StatsQuestion> {
    use GroupBy::*;
    let whole = StatsQuestion::between(Timestamp(START), Timestamp(START + 3_600_000));
    let part = StatsQuestion::between(Timestamp(START + 301_000), Timestamp(START + 1_000_000));
    let by: [&[GroupBy]; 14] = [
        &[],
        &[Tenant],
        &[Sender, Category],
        &[Campaign, Relay],
        &[Source],
        &[Site],
        &[Domain],
        &[Domain, Category],
        &[Minute],
        &[Hour, Category],
        &[Day],
        &[Domain, Hour],
        &[Domain, Relay],
        &[Domain, Minute],
    ];
    let text = |text: &str| Some(text.to_owned());
    let mut questions = Vec::new();
    for period in [whole, part] {
        for by in by {
            let plain = StatsQuestion { by: by.to_vec(), ..period.clone() };
            questions.extend([
                plain.clone(),
                StatsQuestion { tenant: text("acme"), ..plain.clone() },
                StatsQuestion { domain: text("d3.example"), ..plain.clone() },
                StatsQuestion {
                    site: text("busy.example"),
                    relay: text("relay-1"),
                    ..plain.clone()
                },
                StatsQuestion { category: Some(mail::Category::NoMailbox), ..plain },
            ]);
        }
    }
    questions
}

fn told(answer: &StatsAnswer) -> Table {
    answer.rows.iter().map(|row| (row.of.clone(), row.measures)).collect()
}

#[test]
fn sums_say_what_counting_says() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = written(folder.path());
    let months = Month::list(ledger.folder()).unwrap();
    assert_eq!(months.len(), 2, "the end of a month is in it");
    for question in questions() {
        let answer = ledger.stats(&question).unwrap();
        assert!(answer.since <= question.since && answer.until >= question.until);
        let counted = counted(&question, (answer.since, answer.until));
        assert_eq!(told(&answer), counted, "{question:?}");
    }
    // The same of files from before there were sums, which have no campaigns either.
    for month in &months {
        let conn = schema::writable(&ledger.path(*month)).unwrap();
        conn.pragma_update(None, "user_version", 1).unwrap();
    }
    let knows_no_tenant = |question: &&StatsQuestion| {
        question.tenant.is_none()
            && !question.by.iter().any(|by| matches!(by, GroupBy::Tenant | GroupBy::Sender))
    };
    for question in questions().iter().filter(knows_no_tenant) {
        let answer = ledger.stats(question).unwrap();
        let counted = counted(question, (answer.since, answer.until));
        assert_eq!(told(&answer), counted, "without sums: {question:?}");
    }
}

#[test]
fn a_file_from_before_is_given_its_sums() {
    const TABLES: [&str; 8] = [
        "campaign",
        "what",
        "flow_minute",
        "flow_hour",
        "flow_day",
        "place_hour",
        "place_day",
        "hour",
    ];
    let folder = tempfile::tempdir().unwrap();
    let ledger = written(folder.path());
    let months = Month::list(ledger.folder()).unwrap();
    let question = StatsQuestion {
        by: vec![GroupBy::Domain, GroupBy::Category],
        ..StatsQuestion::between(Timestamp(START), Timestamp(START + 7_200_000))
    };
    let before = told(&ledger.stats(&question).unwrap());
    let story = || ledger.story("user7@d5.example").unwrap().chapters;
    let chapters = story();
    assert_eq!(chapters.len(), 1);
    for month in &months {
        let conn = schema::writable(&ledger.path(*month)).unwrap();
        for table in TABLES {
            conn.execute_batch(&format!("DROP TABLE {table}")).unwrap();
        }
        // As version 1 was: an index where there are chains now.
        let layout = "DROP VIEW history; ALTER TABLE event DROP COLUMN before;
            ALTER TABLE recipient DROP COLUMN last;
            CREATE INDEX event_recipient ON event (recipient) WHERE recipient IS NOT NULL;";
        conn.execute_batch(layout).unwrap();
        let schema = include_str!("../schema.sql");
        conn.execute_batch(&schema[schema.find("CREATE VIEW").unwrap()..]).unwrap();
        conn.pragma_update(None, "user_version", 1).unwrap();
        drop(conn);
        assert_eq!(story(), chapters, "by the index that it had");
        let conn = schema::writable(&ledger.path(*month)).unwrap();
        assert!(schema::has_sums(&conn).unwrap());
    }
    assert_eq!(story(), chapters);
    assert_eq!(told(&ledger.stats(&question).unwrap()), before);
    let answer = ledger.stats(&StatsQuestion { by: vec![GroupBy::Minute], ..question }).unwrap();
    assert_eq!(answer.total.measures.attempts(), (EVENTS * 4).div_ceil(7));
}

#[test]
fn a_period_stands_beside_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = written(folder.path());
    let middle = START / 60_000 * 60_000 + 660_000;
    let question = StatsQuestion {
        by: vec![GroupBy::Category],
        with_before: true,
        limit: 2,
        ..StatsQuestion::between(Timestamp(middle), Timestamp(middle + 600_000))
    };
    let answer = ledger.stats(&question).unwrap();
    assert_eq!((answer.rows.len(), answer.cut), (2, 2));
    let count = |since| counted(&question, (Timestamp(since), Timestamp(since + 600_000)));
    let (now, before) = (count(middle), count(middle - 600_000));
    for row in &answer.rows {
        assert_eq!((row.measures, row.before), (now[&row.of], Some(before[&row.of])));
    }
    assert!(answer.rows[0].measures.attempts() >= answer.rows[1].measures.attempts());
    let by_minute = StatsQuestion { by: vec![GroupBy::Minute], limit: 100, ..question };
    let answer = ledger.stats(&by_minute).unwrap();
    assert_eq!(answer.rows.len(), 10);
    assert!(answer.rows.is_sorted_by_key(|row| row.of[0].clone()));
    let earlier: u64 = answer.rows.iter().filter_map(|r| r.before).map(|b| b.attempts()).sum();
    assert_eq!(Some(earlier), answer.total.before.map(|before| before.attempts()));
    assert!(earlier > 0);
}

#[test]
fn a_damaged_month_is_left_out_and_the_rest_is_summed() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = written(folder.path());
    let end = Timestamp(START + EVENTS * STEP_MS / 8);
    let (first, last) = (Month::of(Timestamp(START)), Month::of(end));
    assert_ne!(first, last);
    let all = || ledger.stats(&StatsQuestion::between(Timestamp(START), end)).unwrap();
    let whole = all().total.measures.attempts();
    let file = ledger.path(first);
    std::fs::write(&file, b"this is no database, but somebody's shopping list".repeat(99)).unwrap();
    let rest = all().total.measures.attempts();
    assert!(0 < rest && rest < whole, "{rest} of {whole}");
}
