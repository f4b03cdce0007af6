//! What a platform is planned with: the figures of this machine, from short measurements of the real
//! program, in one file that `malleposte plan` reads.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    DURABILITY, Machine, Program, SHARDS, Signing, Wish, history, queue, reports, throughput,
};

/// Messages of a run, recipients of a queue, reports, events: enough for two places of a figure.
const MESSAGES: u64 = 20_000;
const RECIPIENTS: u64 = 100_000;
const REPORTS: u64 = 3_000;
const EVENTS: u64 = 300_000;
/// The two sizes that a size between them is reckoned from, in octets.
const SMALL: usize = 10_000;
const LARGE: usize = 50_000;

/// What one thing costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Where and when it was measured, and at which durability.
    pub measured: String,
    /// Processor time of the relay for a message of 10 KB, with TLS and an RSA signature, in
    /// microseconds.
    pub relay_us: f64,
    /// The same for each further KB.
    pub relay_us_per_kb: f64,
    /// Of Redis for a message, from intake to its event.
    pub redis_us: f64,
    /// Of the ledger for a message.
    pub ledger_us: f64,
    /// Of the API for a recipient.
    pub api_us: f64,
    /// Of the bounce processor for a report.
    pub report_us: f64,
    /// Of Redis for a report.
    pub report_redis_us: f64,
    /// Redis's memory for a recipient that waits, in octets.
    pub redis_bytes_waiting: f64,
    /// The same for one that was put off.
    pub redis_bytes_deferred: f64,
    /// An event on the ledger's disk, in octets.
    pub ledger_bytes_per_event: f64,
    /// Most memory of a relay, in MiB.
    pub relay_mib: f64,
}

/// Measures all of it, for some minutes.
///
/// # Errors
/// When a measurement cannot be made.
pub async fn figures(program: &Program, folder: &Path, when: &str) -> Result<Figures> {
    let wish = |octets| Wish {
        messages: MESSAGES,
        octets,
        tls: true,
        signing: Signing::Rsa2048,
        chunking: false,
        connections: 20,
        shards: SHARDS,
        seed: 1,
    };
    let (small, large) =
        (throughput(program, &wish(SMALL)).await?, throughput(program, &wish(LARGE)).await?);
    let waiting = queue(program, RECIPIENTS, 1).await?;
    let returned = reports(program, REPORTS).await?;
    let stored = history(folder, EVENTS)?;
    let Machine { cpus, model } = Machine::here();
    let per_kb = (large.cpu_us.relay - small.cpu_us.relay) * 1000.0 / (LARGE - SMALL) as f64;
    let [report_us, report_redis_us] = returned.cpu_us;
    let round = |x: f64| (x * 100.0).round() / 100.0;
    Ok(Figures {
        measured: format!("{when}, {cpus} processors ({model}), durability {DURABILITY}"),
        relay_us: small.cpu_us.relay,
        relay_us_per_kb: round(per_kb.max(0.0)),
        redis_us: small.cpu_us.redis,
        ledger_us: small.cpu_us.ledger,
        api_us: small.cpu_us.api,
        report_us: round(report_us),
        report_redis_us: round(report_redis_us),
        redis_bytes_waiting: waiting.redis_bytes_per_recipient,
        redis_bytes_deferred: waiting.redis_bytes_per_sparse_deferred,
        ledger_bytes_per_event: stored.bytes_per_event,
        relay_mib: small.rss_mb.relay.max(large.rss_mb.relay),
    })
}
