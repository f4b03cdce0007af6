//! `loadtests longtail`: one domain against as many as recipients. Arguments and output only.

use std::path::PathBuf;

use anyhow::Result;

use crate::bench::{Machine, Program, Tail, longtail};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Recipients, and domains where each has its own.
    #[arg(long, default_value_t = 100_000)]
    recipients: u64,
    /// Only these runs; all three without it. May be repeated.
    #[arg(long, value_enum)]
    run: Vec<Tail>,
    /// The program under test; `malleposte` beside this one without it.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where it keeps its data; the disk is part of what is measured.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Prints one object of JSON instead of lines.
    #[arg(long)]
    json: bool,
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
    let program = Program::find(arguments.program, arguments.folder)?;
    let mut runs = Vec::new();
    for tail in tails {
        let run = longtail(&program, *tail, arguments.recipients).await?;
        if !arguments.json {
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
    if arguments.json {
        println!("{}", serde_json::json!({ "machine": Machine::here(), "runs": runs }));
    }
    Ok(())
}
