//! What operators do to a pace, relays do: they send at what is fixed and go on from what was found,
//! and they hear of a block that is lifted.

use std::time::{Duration, Instant};

use mail::event::EventKind;
use mail::orders::{Scope, ScopeKind, Verb};
use mail::throttle::{Change, Dimension, Fixed, Limits};
use mail::{CampaignId, Site};
use relay::{Deed, Hand, NotDone, by_hand, insight};
use store::NewOrder;

use crate::relay::support::{World, now};

const MX_A: &str = "mx.a.pretend.test";
const HAND: Hand<'static> = Hand { by: "tester", reason: "the test says so" };

async fn send(world: &World, count: usize) -> CampaignId {
    let to: Vec<String> = (0..count).map(|i| format!("u{i}@a.pretend.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    world.campaign("acme", &to, true).await
}

async fn fix(world: &World, fixed: Fixed) -> u64 {
    let scope = Scope::new(ScopeKind::Site, MX_A).unwrap();
    let new = NewOrder::new(Verb::Fix, scope, "tester".into(), "the test says so".into());
    world.store.give_order(NewOrder { fixed, ..new }, now()).await.unwrap().id
}

/// Messages a second that go over some seconds.
async fn goes(world: &World, campaign: CampaignId, seconds: f64) -> f64 {
    let (before, start) = (world.counters(campaign).await.delivered, Instant::now());
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let after = world.counters(campaign).await.delivered;
    (after - before) as f64 / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_that_is_fixed_is_sent_at_and_afterwards_it_goes_on_as_found() {
    let mut world = World::start().await;
    let (site, source) = (Site::from_name(MX_A), "default");
    for name in ["relay-a", "relay-b"] {
        world.relay(name, |config| {
            (config.pace.rate_start, config.pace.rate_max) = (40.0, 60.0);
        });
    }
    let campaign = send(&world, 480).await;
    world.until(campaign, 20, |n| n.delivered > 40).await;
    let order = fix(&world, Fixed { rate: Some(8.0), ..Fixed::default() }).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let fixed = goes(&world, campaign, 5.0).await;
    assert!((6.0..=10.0).contains(&fixed), "{fixed}");
    let known = insight(&world.store, source, &site).await.unwrap().expect("a record");
    let found = known.pace.rate_found();
    assert!(found >= 40.0, "what was found is kept: {found}");
    assert!(known.now.waiting() > 0 && !known.now.claims.is_empty(), "{known:?}");

    world.store.undo_order(order, "tester", "done", now()).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let lifted = goes(&world, campaign, 2.0).await;
    assert!(lifted > 30.0, "{lifted}");
    world.until(campaign, 60, |n| n.waiting == 0).await;
    let told = world.told(EventKind::PaceChanged).await;
    assert!(told.iter().all(|e| !e.note.contains("→ 8.0")), "nothing was learnt: {told:?}");
    world.stop().await;
}

const BLOCKING: &str = r#"
name = "blocking"
record = "identity"

[manner.blocking]
tls = "none"
blocks = [{ after_ms = 0, for_ms = 6000 }]

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.11" }]
manner = "blocking"
tail = true
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_is_lifted_by_hand_is_over_for_all_relays() {
    let mut world = World::start_in(BLOCKING).await;
    let (site, source) = (Site::from_name(MX_A), "default");
    // Nobody finds out by itself in the time of this test.
    let limits = Limits { probes_per_minute: 0.2, hold_s: 900, ..Limits::default() };
    for name in ["relay-a", "relay-b"] {
        world.relay(name, |config| config.pace = limits.clone());
    }
    let campaign = send(&world, 30).await;
    let pair = (source, &site);
    let release = async || by_hand(&world.store, pair, Deed::Release, &limits, HAND, now()).await;
    let start = Instant::now();
    let until_held = async {
        loop {
            let known = insight(&world.store, source, &site).await.unwrap();
            if known.is_some_and(|known| known.pace.hold_until().is_some()) {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "it is not held");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until_held.await;
    // A rate that is fixed does not go over a block.
    let order = fix(&world, Fixed { rate: Some(50.0), ..Fixed::default() }).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(world.counters(campaign).await.delivered, 0);
    world.store.undo_order(order, "tester", "done", now()).await.unwrap().unwrap();

    let changes = release().await.expect("released");
    assert_eq!((changes[0].what, changes[0].to), (Dimension::Hold, 0.0));
    assert!(matches!(release().await, Err(NotDone::NotHeld)), "once");
    tokio::time::sleep(Duration::from_millis(1800)).await;
    world.store.expedite(campaign).await.unwrap();
    // The site had refused the first ones for good.
    let n = world.until(campaign, 25, |n| n.waiting == 0).await;
    assert!(n.delivered > 15 && n.delivered + n.failed == 30, "{n:?}");

    let told = world.told(EventKind::PaceChanged).await;
    let by_hand = told.iter().filter(|event| event.note.contains(", by tester: the test says so"));
    assert_eq!(by_hand.count(), 2, "{told:?}");
    assert!(told.iter().all(|e| e.note.split(", by").next().unwrap().parse::<Change>().is_ok()));
    world.stop().await;
}
