//! `loadtests ledger`: what history costs, and how fast it answers. Arguments and output only.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::bench::history;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Events of the history.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Where the files are made; they take some 80 octets an event. Without it the folder for
    /// temporary files.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The files stay there to be looked at.
    #[arg(long)]
    keep: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
/// When the history cannot be written or does not answer.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.events > 0, "--events 0: at least one is needed");
    let below = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::tempdir_in(&below).with_context(|| below.display().to_string())?;
    let history = history(folder.path(), arguments.events)?;
    if arguments.keep {
        eprintln!("the history is in {}", folder.keep().display());
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&history)?);
        return Ok(());
    }
    println!(
        "{} events: {:.0} in a second of one processor, {:.1} octets each; the slowest first page of a \
         trace {:.1} ms, the slowest statistic {:.1} ms",
        history.events,
        history.events_per_cpu_s,
        history.bytes_per_event,
        history.trace_ms,
        history.stats_ms
    );
    for (question, ms) in &history.questions {
        println!("  {question:<36} {ms:>8.1} ms");
    }
    Ok(())
}
