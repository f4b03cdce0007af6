//! `loadtests chaos`: crash proof by measurement. Arguments and output only.

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::under_test::UnderTest;
use crate::chaos::{Fault, Outcome, Which, chaos};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Runs, each with some thousand recipients and one fault.
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Replays the one run of this seed, and keeps what it prints in full.
    #[arg(long, conflicts_with_all = ["runs", "base", "only"])]
    seed: Option<u64>,
    /// The runs' seeds are drawn from this number.
    #[arg(long, default_value_t = 1)]
    base: u64,
    /// Only this kind of fault; may be repeated.
    #[arg(long, value_parser = fault)]
    only: Vec<Fault>,
    /// Runs at a time: most of the time a run waits.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    #[command(flatten)]
    under_test: UnderTest,
}

fn fault(word: &str) -> Result<Fault, String> {
    let words = || Fault::ALL.iter().map(|fault| fault.as_str()).collect::<Vec<_>>().join(", ");
    Fault::from_word(word).ok_or_else(|| format!("{word:?} is none of {}", words()))
}

/// Runs and prints.
///
/// # Errors
/// When a promise broke, with the seeds that replay it.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let which = match arguments.seed {
        Some(seed) => Which::Replayed(seed),
        None => Which::Dealt { runs: arguments.runs, base: arguments.base, only: arguments.only },
    };
    let is_replay = arguments.seed.is_some();
    let tell = |outcome: &Outcome| {
        if !arguments.under_test.json || !outcome.broken.is_empty() {
            eprint!("{}", told(outcome, is_replay));
        }
    };
    // Whoever is stopped on the way unmounts its disks and ends its processes, too.
    let report = tokio::select! {
        report = chaos(&program, &which, arguments.jobs, tell) => report?,
        () = told_to_end() => bail!("stopped before the last run had ended"),
    };
    if !report.left_out.is_empty() {
        let words: Vec<&str> = report.left_out.iter().map(|fault| fault.as_str()).collect();
        eprintln!("NOT TRIED, because only root may mount a disk to fill: {}", words.join(", "));
        if std::env::var_os("CI").is_some() {
            bail!("in CI no kind may be left out: run as root");
        }
    }
    if arguments.under_test.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    if !report.failed_seeds.is_empty() {
        bail!("promises broke; `loadtests chaos --seed S` replays: {:?}", report.failed_seeds);
    }
    Ok(())
}

/// Ctrl-C, or asked to terminate.
async fn told_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// A line for a run; its diary when it failed or was asked for.
fn told(outcome: &Outcome, with_diary: bool) -> String {
    use std::fmt::Write as _;
    let good = if outcome.broken.is_empty() { "good" } else { "BROKEN" };
    let takeovers: Vec<String> =
        outcome.takeovers_s.iter().map(|took| format!("{took:.1}")).collect();
    let mut text = format!(
        "{good:<6} {:>13} {:<16} {:>5.1} s  {} relays {} campaigns {} recipients  \
         lost {} twice {} of {}  takeover [{}]\n",
        outcome.seed,
        outcome.fault,
        outcome.seconds,
        outcome.relays,
        outcome.campaigns,
        outcome.recipients,
        outcome.lost,
        outcome.duplicates,
        outcome.bound.total(),
        takeovers.join(" ")
    );
    if with_diary || !outcome.broken.is_empty() {
        for words in outcome.broken.iter().chain(&outcome.diary) {
            let _ = writeln!(text, "       {words}");
        }
        if let Some(folder) = &outcome.folder {
            let _ = writeln!(text, "       its folder is kept: {}", folder.display());
        }
    }
    text
}
