//! What it costs to understand mail that comes back, and how fast reports become suppressions.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mail::returned;
use serde::Serialize;
use store::Store;

use super::DURABILITY;
use super::platform::Platform;
use super::setup::Setup;
use crate::generator::{Generator, Template};
use crate::process::peak_kib;
use crate::program::Program;
use crate::scenario::Scenario;

/// Octets of 350 real returned mails: the middle of each twentieth of them. A few are large.
const SIZES: [usize; 20] = [
    238, 606, 854, 1018, 1175, 1343, 1541, 1732, 1940, 2214, 2484, 2639, 2930, 3149, 3433, 4336,
    5008, 6231, 7899, 40125,
];
/// The same mail again and again says little about the next one: all of them, so many times.
const ROUNDS_MIN: u64 = 3;
/// A report that quotes a message of this size.
const LARGEST_OCTETS: usize = 20 * 1024 * 1024;
/// Connections that bring reports.
const CARRIERS: usize = 20;
const GIVEN_UP_AFTER: Duration = Duration::from_secs(120);

/// What it costs to understand a mail.
#[derive(Debug, Clone, Serialize)]
pub struct Understanding {
    /// Mails that were understood, and how large they are on average, in octets.
    pub messages: u64,
    /// See `messages`.
    pub octets: u64,
    /// Mails in a second of one processor's time.
    pub messages_per_cpu_s: f64,
    /// A report of 20 MB, in milliseconds.
    pub largest_ms: f64,
    /// What that takes of memory beyond the report itself, in MiB.
    pub largest_mb: f64,
}

/// Reports that come in over SMTP.
#[derive(Debug, Clone, Serialize)]
pub struct Reports {
    /// How many.
    pub reports: u64,
    /// In a second, from the first connection to the last suppression.
    pub smtp_reports_per_s: f64,
    /// Processor time of one report, in microseconds: of the bounce processor, and of Redis.
    pub cpu_us: [f64; 2],
    /// What an answer is worth.
    pub durability: &'static str,
}

/// Mails of a folder at the size that such mails have, unless they are larger.
///
/// # Errors
/// When the folder does not read or holds no mail.
pub fn mails(folder: &Path, as_they_are: bool) -> Result<Vec<Vec<u8>>> {
    let mut mails = Vec::new();
    collect(folder, &mut mails)?;
    ensure!(!mails.is_empty(), "{} holds no mail", folder.display());
    if as_they_are {
        return Ok(mails);
    }
    let sized = mails.iter().enumerate().map(|(n, mail)| grown(mail, SIZES[n % SIZES.len()]));
    Ok(sized.collect())
}

fn collect(folder: &Path, into: &mut Vec<Vec<u8>>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<_> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_none_or(|ext| ext != "expected") {
            into.push(std::fs::read(&path)?);
        }
    }
    Ok(())
}

/// A mail that quotes more of the message that it is about.
fn grown(mail: &[u8], octets: usize) -> Vec<u8> {
    const LINE: &[u8] =
        b"Dear reader, this is what we have to tell you of the news of the week.\r\n";
    let mut grown = mail.to_vec();
    // Before the last boundary, where the quoted message ends.
    let boundary = mail.windows(3).rposition(|at| at == b"\n--");
    let mut end = boundary.map_or(mail.len(), |at| at + 1);
    let tail = grown.split_off(end);
    while end + tail.len() + LINE.len() <= octets {
        grown.extend_from_slice(LINE);
        end += LINE.len();
    }
    grown.extend_from_slice(&tail);
    grown
}

/// Understands each of them, again and again for about so long.
///
/// # Errors
/// When the kernel does not tell the time.
pub fn understand(mails: &[Vec<u8>], seconds: u64) -> Result<Understanding> {
    // The rules are made ready once in a process's life.
    mails.iter().for_each(|mail| read(mail));
    let (began, cpu) = (Instant::now(), own_cpu()?);
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || began.elapsed() < Duration::from_secs(seconds) {
        mails.iter().for_each(|mail| read(mail));
        rounds += 1;
    }
    let spent = own_cpu()?.saturating_sub(cpu).as_secs_f64();
    let messages = rounds * mails.len() as u64;
    let large = grown(&mails[0], LARGEST_OCTETS);
    let own = std::process::id();
    let (before, at) = (peak_kib(own)?, Instant::now());
    read(&large);
    let largest = at.elapsed();
    Ok(Understanding {
        messages,
        octets: mails.iter().map(Vec::len).sum::<usize>() as u64 / mails.len() as u64,
        messages_per_cpu_s: (messages as f64 / spent).round(),
        largest_ms: (largest.as_secs_f64() * 1e4).round() / 10.0,
        largest_mb: (peak_kib(own)? - before) as f64 / 1024.0,
    })
}

fn read(mail: &[u8]) {
    std::hint::black_box(returned::parse(mail));
}

/// What this thread has used of a processor.
pub(super) fn own_cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    Ok(Duration::from_nanos(nanos.context("/proc/thread-self/schedstat tells no time")?))
}

/// A campaign of which every message comes back as one that nobody there is to get, all at once.
///
/// # Errors
/// When the platform cannot be set up, or a report is not taken.
pub async fn reports(program: &Program, reports: u64) -> Result<Reports> {
    let mut scenario = Scenario::named("throughput")?;
    scenario.returns.delay_ms = 0;
    scenario.returns.spread_ms = 0;
    scenario.returns.connections = CARRIERS;
    let sink = scenario.manner.get_mut("sink").context("the scenario has no sink")?;
    sink.fates.bounce_no_mailbox = 1.0;
    let setup = Setup {
        // What comes back is a whole campaign: no gate is to stop it.
        more: "[relay.load]\nenabled = false\n[api.gates]\nenabled = false\n".to_owned(),
        ..Setup::plain(scenario)
    };
    Platform::measured(program, &setup, async |platform| measure(platform, reports).await).await
}

async fn measure(platform: &mut Platform, reports: u64) -> Result<Reports> {
    let (client, sender) = platform.add_tenant("returned").await?;
    let campaign = client.create_urgent(&sender, &Template::of_size(2_000), 1).await?;
    client.upload(&campaign, Generator::new(1, reports).part(0..reports)).await?;
    client.close(&campaign).await?;
    let bounces = platform.start_bounces().await?;
    platform.start_relays(1).await?;
    client.start(&campaign).await?;
    platform.await_delivered(reports, Instant::now(), GIVEN_UP_AFTER).await?;
    let waiting = platform.internet.returns_waiting();
    ensure!(waiting == reports, "{waiting} reports wait for {reports} messages");
    let cpu = platform.returns_cpu()?;
    let began = Instant::now();
    platform.internet.send_returns_to(bounces);
    while platform.internet.returns_waiting() > 0 {
        platform.is_well()?;
        if began.elapsed() > GIVEN_UP_AFTER {
            bail!("{} reports are not taken", platform.internet.returns_waiting());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64();
    let now = platform.returns_cpu()?;
    let spent = [now[0].saturating_sub(cpu[0]), now[1].saturating_sub(cpu[1])];
    let suppressed = suppressed(&platform.store().await?, "returned").await?;
    ensure!(suppressed == reports, "{suppressed} addresses are suppressed of {reports}");
    Ok(Reports {
        reports,
        smtp_reports_per_s: (reports as f64 / took).round(),
        cpu_us: spent.map(|spent| (spent.as_secs_f64() * 1e7 / reports as f64).round() / 10.0),
        durability: DURABILITY,
    })
}

async fn suppressed(store: &Store, tenant: &str) -> Result<u64> {
    let mut addresses = HashSet::new();
    for shard in store.all_shards() {
        let mut cursor = 0;
        loop {
            let (next, page) = store.suppressions(shard, Some(tenant), cursor).await?;
            addresses.extend(page.into_iter().map(|suppression| suppression.address));
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
    Ok(addresses.len() as u64)
}
