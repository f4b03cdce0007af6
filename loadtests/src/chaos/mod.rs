//! Chaos runs: real campaigns through real processes, one of which dies, sleeps, is cut off
//! or finds its disk full, and both books compared at the end, recipient by recipient.

mod plan;
mod platform;
mod run;
mod strike;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use plan::Fault;
pub use run::{Bound, Outcome};

use crate::bench::DURABILITY;
use crate::disk::SmallDisk;
use crate::program::Program;

/// Which runs to make.
#[derive(Debug, Clone)]
pub enum Which {
    /// So many, their kinds dealt in shuffled rounds, from a base seed.
    Dealt {
        /// How many.
        runs: usize,
        /// The same base deals the same runs.
        base: u64,
        /// Only these kinds; all when there are none.
        only: Vec<Fault>,
    },
    /// The run of one seed again.
    Replayed(u64),
}

/// All runs together.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Runs made.
    pub runs: usize,
    /// Recipients accepted in all of them.
    pub recipients: u64,
    /// Runs by what went wrong.
    pub faults: BTreeMap<&'static str, usize>,
    /// Recipients lost.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Copies that are allowed.
    pub duplicate_bound: u64,
    /// By its terms.
    pub duplicate_terms: Bound,
    /// Takeovers measured.
    pub takeovers: usize,
    /// Half of them were quicker.
    pub takeover_p50_s: f64,
    /// 99 of 100 were quicker.
    pub takeover_p99_s: f64,
    /// Recipients by which the accounts differ.
    pub imbalance: u64,
    /// Seeds of the runs in which a promise broke.
    pub failed_seeds: Vec<u64>,
    /// Kinds that were left out, because this machine does not allow them.
    pub left_out: Vec<Fault>,
    /// What an answer of the store was worth.
    pub durability: &'static str,
    /// From the first start to the last end.
    pub seconds: f64,
}

/// Makes the runs, several at a time, and hands each outcome over as it comes.
///
/// # Errors
/// When a run cannot even begin.
pub async fn chaos(
    program: &Program,
    which: &Which,
    jobs: usize,
    mut tell: impl FnMut(&Outcome),
) -> Result<Report> {
    let left_out = impossible();
    let seeds = match which {
        Which::Replayed(seed) => vec![*seed],
        Which::Dealt { runs, base, only } => plan::deal(*base, *runs, |fault| {
            !left_out.contains(&fault) && (only.is_empty() || only.contains(&fault))
        }),
    };
    ensure!((1..=200).contains(&jobs), "{jobs} jobs: 1 to 200");
    ensure!(!seeds.is_empty(), "there is no run to make");
    let began = Instant::now();
    let queue = Arc::new(Mutex::new(seeds.into_iter()));
    let (sender, mut outcomes) = tokio::sync::mpsc::channel(jobs);
    let mut workers = JoinSet::new();
    for slot in 1..=jobs as u8 {
        let (program, queue, sender) = (program.clone(), queue.clone(), sender.clone());
        workers.spawn(async move {
            while let Some(seed) = { queue.lock().await.next() } {
                let outcome = run::run(&program, seed, slot).await;
                if sender.send(outcome).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut all = Vec::new();
    while let Some(outcome) = outcomes.recv().await {
        let outcome = outcome?;
        tell(&outcome);
        all.push(outcome);
    }
    Ok(Report::of(&all, left_out, began.elapsed().as_secs_f64()))
}

/// Kinds that cannot be tried by this user.
fn impossible() -> Vec<Fault> {
    if SmallDisk::is_possible() {
        return Vec::new();
    }
    Fault::ALL.iter().copied().filter(|fault| fault.needs_disk()).collect()
}

impl Report {
    fn of(all: &[Outcome], left_out: Vec<Fault>, seconds: f64) -> Self {
        let mut faults: BTreeMap<&'static str, usize> = BTreeMap::new();
        for outcome in all {
            *faults.entry(outcome.fault.as_str()).or_default() += 1;
        }
        let mut takeovers: Vec<f64> = all.iter().flat_map(|o| o.takeovers_s.clone()).collect();
        takeovers.sort_by(f64::total_cmp);
        let terms = all.iter().fold(Bound::default(), |sum, o| sum.plus(o.bound));
        let failed = all.iter().filter(|o| !o.broken.is_empty());
        Self {
            runs: all.len(),
            recipients: all.iter().map(|o| o.recipients).sum(),
            faults,
            lost: all.iter().map(|o| o.lost).sum(),
            duplicates: all.iter().map(|o| o.duplicates).sum(),
            duplicate_bound: terms.total(),
            duplicate_terms: terms,
            takeovers: takeovers.len(),
            takeover_p50_s: quantile(&takeovers, 0.5),
            takeover_p99_s: quantile(&takeovers, 0.99),
            imbalance: all.iter().map(|o| o.imbalance).sum(),
            failed_seeds: failed.map(|o| o.seed).collect(),
            left_out,
            durability: DURABILITY,
            seconds: hundredths(seconds),
        }
    }
}

/// The value that this part of the sorted ones does not exceed; 0 of none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().map_or(0.0, hundredths)
}

fn hundredths(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 0.99)), (50.0, 99.0));
        assert_eq!((quantile(&[7.0], 0.99), quantile(&[], 0.5)), (7.0, 0.0));
    }
}
