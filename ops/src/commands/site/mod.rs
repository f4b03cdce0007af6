//! `malleposte site`: how fast mail goes where, why, and the operator's verbs about it.

mod deeds;
mod find;
mod list;
mod replay;
mod show;
mod view;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use ledger::Ledger;
use mail::orders::Orders;
use mail::provider::Providers;
use mail::throttle::Fixed;
use mail::{Site, Timestamp};
use relay::{Insight, insights, insights_at, look_at_ceilings, providers};
use store::Store;

pub(crate) use show::SiteTold;
pub(crate) use view::PaceSeen;

use super::queue::order::Hand;
use super::queue::signed::Signed;
use super::{Global, Voice, history, no_history};
use crate::config::Config;
use crate::wiring::connect;

/// Somebody who fixes a pace for longer than this means the configuration.
const FIXED_FOR_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Destinations: how fast mail goes there, what binds, why, and since when; and by hand
///
/// A site is a set of mail exchangers. It is named as `list` has it, by a domain that it serves,
/// such as gmail.com, or by the end of its name, if no other has the same.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Sites {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
}

/// Changes of a pace that are counted, to tell busy ones from others.
const COUNTED_MAX: usize = 1_000;

const EXAMPLES: &str = "\
Examples:
  malleposte site                              every source at every site, blocked ones first
  malleposte site show gmail.com               limits, what binds and why, and what changed lately
  malleposte site fix gmail.com --rate 5 --for 2h --why \"ticket 7\"
  malleposte site release gmail.com --why \"their postmaster lifted it\"
  malleposte site undo gmail.com 2026-11.1234 --why \"they had a fault\"
  malleposte site replay gmail.com             does history add up to the state?";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every source at every site (the default)
    List,
    /// One site: limits, what binds and why, who shares, what changed lately
    Show(Which),
    /// Its pace is what you say until `queue undo`, or for a time
    Fix {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        fix: Numbers,
        #[command(flatten)]
        signed: Signed,
    },
    /// Ends a block: the source is used there again at once, slowly
    Release {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        signed: Signed,
    },
    /// Puts a limit back to what it was before a change
    Undo {
        #[command(flatten)]
        which: Which,
        /// The change by its number, as `show` has it
        change: String,
        #[command(flatten)]
        signed: Signed,
    },
    /// Adds up the changes that history tells, and says whether that is the state
    Replay(Which),
}

/// A site, and one source or all.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The site, a domain that it serves, or the end of its name
    #[arg(value_name = "SITE")]
    site: String,
    /// This source alone
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

impl Which {
    pub(crate) fn new(site: &str, source: &str) -> Self {
        Self { site: site.to_owned(), source: Some(source.to_owned()) }
    }
}

/// What is to be fixed.
#[derive(Debug, Args)]
struct Numbers {
    /// Messages a second, of all relays together
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Connections, of all relays together
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// Messages over one connection
    #[arg(long, value_name = "N")]
    messages_per_connection: Option<u32>,
    /// For so long, such as 90s, 30m, 2h or 3d; until it is undone when it is not given
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    lasts: Option<Duration>,
}

impl Numbers {
    fn fixed(&self) -> Fixed {
        Fixed {
            rate: self.rate,
            connections: self.connections,
            messages_per_connection: self.messages_per_connection,
        }
    }
}

pub(in crate::commands) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write 90s, 30m, 2h or 3d, 30d at most");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let span = Duration::from_secs(number.saturating_mul(seconds));
    if span.is_zero() || span > FIXED_FOR_MAX { Err(wrong()) } else { Ok(span) }
}

/// The platform, as these commands look at it.
pub(crate) struct Desk {
    store: Store,
    config: Config,
    /// History, if there is any on this machine.
    ledger: Option<Ledger>,
    known: Arc<Providers>,
    voice: Voice,
}

impl Sites {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        super::block_on(async move {
            let store = connect(&config).await?;
            let desk = Desk::new(&store, &config, Voice::of(self.json))?;
            match self.verb.unwrap_or(Verb::List) {
                Verb::List => desk.list().await?,
                Verb::Show(which) => desk.show(&which).await?,
                Verb::Fix { which, fix, signed } => desk.fix(&which, &fix, &signed).await?,
                Verb::Release { which, signed } => desk.release(&which, &signed).await?,
                Verb::Undo { which, change, signed } => {
                    desk.undo(&which, &change, &signed).await?;
                }
                Verb::Replay(which) => return desk.replay(&which).await,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Desk {
    pub(crate) fn new(store: &Store, config: &Config, voice: Voice) -> anyhow::Result<Self> {
        let known = providers(&config.relay.providers)?;
        let ledger = history(config)?;
        Ok(Self { store: store.clone(), config: config.clone(), ledger, known, voice })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn hand(&self) -> Hand<'_> {
        Hand { store: &self.store, config: &self.config, voice: self.voice }
    }

    async fn orders(&self) -> anyhow::Result<Orders> {
        Ok(self.store.orders(super::now()).await?)
    }

    /// What is known of a site, of one source or of all.
    async fn at(&self, site: &Site, source: Option<&str>) -> anyhow::Result<Vec<Insight>> {
        self.looked_at(insights_at(&self.store, site, source).await?).await
    }

    /// The one source that something is to be done to.
    async fn one(&self, site: &Site, source: Option<&str>) -> anyhow::Result<Insight> {
        let mut found = self.at(site, source).await?;
        match (found.len(), source) {
            (1, _) => Ok(found.remove(0)),
            (0, Some(source)) => bail!("nothing is known of source {source:?} at {site}"),
            (0, None) => bail!("nothing is known of {site}: no mail went there lately"),
            _ => {
                let names: Vec<&str> = found.iter().map(|known| known.source.as_str()).collect();
                bail!("{site} has several sources: name one with --source: {}", names.join(", "))
            }
        }
    }

    async fn all(&self) -> anyhow::Result<Vec<Insight>> {
        self.looked_at(insights(&self.store).await?).await
    }

    async fn looked_at(&self, mut found: Vec<Insight>) -> anyhow::Result<Vec<Insight>> {
        let (config, now) = (&self.config.relay, super::now());
        look_at_ceilings(&mut found, &self.store, config, &self.known, now).await?;
        Ok(found)
    }

    fn ledger(&self) -> anyhow::Result<&Ledger> {
        self.ledger.as_ref().ok_or_else(|| no_history(&self.config))
    }
}

/// The site whose pace changed most often, as `malleposte site show` tells of it; `None` when none
/// is known.
///
/// # Errors
/// When the store or the history does not read.
pub(crate) async fn told_of_the_busiest(
    store: &Store,
    config: &Config,
) -> anyhow::Result<Option<String>> {
    let desk = Desk::new(store, config, Voice::Silent)?;
    let (mut busiest, mut most) = (None, 0);
    for known in desk.all().await? {
        let of = |ledger: &Ledger| {
            ledger.pace_changes(&known.source, known.site.as_str(), Timestamp(0), COUNTED_MAX)
        };
        let changes = desk.ledger.as_ref().map(of).transpose()?.map_or(0, |all| all.len());
        if busiest.is_none() || changes > most {
            (busiest, most) = (Some((known.site, known.source)), changes);
        }
    }
    match busiest {
        Some((site, source)) => Ok(Some(desk.shown(&site, Some(&source)).await?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "2", "h", "-1h", "2 h", "0m", "31d", "2hours", "1é"] {
            assert!(span(wrong).expect_err("refused").contains(&format!("{wrong:?} is no time")));
        }
    }
}
