//! `loadtests queue`: the queue by its figures. Arguments and output only.

use anyhow::Result;

use super::under_test::UnderTest;
use crate::bench::queue;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Recipients of each measurement.
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
/// When a platform cannot be set up, or does not do what was asked.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let queue = queue(&program, arguments.recipients, arguments.seed).await?;
    if arguments.under_test.json {
        println!("{}", serde_json::to_string(&queue)?);
    } else {
        println!("{}", serde_json::to_string_pretty(&queue)?);
    }
    Ok(())
}
