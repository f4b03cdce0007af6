//! The `loadtests` command: the pretend internet by hand, loads and measurements.

use clap::{Parser, Subcommand};
use loadtests::command;

/// Load, chaos and the pretend internet to try them on.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the pretend internet: DNS and the mail servers of a scenario, on loopback.
    Internet(command::internet::Arguments),
    /// Writes the recipients of a pretend campaign as NDJSON.
    Recipients(command::recipients::Arguments),
    /// Kills, stops, cuts off and fills up services under load, and compares the books.
    Chaos(command::chaos::Arguments),
    /// Measures what a delivered message costs relay, Redis, ledger and API.
    Throughput(command::throughput::Arguments),
    /// Measures what the same messages cost Postfix, to the same sink, beside us.
    Compare(command::compare::Arguments),
    /// Cuts the power under each level of durability; measures what is lost and what it costs.
    Durability(command::durability::Arguments),
    /// Measures the queue: memory, intake, lease and settle, the first message.
    Queue(command::queue::Arguments),
    /// Measures in short what `malleposte plan` reckons with, and writes it down.
    Figures(command::figures::Arguments),
    /// Measures what one large tenant leaves to many small ones at one site.
    Fairness(command::fairness::Arguments),
    /// Measures what a relay does while others take its host.
    Load(command::load::Arguments),
    /// Measures as many domains as recipients against one domain.
    Longtail(command::longtail::Arguments),
    /// Measures how the pace finds a hidden limit over real sockets.
    Pace(command::pace::Arguments),
    /// Runs the pace in virtual time against hidden limits, beside what others do.
    Simulate(command::simulate::Arguments),
    /// Measures what it costs to understand what comes back, and how fast it suppresses.
    Bounces(command::bounces::Arguments),
    /// Measures what it costs to keep history, and how fast it answers.
    Ledger(command::ledger::Arguments),
    /// Measures what the console weighs, how soon its pages are there, and what viewers cost.
    Console(command::console::Arguments),
    /// Measures how fast and in how much memory recipients are accepted.
    Intake(command::intake::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Internet(arguments) => command::internet::run(arguments).await,
        Command::Recipients(arguments) => command::recipients::run(&arguments),
        Command::Chaos(arguments) => command::chaos::run(arguments).await,
        Command::Throughput(arguments) => command::throughput::run(arguments).await,
        Command::Compare(arguments) => command::compare::run(arguments).await,
        Command::Durability(arguments) => command::durability::run(arguments).await,
        Command::Queue(arguments) => command::queue::run(arguments).await,
        Command::Figures(arguments) => command::figures::run(arguments).await,
        Command::Fairness(arguments) => command::fairness::run(arguments).await,
        Command::Load(arguments) => command::load::run(arguments).await,
        Command::Longtail(arguments) => command::longtail::run(arguments).await,
        Command::Pace(arguments) => command::pace::run(arguments).await,
        Command::Simulate(arguments) => command::simulate::run(&arguments),
        Command::Bounces(arguments) => command::bounces::run(arguments).await,
        Command::Ledger(arguments) => command::ledger::run(&arguments),
        Command::Console(arguments) => command::console::run(arguments).await,
        Command::Intake(arguments) => command::intake::run(arguments).await,
    }
}
