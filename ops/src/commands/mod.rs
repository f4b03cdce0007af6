//! The command line. Each command is a module of its own; what they share is here.

mod alarms;
mod backup;
mod bounces;
mod check;
mod completions;
mod console;
mod criteria;
mod demo;
mod dkim;
mod health;
mod key;
mod nagios;
mod plan;
mod providers;
mod queue;
mod redis;
mod restore;
mod serving;
mod site;
mod stats;
mod suppressions;
mod tls_reports;
mod trace;
mod warmup;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand};
use ledger::Ledger;

pub(crate) use console::add_operator;
pub(crate) use dkim::add as add_sender;
pub(crate) use queue::signed::{About, Signed};
pub(crate) use site::{Desk, PaceSeen, SiteTold, Which, told_of_the_busiest};
pub(crate) use why::told_of;

use crate::config::{Config, Problems, Sources, default_files};

/// A bulk e-mailing relay that drives by load.
#[derive(Debug, Parser)]
#[command(name = "malleposte", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  malleposte demo                      a campaign through everything, on this machine
  malleposte up                        everything on this machine, no configuration needed
  malleposte console add ann           a name and a password for the console
  malleposte dkim add news.example     a signing key, and the DNS record that proves the domain
  malleposte trace ann@example.org     everything that happened to a recipient
  malleposte stats --by site           what was delivered, put off and refused, and how fast
  malleposte why ann@example.org       what a recipient waits for, and when it goes
  malleposte queue                     what waits, by campaign
  malleposte alarms                    what is wrong, and what is silenced
  malleposte site show gmail.com       how fast mail goes there, what binds it, and why
  malleposte suppressions export       who gets no mail, as CSV
  malleposte providers                 what is known of mailbox providers
  malleposte plan --per-day 2M         relays, addresses, memory, bandwidth and disk for so much mail
  malleposte check                     is the configuration good?
  malleposte check --print-example     every setting, with its default
  malleposte completions bash          completions for a shell

Settings come from malleposte.toml here, or else /etc/malleposte/malleposte.toml, and from
variables: `redis.appendfsync` is MALLEPOSTE_REDIS__APPENDFSYNC. Nothing needs to be set.";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Read this configuration instead of the usual one; may be repeated, later ones win
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,

    /// Keep data in this folder, whatever the configuration says
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

impl Global {
    /// The files that `--config` names, or else the usual ones that exist.
    fn files(&self) -> Vec<PathBuf> {
        if self.config.is_empty() { default_files() } else { self.config.clone() }
    }

    /// The configuration that a command runs on.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&self) -> Result<Config, Problems> {
        let mut config = Config::read(&Sources::of_process(self.files()))?;
        if let Some(folder) = &self.data_dir {
            config.ledger.folder = folder.join("ledger");
            config.bounces.mailbox = folder.join("mailbox");
            config.data_dir.clone_from(folder);
        }
        Ok(config)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(serving::Up),
    Relay(serving::Relay),
    Bounces(bounces::Bounces),
    Api(serving::Api),
    Ledger(serving::Ledger),
    Demo(demo::Demo),
    Dkim(dkim::Dkim),
    Key(key::Key),
    Queue(queue::Queue),
    Site(site::Sites),
    Stats(stats::Stats),
    Trace(trace::Trace),
    Why(why::Why),
    Plan(plan::Plan),
    Providers(providers::Command),
    Suppressions(suppressions::Suppressions),
    Warmup(warmup::Warmup),
    TlsReports(tls_reports::TlsReports),
    Alarms(alarms::Alarms),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Check(check::Check),
    Health(health::Health),
    Nagios(nagios::Nagios),
    Completions(completions::Completions),
    Console(console::Console),
    Redis(redis::Redis),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let result = match command {
        Command::Up(command) => command.run(&global),
        Command::Relay(command) => command.run(&global),
        Command::Bounces(command) => command.run(&global),
        Command::Api(command) => command.run(&global),
        Command::Ledger(command) => command.run(&global),
        Command::Demo(command) => command.run(),
        Command::Dkim(command) => command.run(&global),
        Command::Key(command) => command.run(&global),
        Command::Queue(command) => command.run(&global),
        Command::Site(command) => command.run(&global),
        Command::Stats(command) => command.run(&global),
        Command::Trace(command) => command.run(&global),
        Command::Why(command) => command.run(&global),
        Command::Plan(command) => command.run(&global),
        Command::Providers(command) => command.run(&global),
        Command::Suppressions(command) => command.run(&global),
        Command::Warmup(command) => command.run(&global),
        Command::TlsReports(command) => command.run(&global),
        Command::Alarms(command) => command.run(&global),
        Command::Backup(command) => command.run(&global),
        Command::Restore(command) => command.run(&global),
        Command::Check(command) => command.run(&global),
        Command::Health(command) => command.run(&global),
        Command::Nagios(command) => command.run(&global),
        Command::Completions(command) => command.run(),
        Command::Console(command) => command.run(&global),
        Command::Redis(command) => command.run(&global),
    };
    result.unwrap_or_else(|error| {
        // The chain on one line; a list of problems keeps its lines.
        eprintln!("malleposte: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a command that asks and ends.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// History, if there is any on this machine: whoever only asks makes none.
fn history(config: &Config) -> anyhow::Result<Option<Ledger>> {
    Ok(Ledger::existing(&config.ledger)?)
}

fn no_history(config: &Config) -> anyhow::Error {
    anyhow!(
        "there is no history in {}: run this where `malleposte up` or the ledger runs, or name its folder with --data-dir",
        config.ledger.folder.display()
    )
}

/// What servers said is a stranger's: a spreadsheet must not take it for a formula.
pub(crate) fn tame(text: &str) -> String {
    let text = mail::reply::clean_text(text);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

/// How a command speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// To people.
    Text,
    /// To programs, a JSON object a line.
    Json,
    /// Not at all: the console shows what is so afterwards.
    Silent,
}

impl Voice {
    fn of(as_json: bool) -> Self {
        if as_json { Self::Json } else { Self::Text }
    }

    fn is_json(self) -> bool {
        self == Self::Json
    }

    /// Says what was done.
    fn say(self, text: impl FnOnce() -> String, json: impl FnOnce() -> serde_json::Value) {
        match self {
            Self::Text => println!("{}", text()),
            Self::Json => println!("{}", json()),
            Self::Silent => {}
        }
    }

    /// Says to people what should be known besides.
    fn remark(self, text: &str) {
        if self != Self::Silent {
            eprintln!("{text}");
        }
    }
}

/// The clock.
pub(crate) fn now() -> mail::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    mail::Timestamp(since.unwrap_or_default().as_millis() as u64)
}
