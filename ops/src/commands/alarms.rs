//! `malleposte alarms`: what is wrong, whom it is told, and silence.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use mail::alarm::{Alarm, Condition, News, Standing, What};
use mail::plain::Lang;
use serde_json::json;
use store::Store;

use super::queue::signed::Signed;
use super::site::span;
use super::{Global, block_on, now};
use crate::config::Config;
use crate::watch::Ways;
use crate::wiring::connect;

/// What is wrong with the platform, who is told, and silence about what is known
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Alarms {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  malleposte alarms                                    what is raised, and what is silenced
  malleposte alarms silence SourceBlocked --for 4h --why \"ticket 7\"
  malleposte alarms silence SilentRelay --subject relay-b --for 2d --why \"moved\"
  malleposte alarms lift 12
  malleposte alarms try                                sends a test every way, and says who took it";

#[derive(Debug, Subcommand)]
enum Verb {
    /// What is raised, what may become so, what is silenced (the default)
    List,
    /// Nobody is told of it for a while; the book and the console show it all the same
    Silence {
        /// The condition by its name, or `all`
        condition: String,
        /// This campaign, relay, site … alone
        #[arg(long, default_value = "", value_name = "NAME")]
        subject: String,
        /// For so long, such as 90s, 30m, 4h or 3d
        #[arg(long = "for", value_name = "TIME", value_parser = span)]
        lasts: std::time::Duration,
        #[command(flatten)]
        signed: Signed,
    },
    /// Ends a silence by its number
    Lift {
        /// The number
        silence: u64,
    },
    /// Sends a test to everybody who is told, now
    Try,
}

impl Alarms {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        block_on(async move {
            if let Some(Verb::Try) = self.verb {
                return try_ways(&config).await;
            }
            let store = connect(&config).await?;
            match self.verb.unwrap_or(Verb::List) {
                Verb::List => list(&store, self.json).await?,
                Verb::Silence { condition, subject, lasts, signed } => {
                    signed.check()?;
                    let of = condition_of(&condition)?;
                    let (by, now) = (signed.by(), now());
                    let until = now + lasts;
                    let who = (by.as_str(), signed.why.as_str());
                    let silence = store.silence(of, &subject, until, who, now).await?;
                    println!("silence {} holds until {}", silence.id, silence.until);
                }
                Verb::Lift { silence } => {
                    if !store.lift_silence(silence).await? {
                        bail!(
                            "silence {silence} does not hold; `malleposte alarms` lists those that do"
                        );
                    }
                    println!("silence {silence} is lifted");
                }
                Verb::Try => {}
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// A condition by its name; `None`: all of them.
fn condition_of(word: &str) -> anyhow::Result<Option<Condition>> {
    if word == "all" {
        return Ok(None);
    }
    let known = Condition::ALL.iter().find(|known| known.as_str().eq_ignore_ascii_case(word));
    known.copied().map(Some).with_context(|| {
        let all: Vec<&str> = Condition::ALL.iter().map(|condition| condition.as_str()).collect();
        format!("{word:?} is no condition: all, or one of {}", all.join(", "))
    })
}

async fn list(store: &Store, as_json: bool) -> anyhow::Result<()> {
    let (record, silences) = (store.alarms().await?, store.silences(now()).await?);
    if as_json {
        let told = json!({
            "alarms": record.book.alarms(), "silences": silences, "untold": record.untold.len(),
            "looked_at": record.looked_at.to_string(),
        });
        println!("{told}");
        return Ok(());
    }
    if record.looked_at.0 == 0 {
        println!(
            "nobody has looked yet: alarms are judged where `malleposte up` or the ledger runs"
        );
        return Ok(());
    }
    let alarms = record.book.alarms();
    if !alarms.iter().any(|alarm| alarm.is_raised()) {
        println!("nothing is raised; last look at {}", record.looked_at);
    }
    for alarm in alarms {
        print(alarm, silences.iter().any(|silence| silence.covers(alarm, now())));
    }
    if !record.untold.is_empty() {
        println!(
            "{} news are not taken yet; `malleposte alarms try` says by whom",
            record.untold.len()
        );
    }
    for silence in silences {
        let of = silence.condition.map_or("everything", Condition::as_str);
        let subject = if silence.subject.is_empty() {
            String::new()
        } else {
            format!(" {}", silence.subject)
        };
        println!(
            "silence {}: {of}{subject} until {}, by {}: {}",
            silence.id, silence.until, silence.by, silence.why
        );
    }
    Ok(())
}

fn print(alarm: &Alarm, is_silenced: bool) {
    let Alarm { condition, subject, standing, since, raised_at, says, .. } = alarm;
    let weight = if condition.rule().is_critical { "critical" } else { "warning" };
    let (state, at) = match standing {
        Standing::Rising => ("may become so, since", since),
        Standing::Raised => ("raised at", raised_at.as_ref().unwrap_or(since)),
        Standing::Falling => ("seems over, since", since),
    };
    let silenced = if is_silenced { ", silenced" } else { "" };
    println!("{condition} {subject}: {weight}, {state} {at}{silenced}");
    println!("  {}: {says}", condition.title(Lang::En));
}

async fn try_ways(config: &Config) -> anyhow::Result<ExitCode> {
    let ways =
        Ways::new(&config.alarms, &config.dns).map_err(|why| anyhow::anyhow!("alarms.{why}"))?;
    if ways.is_empty() {
        bail!("nobody is told: set alarms.mail_to or alarms.webhook");
    }
    let at = now();
    let alarm = Alarm {
        condition: Condition::Test,
        subject: String::new(),
        standing: Standing::Raised,
        since: at,
        raised_at: Some(at),
        told_at: None,
        value: 0.0,
        says: "somebody tries whether this arrives; nothing is wrong".into(),
    };
    let news = News { what: What::Raised, alarm, at };
    crate::run::logging::init(&config.log)?;
    let took = ways.tell(&news, &[]).await;
    for name in ways.names() {
        let does = if took.contains(&name) { "took it" } else { "did not take it: see above" };
        println!("{name} {does}");
    }
    Ok(if ways.are_all(&took) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_named_in_any_case_and_wrong_ones_are_quoted() {
        assert_eq!(condition_of("sourceblocked").expect("one"), Some(Condition::SourceBlocked));
        assert_eq!(condition_of("all").expect("all"), None);
        let refused = condition_of("Blocked").expect_err("refused").to_string();
        assert!(refused.contains("\"Blocked\"") && refused.contains("SourceBlocked"), "{refused}");
    }
}
