//! `loadtests load`: a relay whose host is taken by others. Arguments and output only.

use anyhow::Result;

use super::under_test::UnderTest;
use crate::bench::{LoadWish, Machine, load};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Messages a second of the one site that all recipients live at.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Threads that take the processors; two for each processor without it.
    #[arg(long)]
    threads: Option<usize>,
    /// Seconds before they begin.
    #[arg(long, default_value_t = 30)]
    before: u64,
    /// Seconds that they go on.
    #[arg(long, default_value_t = 60)]
    stress: u64,
    /// Recipients of each urgent campaign, of which two start each second.
    #[arg(long, default_value_t = 5)]
    urgent: u64,
    /// The same seed gives the same recipients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    under_test: UnderTest,
}

/// Measures and prints.
///
/// # Errors
/// When the measurement cannot be made.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let wish = LoadWish {
        rate: arguments.rate,
        threads: arguments.threads.unwrap_or(2 * Machine::here().cpus),
        before_s: arguments.before,
        stress_s: arguments.stress,
        urgent: arguments.urgent,
        seed: arguments.seed,
    };
    let run = load(&program, &wish).await?;
    if arguments.under_test.json {
        println!("{}", serde_json::json!({ "machine": Machine::here(), "run": run }));
        return Ok(());
    }
    let seconds = |s: Option<f64>| s.map_or("never".to_owned(), |s| format!("after {s:.1} s"));
    println!("{} threads for {} s beside a relay at {}/s:", run.threads, run.stress_s, run.rate);
    println!(
        "  ceiling            {:.0}/s → {:.0}/s (budget {:.0} % → {:.0} %), a third gone {}",
        run.ceiling_before,
        run.ceiling_least,
        run.budget_before * 100.0,
        run.budget_least * 100.0,
        seconds(run.fell_after_s)
    );
    println!("  back               {}", seconds(run.recovered_after_s));
    println!("  went               {:.0}/s → {:.0}/s", run.went_before, run.went_during);
    println!(
        "  urgent ones' p99   {} ms → {} ms",
        run.urgent_p99_before_ms, run.urgent_p99_during_ms
    );
    println!(
        "  lost               {} urgent ones, {} sessions; {} sent twice",
        run.urgent_lost, run.sessions_lost, run.duplicates
    );
    Ok(())
}
