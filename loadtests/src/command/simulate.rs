//! `loadtests simulate`: the pace in virtual time. Arguments and output only.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::simulate::{Run, Scenario, Score, Which, picture, run as simulate, scenarios};

/// What to simulate.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only scenarios whose names contain this; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Relays that share our pace; may be repeated. The other policies run with one.
    #[arg(long, default_values_t = [1, 4, 16], value_parser = relays)]
    relays: Vec<usize>,
    /// Only our controller, without the other policies.
    #[arg(long)]
    ours: bool,
    /// The same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints what our controller changed, and when.
    #[arg(long)]
    changes: bool,
    /// Writes a picture of each scenario into this folder.
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// One object instead of a table.
    #[arg(long)]
    json: bool,
}

fn relays(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=64).contains(n))
        .ok_or_else(|| format!("{text:?} is no number of relays from 1 to 64"))
}

#[derive(Serialize)]
struct Row {
    name: String,
    policy: &'static str,
    relays: usize,
    seed: u64,
    #[serde(flatten)]
    score: Score,
}

/// Simulates and prints.
///
/// # Errors
/// When no scenario is called so, or a picture cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |s: &Scenario| {
        arguments.only.is_empty() || arguments.only.iter().any(|word| s.name.contains(word))
    };
    let chosen: Vec<Scenario> = scenarios().into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<String> = scenarios().into_iter().map(|s| s.name).collect();
        bail!("no scenario is called {:?}; there are: {}", arguments.only, names.join(", "));
    }
    if let Some(folder) = &arguments.svg {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut rows = Vec::new();
    if !arguments.json {
        println!("{}", heading());
    }
    for scenario in &chosen {
        let mut drawn = Vec::new();
        for (which, relays) in players(arguments, scenario) {
            let run = simulate(scenario, which, relays, arguments.seed);
            let score = run.score.clone();
            let name = scenario.name.clone();
            let row = Row { name, policy: which.as_str(), relays, seed: arguments.seed, score };
            tell(arguments, &row, &run);
            rows.push(row);
            if which != Which::Ours || relays == arguments.relays[0] {
                drawn.push((which, run));
            }
        }
        if let Some(folder) = &arguments.svg {
            let runs: Vec<(Which, &Run)> = drawn.iter().map(|(which, run)| (*which, run)).collect();
            let file = folder.join(format!("{}.svg", scenario.name.replace([' ', ','], "-")));
            std::fs::write(&file, picture(scenario, &runs)?)
                .with_context(|| file.display().to_string())?;
        }
    }
    if arguments.json {
        println!("{}", serde_json::json!({ "scenarios": rows }));
    }
    Ok(())
}

/// Who runs: what others do is not shown where it would be one long refusal.
fn players(arguments: &Arguments, scenario: &Scenario) -> Vec<(Which, usize)> {
    let ours = arguments.relays.iter().map(|relays| (Which::Ours, *relays));
    let alone = arguments.ours || scenario.is_of_days();
    let others = Which::ALL.into_iter().filter(|w| *w != Which::Ours && !alone);
    ours.chain(others.map(|which| (which, 1))).collect()
}

fn heading() -> String {
    format!(
        "{:<32} {:<20} {:>6} {:>6} {:>8} {:>10} {:>8} {:>9} {:>6}",
        "scenario",
        "policy",
        "relays",
        "used",
        "refused",
        "converged",
        "settled",
        "overshoot",
        "jain"
    )
}

fn tell(arguments: &Arguments, row: &Row, run: &Run) {
    if arguments.json {
        return;
    }
    let Row { name, policy, relays, score, .. } = row;
    let seconds = |s: Option<f64>| match s {
        Some(s) if s.is_finite() => format!("{s:.0} s"),
        Some(_) => "never".to_owned(),
        None => "-".to_owned(),
    };
    println!(
        "{name:<32} {policy:<20} {relays:>6} {:>5.1}% {:>7.2}% {:>10} {:>8} {:>9.2} {:>6.3}",
        score.utilisation * 100.0,
        score.refused * 100.0,
        seconds(score.converged_s.or(Some(f64::INFINITY))),
        seconds(score.settled_s),
        score.overshoot,
        score.jain,
    );
    if arguments.changes {
        for (at, change) in &run.changes {
            println!("  {at:10.1} s  {change}");
        }
    }
}
