//! `loadtests intake`: how fast recipients are accepted. Arguments and output only.

use anyhow::Result;

use super::throughput::line;
use super::under_test::UnderTest;
use crate::bench::intake;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Recipients of the campaign.
    #[arg(long, default_value_t = 1_000_000)]
    recipients: u64,
    /// The same seed gives the same recipients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    under_test: UnderTest,
}

/// Measures and prints.
///
/// # Errors
/// When the platform cannot be set up, or does not accept every recipient.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let intake = intake(&program, arguments.recipients, arguments.seed).await?;
    if arguments.under_test.json {
        println!("{}", serde_json::to_string(&intake)?);
        return Ok(());
    }
    println!(
        "{} recipients accepted in {:.1} s ({:.1} upload, {:.1} close): {:.0}/s, durability {}",
        intake.recipients,
        intake.seconds,
        intake.upload_s,
        intake.close_s,
        intake.recipients_per_s,
        intake.durability
    );
    println!("                       relay    redis   ledger      api    total");
    line("CPU µs/recipient", &intake.cpu_us);
    line("peak RSS MiB", &intake.rss_mb);
    println!("  redis memory       {:>8.1} octets a recipient", intake.redis_bytes_per_recipient);
    Ok(())
}
