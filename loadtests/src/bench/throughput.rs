//! A campaign through the whole platform to a sink that takes everything, and what it
//! costs each service.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::platform::Platform;
use super::setup::{SENDER, Setup, Signing};
use super::{DURABILITY, PerService};
use crate::generator::{Generator, Template};
use crate::internet::Kept;
use crate::program::Program;
use crate::scenario::Scenario;

/// Messages of one connection: enough that opening it does not show.
const MESSAGES_PER_CONNECTION: u32 = 5000;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// A measurement that is slower than this many messages a second has gone wrong.
const RATE_MIN: f64 = 100.0;
/// After the last delivery, history has this long to hold everything.
const STORED_WITHIN: Duration = Duration::from_secs(30);

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Messages, one recipient each.
    pub messages: u64,
    /// Octets of text and HTML together.
    pub octets: usize,
    /// Whether the sink demands TLS.
    pub tls: bool,
    /// What the relay signs with.
    pub signing: Signing,
    /// Whether the sink offers CHUNKING.
    pub chunking: bool,
    /// SMTP connections.
    pub connections: u32,
    /// Shards of the store.
    pub shards: u16,
    /// The seed of the recipients.
    pub seed: u64,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Whether the connections were encrypted.
    pub tls: bool,
    /// Whether the messages were signed.
    pub dkim: bool,
    /// What with.
    pub algorithm: Signing,
    /// Whether the sink offered CHUNKING, so that each message went with its envelope.
    pub chunking: bool,
    /// Octets of text and HTML in the template.
    pub bytes: usize,
    /// Octets of a message on the wire, on average.
    pub wire_bytes: u64,
    /// Messages delivered, once each.
    pub messages: u64,
    /// Connections that were opened for them.
    pub connections: u64,
    /// From the start of the campaign to the last delivery.
    pub seconds: f64,
    /// Messages delivered a second in that time.
    pub messages_per_s: f64,
    /// Processor time for one message from its upload to its place in history, in microseconds.
    pub cpu_us: PerService,
    /// The part of it that was spent before the campaign was started.
    pub intake_cpu_us: PerService,
    /// The part after: lease, delivery, settlement, history.
    pub delivery_cpu_us: PerService,
    /// Most memory resident, in MiB.
    pub rss_mb: PerService,
    /// What an answer of the store was worth.
    pub durability: &'static str,
}

/// Makes one measurement on a fresh platform.
///
/// # Errors
/// When the platform cannot be set up, or does not deliver each message exactly once.
pub async fn throughput(program: &Program, wish: &Wish) -> Result<Run> {
    Ok(throughput_keeping(program, wish, 0).await?.0)
}

/// The same; the first so many messages are handed out as they arrived.
pub(super) async fn throughput_keeping(
    program: &Program,
    wish: &Wish,
    keep: usize,
) -> Result<(Run, Vec<Kept>)> {
    let setup = Setup {
        tls: wish.tls,
        signing: wish.signing,
        connections: wish.connections,
        messages_per_connection: MESSAGES_PER_CONNECTION,
        shards: wish.shards,
        ..Setup::plain(sink(wish)?)
    };
    let measured = async |platform: &mut Platform| {
        platform.internet.keep_messages(keep);
        let measured = measure(platform, wish).await;
        let kept = platform.internet.take_kept();
        Ok((measured?, kept))
    };
    Platform::measured(program, &setup, measured).await
}

/// The pretend internet: one sink for all.
fn sink(wish: &Wish) -> Result<Scenario> {
    let mut scenario = Scenario::named("throughput")?;
    scenario.manner.values_mut().for_each(|manner| manner.chunking = wish.chunking);
    Ok(scenario)
}

async fn measure(platform: &mut Platform, wish: &Wish) -> Result<Run> {
    let before_intake = platform.times()?;
    let id = platform.client.create(SENDER, &Template::of_size(wish.octets)).await?;
    platform.client.upload(&id, Generator::new(wish.seed, wish.messages)).await?;
    let accepted = platform.client.close(&id).await?;
    ensure!(accepted == wish.messages, "{accepted} of {} were accepted", wish.messages);
    let intake = platform.times()?.since(before_intake);

    platform.start_relays(1).await?;
    let events_before = platform.events().await?;
    let before = platform.times()?;
    let began = Instant::now();
    platform.client.start(&id).await?;
    let seconds = platform
        .await_delivered(wish.messages, began, patience(wish.messages))
        .await?
        .as_secs_f64();
    await_stored(platform, events_before + wish.messages).await?;
    let delivery = platform.times()?.since(before);

    let book = platform.internet.book().summary();
    ensure!(
        book.delivered == wish.messages && book.duplicates == 0,
        "{} of {} were delivered, {} of them twice",
        book.delivered,
        wish.messages,
        book.duplicates
    );
    let octets: u64 = book.providers.values().map(|live| live.octets).sum();
    let encrypted: u64 = book.providers.values().map(|live| live.encrypted).sum();
    ensure!((encrypted > 0) == wish.tls, "{encrypted} connections were encrypted");
    Ok(Run {
        tls: wish.tls,
        dkim: wish.signing.is_dkim(),
        algorithm: wish.signing,
        chunking: wish.chunking,
        bytes: wish.octets,
        wire_bytes: octets / wish.messages,
        messages: wish.messages,
        connections: book.providers.values().map(|live| live.connections).sum(),
        seconds,
        messages_per_s: (wish.messages as f64 / seconds).round(),
        cpu_us: intake.plus(delivery).for_each_of(wish.messages),
        intake_cpu_us: intake.for_each_of(wish.messages),
        delivery_cpu_us: delivery.for_each_of(wish.messages),
        rss_mb: platform.peaks()?,
        durability: DURABILITY,
    })
}

fn patience(messages: u64) -> Duration {
    Duration::from_secs_f64(20.0 + messages as f64 / RATE_MIN)
}

/// A message costs until its event is in history; the work is not done before.
async fn await_stored(platform: &Platform, events: u64) -> Result<()> {
    let began = Instant::now();
    loop {
        let stored = platform.events().await?;
        if stored >= events {
            return Ok(());
        }
        ensure!(began.elapsed() < STORED_WITHIN, "history holds {stored} of {events} events");
        tokio::time::sleep(LOOK).await;
    }
}
