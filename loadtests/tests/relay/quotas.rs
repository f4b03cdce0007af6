//! Hours and days have ceilings, for all relays together: what they have no room for goes from
//! another source of the pool, or waits.

use std::time::Duration;

use mail::event::EventKind;
use mail::throttle::Overrides;
use mail::warmup::{Per, Written};
use relay::{Config, SiteRules};

use crate::relay::sources::{delivered, people, send, source};
use crate::relay::support::World;

/// Thirty in the first day.
fn slow() -> Written {
    Written {
        title: "Slow".into(),
        source: String::new(),
        per: Per::Day,
        ceilings: vec![30, 100],
        first: None,
        last: None,
        factor: None,
        days: None,
    }
}

/// A source that warms up beside one that is warm.
fn warming(config: &mut Config) {
    config.warmup = [("slow".to_owned(), slow())].into();
    let new = relay::Source {
        warmup: [("*".to_owned(), "slow".to_owned())].into(),
        ..source("out1", "127.0.0.2")
    };
    config.sources = vec![new, source("out2", "127.0.0.3")];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plan_has_no_room_for_goes_from_a_warm_source() {
    let mut world = World::start().await;
    world.relay("relay-a", warming);
    for own_lane in [true, false] {
        let campaign = send(&world, &people(200, "a.pretend.example"), own_lane).await;
        let n = world.until(campaign, 60, |n| n.waiting == 0).await;
        assert_eq!((n.delivered, n.deferrals), (200, 0), "{n:?}");
    }
    let at_a = delivered(&world, "@a.pretend.example").await;
    assert_eq!(at_a, [("out1".into(), 30), ("out2".into(), 370)].into());
    // Each provider has a plan of its own.
    let campaign = send(&world, &people(200, "b.pretend.example"), true).await;
    world.until(campaign, 60, |n| n.delivered == 200).await;
    assert_eq!(delivered(&world, "@b.pretend.example").await["out1"], 30);
    let told = world.told(EventKind::PaceChanged).await;
    let notes: Vec<&str> = told
        .iter()
        .filter(|event| event.site == "mx.a.pretend.test" && event.source == "out1")
        .map(|event| event.note.as_str())
        .collect();
    let began = "warm-up slow at mx.a.pretend.test: began, day 1 of 2, 30 in any day";
    assert!(notes.contains(&began), "{notes:?}");
    let used_up = "mx.a.pretend.test is used up, 30 in any day: more at ";
    assert!(notes.iter().any(|note| note.starts_with(used_up)), "{notes:?}");
    world.stop().await;
}

/// Of one source and two relays: fifty in an hour, and not fifty each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_share_an_hour_and_the_rest_waits_without_an_attempt() {
    let mut world = World::start().await;
    let capped = |config: &mut Config| {
        let pace = Overrides { messages_per_hour_max: Some(50), ..Overrides::default() };
        let rules = SiteRules { pace, ..SiteRules::default() };
        config.sites = [("a.pretend.test".to_owned(), rules)].into();
        config.sources = vec![source("out1", "127.0.0.2")];
        config.retry.lifetime_s = 7200;
    };
    world.relay("relay-a", capped);
    world.relay("relay-b", capped);
    let campaign = send(&world, &people(120, "a.pretend.example"), true).await;
    // A message that was granted to a relay whose line was empty is given back and not lost.
    world.until(campaign, 60, |n| n.delivered >= 48).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let n = world.counters(campaign).await;
    assert!((48..=50).contains(&n.delivered), "{n:?}");
    assert_eq!((n.waiting, n.deferrals), (120 - n.delivered, 0), "{n:?}");
    let other = send(&world, &people(60, "b.pretend.example"), true).await;
    world.until(other, 30, |n| n.delivered == 60).await;
    world.stop().await;
}
