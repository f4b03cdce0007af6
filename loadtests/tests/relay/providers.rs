//! A provider of one's own: where the pace starts, which rule decides, and what an edit does
//! while mail goes out.

use std::path::Path;
use std::time::Duration;

use mail::event::EventKind;
use mail::throttle::Overrides;
use mail::{CampaignId, Event, Scope};
use tempfile::TempDir;

use crate::relay::support::World;

/// What it says when somebody is too fast sounds like a refusal for ever.
const ODD: &str = r#"
name = "odd"
record = "identity"

[manner.odd]
replies = { rate = "550 5.7.1 Pretend says forty-two" }
limits = { rate_per_s = 12.0, burst = 12.0 }

[manner.sink]
tls = "none"

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{ host = "mx.a.pretend.test", address = "127.0.0.11" }]
manner = "odd"

[[provider]]
name = "b"
domains = ["b.pretend.example"]
mx = [{ host = "mx.b.pretend.test", address = "127.0.0.12" }]
manner = "sink"
tail = true
"#;

const RULE: &str = "
[[rule]]
id = 'forty-two'
category = 'rate-limited'
scope = 'source'
signal = 'rate'
retry_s = 2
any = ['pretend says forty-two']
matches = ['550 5.7.1 Pretend says forty-two']
";

/// A folder with one file, about the exchangers of `a` or `b`.
fn folder(of: &str, limits: &str, rules: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), of, limits, rules);
    folder
}

fn write(folder: &Path, of: &str, limits: &str, rules: &str) {
    let text =
        format!("title = 'Pretend'\nmx = ['*.{of}.pretend.test']\n[limits]\n{limits}\n{rules}");
    std::fs::write(folder.join("pretend.toml"), text).unwrap();
}

async fn send(world: &World, domain: &str, count: usize) -> CampaignId {
    let to: Vec<String> = (0..count).map(|i| format!("u{i}@{domain}")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let campaign = world.create(|record| record.tenant = "acme".into()).await;
    for of_batch in to.chunks(500) {
        world.fill(campaign, of_batch, true).await;
    }
    world.run(campaign).await;
    campaign
}

/// Waits until the pace was told to have changed in these words.
async fn until_told(world: &World, words: &str) -> Event {
    for _ in 0..200 {
        let told = world.told(EventKind::PaceChanged).await;
        if let Some(event) = told.into_iter().find(|event| event.note.contains(words)) {
            return event;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody told {words:?}: {:?}", world.told(EventKind::PaceChanged).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_own_rule_decides_and_its_start_is_used() {
    let mut world = World::start_in(ODD).await;
    let folder = folder("a", "rate_start = 2.0\nmessages_per_connection_max = 7", RULE);
    world.relay("relay-a", |config| config.providers = folder.path().to_owned());
    let campaign = send(&world, "a.pretend.example", 120).await;
    until_told(&world, "rate 2.0 → 2.").await;
    let n = world.until(campaign, 60, |n| n.waiting == 0).await;
    // Without the rule each 550 would be the end of a recipient.
    assert_eq!((n.delivered, n.failed), (120, 0), "{n:?}");
    let deferred = world.told(EventKind::Deferred).await;
    assert!(!deferred.is_empty(), "the provider refused nobody");
    for event in &deferred {
        assert_eq!((event.rule.as_str(), event.scope), ("pretend/forty-two", Some(Scope::Source)));
        let wait = event.next_at.unwrap().since(event.at);
        assert!(wait >= Duration::from_millis(1900), "{wait:?}");
    }
    let cut = until_told(&world, "too-fast").await;
    assert!(cut.note.starts_with("rate "), "{}", cut.note);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_while_mail_goes_out_changes_the_limits_and_a_faulty_one_does_not() {
    let mut world = World::start_in(ODD).await;
    let folder = folder("b", "rate_max = 40.0", "");
    world.relay("relay-a", |config| {
        config.providers = folder.path().to_owned();
        config.pace.rate_start = 40.0;
        config.pace.rate_max = 40.0;
    });
    let campaign = send(&world, "b.pretend.example", 1500).await;
    world.until(campaign, 20, |n| n.delivered > 40).await;

    write(folder.path(), "b", "rate_max = 2.0\nconnections_max = 1", "");
    let told = until_told(&world, "rate 40.0 → 2.0: limits").await;
    assert_eq!(told.site, "mx.b.pretend.test");
    let count = async |seconds| {
        let before = world.counters(campaign).await.delivered;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        world.counters(campaign).await.delivered - before
    };
    // What was granted before goes; then two a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let slow = count(4).await;
    assert!((2..=14).contains(&slow), "{slow} in four seconds");

    let unknown = "[[rule]]\nid = 'x'\ncategory = 'too-fast'\nany = ['x y']\nmatches = ['421 x y']";
    write(folder.path(), "b", "rate_max = 4000.0", unknown);
    let slow = count(8).await;
    assert!((4..=24).contains(&slow), "{slow} in eight seconds");

    // Sessions went on over all of it: nobody was refused or cut off.
    let before = world.counters(campaign).await;
    assert_eq!((before.failed, before.deferrals), (0, 0), "{before:?}");
    write(folder.path(), "b", "", "");
    world.until(campaign, 20, |n| n.delivered > before.delivered + 60).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_word_about_a_site_stands_above_its_provider() {
    let mut world = World::start_in(ODD).await;
    let folder = folder("b", "rate_start = 1.0\nrate_max = 1.0", "");
    world.relay("relay-a", |config| {
        config.providers = folder.path().to_owned();
        let pace = Overrides { rate_start: Some(50.0), ..Overrides::default() };
        let rules = relay::SiteRules { pace, ..Default::default() };
        config.sites.insert("b.pretend.test".into(), rules);
    });
    let campaign = send(&world, "b.pretend.example", 200).await;
    let n = world.until(campaign, 20, |n| n.waiting == 0).await;
    assert_eq!(n.delivered, 200, "{n:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_relay_does_not_start_with_a_folder_that_is_wrong() {
    let world = World::start_in(ODD).await;
    let folder = folder("b", "rate_start = 0.0", "");
    let mut config = crate::relay::support::relay_config(25);
    config.providers = folder.path().to_owned();
    let parts = crate::relay::support::parts(&world.store, world.internet.dns_address());
    let ended = relay::run(config, parts, tokio_util::sync::CancellationToken::new()).await;
    let why = ended.expect_err("refused").to_string();
    assert!(why.contains("pretend.toml: limits: rate_start is 0: it must be above 0"), "{why}");
    world.stop().await;
}
