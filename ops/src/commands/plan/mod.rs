//! `malleposte plan`: from messages a day to relays, addresses, memory, bandwidth and disk.

mod arithmetic;
mod quantity;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;
use ledger::{GroupBy, Ledger, StatsQuestion};
use loadtests::Figures;
use mail::Timestamp;
use serde_json::json;

use super::{Desk, Global, Voice, block_on, history, now};
use crate::config::Config;
use crate::wiring::connect;
use arithmetic::{HOURS, Habits, Wish, count, plan, short};
use quantity::{Count, Octets, PerHour};

/// What is reckoned with unless others are named.
const FIGURES: &str = include_str!("../../../figures.toml");
/// How far back history is asked.
const DAYS: u64 = 30;
const DAY_MS: u64 = 86_400_000;
/// A history with fewer deliveries says nothing of habits.
const DELIVERIES_MIN: u64 = 10_000;
/// A message that nobody says the size of.
const OCTETS: f64 = 60_000.0;

/// What a number of messages a day takes: relays, addresses, Redis memory, bandwidth, disk
///
/// Reckoned from what was measured on a machine (`loadtests figures` measures another) and from what
/// this platform's history tells of the last 30 days. The arithmetic is shown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Plan {
    /// Messages a day, such as 2M
    #[arg(long, value_name = "COUNT")]
    per_day: Count,
    /// Messages in the busiest hour, such as 300k/h; a day's mail in eight hours without it
    #[arg(long, value_name = "RATE")]
    burst: Option<PerHour>,
    /// Size of a message on the wire, such as 60KB; as history tells, or 60KB, without it
    #[arg(long, value_name = "SIZE")]
    size: Option<Octets>,
    /// Processors of each relay's host
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    cores: u16,
    /// Reckon with the figures of this file, which `loadtests figures` wrote
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
    /// Ask no history: reckon with what is assumed without one
    #[arg(long)]
    no_history: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  malleposte plan --per-day 2M --burst 300k/h --size 60KB
  malleposte plan --per-day 100M --cores 8 --no-history
  loadtests figures --out here.toml && malleposte plan --per-day 2M --figures here.toml";

impl Plan {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        if let Some(PerHour(per_hour)) = self.burst
            && per_hour > self.per_day.0
        {
            bail!(
                "--burst: {} in an hour are more than the {} of a day",
                count(per_hour),
                count(self.per_day.0)
            );
        }
        let figures = read(self.figures.as_deref())?;
        let told = match self.no_history {
            true => None,
            false => block_on_told(&config)?,
        };
        let (habits, octets) = told.unwrap_or_else(|| (Habits::assumed(), None));
        let wish = Wish {
            per_day: self.per_day.0,
            per_hour: self.burst.map_or(self.per_day.0 / HOURS, |burst| burst.0),
            is_hour_given: self.burst.is_some(),
            octets: self.size.map(|size| size.0).or(octets).unwrap_or(OCTETS),
            cores: f64::from(self.cores),
            months: f64::from(config.ledger.keep_months),
        };
        self.tell(&wish, &figures, &habits);
        Ok(ExitCode::SUCCESS)
    }

    fn tell(&self, wish: &Wish, figures: &Figures, habits: &Habits) {
        let lines = plan(wish, figures, habits);
        if self.json {
            let wish = json!({
                "per_day": wish.per_day, "per_hour": wish.per_hour, "bytes": wish.octets,
                "cores": wish.cores, "months": wish.months,
            });
            println!(
                "{}",
                json!({ "wish": wish, "figures": figures, "habits": habits, "plan": lines })
            );
            return;
        }
        println!(
            "{} messages a day of {} KB, {} in the busiest hour\n",
            count(wish.per_day),
            short(wish.octets / 1000.0),
            count(wish.per_hour)
        );
        for line in &lines {
            let value = format!("{} {}", short(line.value), line.unit);
            println!("  {:<22} {:>14}  {}", line.what, value.trim_end(), line.because);
        }
        let Habits { from, deferrals, returns, .. } = habits;
        println!("\nfigures: {}", figures.measured);
        println!(
            "habits ({from}): {:.1} % put off, {:.1} % come back; assumed: {} s a message and connection",
            deferrals * 100.0,
            returns * 100.0,
            short(habits.seconds)
        );
        if *from == "assumed" {
            println!(
                "after {} deliveries this platform's own history is reckoned with",
                count(DELIVERIES_MIN as f64)
            );
        }
        println!("not reckoned: archives, other tenants, and what providers allow besides a rate");
    }
}

fn read(file: Option<&Path>) -> anyhow::Result<Figures> {
    let Some(file) = file else { return Ok(toml::from_str(FIGURES)?) };
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let read = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map_err(anyhow::Error::from),
        false => toml::from_str(&text).map_err(anyhow::Error::from),
    };
    let figures: Figures =
        read.with_context(|| format!("{}: not written by `loadtests figures`", file.display()))?;
    let costs = [
        figures.relay_us,
        figures.redis_us,
        figures.redis_bytes_waiting,
        figures.ledger_bytes_per_event,
    ];
    ensure!(
        costs.iter().all(|cost| cost.is_finite() && *cost > 0.0),
        "{}: nothing costs nothing",
        file.display()
    );
    Ok(figures)
}

/// What this platform's history tells, if there is enough of one here.
fn block_on_told(config: &Config) -> anyhow::Result<Option<(Habits, Option<f64>)>> {
    let Some(ledger) = history(config)? else { return Ok(None) };
    let mut told = of_history(&ledger)?;
    if let Some((habits, _)) = &mut told {
        // What the largest site was found to allow: known while the platform runs.
        let _ = block_on(async {
            if let Some(rate) = found_rate(config, &habits.largest.1).await? {
                (habits.largest_rate, habits.is_rate_found) = (rate, true);
            }
            Ok(ExitCode::SUCCESS)
        });
    }
    Ok(told)
}

fn of_history(ledger: &Ledger) -> anyhow::Result<Option<(Habits, Option<f64>)>> {
    let until = now();
    let period = StatsQuestion::between(Timestamp(until.0.saturating_sub(DAYS * DAY_MS)), until);
    let answer = ledger.stats(&StatsQuestion { by: vec![GroupBy::Site], ..period })?;
    let total = &answer.total.measures;
    let accounts = &total.accounts;
    if accounts.delivered < DELIVERIES_MIN {
        return Ok(None);
    }
    let (attempts, delivered) = (total.attempts() as f64, accounts.delivered as f64);
    let named =
        answer.rows.iter().filter(|row| row.of.first().is_some_and(|site| !site.is_empty()));
    let largest = named.max_by_key(|row| row.measures.attempts());
    let largest = largest.map(|row| (row.measures.attempts() as f64 / attempts, row.of[0].clone()));
    let back = accounts.returned + accounts.complained + total.reported + total.unsubscribed;
    let assumed = Habits::assumed();
    let habits = Habits {
        from: "history",
        deferrals: accounts.deferrals as f64 / delivered,
        returns: back as f64 / delivered,
        largest: largest.unwrap_or(assumed.largest),
        ..Habits::assumed()
    };
    let octets = (total.bytes > 0).then(|| total.bytes as f64 / delivered);
    Ok(Some((habits, octets)))
}

/// What a site takes from one source: the middle one of those that are in no trouble.
async fn found_rate(config: &Config, site: &str) -> anyhow::Result<Option<f64>> {
    let store = connect(config).await?;
    let here = store.paces().await?.into_iter().filter(|(_, known)| known.as_str() == site);
    let seen = Desk::new(&store, config, Voice::Silent)?.seen(here.collect()).await?;
    // What a source in trouble may do says nothing of others.
    let well = seen.iter().filter(|pace| !pace.is_blocked && !pace.is_suspended);
    let mut rates: Vec<f64> = well.map(|pace| pace.rate).filter(|rate| *rate > 0.0).collect();
    rates.sort_by(f64::total_cmp);
    Ok(rates.get(rates.len() / 2).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_that_come_along_read_and_wrong_ones_are_named() {
        let figures = read(None).expect("figures");
        assert!(figures.relay_us > 10.0 && figures.redis_bytes_waiting > 1.0, "{figures:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, "speed = 3\n").expect("written");
        let refused = format!("{:#}", read(Some(&file)).expect_err("refused"));
        assert!(
            refused.contains("mine.toml") && refused.contains("loadtests figures"),
            "{refused}"
        );
        let text = serde_json::to_string(&figures).expect("JSON");
        std::fs::write(&file, text).expect("written");
        assert_eq!(read(Some(&file)).expect("figures"), figures);
    }
}
