//! The queue by its figures: memory of a recipient that waits, is deferred, or is the only
//! one left of its batch; intake; lease and settle; how soon the first message leaves; and
//! what a relay in front of a deep queue needs. Three platforms, one after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use store::{Position, Store};

use super::drain::{Drained, drain};
use super::platform::Platform;
use super::setup::{SENDER, Setup, Signing};
use super::{DURABILITY, Machine};
use crate::generator::{Generator, Template};
use crate::program::Program;
use crate::scenario::Scenario;

/// Share of recipients that are deferred while the rest of their batches is delivered.
const SPARSE: f64 = 0.05;
/// Messages that a relay sends in front of the deep queue before its memory is read.
const SENT_BEFORE_LOOK: u64 = 20_000;
const SENT_WITHIN: Duration = Duration::from_secs(60);
const FIRST_WITHIN: Duration = Duration::from_secs(30);
/// History has read what intake told after this.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Queue {
    /// Recipients of each measurement.
    pub recipients: u64,
    /// Redis's memory over all keys for one that waits, in octets.
    pub redis_bytes_per_recipient: f64,
    /// The same when all have been deferred once.
    pub redis_bytes_per_deferred: f64,
    /// The same for one of 20 that was deferred while the rest was delivered, once its batch is
    /// packed anew, which relays do within seconds.
    pub redis_bytes_per_sparse_deferred: f64,
    /// See there: before.
    pub redis_bytes_per_sparse_unpacked: f64,
    /// Batches packed anew a second by one task.
    pub repacked_per_s: f64,
    /// Recipients accepted a second, upload and de-duplication included.
    pub intake_per_s: f64,
    /// Most memory of the API, in MiB.
    pub api_peak_rss_mb: f64,
    /// Recipients leased and settled a second with their events, when all are deferred.
    pub lease_defer_per_s: f64,
    /// The same when 19 of 20 are delivered and the rest is deferred.
    pub lease_settle_per_s: f64,
    /// Redis's processor time for one of those, in microseconds: what does not depend on who
    /// else uses the processors.
    pub lease_settle_redis_us: f64,
    /// From the start verb of the whole campaign to its first message in a mailbox.
    pub first_message_s: f64,
    /// Most memory of a relay in front of the whole queue, in MiB.
    pub relay_peak_rss_mb: f64,
    /// What an answer of the store was worth.
    pub durability: &'static str,
    /// Where it was measured.
    pub machine: Machine,
}

/// Makes all measurements.
///
/// # Errors
/// When a platform cannot be set up, or does not do what was asked.
pub async fn queue(program: &Program, recipients: u64, seed: u64) -> Result<Queue> {
    let dense = settled(program, recipients, seed, 1.0).await.context("all deferred")?;
    let sparse = settled(program, recipients, seed, SPARSE).await.context("few deferred")?;
    let sent = sent(program, recipients, seed).await.context("the first message")?;
    Ok(Queue {
        recipients,
        redis_bytes_per_recipient: dense.bytes_waiting,
        redis_bytes_per_deferred: dense.bytes_deferred,
        redis_bytes_per_sparse_deferred: sparse.bytes_repacked,
        redis_bytes_per_sparse_unpacked: sparse.bytes_deferred,
        repacked_per_s: sparse.repacked_per_s,
        intake_per_s: dense.intake_per_s,
        api_peak_rss_mb: dense.api_mb.max(sent.api_mb),
        lease_defer_per_s: dense.drained.per_s(),
        lease_settle_per_s: sparse.drained.per_s(),
        lease_settle_redis_us: sparse.redis_us,
        first_message_s: sent.first_message.as_secs_f64(),
        relay_peak_rss_mb: sent.relay_mb,
        durability: DURABILITY,
        machine: Machine::here(),
    })
}

async fn start(program: &Program) -> Result<Platform> {
    let setup = Setup { signing: Signing::Rsa2048, ..Setup::plain(Scenario::named("throughput")?) };
    Platform::start(program, &setup).await
}

/// A whole campaign accepted; answers its name and how many a second that were.
async fn accepted(platform: &Platform, recipients: u64, seed: u64) -> Result<(String, f64)> {
    let id = platform.client.create(SENDER, &Template::of_size(10_000)).await?;
    let began = Instant::now();
    platform.client.upload(&id, Generator::new(seed, recipients)).await?;
    let accepted = platform.client.close(&id).await?;
    let took = began.elapsed();
    ensure!(accepted == recipients, "{accepted} of {recipients} were accepted");
    Ok((id, (recipients as f64 / took.as_secs_f64()).round()))
}

struct Settled {
    bytes_waiting: f64,
    bytes_deferred: f64,
    bytes_repacked: f64,
    repacked_per_s: f64,
    intake_per_s: f64,
    api_mb: f64,
    redis_us: f64,
    drained: Drained,
}

/// Accepted, then leased and settled by relays that do not send, this share deferred.
async fn settled(program: &Program, recipients: u64, seed: u64, deferred: f64) -> Result<Settled> {
    let mut platform = start(program).await?;
    let store = platform.store().await?;
    let before = platform.redis_memory().await?;
    let (id, intake_per_s) = accepted(&platform, recipients, seed).await?;
    await_read(&store).await?;
    let waiting = platform.redis_memory().await?.saturating_sub(before);
    let api_mb = platform.peaks()?.api;
    // Relays and queue are measured, not the ledger's transactions beside them.
    platform.stop_ledger().await?;
    platform.client.start(&id).await?;
    let times = platform.times()?;
    let drained = drain(&store, deferred).await?;
    let redis_us = platform.times()?.since(times).for_each_of(recipients).redis;
    ensure!(drained.recipients == recipients, "only {} could be leased", drained.recipients);
    for shard in store.all_shards() {
        let end: Position = store.accounts(shard).await?.position;
        store.trim_outbox(shard, end).await?;
    }
    let left = platform.redis_memory().await?.saturating_sub(before);
    let repacked_per_s = repack(&store).await?;
    let repacked = platform.redis_memory().await?.saturating_sub(before);
    platform.stop().await?;
    Ok(Settled {
        bytes_waiting: per_one(waiting, recipients),
        bytes_deferred: per_one(left, drained.deferred),
        bytes_repacked: per_one(repacked, drained.deferred),
        repacked_per_s,
        intake_per_s,
        api_mb,
        redis_us,
        drained,
    })
}

/// What relays do beside their work: every sparse batch packed anew. Answers how many a second.
async fn repack(store: &Store) -> Result<f64> {
    let (began, mut batches) = (Instant::now(), 0);
    for shard in store.all_shards() {
        loop {
            match store.repack(shard).await? {
                0 => break,
                some => batches += some,
            }
        }
    }
    Ok((batches as f64 / began.elapsed().as_secs_f64()).round())
}

struct Sent {
    first_message: Duration,
    relay_mb: f64,
    api_mb: f64,
}

/// Accepted, then sent by a relay that was there before.
async fn sent(program: &Program, recipients: u64, seed: u64) -> Result<Sent> {
    let mut platform = start(program).await?;
    let (id, _) = accepted(&platform, recipients, seed).await?;
    platform.start_relays(1).await?;
    let began = Instant::now();
    platform.client.start(&id).await?;
    let first_message = platform.await_delivered(1, began, FIRST_WITHIN).await?;
    let many = SENT_BEFORE_LOOK.min(recipients);
    platform.await_delivered(many, began, SENT_WITHIN).await?;
    let peaks = platform.peaks()?;
    platform.stop().await?;
    Ok(Sent { first_message, relay_mb: peaks.relay, api_mb: peaks.api })
}

/// What is in the outbox is on its way to history, and no part of what waits.
async fn await_read(store: &Store) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut frames = 0;
        for shard in store.all_shards() {
            frames += store.outbox_len(shard).await?;
        }
        if frames == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < READ_WITHIN, "{frames} frames are not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn per_one(octets: u64, count: u64) -> f64 {
    (octets as f64 / count.max(1) as f64 * 10.0).round() / 10.0
}
