//! As many domains as recipients against one domain with all of them: the long tail must
//! flow as well, and leave nothing behind in the relay or in Redis.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::platform::Platform;
use super::setup::{SENDER, Setup};
use super::{DURABILITY, PerService};
use crate::generator::{Generator, Spread, Template};
use crate::program::Program;
use crate::scenario::Scenario;

/// A measurement that is slower than this many messages a second has gone wrong.
const RATE_MIN: f64 = 50.0;
/// What a site that carried one message leaves in Redis is gone after this.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(15);

/// How the recipients are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Tail {
    /// All in one domain.
    OneDomain,
    /// Each in a domain of its own, all of them at one provider: one site.
    OneSite,
    /// Each in a domain of its own with a mail exchanger of its own: as many sites.
    OwnSites,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct TailRun {
    /// How they were spread.
    pub tail: Tail,
    /// Recipients.
    pub recipients: u64,
    /// Connections opened.
    pub connections: u64,
    /// From the start of the campaign to the last delivery.
    pub seconds: f64,
    /// Messages a second.
    pub messages_per_s: f64,
    /// Until half were delivered, in seconds: how much of it was the last few.
    pub half_s: f64,
    /// Processor time of the delivery alone for one message, in microseconds.
    pub delivery_cpu_us: PerService,
    /// Most memory resident, in MiB.
    pub rss_mb: PerService,
    /// Redis's memory without its clients' buffers before the campaign was made, at the last
    /// delivery, and a while after, in octets.
    pub redis_before: u64,
    /// See `redis_before`.
    pub redis_at_end: u64,
    /// See `redis_before`.
    pub redis_after: u64,
    /// Records of paces listed at the end.
    pub paces_listed: u64,
    /// What an answer of the store was worth.
    pub durability: &'static str,
}

/// Makes one measurement on a fresh platform.
///
/// # Errors
/// When the platform cannot be set up, or does not deliver each message exactly once.
pub async fn longtail(program: &Program, tail: Tail, recipients: u64) -> Result<TailRun> {
    let mut scenario = Scenario::named("throughput")?;
    scenario.dns.own_mx = tail == Tail::OwnSites;
    let setup = Setup {
        // What is measured is the queue, whatever else the host does.
        more: "[relay.load]\nenabled = false\n".to_owned(),
        ..Setup::plain(scenario)
    };
    Platform::measured(program, &setup, async |platform| measure(platform, tail, recipients).await)
        .await
}

async fn measure(platform: &mut Platform, tail: Tail, recipients: u64) -> Result<TailRun> {
    let redis_before = platform.redis_data().await?;
    let id = platform.client.create(SENDER, &Template::of_size(2_000)).await?;
    let spread = if tail == Tail::OneDomain { Spread::One } else { Spread::Each };
    let list = Generator::new(1, recipients).with_spread(spread);
    platform.client.upload(&id, list).await?;
    let accepted = platform.client.close(&id).await?;
    ensure!(accepted == recipients, "{accepted} of {recipients} were accepted");
    platform.start_relays(1).await?;
    let (before, began) = (platform.times()?, Instant::now());
    platform.client.start(&id).await?;
    let patience = Duration::from_secs_f64(20.0 + recipients as f64 / RATE_MIN);
    let half = platform.await_delivered(recipients / 2, began, patience).await?;
    let took = platform.await_delivered(recipients, began, patience).await?;
    let redis_at_end = platform.redis_data().await?;
    let spent = platform.times()?.since(before);
    tokio::time::sleep(FORGOTTEN_WITHIN).await;
    let book = platform.internet.book().summary();
    ensure!(
        book.delivered == recipients && book.duplicates == 0,
        "{} of {recipients} were delivered, {} of them twice",
        book.delivered,
        book.duplicates
    );
    Ok(TailRun {
        tail,
        recipients,
        connections: book.providers.values().map(|live| live.connections).sum(),
        seconds: took.as_secs_f64(),
        messages_per_s: (recipients as f64 / took.as_secs_f64()).round(),
        half_s: half.as_secs_f64(),
        delivery_cpu_us: spent.for_each_of(recipients),
        rss_mb: platform.peaks()?,
        redis_before,
        redis_at_end,
        redis_after: platform.redis_data().await?,
        paces_listed: platform.paces_listed().await?,
        durability: DURABILITY,
    })
}
