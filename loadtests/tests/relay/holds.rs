//! What a site says against a sender is held there and for that sender alone: others go on at the
//! same site, the same sender goes on elsewhere, and nobody's pace is touched.

use std::time::{Duration, Instant};

use mail::event::EventKind;
use mail::holds::{Hold, Kind};
use mail::{CampaignId, Category, Scope, classify::Signal};
use store::{CampaignRecord, Feedback};

use crate::relay::support::{SENDER, World, now};

const OTHER: &str = "other.malleposte.test";
const A: &str = "mx.a.pretend.test";

/// Two sites; the first has one sender's domain over its quota for a while.
fn scenario(for_ms: u64) -> String {
    format!(
        r#"
name = "quota"
record = "identity"

[manner.a]
style = "gmail"
tls = "none"
quotas = [{{ sender = "{SENDER}", for_ms = {for_ms} }}]

[manner.b]
tls = "none"
fates = {{ busy = 0.5 }}

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{{ host = "{A}", address = "127.0.0.11" }}]
manner = "a"

[[provider]]
name = "b"
domains = ["b.pretend.example"]
mx = [{{ host = "mx.b.pretend.test", address = "127.0.0.12" }}]
manner = "b"
tail = true
"#
    )
}

fn to(domain: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("u{n}@{domain}")).collect()
}

async fn campaign(
    world: &World,
    adjust: impl FnOnce(&mut CampaignRecord),
    to: &[String],
) -> CampaignId {
    let campaign = world.create(adjust).await;
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    world.fill(campaign, &to, true).await;
    world.run(campaign).await;
    campaign
}

fn from_other(record: &mut CampaignRecord) {
    record.template.from_address = format!("news@{OTHER}").parse().unwrap();
}

fn gently(config: &mut relay::Config) {
    // Nothing is signed: the other sender has no key here.
    config.sign = false;
    config.pace.rate_start = 20.0;
    config.retry.lifetime_s = 600;
    config.holds.quota_s = 4;
}

async fn until_held(world: &World, count: usize) -> Vec<Hold> {
    let began = Instant::now();
    loop {
        let holds = world.store.holds(now()).await.unwrap();
        if holds.len() >= count {
            return holds;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{holds:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_senders_quota_holds_that_sender_there_alone_and_ends_with_a_trial() {
    let mut world = World::start_in(&scenario(12_000)).await;
    world.relay("relay-a", gently);
    world.relay("relay-b", gently);
    let quota = campaign(&world, |_| {}, &to("a.pretend.example", 60)).await;
    let held = until_held(&world, 1).await;
    assert_eq!(held.len(), 1, "{held:?}");
    let (kind, name, site) =
        (held[0].key.kind, held[0].key.name.as_str(), held[0].key.site.as_str());
    assert_eq!((kind, name, site), (Kind::SenderDomain, SENDER, A));
    assert!(held[0].reason.contains("its quota there is used up"), "{}", held[0].reason);
    assert!(held[0].answer.contains("your DKIM domain"), "{}", held[0].answer);
    let since = world.counters(quota).await.deferrals;

    // Another sender there, and the same sender elsewhere, go on as if nothing had happened.
    let others = campaign(&world, from_other, &to("a.pretend.example", 40)).await;
    let elsewhere = campaign(&world, |_| {}, &to("b.pretend.example", 20)).await;
    world.until(others, 10, |n| n.delivered == 40).await;
    let n = world.until(elsewhere, 20, |n| n.delivered == 20).await;
    // Busy mailboxes waited alone: the rest had gone at once.
    assert!((1..=20).contains(&n.deferrals), "{n:?}");
    let n = world.counters(quota).await;
    assert_eq!(n.delivered, 0);
    assert!(n.deferrals <= since + 20, "those under way, and some on trial: {since} then {n:?}");
    assert!(
        world.told(EventKind::PaceChanged).await.iter().all(|e| !e.note.contains("too-fast")),
        "the pace is not told"
    );

    // The quota ends; a trial finds it out, and the rest follows.
    world.until(quota, 90, |n| n.delivered == 60).await;
    assert!(world.store.holds(now()).await.unwrap().is_empty());
    let told = world.told(EventKind::Ordered).await;
    let id = held[0].id;
    let begins = format!("order {id}: hold sender-domain {SENDER} at {A} until ");
    let first = told.iter().find(|e| e.note.starts_with(&begins)).expect("told");
    assert!(first.note.contains(" by automatic: ") && first.site == A, "{}", first.note);
    let ends =
        format!("order {id} ended: hold sender-domain {SENDER} at {A}: messages on trial passed");
    assert!(told.iter().any(|e| e.note == ends), "{told:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_lets_go_goes_although_the_site_objects() {
    let mut world = World::start_in(&scenario(8_000)).await;
    world.relay("relay-a", |config| {
        gently(config);
        config.holds.quota_s = 600;
    });
    let quota = campaign(&world, |_| {}, &to("a.pretend.example", 30)).await;
    let held = until_held(&world, 1).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(world.counters(quota).await.delivered, 0, "nobody knows that it is over");
    let respite = Duration::from_secs(3600);
    let undone = world.store.cancel_hold(held[0].id, "tester", "it is over", now(), respite).await;
    assert!(undone.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.store.expedite(quota).await.unwrap();
    world.until(quota, 20, |n| n.delivered == 30).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_news_hold_as_well_and_those_about_strangers_do_no_harm() {
    let mut world = World::start_in(&scenario(0)).await;
    world.relay("relay-a", gently);
    let waits = world.create(|_| {}).await;
    let news = |campaign, domain: &str, signal| Feedback {
        domain: domain.into(),
        category: Some(Category::RateLimited),
        scope: Scope::SenderDomain,
        signal: Some(signal),
        campaign: Some(campaign),
        said: "421 4.7.28 too much from your DKIM domain".into(),
    };
    let strangers = [
        news(CampaignId(99), "a.pretend.example", Signal::SenderDomain),
        news(waits, "nowhere.pretend.example", Signal::SenderDomain),
        news(waits, "not a domain", Signal::LinkDomain),
        Feedback { campaign: None, ..news(waits, "a.pretend.example", Signal::Content) },
        Feedback { category: None, ..news(waits, "a.pretend.example", Signal::Content) },
    ];
    world.raw("RPUSH", &["mp:feedback", "\u{7f}unreadable"]).await;
    for _ in 0..4 {
        for stranger in &strangers {
            world.store.put_feedback(stranger).await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.store.hold_records().await.unwrap().is_empty());
    for _ in 0..3 {
        let late = news(waits, "a.pretend.example", Signal::SenderDomain);
        world.store.put_feedback(&late).await.unwrap();
    }
    let held = until_held(&world, 1).await;
    assert_eq!((held[0].key.name.as_str(), held[0].key.site.as_str()), (SENDER, A));
    let goes = campaign(&world, from_other, &to("a.pretend.example", 5)).await;
    world.until(goes, 10, |n| n.delivered == 5).await;
    world.stop().await;
}
