//! How fast and in how much memory recipients are accepted: over HTTP, checked,
//! deduplicated, compared with the suppression list, on the disk of the queue.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::platform::Platform;
use super::setup::{SENDER, Setup, Signing};
use super::{DURABILITY, PerService};
use crate::generator::{Generator, Template};
use crate::program::Program;
use crate::scenario::Scenario;

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Intake {
    /// Recipients, all accepted.
    pub recipients: u64,
    /// Octets uploaded.
    pub octets: u64,
    /// The upload alone.
    pub upload_s: f64,
    /// Sorting, deduplicating, queueing: after this they are accepted.
    pub close_s: f64,
    /// Both.
    pub seconds: f64,
    /// Recipients accepted a second.
    pub recipients_per_s: f64,
    /// Processor time for one recipient, in microseconds.
    pub cpu_us: PerService,
    /// Most memory resident, in MiB.
    pub rss_mb: PerService,
    /// Redis's memory for one recipient, in octets.
    pub redis_bytes_per_recipient: f64,
    /// What an answer of the store was worth.
    pub durability: &'static str,
}

/// Makes one measurement on a fresh platform without a relay.
///
/// # Errors
/// When the platform cannot be set up, or does not accept every recipient.
pub async fn intake(program: &Program, recipients: u64, seed: u64) -> Result<Intake> {
    let setup = Setup {
        signing: Signing::Rsa2048,
        connections: 1,
        messages_per_connection: 1,
        ..Setup::plain(Scenario::named("throughput")?)
    };
    Platform::measured(program, &setup, async |platform| measure(platform, recipients, seed).await)
        .await
}

async fn measure(platform: &Platform, recipients: u64, seed: u64) -> Result<Intake> {
    let id = platform.client.create(SENDER, &Template::of_size(10_000)).await?;
    let (memory, times, began) =
        (platform.redis_memory().await?, platform.times()?, Instant::now());
    let octets = platform.client.upload(&id, Generator::new(seed, recipients)).await?;
    let uploaded = began.elapsed();
    let accepted = platform.client.close(&id).await?;
    let took = began.elapsed();
    ensure!(accepted == recipients, "{accepted} of {recipients} were accepted");
    let grown = platform.redis_memory().await?.saturating_sub(memory);
    Ok(Intake {
        recipients,
        octets,
        upload_s: uploaded.as_secs_f64(),
        close_s: (took - uploaded).as_secs_f64(),
        seconds: took.as_secs_f64(),
        recipients_per_s: (recipients as f64 / took.as_secs_f64()).round(),
        cpu_us: platform.times()?.since(times).for_each_of(recipients),
        rss_mb: platform.peaks()?,
        redis_bytes_per_recipient: grown as f64 / recipients as f64,
        durability: DURABILITY,
    })
}
