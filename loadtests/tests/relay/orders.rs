//! What operators order holds for what it names, at once and for nothing else.

use std::time::Duration;

use mail::event::EventKind;
use mail::orders::{Order, Scope, ScopeKind, Verb};
use mail::queue::CampaignState;
use store::NewOrder;

use crate::relay::support::{World, now};

const ANN_A: &str = "ann@a.pretend.example";
const BOB_A: &str = "bob@a.pretend.example";
const ANN_B: &str = "ann@b.pretend.example";
/// Longer than a heartbeat, a lease and a delivery take together.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

pub(crate) async fn order(world: &World, verb: Verb, kind: ScopeKind, name: &str) -> Order {
    let scope = Scope::new(kind, name).unwrap();
    let pool = if verb == Verb::Reroute { "other".into() } else { String::new() };
    let new =
        NewOrder { pool, ..NewOrder::new(verb, scope, "tester".into(), "the test says so".into()) };
    world.store.give_order(new, now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_suspended_waits_and_goes_when_it_is_resumed() {
    let mut world = World::start().await;
    let held = [
        (ScopeKind::Domain, "a.pretend.example"),
        (ScopeKind::Site, "mx.a.pretend.test"),
        (ScopeKind::Tenant, "acme"),
    ];
    world.relay("relay-a", |_| {});
    for (kind, name) in held {
        let suspended = order(&world, Verb::Suspend, kind, name).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let to_a = world.campaign("acme", &[ANN_A, BOB_A], true).await;
        let mixed = world.campaign("acme", &[ANN_A], false).await;
        let others = world.campaign("other", &[ANN_B], true).await;
        world.until(others, 15, |n| n.delivered == 1).await;
        tokio::time::sleep(LONG_ENOUGH).await;
        for campaign in [to_a, mixed] {
            let n = world.counters(campaign).await;
            assert_eq!((n.delivered, n.deferrals), (0, 0), "{kind} {name}: {n:?}");
        }
        world.store.undo_order(suspended.id, "tester", "done", now()).await.unwrap().unwrap();
        for campaign in [to_a, mixed] {
            world.store.expedite(campaign).await.unwrap();
            world.until(campaign, 15, |n| n.waiting == 0 && n.deferrals == 0).await;
        }
    }
    let told = world.told(EventKind::Ordered).await;
    let first = format!("order 1: suspend domain {} by tester: the test says so", held[0].1);
    assert!(told.iter().any(|e| e.note == first), "{told:?}");
    assert_eq!(told.len(), 2 * held.len(), "each order and each undoing");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_bounced_with_the_reason_and_what_comes_later_is_not() {
    let mut world = World::start().await;
    let before = world.campaign("acme", &[ANN_A, BOB_A], true).await;
    let elsewhere = world.campaign("acme", &[ANN_B], true).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    order(&world, Verb::Bounce, ScopeKind::Domain, "a.pretend.example").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let after = world.campaign("acme", &[ANN_A], true).await;
    world.relay("relay-a", |_| {});
    let n = world.until(before, 15, |n| n.waiting == 0).await;
    assert_eq!((n.failed, n.delivered), (2, 0));
    world.until(elsewhere, 15, |n| n.delivered == 1).await;
    world.until(after, 15, |n| n.delivered == 1).await;
    let failed = world.told(EventKind::Failed).await;
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|e| e.note == "failed by order of tester: the test says so"));
    let ann = world.store.listing("acme", ANN_A).await.unwrap();
    assert_eq!(ann, None, "an operator's order says nothing about an address");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rerouted_goes_from_the_other_pool() {
    let mut world = World::start().await;
    let source = |name: &str| relay::Source {
        address: Some("127.0.0.1".parse().unwrap()),
        ..relay::Source::named(name)
    };
    world.relay("relay-a", |config| {
        config.sources = vec![source("one"), source("two")];
        config.pools.insert("default".into(), vec!["one".into()]);
        config.pools.insert("other".into(), vec!["two".into()]);
    });
    order(&world, Verb::Reroute, ScopeKind::Site, "mx.a.pretend.test").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let to_a = world.campaign("acme", &[ANN_A], true).await;
    let to_b = world.campaign("acme", &[ANN_B], true).await;
    world.until(to_a, 15, |n| n.delivered == 1).await;
    world.until(to_b, 15, |n| n.delivered == 1).await;
    for event in world.told(EventKind::Delivered).await {
        let expected = if event.recipient == ANN_A { "two" } else { "one" };
        assert_eq!(event.source, expected, "{}", event.recipient);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_relay_leases_nothing_and_says_so() {
    let mut world = World::start().await;
    world.relay("relay-a", |_| {});
    let drained = order(&world, Verb::Drain, ScopeKind::Relay, "relay-a").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let campaign = world.campaign("acme", &[ANN_A], true).await;
    tokio::time::sleep(LONG_ENOUGH).await;
    assert_eq!(world.counters(campaign).await.waiting, 1);
    let relays = world.store.relays().await.unwrap();
    assert!(relays.iter().all(|(_, r)| r.draining && r.leased == 0), "{relays:?}");
    world.store.undo_order(drained.id, "tester", "done", now()).await.unwrap();
    world.until(campaign, 15, |n| n.delivered == 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_wakes_what_rests_before_its_time() {
    let mut world = World::start().await;
    // Nobody listens there: each attempt fails at once, and the site rests up to a minute.
    world.relay("relay-a", |config| {
        config.port = 1;
        config.retry.first_s = 600;
        config.retry.max_s = 600;
        config.retry.lifetime_s = 86_400;
    });
    let campaign = world.campaign("acme", &[ANN_A], true).await;
    world.until(campaign, 20, |n| n.deferrals == 1).await;
    tokio::time::sleep(LONG_ENOUGH).await;
    assert_eq!(world.counters(campaign).await.deferrals, 1);
    order(&world, Verb::Retry, ScopeKind::Campaign, &campaign.to_string()).await;
    world.store.expedite(campaign).await.unwrap();
    world.until(campaign, 10, |n| n.deferrals == 2).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_a_newer_program_stops_all_leasing_until_it_is_gone() {
    let mut world = World::start().await;
    world.relay("relay-a", |_| {});
    world.raw("HSET", &["mp:orders", "99", "\u{7f}unknown"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let campaign = world.campaign("acme", &[ANN_A], true).await;
    tokio::time::sleep(LONG_ENOUGH).await;
    assert_eq!(world.counters(campaign).await.waiting, 1);
    world.raw("HDEL", &["mp:orders", "99"]).await;
    world.until(campaign, 15, |n| n.delivered == 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_is_paused_in_the_relays_hands_waits() {
    let mut world = World::start().await;
    world.relay("relay-a", |config| config.pace.rate_start = 1.0);
    let many: Vec<String> = (0..20).map(|i| format!("u{i}@a.pretend.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let campaign = world.campaign("acme", &many, true).await;
    world.until(campaign, 15, |n| n.delivered >= 1).await;
    world.store.set_campaign_state(campaign, CampaignState::Paused, 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let paused = world.counters(campaign).await.delivered;
    tokio::time::sleep(LONG_ENOUGH).await;
    assert_eq!(world.counters(campaign).await.delivered, paused);
    world.stop().await;
}
