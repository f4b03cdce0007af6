//! Which address mail goes from: each recipient's own source of its pool, and the next one while
//! a site blocks that, has no address that it could go to, or its pool is not here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mail::event::EventKind;
use mail::orders::{ScopeKind, Verb};
use relay::Source;

use crate::relay::broken_peers::odd;
use crate::relay::orders::order;
use crate::relay::server::Tls;
use crate::relay::support::World;

const BLOCKING: &str = r#"
name = "blocking"
record = "identity"

[manner.sink]
[manner.blocking]
style = "gmail"
blocks = [{ client = "127.0.0.2", after_ms = 0, for_ms = BLOCKED_MS }]

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.11" }]
manner = "blocking"

[[provider]]
name = "b"
domains = ["b.pretend.example"]
mx = [{ host = "mx.b.pretend.test", address = "127.0.0.12" }]
manner = "sink"
tail = true
"#;

/// Blocks 127.0.0.2 at the first provider for so long.
async fn blocking(for_ms: u64) -> World {
    World::start_in(&BLOCKING.replace("BLOCKED_MS", &for_ms.to_string())).await
}

pub(crate) fn source(name: &str, address: &str) -> Source {
    Source { address: Some(address.parse().unwrap()), ..Source::named(name) }
}

fn two(config: &mut relay::Config) {
    config.sources = vec![source("out1", "127.0.0.2"), source("out2", "127.0.0.3")];
    config.pace.probes_per_minute = 60.0;
    config.retry.lifetime_s = 600;
}

pub(crate) fn people(n: usize, domain: &str) -> Vec<String> {
    (0..n).map(|i| format!("u{i}@{domain}")).collect()
}

pub(crate) async fn send(world: &World, to: &[String], own_lane: bool) -> mail::CampaignId {
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    world.campaign("acme", &to, own_lane).await
}

/// How many each source delivered at a domain.
pub(crate) async fn delivered(world: &World, domain: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in world.told(EventKind::Delivered).await {
        if event.recipient.ends_with(domain) {
            *counts.entry(event.source).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_site_blocks_from_one_address_goes_from_the_other() {
    let mut world = blocking(3_600_000).await;
    world.relay("relay-a", two);
    let mut deferrals = 0;
    for own_lane in [true, false] {
        let to_a = send(&world, &people(200, "a.pretend.example"), own_lane).await;
        let n = world.until(to_a, 60, |n| n.waiting == 0).await;
        assert_eq!(n.delivered, 200, "{n:?}");
        // Some to learn it, one a second to see whether it is over; not half of them.
        deferrals += n.deferrals;
        assert!((3..60).contains(&deferrals), "{n:?}");
    }
    assert_eq!(delivered(&world, "@a.pretend.example").await, [("out2".into(), 400)].into());
    // Blocked there, and nowhere else.
    let to_b = send(&world, &people(200, "b.pretend.example"), true).await;
    world.until(to_b, 30, |n| n.delivered == 200).await;
    let at_b = delivered(&world, "@b.pretend.example").await;
    assert!(at_b["out1"] > 60 && at_b["out2"] > 60, "{at_b:?}");
    let told = world.told(EventKind::PaceChanged).await;
    let rest = told.iter().find(|e| e.note.starts_with("the site blocks the source")).unwrap();
    assert_eq!((rest.source.as_str(), rest.site.as_str()), ("out1", "mx.a.pretend.test"));
    assert!(rest.reply.as_ref().unwrap().text.contains("127.0.0.2"), "{rest:?}");
    assert!(!told.iter().any(|e| e.source == "out2" && e.note.contains("blocks")), "{told:?}");
    world.stop().await;
}

/// Each line is held against orders, and which source a recipient should have is asked of lanes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_while_a_source_is_blocked_stops_nobody_else() {
    let mut world = blocking(3_600_000).await;
    world.relay("relay-a", two);
    for round in 0..3 {
        let campaign = send(&world, &people(100, "a.pretend.example"), true).await;
        world.until(campaign, 60, |n| n.deferrals > 0 || n.waiting == 0).await;
        let elsewhere = format!("{round}.nowhere.example");
        order(&world, Verb::Suspend, ScopeKind::Domain, &elsewhere).await;
        let n = world.until(campaign, 60, |n| n.waiting == 0).await;
        assert_eq!(n.delivered, 100, "{n:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_block_is_over_the_source_is_used_again() {
    let mut world = blocking(8_000).await;
    world.relay("relay-a", |config| {
        two(config);
        config.pace.hold_s = 2;
        config.pace.hold_max_s = 2;
    });
    let rest_is_over = async || {
        let told = world.told(EventKind::PaceChanged).await;
        told.iter().any(|e| e.source == "out1" && e.note.starts_with("a probe passed"))
    };
    let began = std::time::Instant::now();
    let mut sent = 0;
    while !rest_is_over().await {
        assert!(began.elapsed() < Duration::from_secs(60), "no probe passed");
        let campaign = send(&world, &people(20, "a.pretend.example"), true).await;
        world.until(campaign, 30, |n| n.waiting == 0).await;
        sent += 20;
    }
    let before = delivered(&world, "@a.pretend.example").await;
    assert!(before["out2"] > sent / 2, "{before:?}");
    let campaign = send(&world, &people(100, "a.pretend.example"), true).await;
    world.until(campaign, 60, |n| n.delivered == 100).await;
    let after = delivered(&world, "@a.pretend.example").await;
    assert!(after["out1"] - before.get("out1").unwrap_or(&0) > 30, "{before:?} {after:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_are_blocked_everything_waits_and_a_few_probe() {
    let mut world = blocking(3_600_000).await;
    world.relay("relay-a", |config| {
        two(config);
        config.sources.pop();
    });
    let to_a = send(&world, &people(100, "a.pretend.example"), true).await;
    world.until(to_a, 20, |n| n.failed >= 4).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let n = world.counters(to_a).await;
    assert_eq!((n.delivered, n.deferrals, n.failed + n.waiting), (0, 0, 100));
    assert!(n.failed < 40, "the others are handed back without an attempt: {n:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_without_an_address_of_the_sites_family_is_passed_over() {
    let mut world = World::start().await;
    world.relay("relay-a", |config| {
        config.sources = vec![source("out6", "::1"), source("out4", "127.0.0.3")];
    });
    let campaign = send(&world, &people(100, "a.pretend.example"), true).await;
    let n = world.until(campaign, 30, |n| n.waiting == 0).await;
    assert_eq!((n.delivered, n.deferrals), (100, 0), "no attempt is lost to it");
    assert_eq!(delivered(&world, "example").await, [("out4".into(), 100)].into());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_whose_proxy_is_down_rests_and_the_others_send() {
    let mut world = World::start().await;
    world.relay("relay-a", |config| {
        two(config);
        // Nobody listens there.
        config.sources[0].via = "socks5://127.0.0.1:1".into();
    });
    for (domain, own_lane) in [("a.pretend.example", true), ("b.pretend.example", false)] {
        let campaign = send(&world, &people(100, domain), own_lane).await;
        let n = world.until(campaign, 30, |n| n.waiting == 0).await;
        assert_eq!((n.delivered, n.deferrals), (100, 0), "no recipient is to blame");
    }
    assert_eq!(delivered(&world, "example").await, [("out2".into(), 200)].into());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_keep_their_source_whatever_the_campaign_and_the_relay() {
    let mut world = World::start().await;
    let weighed = |config: &mut relay::Config| {
        two(config);
        config.sources[1].weight = 3.0;
    };
    world.relay("relay-a", weighed);
    world.relay("relay-b", weighed);
    for own_lane in [true, false] {
        let campaign = send(&world, &people(200, "a.pretend.example"), own_lane).await;
        world.until(campaign, 30, |n| n.delivered == 200).await;
    }
    let mut sources: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in world.told(EventKind::Delivered).await {
        sources.entry(event.recipient).or_default().insert(event.source);
    }
    assert!(sources.values().all(|used| used.len() == 1), "{sources:?}");
    let first = sources.values().filter(|used| used.contains("out1")).count();
    assert!((25..75).contains(&first), "a quarter of 200: {first}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_goes_from_its_own_pool_or_its_tenants() {
    let mut world = World::start().await;
    world.relay("relay-a", |config| {
        two(config);
        config.pools.insert("first".into(), vec!["out1".into()]);
        config.pools.insert("second".into(), vec!["out2".into()]);
        let tenant = relay::Tenant { pool: "second".into(), ..Default::default() };
        config.tenants.insert("acme".into(), tenant);
    });
    let to = people(40, "a.pretend.example");
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    for (pool, from) in [("default", "out2"), ("first", "out1")] {
        let campaign = world
            .create(|record| {
                record.tenant = "acme".into();
                record.pool = pool.into();
            })
            .await;
        world.fill(campaign, &to, true).await;
        world.run(campaign).await;
        world.until(campaign, 30, |n| n.delivered == 40).await;
        let told = world.told(EventKind::Delivered).await;
        let own = told.iter().filter(|e| e.campaign == Some(campaign));
        assert!(own.clone().count() == 40 && own.clone().all(|e| e.source == from), "{pool}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_source_says_its_own_name_from_its_own_address() {
    let mut world = World::start().await;
    let server = odd(&world, &["PIPELINING"], Tls::None).await;
    world.relay("relay-a", |config| {
        two(config);
        config.sources[0].ehlo = "out1.news.example".into();
        config.sources[1].ehlo = "mail.other.example".into();
    });
    let campaign = send(&world, &people(100, "odd.pretend.example"), true).await;
    world.until(campaign, 30, |n| n.delivered == 100).await;
    let said: BTreeSet<(String, String)> =
        server.lines("EHLO").into_iter().map(|h| (h.from.to_string(), h.line)).collect();
    let expected =
        [("127.0.0.2", "EHLO out1.news.example"), ("127.0.0.3", "EHLO mail.other.example")];
    assert_eq!(said, expected.map(|(from, line)| (from.to_owned(), line.to_owned())).into());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_for_a_pool_that_no_relay_has_says_so_and_waits_for_one() {
    let mut world = World::start().await;
    world.relay("relay-a", |_| {});
    let mut campaigns = Vec::new();
    for own_lane in [true, false] {
        let campaign = world.create(|record| record.pool = "vip".into()).await;
        world.fill(campaign, &["ann@a.pretend.example"], own_lane).await;
        world.run(campaign).await;
        world.until(campaign, 15, |n| n.deferrals > 0).await;
        campaigns.push(campaign);
    }
    for event in world.told(EventKind::Deferred).await {
        let text = event.reply.unwrap().to_string();
        assert!(text.contains("\"vip\"") && text.contains("relay.pools"), "{text}");
        assert_eq!(event.hygiene, Some(mail::Hygiene::None));
    }
    world.relay("relay-b", |config| {
        config.sources = vec![source("out1", "127.0.0.2")];
        config.pools.insert("vip".into(), vec!["out1".into()]);
    });
    for campaign in campaigns {
        world.until(campaign, 40, |n| n.delivered == 1).await;
    }
    assert!(world.told(EventKind::Delivered).await.iter().all(|e| e.source == "out1"));
    world.stop().await;
}
