//! A campaign reaches everybody it can.

use std::time::Duration;

use loadtests::{Generator, Internet, Listen, Scenario};
use mail::event::EventKind;
use mail::queue::CampaignState;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::redis::Redis;
use crate::relay::support::{
    World, add_campaign, add_sender, enqueue, parts, relay_config, wait_until_done,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_reaches_everybody_it_can() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into()))
        .try_init();
    let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let scenario = Scenario::named("demo").unwrap();
    let internet = Internet::start(scenario, Listen::default()).await.unwrap();
    let store = Store::open(&redis.config()).await.unwrap();
    add_sender(&store, &internet).await;
    let campaign = add_campaign(&store).await;
    let recipients = Generator::new(1, 600);
    enqueue(&store, campaign, &recipients).await;
    store.set_campaign_state(campaign, CampaignState::Running, 1).await.unwrap();
    let stopping = CancellationToken::new();
    let config = relay_config(internet.smtp_port());
    let relay =
        tokio::spawn(relay::run(config, parts(&store, internet.dns_address()), stopping.clone()));

    let counters = wait_until_done(&store, campaign, Duration::from_secs(90)).await;
    stopping.cancel();
    relay.await.unwrap().unwrap();

    let book = internet.book().summary();
    assert_eq!(counters.accepted, 600);
    assert!(internet.book().violations().is_empty(), "{:?}", internet.book().violations());
    assert_eq!(book.unstable, 0, "Message-ID and return path stay the same");
    let mut wrong = Vec::new();
    for r in recipients.iter() {
        let meant = internet.meant(&r.address);
        let taken = internet.book().recipient(&r.address).is_some_and(|e| e.taken > 0);
        let should = matches!(
            meant.end,
            loadtests::internet::End::Delivered | loadtests::internet::End::Returned(_)
        );
        if taken != should {
            wrong.push((r.address.clone(), meant, taken));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(book.delivered, counters.delivered);
    assert!(book.duplicates <= book.unheard, "{book:?}");
    internet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_where_aliases_lead_and_where_dns_speaks_only_over_tcp() {
    let mut world = World::start().await;
    world.relay("relay-a", |_| {});
    for (label, host) in [
        ("cname", "mx.a.pretend.test"),
        ("cname-mx", "alias.fault.test"),
        ("truncated", "mx.a.pretend.test"),
    ] {
        let to = format!("ann@{label}.fault.test");
        let campaign = world.campaign("t", &[&to], true).await;
        let n = world.until(campaign, 20, |n| n.waiting == 0).await;
        assert_eq!((n.delivered, n.deferrals), (1, 0), "{label}: {n:?}");
        let told = world.told(EventKind::Delivered).await;
        let event = told.iter().find(|event| event.campaign == Some(campaign)).unwrap();
        assert_eq!(event.mx, format!("{host} [127.0.0.11]"), "{label}");
    }
    world.stop().await;
}
