//! Send windows and lifetimes: nothing goes when it is night where the recipient lives,
//! and what can never go in time ends with a reason.

use std::time::Duration;

use mail::event::EventKind;
use mail::window::{Opening, Weekday, Window};
use store::BatchBuilder;

use crate::relay::support::{World, now};

/// A window of two hours that is open now in UTC, and closed eight hours east of it.
fn open_now() -> Window {
    let minutes = now().secs() / 60 % 1440;
    let at = |minutes: u64| {
        let minutes = minutes % 1440;
        format!("{:02}:{:02}", minutes / 60, minutes % 60).parse().unwrap()
    };
    Window {
        from: at(minutes + 1440 - 60),
        until: at(minutes + 60),
        days: Weekday::ALL.to_vec(),
        zone: "UTC".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_waits_for_the_window_on_their_own_clock() {
    let mut world = World::start().await;
    world.relay("relay-a", |config| config.retry.lifetime_s = 3 * 86_400);
    let campaign = world.create(|record| record.window = Some(open_now())).await;
    let to = [
        ("here@a.pretend.example", ""),
        ("utc@a.pretend.example", "UTC"),
        ("perth@a.pretend.example", "Australia/Perth"),
    ];
    world.fill_zoned(campaign, BatchBuilder::with_zones(3), &to, true).await;
    world.run(campaign).await;
    world.until(campaign, 15, |n| n.delivered == 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let n = world.counters(campaign).await;
    assert_eq!((n.delivered, n.waiting, n.deferrals), (2, 1, 0));
    assert!(world.internet.book().recipient("perth@a.pretend.example").is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_go_within_its_lifetime_expires_with_the_reason() {
    let mut world = World::start().await;
    let mut closed = open_now();
    std::mem::swap(&mut closed.from, &mut closed.until);
    assert!(matches!(closed.opening("", now()), Opening::At(_)));
    let late = world
        .create(|record| {
            record.window = Some(closed);
            record.lifetime_s = Some(120);
        })
        .await;
    world.fill_zoned(late, BatchBuilder::with_zones(3), &[("x@a.pretend.example", "")], true).await;
    world.run(late).await;
    // Nobody listens at that port: its lifetime passes without an answer.
    world.relay("relay-a", |config| config.port = 1);
    let dead = world.create(|record| record.lifetime_s = Some(6)).await;
    world.fill(dead, &["y@b.pretend.example"], true).await;
    world.run(dead).await;
    world.until(late, 15, |n| n.expired == 1).await;
    world.until(dead, 30, |n| n.expired == 1).await;
    let expired = world.told(EventKind::Expired).await;
    let reason = |campaign| &expired.iter().find(|e| e.campaign == Some(campaign)).unwrap().note;
    assert_eq!(reason(late), "its send window opens after its lifetime");
    assert!(reason(dead).to_lowercase().contains("refused"), "{}", reason(dead));
    world.stop().await;
}
