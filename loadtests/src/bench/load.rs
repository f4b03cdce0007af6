//! What a relay does when others take its host: an ordinary campaign and many small urgent ones go
//! at a fixed rate, then threads that do nothing but count take the processors for a while. Read
//! from the relay's own metrics and the sink's book.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::DURABILITY;
use super::platform::Platform;
use super::setup::{SENDER, Setup, Signing};
use crate::generator::{Generator, Spread, Template, index_of};
use crate::program::Program;
use crate::scenario::Scenario;

/// Between two looks at the relay's numbers.
const LOOK: Duration = Duration::from_millis(250);
/// An urgent campaign starts so often.
const URGENT_EVERY: Duration = Duration::from_millis(500);
/// How long the relay is watched after the stress.
const AFTER_S: u64 = 25;
/// The budget is back from here on.
const BACK: f64 = 0.95;
const CONNECTIONS: u32 = 20;

/// What to measure.
#[derive(Debug, Clone)]
pub struct LoadWish {
    /// Messages a second of the one site.
    pub rate: f64,
    /// Threads that take the processors.
    pub threads: usize,
    /// Seconds before the stress.
    pub before_s: u64,
    /// Seconds of it.
    pub stress_s: u64,
    /// Recipients of each urgent campaign; two of them start each second.
    pub urgent: u64,
    /// The seed of the recipients.
    pub seed: u64,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct LoadRun {
    /// The relay's ceiling before the stress, the mean, in messages a second.
    pub ceiling_before: f64,
    /// The least during it.
    pub ceiling_least: f64,
    /// The budget: the mean before the stress, and the least during it.
    pub budget_before: f64,
    /// See `budget_before`.
    pub budget_least: f64,
    /// From the beginning of the stress until the ceiling had lost a third.
    pub fell_after_s: Option<f64>,
    /// From its end until the budget was back.
    pub recovered_after_s: Option<f64>,
    /// Messages a second that went, urgent ones included, before and during the stress.
    pub went_before: f64,
    /// See `went_before`.
    pub went_during: f64,
    /// From the start of an urgent campaign to a delivery of it, the 99th percentile, in
    /// milliseconds, before and during the stress.
    pub urgent_p99_before_ms: u32,
    /// See `urgent_p99_before_ms`.
    pub urgent_p99_during_ms: u32,
    /// Urgent messages that were not delivered.
    pub urgent_lost: u64,
    /// Attempts that ended otherwise than with the message taken: sessions that were lost.
    pub sessions_lost: u64,
    /// Messages delivered twice.
    pub duplicates: u64,
    /// Second and budget, four times a second.
    pub budgets: Vec<(f64, f64)>,
    /// What was measured.
    pub rate: f64,
    /// See `rate`.
    pub threads: usize,
    /// See `rate`.
    pub stress_s: u64,
    /// What an answer of the store was worth.
    pub durability: &'static str,
}

/// Threads that count as fast as they can, until they are dropped.
struct Stress {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<u64>>,
}

impl Stress {
    fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |stop: Arc<AtomicBool>| {
            let mut turns = 0u64;
            while !stop.load(Ordering::Relaxed) {
                turns = std::hint::black_box(turns.wrapping_add(1));
            }
            turns
        };
        let spinning = (0..threads).map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || spin(stop))
        });
        Self { threads: spinning.collect(), stop: stop.clone() }
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// An urgent campaign, and when it was started by the book's clock; 0: not yet.
struct Urgent {
    campaign: String,
    started_ms: Arc<AtomicU64>,
}

/// A look at the relay.
struct Look {
    at: Duration,
    budget: f64,
    ceiling: f64,
    delivered: u64,
}

/// Makes one measurement on a fresh platform.
///
/// # Errors
/// When the platform cannot be set up, or queue and history disagree at its end.
pub async fn load(program: &Program, wish: &LoadWish) -> Result<LoadRun> {
    let setup = Setup {
        signing: Signing::Rsa2048,
        connections: CONNECTIONS,
        rate: wish.rate,
        ..Setup::plain(Scenario::named("throughput")?)
    };
    Platform::measured(program, &setup, async |platform| measure(platform, wish).await).await
}

async fn measure(platform: &mut Platform, wish: &LoadWish) -> Result<LoadRun> {
    let seconds = wish.before_s + wish.stress_s + AFTER_S;
    let urgents = u128::from(seconds) * 1000 / URGENT_EVERY.as_millis();
    let ordinary = (wish.rate * seconds as f64) as u64 + 1000;
    let recipients = ordinary + urgents as u64 * wish.urgent;
    let all = Generator::new(wish.seed, recipients).with_spread(Spread::One);
    let template = Template::of_size(10_000);
    let campaign = platform.client.create(SENDER, &template).await?;
    platform.client.upload(&campaign, all.part(0..ordinary)).await?;
    platform.client.close(&campaign).await?;
    let mut prepared = Vec::new();
    for n in 0..urgents as u64 {
        let first = ordinary + n * wish.urgent;
        let campaign = platform.client.create_urgent(SENDER, &template, 0).await?;
        platform.client.upload(&campaign, all.part(first..first + wish.urgent)).await?;
        platform.client.close(&campaign).await?;
        prepared.push(Urgent { campaign, started_ms: Arc::default() });
    }
    platform.start_relays(1).await?;
    platform.client.start(&campaign).await?;
    // The first seconds are the relay's own beginning.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let looks = watch(platform, wish, &prepared).await?;
    let (before, during) = latencies(platform, wish, ordinary, &prepared).await?;
    let page = platform.relay_page(0).await?;
    let lost = ["malleposte_relay_failed_attempts_total", "malleposte_relay_unanswered_total"];
    let sessions_lost: f64 = lost.iter().map(|name| crate::client::metric(&page, name)).sum();
    let started = prepared.iter().filter(|u| u.started_ms.load(Ordering::Relaxed) > 0).count();
    let wanted = started as u64 * wish.urgent;
    let delivered = (before.len() + during.len()) as u64;
    let mut run = judge(wish, &looks, before, during)?;
    run.sessions_lost = sessions_lost as u64;
    run.duplicates = platform.internet.book().duplicates().len() as u64;
    run.urgent_lost = wanted.saturating_sub(delivered);
    Ok(run)
}

/// Looks on while the stress begins and ends, and starts an urgent campaign now and then.
async fn watch(platform: &mut Platform, wish: &LoadWish, urgents: &[Urgent]) -> Result<Vec<Look>> {
    let (from, until) = phases(wish);
    let end = until + Duration::from_secs(AFTER_S);
    let began = Instant::now();
    let mut urgents = urgents.iter();
    let (mut looks, mut stress, mut next_urgent) = (Vec::new(), None, Duration::ZERO);
    while began.elapsed() < end {
        let at = began.elapsed();
        if at >= from && at < until && stress.is_none() {
            stress = Some(Stress::start(wish.threads));
        }
        if at >= until {
            stress = None;
        }
        if at >= next_urgent {
            next_urgent += URGENT_EVERY;
            if let Some(urgent) = urgents.next() {
                let now_ms = u64::from(platform.internet.book().now_ms());
                urgent.started_ms.store(now_ms, Ordering::Relaxed);
                let (client, campaign) = (platform.client.clone(), urgent.campaign.clone());
                tokio::spawn(async move { client.start(&campaign).await });
            }
        }
        let page = platform.relay_page(0).await?;
        let metric = |name| crate::client::metric(&page, name);
        looks.push(Look {
            at: began.elapsed(),
            budget: metric("malleposte_relay_budget"),
            ceiling: metric("malleposte_relay_ceiling"),
            delivered: platform.internet.book().delivered(),
        });
        platform.is_well()?;
        tokio::time::sleep(LOOK.saturating_sub(began.elapsed() - at)).await;
    }
    Ok(looks)
}

/// Where the stress begins and ends, after the first look.
fn phases(wish: &LoadWish) -> (Duration, Duration) {
    let from = Duration::from_secs(wish.before_s);
    (from, from + Duration::from_secs(wish.stress_s))
}

/// Milliseconds from the start of each urgent campaign to each of its deliveries: of those that
/// were started before the stress or after it, and during it.
async fn latencies(
    platform: &Platform,
    wish: &LoadWish,
    first: u64,
    urgents: &[Urgent],
) -> Result<(Vec<u32>, Vec<u32>)> {
    // What was started last has until then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started: Vec<u64> = urgents.iter().map(|u| u.started_ms.load(Ordering::Relaxed)).collect();
    let begun = started.first().copied().context("no urgent campaign was started")?;
    let (from, until) = phases(wish);
    let stressed = begun + from.as_millis() as u64..begun + until.as_millis() as u64;
    let (mut calm, mut during) = (Vec::new(), Vec::new());
    platform.internet.book().for_each(|entry| {
        let index = index_of(&entry.address).filter(|index| *index >= first);
        let place = index.map(|index| ((index - first) / wish.urgent) as usize);
        let Some(start) = place.and_then(|place| started.get(place)).filter(|s| **s > 0) else {
            return;
        };
        let Some(last) = entry.last.filter(|_| entry.taken > 0) else { return };
        let took = u64::from(last.at_ms).saturating_sub(*start) as u32;
        if stressed.contains(start) { during.push(took) } else { calm.push(took) }
    });
    Ok((calm, during))
}

fn judge(
    wish: &LoadWish,
    looks: &[Look],
    mut calm: Vec<u32>,
    mut during: Vec<u32>,
) -> Result<LoadRun> {
    let (from, until) = phases(wish);
    let within = |a: Duration, b: Duration| {
        looks.iter().filter(move |look| look.at >= a && look.at < b).collect::<Vec<_>>()
    };
    let (before, stressed) = (within(Duration::ZERO, from), within(from, until));
    let after = within(until, Duration::MAX);
    ensure!(!before.is_empty() && !stressed.is_empty(), "the relay was not looked at");
    let mean = |of: &dyn Fn(&Look) -> f64| {
        before.iter().map(|look| of(look)).sum::<f64>() / before.len() as f64
    };
    let least = |of: &dyn Fn(&Look) -> f64| stressed.iter().map(|l| of(l)).fold(f64::MAX, f64::min);
    let ceiling_before = mean(&|look| look.ceiling);
    let fallen = stressed.iter().find(|look| look.ceiling <= ceiling_before * 2.0 / 3.0);
    let back = after.iter().find(|look| look.budget >= BACK);
    Ok(LoadRun {
        ceiling_before,
        ceiling_least: least(&|look| look.ceiling),
        budget_before: mean(&|look| look.budget),
        budget_least: least(&|look| look.budget),
        fell_after_s: fallen.map(|look| (look.at - from).as_secs_f64()),
        recovered_after_s: back.map(|look| (look.at - until).as_secs_f64()),
        went_before: speed(&before),
        went_during: speed(&stressed),
        urgent_p99_before_ms: p99(&mut calm)?,
        urgent_p99_during_ms: p99(&mut during)?,
        urgent_lost: 0,
        sessions_lost: 0,
        duplicates: 0,
        budgets: looks.iter().map(|look| (look.at.as_secs_f64(), look.budget)).collect(),
        rate: wish.rate,
        threads: wish.threads,
        stress_s: wish.stress_s,
        durability: DURABILITY,
    })
}

fn speed(looks: &[&Look]) -> f64 {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return 0.0 };
    let seconds = (last.at - first.at).as_secs_f64();
    (last.delivered - first.delivered) as f64 / seconds.max(0.001)
}

fn p99(latencies: &mut [u32]) -> Result<u32> {
    latencies.sort_unstable();
    let place = (latencies.len() * 99).div_ceil(100).max(1) - 1;
    latencies.get(place).copied().context("no urgent message was delivered")
}
