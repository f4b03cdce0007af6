//! `loadtests pace`: the pace over real sockets. Arguments and output only.

use anyhow::Result;

use super::under_test::UnderTest;
use crate::bench::{PaceRun, PaceWish, pace};

/// Seconds of a run with a step in its middle.
const STEPS_S_MIN: u64 = 360;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Relays that share the work.
    #[arg(long, default_value_t = 4)]
    relays: u16,
    /// Hidden limits to find, messages a second; may be repeated.
    #[arg(long, default_values_t = [5.0, 50.0, 300.0])]
    limit: Vec<f64>,
    /// Also a step from 50 to 150 and one back, in the middle of 360 seconds at least.
    #[arg(long)]
    steps: bool,
    /// Seconds of each run.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// The same seed gives the same recipients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    under_test: UnderTest,
}

/// Measures and prints.
///
/// # Errors
/// When a measurement cannot be made.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let Arguments { relays, seconds, seed, .. } = arguments;
    let wish = |limit, then| PaceWish { relays, limit, then, seconds, seed };
    let mut wishes: Vec<PaceWish> = arguments.limit.iter().map(|l| wish(*l, None)).collect();
    if arguments.steps {
        // Two minutes on either side: before them nobody has converged, and after them all have settled.
        let seconds = seconds.max(STEPS_S_MIN);
        for (from, to) in [(50.0, 150.0), (150.0, 50.0)] {
            wishes.push(PaceWish { seconds, ..wish(from, Some((seconds / 2, to))) });
        }
    }
    let mut runs = Vec::new();
    for wish in &wishes {
        let run = pace(&program, wish).await?;
        if !arguments.under_test.json {
            println!("{}", told(&run));
        }
        runs.push(run);
    }
    if arguments.under_test.json {
        println!("{}", serde_json::json!({ "scenarios": runs }));
    }
    Ok(())
}

fn told(run: &PaceRun) -> String {
    let seconds = |s: Option<f64>| s.map_or("never".to_owned(), |s| format!("after {s:.0} s"));
    let settled = run.score.settled_s.map(|s| format!(", settled again after {s:.0} s"));
    format!(
        "{}: {} relays, {:.1} % used, {:.2} % refused ({} of {} attempts), converged {}{}, \
         overshoot {:.2}, Jain {:.3}",
        run.name,
        run.relays,
        run.score.utilisation * 100.0,
        run.score.refused * 100.0,
        run.refusals,
        run.attempts,
        seconds(run.score.converged_s),
        settled.unwrap_or_default(),
        run.score.overshoot,
        run.score.jain,
    )
}
