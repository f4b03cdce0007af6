//! A recipient's story, compared with the text that a person reads.

use std::time::{Duration, Instant};

use ledger::{Config, Ledger, render_story};
use mail::event::EventKind;
use mail::plain::Lang;
use mail::{CampaignId, Category, DeliveryId, Event, Phase, Reply, ShardId, Timestamp};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::support::Redis;

const START: u64 = 1_795_000_000_000;
const SHARD: ShardId = ShardId(1);

fn event(kind: EventKind, campaign: u64, seconds: u64, seq: u64) -> Event {
    Event {
        campaign: Some(CampaignId(campaign)),
        delivery: Some(DeliveryId { shard: SHARD, seq }),
        recipient: "Ann.Lee@Example.org".into(),
        service: "bounces".into(),
        ..Event::new(kind, Timestamp(START + seconds * 1000))
    }
}

const TLS: &str = "TLSv1.3 TLS_AES_256_GCM_SHA384";

fn attempt(kind: EventKind, campaign: u64, seconds: u64, seq: u64, n: u16, reply: &str) -> Event {
    Event {
        attempt: n,
        service: "relay-1".into(),
        source: "eu-1".into(),
        site: "mx.example.org".into(),
        mx: "mx.example.org [127.0.0.2]".into(),
        phase: Some(Phase::Dot),
        reply: Reply::parse(reply),
        bytes: 10_240,
        elapsed_ms: 250,
        tls: match (kind, n) {
            (EventKind::Deferred, _) => "plain".into(),
            (_, 1) => format!("{TLS} unverified"),
            (_, _) => format!("{TLS} verified"),
        },
        ..event(kind, campaign, seconds, seq)
    }
}

fn accepted(campaign: u64, seconds: u64, first: u64, count: u32) -> Event {
    Event {
        count,
        recipient: String::new(),
        service: "api".into(),
        ..event(EventKind::Accepted, campaign, seconds, first)
    }
}

/// Two campaigns: greylisted, then delivered, then a complaint; and one that came back.
fn life() -> Vec<Event> {
    let mut greylisted =
        attempt(EventKind::Deferred, 1, 2, 107, 1, "451 4.7.1 Greylisted, \u{1b}[31mcome back");
    greylisted.category = Some(Category::Greylisted);
    greylisted.next_at = Some(Timestamp(START + 302_000));
    let mut returned = event(EventKind::Returned, 2, 90_000, 120);
    returned.category = Some(Category::MailboxFull);
    returned.reply = Reply::parse("552 5.2.2 Mailbox over quota");
    let mut other = attempt(EventKind::Delivered, 1, 2, 108, 1, "250 ok");
    other.recipient = "someone.else@example.org".into();
    let mut nameless = event(EventKind::Reported, 2, 86_900, 120);
    nameless.recipient = String::new();
    nameless.note = "auto-reply".into();
    let mut listed = event(EventKind::SuppressionAdded, 1, 100_000, 107);
    listed.note = "complaint".into();
    vec![
        accepted(1, 0, 100, 20),
        greylisted,
        other,
        attempt(EventKind::Delivered, 1, 303, 107, 2, "250 2.0.0 Ok: queued as 4F2"),
        accepted(2, 86_400, 120, 1),
        attempt(EventKind::Delivered, 2, 86_401, 120, 1, "250 2.0.0 Ok"),
        nameless,
        returned,
        event(EventKind::Complained, 1, 100_000, 107),
        listed,
    ]
}

async fn tell(events: &[Event]) -> (Ledger, tempfile::TempDir) {
    let redis = Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = Config { folder: folder.path().into(), store_every_ms: 10, ..Config::default() };
    let ledger = Ledger::open(&config).unwrap();
    store.emit(SHARD, events).await.unwrap();
    let stop = CancellationToken::new();
    let run = ledger.run(&store, stop.clone());
    let watch = async {
        let start = Instant::now();
        while store.outbox_len(SHARD).await.unwrap() > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "the events were never stored");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    tokio::join!(async { run.await.unwrap() }, watch);
    (ledger, folder)
}

#[tokio::test]
async fn a_story_is_told_in_order_and_in_plain_words() {
    let (ledger, _folder) = tell(&life()).await;
    let story = ledger.story("ann.lee@EXAMPLE.org").unwrap();
    for (lang, golden) in
        [(Lang::En, include_str!("story.en.txt")), (Lang::Fr, include_str!("story.fr.txt"))]
    {
        let told = render_story(&story, lang);
        assert_eq!(told, golden, "{lang} reads:\n{told}");
    }
    let json = serde_json::to_value(&story).unwrap();
    assert_eq!(json["chapters"][0]["entries"][1]["event"]["category"], "greylisted");

    let nobody = ledger.story("nobody@example.org").unwrap();
    assert!(nobody.chapters.is_empty());
    let told = render_story(&nobody, Lang::En);
    assert_eq!(told, "nobody@example.org\n\nNothing is known of this address.\n");

    let summary = ledger.campaign_summary(CampaignId(2)).unwrap();
    let full = |t: &&ledger::Tally| t.category == Some(Category::MailboxFull);
    assert_eq!(summary.tallies.iter().find(full).unwrap().events, 1);
    assert_eq!((summary.counters.accepted, summary.counters.returned), (1, 1));
}
