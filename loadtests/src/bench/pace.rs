//! The pace over real sockets: relays as they are, in front of one site with a hidden limit, judged
//! second by second as the simulation is.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::platform::Platform;
use super::setup::{FOUND, Setup};
use crate::client::{metric, page};
use crate::generator::{Generator, Template};
use crate::program::Program;
use crate::scenario::{Move, Scenario};
use crate::simulate::{Score, Second, judge};

const SECOND: Duration = Duration::from_secs(1);
/// How long the site takes to answer the final dot, as in the simulation.
const ANSWERS_MS: u64 = 40;

/// What to measure.
#[derive(Debug, Clone)]
pub struct PaceWish {
    /// Relays that share the work.
    pub relays: u16,
    /// Messages a second that the site takes.
    pub limit: f64,
    /// From a second on it takes so many instead.
    pub then: Option<(u64, f64)>,
    /// How long to watch, in seconds.
    pub seconds: u64,
    /// The seed of the recipients.
    pub seed: u64,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct PaceRun {
    /// Its name.
    pub name: String,
    /// Whose pace.
    pub policy: &'static str,
    /// Relays that shared the work.
    pub relays: u16,
    /// How it went, by the rules of the simulation.
    #[serde(flatten)]
    pub score: Score,
    /// Attempts, and those that the site refused.
    pub attempts: u64,
    /// See `attempts`.
    pub refusals: u64,
}

/// Makes one measurement on a fresh platform.
///
/// # Errors
/// When the platform cannot be set up, or does not deliver.
pub async fn pace(program: &Program, wish: &PaceWish) -> Result<PaceRun> {
    let mut scenario = Scenario::named("throughput")?;
    let sink = scenario.manner.get_mut("sink").context("the scenario has no sink")?;
    sink.limits.rate_per_s = wish.limit;
    sink.limits.shared = true;
    sink.delays.dot_ms = ANSWERS_MS;
    let moved = |(after_s, rate_per_s)| Move { after_ms: after_s * 1000, rate_per_s };
    sink.limits.moves = wish.then.map(moved).into_iter().collect();
    let setup =
        Setup { connections: 0, messages_per_connection: 0, rate: FOUND, ..Setup::plain(scenario) };
    Platform::measured(program, &setup, async |platform| measure(platform, wish).await).await
}

async fn measure(platform: &mut Platform, wish: &PaceWish) -> Result<PaceRun> {
    let highest = wish.then.map_or(wish.limit, |(_, then)| then.max(wish.limit));
    let recipients = (highest * wish.seconds as f64 * 1.5) as u64 + 1000;
    let (client, sender) = platform.add_tenant("pace").await?;
    let campaign = client.create_urgent(&sender, &Template::of_size(2_000), 1).await?;
    client.upload(&campaign, Generator::new(wish.seed, recipients).part(0..recipients)).await?;
    let accepted = client.close(&campaign).await?;
    ensure!(accepted == recipients, "{accepted} of {recipients} were accepted");
    client.start(&campaign).await?;
    platform.start_relays(wish.relays).await?;
    let (seconds, jumps) = watch(platform, wish).await?;
    let by_relay = delivered_by_relay(platform).await?;
    let attempts = seconds.iter().map(|s| u64::from(s.sent)).sum();
    let refusals = seconds.iter().map(|s| u64::from(s.refused)).sum();
    Ok(PaceRun {
        name: match wish.then {
            Some((_, then)) => format!("step from {} to {then}", wish.limit),
            None => format!("constant {}", wish.limit),
        },
        policy: "ours",
        relays: wish.relays,
        score: judge(&seconds, &by_relay, &jumps, 1.0),
        attempts,
        refusals,
    })
}

/// Second by second, what the site took and refused; from the first message on.
async fn watch(platform: &mut Platform, wish: &PaceWish) -> Result<(Vec<Second>, Vec<f64>)> {
    let book = platform.internet.book();
    let patience = Instant::now() + Duration::from_secs(30);
    while book.delivered() == 0 {
        platform.is_well()?;
        ensure!(Instant::now() < patience, "nothing is delivered after 30 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let first_s = f64::from(book.now_ms()) / 1000.0;
    let counts = || {
        let live = book.live();
        live.values().fold((0, 0), |(d, l), live| (d + live.delivered, l + live.limited))
    };
    let mut seconds = Vec::new();
    let mut before = (0, 0);
    let mut next = Instant::now();
    for second in 0..wish.seconds {
        next += SECOND;
        tokio::time::sleep_until(next.into()).await;
        platform.is_well()?;
        let now = counts();
        let (passed, refused) = ((now.0 - before.0) as u32, (now.1 - before.1) as u32);
        before = now;
        let at_s = first_s + second as f64;
        let then = wish.then.filter(|(after_s, _)| at_s >= *after_s as f64);
        let allowed = then.map_or(wish.limit, |(_, rate)| rate);
        seconds.push(Second { allowed, sent: passed + refused, passed, refused });
    }
    let jumps = wish.then.map(|(after_s, _)| (after_s as f64 - first_s).max(0.0));
    Ok((seconds, jumps.into_iter().collect()))
}

async fn delivered_by_relay(platform: &Platform) -> Result<Vec<u64>> {
    let mut by_relay = Vec::new();
    for at in platform.relay_pages() {
        let page = page(&format!("http://{at}/metrics")).await?;
        by_relay
            .push(metric(&page, "malleposte_relay_settled_total{outcome=\"delivered\"}") as u64);
    }
    Ok(by_relay)
}
