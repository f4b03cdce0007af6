//! `loadtests throughput`: what a delivered message costs. Arguments and output only.

use anyhow::Result;
use serde_json::{Value, json};

use super::under_test::UnderTest;
use crate::bench::{DURABILITY, Machine, PerService, Run, SHARDS, Signing, Wish, throughput};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Messages of a run, one recipient each.
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// SMTP connections.
    #[arg(long, default_value_t = 20)]
    connections: u32,
    /// Shards of the store.
    #[arg(long, default_value_t = SHARDS)]
    shards: u16,
    /// Only these runs; all without it. May be repeated.
    #[arg(long, value_enum)]
    run: Vec<Kind>,
    /// Octets of text and HTML of a message. May be repeated.
    #[arg(long, default_values_t = [10_000, 50_000])]
    bytes: Vec<usize>,
    /// The sink offers CHUNKING: a message goes in one write with its envelope.
    #[arg(long)]
    chunking: bool,
    /// The same seed gives the same recipients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    under_test: UnderTest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Neither TLS nor DKIM.
    Plain,
    /// Signed with RSA, 2048 bits.
    Dkim,
    /// Signed with Ed25519 alone.
    Ed25519,
    /// Encrypted.
    Tls,
    /// Encrypted and signed.
    TlsDkim,
}

/// Measures and prints.
///
/// # Errors
/// When a run cannot be made, or not every message arrives once.
pub async fn run(arguments: Arguments) -> Result<()> {
    let kinds = match arguments.run.as_slice() {
        [] => &[Kind::Plain, Kind::Dkim, Kind::Ed25519, Kind::Tls, Kind::TlsDkim],
        some => some,
    };
    let program = arguments.under_test.program()?;
    let mut runs = Vec::new();
    for octets in arguments.bytes.clone() {
        for kind in kinds {
            let run = throughput(&program, &wish(&arguments, *kind, octets)).await?;
            if !arguments.under_test.json {
                print(&run);
            }
            runs.push(run);
        }
    }
    if arguments.under_test.json {
        println!("{}", report(&arguments, &Machine::here(), &runs));
    }
    Ok(())
}

fn report(arguments: &Arguments, machine: &Machine, runs: &[Run]) -> Value {
    json!({
        "machine": machine,
        "durability": DURABILITY,
        "connections": arguments.connections,
        "shards": arguments.shards,
        "runs": runs,
    })
}

fn wish(arguments: &Arguments, kind: Kind, octets: usize) -> Wish {
    Wish {
        messages: arguments.messages,
        octets,
        tls: matches!(kind, Kind::Tls | Kind::TlsDkim),
        signing: match kind {
            Kind::Plain | Kind::Tls => Signing::None,
            Kind::Dkim | Kind::TlsDkim => Signing::Rsa2048,
            Kind::Ed25519 => Signing::Ed25519,
        },
        chunking: arguments.chunking,
        connections: arguments.connections,
        shards: arguments.shards,
        seed: arguments.seed,
    }
}

fn print(run: &Run) {
    let word = |is: bool, word: &'static str| if is { word } else { "no" };
    let signed = match run.algorithm {
        Signing::None => "no",
        Signing::Rsa2048 => "RSA",
        Signing::Ed25519 => "Ed25519",
    };
    println!(
        "{} octets, {} TLS, {} DKIM: {} messages, {:.0}/s, durability {}",
        run.bytes,
        word(run.tls, "with"),
        signed,
        run.messages,
        run.messages_per_s,
        run.durability
    );
    println!("                       relay    redis   ledger      api    total");
    line("CPU µs/message", &run.cpu_us);
    line("  of it intake", &run.intake_cpu_us);
    line("  of it delivery", &run.delivery_cpu_us);
    line("peak RSS MiB", &run.rss_mb);
}

pub(super) fn line(name: &str, figures: &PerService) {
    let PerService { relay, redis, ledger, api, total } = figures;
    println!("  {name:<18} {relay:>8.1} {redis:>8.1} {ledger:>8.1} {api:>8.1} {total:>8.1}");
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    pub(in crate::command) fn machine() -> Machine {
        Machine { cpus: 2, model: "made up".into() }
    }

    pub(in crate::command) fn run() -> Run {
        let figures =
            |relay, redis, ledger, api, total| PerService { relay, redis, ledger, api, total };
        Run {
            tls: true,
            dkim: true,
            algorithm: Signing::Rsa2048,
            chunking: false,
            bytes: 10_000,
            wire_bytes: 10_800,
            messages: 50_000,
            connections: 20,
            seconds: 4.0,
            messages_per_s: 12_500.0,
            cpu_us: figures(30.0, 10.5, 5.0, 1.5, 47.0),
            intake_cpu_us: figures(0.0, 1.5, 1.0, 1.5, 4.0),
            delivery_cpu_us: figures(30.0, 9.0, 4.0, 0.0, 43.0),
            rss_mb: figures(40.5, 30.0, 20.0, 15.5, 106.0),
            durability: DURABILITY,
        }
    }

    pub(in crate::command) fn run_as_json() -> Value {
        json!({
            "tls": true,
            "dkim": true,
            "algorithm": "rsa-2048",
            "chunking": false,
            "bytes": 10_000,
            "wire_bytes": 10_800,
            "messages": 50_000,
            "connections": 20,
            "seconds": 4.0,
            "messages_per_s": 12_500.0,
            "cpu_us": { "relay": 30.0, "redis": 10.5, "ledger": 5.0, "api": 1.5, "total": 47.0 },
            "intake_cpu_us": { "relay": 0.0, "redis": 1.5, "ledger": 1.0, "api": 1.5, "total": 4.0 },
            "delivery_cpu_us": { "relay": 30.0, "redis": 9.0, "ledger": 4.0, "api": 0.0, "total": 43.0 },
            "rss_mb": { "relay": 40.5, "redis": 30.0, "ledger": 20.0, "api": 15.5, "total": 106.0 },
            "durability": "always",
        })
    }

    /// Scripts read it: a name that changes breaks them.
    #[test]
    fn the_report_is_what_scripts_read() {
        let line = Line::parse_from(["throughput", "--json"]);
        let expected = json!({
            "machine": { "cpus": 2, "model": "made up" },
            "durability": "always",
            "connections": 20,
            "shards": 16,
            "runs": [run_as_json(), run_as_json()],
        });
        assert_eq!(report(&line.arguments, &machine(), &[run(), run()]), expected);
    }
}
