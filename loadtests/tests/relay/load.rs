//! A relay whose host is under pressure takes less, others take the rest, and urgent mail goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mail::event::EventKind;

use crate::relay::support::{World, now};

/// A host of which a test says how much memory is used.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        host.uses(0.5);
        host
    }

    fn uses(&self, part: f64) {
        let left = ((1.0 - part) * 1e6) as u64;
        let text = format!("MemTotal: 1000000 kB\nMemAvailable: {left} kB\n");
        std::fs::write(self.0.path().join("next"), text).unwrap();
        std::fs::rename(self.0.path().join("next"), self.0.path().join("meminfo")).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The loop is on, looks at this host alone, and the pace at the site is fixed.
fn on(config: &mut relay::Config, host: &Host, rate: f64) {
    config.load.enabled = true;
    config.load.proc_folder = host.path().to_owned();
    config.load.cgroup_folder = host.path().to_owned();
    // This test's own event loop and Redis are busy with other things.
    config.load.event_loop_from_ms = 20_000.0;
    config.load.event_loop_full_ms = 30_000.0;
    config.load.store_from_ms = 20_000.0;
    config.load.store_full_ms = 30_000.0;
    config.pace.rate_start = rate;
    config.pace.rate_min = rate;
    config.pace.rate_max = rate;
    config.pace.connections_start = 10;
    config.retry.lifetime_s = 600;
}

fn people(n: usize, of: &str) -> Vec<String> {
    (0..n).map(|i| format!("{of}{i}@a.pretend.example")).collect()
}

async fn fill(world: &World, campaign: mail::CampaignId, people: &[String]) {
    for some in people.chunks(200) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        world.fill(campaign, &some, true).await;
    }
}

/// What each relay delivered within so long from now on.
async fn delivered(world: &World, within: Duration) -> BTreeMap<String, usize> {
    let from = now();
    tokio::time::sleep(within).await;
    let until = now();
    let mut counts = BTreeMap::new();
    for event in world.told(EventKind::Delivered).await {
        if event.at >= from && event.at < until {
            let relay = event.service.split('-').take(2).collect::<Vec<_>>().join("-");
            *counts.entry(relay).or_default() += 1;
        }
    }
    counts
}

fn part(counts: &BTreeMap<String, usize>, relay: &str) -> f64 {
    let all: usize = counts.values().sum();
    counts.get(relay).copied().unwrap_or(0) as f64 / all.max(1) as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_under_pressure_takes_less_and_the_other_takes_more_within_seconds() {
    let mut world = World::start().await;
    let (pressed, well) = (Host::new(), Host::new());
    world.relay("relay-a", |config| on(config, &pressed, 100.0));
    world.relay("relay-b", |config| on(config, &well, 100.0));
    let campaign = world.create(|_| {}).await;
    fill(&world, campaign, &people(6_000, "u")).await;
    world.run(campaign).await;
    world.until(campaign, 20, |n| n.delivered > 100).await;
    let even = delivered(&world, Duration::from_secs(4)).await;
    assert!((0.3..0.7).contains(&part(&even, "relay-a")), "{even:?}");

    pressed.uses(0.999);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let shifted = delivered(&world, Duration::from_secs(4)).await;
    assert!(part(&shifted, "relay-a") < 0.2, "{shifted:?}");
    let all: usize = shifted.values().sum();
    assert!(all >= 320, "the other has not taken the rest of 400: {shifted:?}");
    let relays = world.store.relays().await.unwrap();
    let record = |name: &str| &relays.iter().find(|(id, _)| id.starts_with(name)).unwrap().1;
    assert_eq!(record("relay-a").budget_percent, 10, "{relays:?}");
    assert_eq!(record("relay-a").pressed_by, ["memory 100 % used (over 95 %)"]);
    assert_eq!(record("relay-b").budget_percent, 100, "{relays:?}");

    pressed.uses(0.5);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let again = delivered(&world, Duration::from_secs(4)).await;
    assert!((0.3..0.7).contains(&part(&again, "relay-a")), "{again:?}");
    let notes: Vec<String> =
        world.told(EventKind::PaceChanged).await.into_iter().map(|event| event.note).collect();
    let budgets: Vec<&String> = notes.iter().filter(|note| note.starts_with("budget")).collect();
    assert_eq!(budgets, ["budget 10 %: memory 100 % used (over 95 %)", "budget 100 %"]);
    let n = world.until(campaign, 60, |n| n.waiting == 0).await;
    assert_eq!((n.delivered, n.deferrals, n.duplicates), (6_000, 0, 0), "{n:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urgent_mail_goes_on_while_a_relay_is_under_pressure() {
    let mut world = World::start().await;
    let host = Host::new();
    host.uses(0.999);
    world.relay("relay-a", |config| on(config, &host, 200.0));
    let ordinary = world.create(|_| {}).await;
    fill(&world, ordinary, &people(2_000, "u")).await;
    world.run(ordinary).await;
    world.until(ordinary, 20, |n| n.delivered > 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = world.counters(ordinary).await.delivered;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let slow = world.counters(ordinary).await.delivered - before;
    assert!((10..=110).contains(&slow), "{slow} of 600 in 3 s");

    let urgent = world.create(|record| record.priority = 0).await;
    fill(&world, urgent, &people(40, "v")).await;
    let began = std::time::Instant::now();
    world.run(urgent).await;
    world.until(urgent, 10, |n| n.delivered == 40).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let n = world.counters(ordinary).await;
    assert!(n.waiting > 1_000, "{n:?}");
    host.uses(0.5);
    let n = world.until(ordinary, 60, |n| n.waiting == 0).await;
    assert_eq!((n.delivered, n.deferrals), (2_000, 0), "{n:?}");
    world.stop().await;
}
