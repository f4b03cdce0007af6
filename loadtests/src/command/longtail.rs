//! `loadtests longtail`: one domain against as many as recipients. Arguments and output only.

use anyhow::Result;

use super::under_test::UnderTest;
use crate::bench::{Machine, Tail, longtail};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Recipients, and domains where each has its own.
    #[arg(long, default_value_t = 100_000)]
    recipients: u64,
    /// Only these runs; all three without it. May be repeated.
    #[arg(long, value_enum)]
    run: Vec<Tail>,
    #[command(flatten)]
    under_test: UnderTest,
}

/// Measures and prints.
///
/// # Errors
/// When a run cannot be made, or not every message arrives once.
pub async fn run(arguments: Arguments) -> Result<()> {
    let tails = match arguments.run.as_slice() {
        [] => &[Tail::OneDomain, Tail::OneSite, Tail::OwnSites],
        some => some,
    };
    let program = arguments.under_test.program()?;
    let mut runs = Vec::new();
    for tail in tails {
        let run = longtail(&program, *tail, arguments.recipients).await?;
        if !arguments.under_test.json {
            println!(
                "{:?}: {:.0}/s over {} connections, CPU {:.0} µs, relay {:.0} MiB, Redis {:.1} → {:.1} → {:.1} MB, {} paces listed",
                run.tail,
                run.messages_per_s,
                run.connections,
                run.delivery_cpu_us.total,
                run.rss_mb.relay,
                run.redis_before as f64 / 1e6,
                run.redis_at_end as f64 / 1e6,
                run.redis_after as f64 / 1e6,
                run.paces_listed
            );
        }
        runs.push(run);
    }
    if arguments.under_test.json {
        println!("{}", serde_json::json!({ "machine": Machine::here(), "runs": runs }));
    }
    Ok(())
}
