//! `malleposte warmup`: how far new sources are with their plans, at which provider, and what is
//! counted by the hour and the day.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use mail::event::EventKind;
use mail::warmup::{Per, Plan};
use mail::{Event, Timestamp};
use relay::warmup_plans;
use serde_json::{Value, json};
use store::{QuotaRecord, Store};

use super::queue::Signed;
use super::{Global, block_on, now};
use crate::config::Config;
use crate::wiring::connect;

/// Warm-up: how far each source is with its plan, and what it sent in the last hour and day
///
/// A source follows a plan where its configuration names one (warmup of relay.sources). A day of
/// a plan is done when mail went and at most one answer in twenty objected to the source; else it
/// is repeated. What a plan has no room for goes from the other sources of the pool.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Warmup {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  malleposte warmup                       how far each source is, at each provider
  malleposte warmup plans                 the plans there are
  malleposte warmup plans sendgrid        each day of one
  malleposte warmup set out1 gmail --day 12 --why \"was warm at the old relay\"";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Each source at each provider where it is counted (the default)
    List,
    /// The plans there are: those of the configuration, and the built-in ones
    Plans {
        /// This one, day by day
        name: Option<String>,
    },
    /// Say which day of its plan a source has come to; a day after the last one: it is warm
    Set {
        /// The source
        source: String,
        /// The provider, or the site, as the list names it
        provider: String,
        /// The day, from 1
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        day: u32,
        #[command(flatten)]
        signed: Signed,
    },
}

impl Warmup {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        let json = self.json;
        match self.verb.unwrap_or(Verb::List) {
            Verb::Plans { name } => print_plans(&config, name.as_deref(), json),
            Verb::List => block_on(async {
                let store = connect(&config).await?;
                let (records, now) = (store.quotas(now()).await?, now());
                let plans = warmup_plans(&config.relay);
                match json {
                    true => println!("{}", as_json(&records, &plans)),
                    false => print!("{}", as_text(&records, &plans, now)),
                }
                Ok(ExitCode::SUCCESS)
            }),
            Verb::Set { source, provider, day, signed } => block_on(async {
                signed.check()?;
                let store = connect(&config).await?;
                set(&store, (&source, &provider), day, &signed).await?;
                Ok(ExitCode::SUCCESS)
            }),
        }
    }
}

async fn set(
    store: &Store,
    (source, provider): (&str, &str),
    day: u32,
    signed: &Signed,
) -> anyhow::Result<()> {
    if !store.set_warmup_day(source, provider, day - 1).await? {
        let all = store.quotas(now()).await?;
        let warming = all.iter().filter(|record| record.progress.is_some());
        let there: Vec<_> = warming.map(|r| format!("{} {}", r.source, r.group)).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        bail!("source {source:?} follows no plan at {provider:?} yet; those that do: {there}");
    }
    let what = format!("warm-up of source {source} at {provider}: day {day}");
    let note = format!("{what} by {}: {}", signed.by(), signed.why);
    let mut event = Event::new(EventKind::Ordered, now());
    source.clone_into(&mut event.source);
    store.tell_ordered(Event { note, ..event }).await?;
    println!("{what} from now on");
    Ok(())
}

type Plans = Vec<(String, Plan)>;

fn plan<'a>(plans: &'a Plans, name: &str) -> Option<&'a Plan> {
    plans.iter().find(|(known, _)| known == name).map(|(_, plan)| plan)
}

fn in_any(per: Per) -> &'static str {
    match per {
        Per::Hour => "in any hour",
        Per::Day => "in any day",
    }
}

fn as_text(records: &[QuotaRecord], plans: &Plans, now: Timestamp) -> String {
    let mut text = String::new();
    if records.is_empty() {
        text.push_str("nothing is counted: no source follows a plan, and no ceiling was met yet\n");
    }
    for record in records {
        let QuotaRecord { source, group, hour, day, .. } = record;
        let _ = write!(text, "source {source} at {group}: ");
        let _ = match standing(record, plans) {
            Some(standing) => write!(text, "{standing}; "),
            None => Ok(()),
        };
        let _ = write!(text, "{hour} in the last hour, {day} in the last day");
        if let Some(progress) = record.progress.as_ref().filter(|p| p.bad > 0) {
            let since = now.since(progress.since).as_secs() / 3600;
            let _ = write!(text, "; {} objected to in the last {} h", progress.bad, since + 1);
        }
        text.push('\n');
    }
    text
}

/// Day 3 of 30 of sendgrid, 39 in any hour.
fn standing(record: &QuotaRecord, plans: &Plans) -> Option<String> {
    let progress = record.progress.as_ref()?;
    let (name, day) = (&progress.plan, progress.day as usize);
    let Some(plan) = plan(plans, name) else {
        return Some(format!("day {} of {name}, a plan that is gone", day + 1));
    };
    Some(match plan.ceilings.get(day) {
        Some(most) => {
            let (days, per) = (plan.ceilings.len(), in_any(plan.per));
            format!("day {} of {days} of {name}, {most} {per}", day + 1)
        }
        None => format!("warm, {name} is over"),
    })
}

fn as_json(records: &[QuotaRecord], plans: &Plans) -> Value {
    let row = |record: &QuotaRecord| {
        let warmup = record.progress.as_ref().map(|progress| {
            let plan = plan(plans, &progress.plan);
            let ceiling = plan.and_then(|plan| plan.ceilings.get(progress.day as usize));
            json!({
                "plan": progress.plan,
                "day": progress.day + 1,
                "days": plan.map(|plan| plan.ceilings.len()),
                "per": plan.map(|plan| plan.per.as_str()),
                "ceiling": ceiling,
                "since": progress.since.to_string(),
                "sent": progress.sent,
                "objected": progress.bad,
            })
        });
        json!({
            "source": record.source,
            "provider": record.group,
            "last_hour": record.hour,
            "last_day": record.day,
            "warmup": warmup,
        })
    };
    json!({ "sources": records.iter().map(row).collect::<Vec<_>>() })
}

fn print_plans(config: &Config, only: Option<&str>, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut plans = warmup_plans(&config.relay);
    if let Some(name) = only {
        let known: Vec<String> = plans.iter().map(|(name, _)| name.clone()).collect();
        plans.retain(|(known, _)| known == name);
        plans.first().with_context(|| {
            format!("there is no plan {name:?}; there are {}", known.join(", "))
        })?;
    }
    if as_json {
        let row = |(name, plan): &(String, Plan)| {
            json!({"name": name, "title": plan.title, "source": plan.source,
                "per": plan.per.as_str(), "ceilings": plan.ceilings})
        };
        println!("{}", json!({ "plans": plans.iter().map(row).collect::<Vec<_>>() }));
        return Ok(ExitCode::SUCCESS);
    }
    for (name, plan) in &plans {
        let (days, per) = (plan.ceilings.len(), in_any(plan.per));
        let (first, last) = (plan.ceilings[0], plan.ceilings[days - 1]);
        println!("{name:<14} {days} days, {first} to {last} {per}: {}", plan.title);
        if only.is_some() {
            if !plan.source.is_empty() {
                println!("from {}", plan.source);
            }
            for (day, most) in plan.ceilings.iter().enumerate() {
                println!("  day {:>3}  {most:>9}", day + 1);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mail::warmup::Progress;

    use super::*;

    const T0: Timestamp = Timestamp(1_700_000_000_000);

    fn record(group: &str, progress: Option<Progress>) -> QuotaRecord {
        QuotaRecord { source: "out1".into(), group: group.into(), hour: 5, day: 60, progress }
    }

    #[test]
    fn a_line_says_how_far_a_source_is() {
        let plan = Plan::parse("title = 'T'\nper = 'hour'\nceilings = [20, 28, 39]").expect("good");
        let plans = vec![("slow".to_owned(), plan)];
        let on_day = |day, bad| {
            let progress = Progress { day, bad, sent: 50, ..Progress::new("slow", T0) };
            Some(progress)
        };
        let gone = Progress::new("gone", T0);
        let records = [
            record("gmail", on_day(2, 0)),
            record("orange", on_day(1, 4)),
            record("yahoo", on_day(3, 0)),
            record("mx.example", None),
            record("gmx", Some(gone)),
        ];
        assert_eq!(
            as_text(&records, &plans, T0 + Duration::from_secs(7300)),
            "\
source out1 at gmail: day 3 of 3 of slow, 39 in any hour; 5 in the last hour, 60 in the last day
source out1 at orange: day 2 of 3 of slow, 28 in any hour; 5 in the last hour, 60 in the last day; \
4 objected to in the last 3 h
source out1 at yahoo: warm, slow is over; 5 in the last hour, 60 in the last day
source out1 at mx.example: 5 in the last hour, 60 in the last day
source out1 at gmx: day 1 of gone, a plan that is gone; 5 in the last hour, 60 in the last day
"
        );
        let told = as_json(&records[..1], &plans);
        assert_eq!(told["sources"][0]["warmup"]["ceiling"], 39);
        assert_eq!(told["sources"][0]["provider"], "gmail");
    }
}
