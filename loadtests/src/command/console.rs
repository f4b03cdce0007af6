//! `loadtests console`: what the console weighs and costs. Arguments and output only.

use anyhow::Result;

use super::under_test::UnderTest;
use crate::bench::console;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many look at it.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    viewers: u32,
    #[command(flatten)]
    under_test: UnderTest,
}

/// Measures and prints.
///
/// # Errors
/// When the platform cannot be set up, or a page does not come.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let cost = console(&program, arguments.viewers).await?;
    if arguments.under_test.json {
        println!("{}", serde_json::to_string(&cost)?);
        return Ok(());
    }
    println!(
        "{} viewers take {} % of a processor and {:.0} octets a second each; the largest page has {} \
         octets, the slowest is there after {} ms",
        cost.viewers,
        cost.viewers_cpu_percent,
        cost.octets_per_viewer_s,
        cost.largest_octets,
        cost.slowest_ms
    );
    for (page, cost) in &cost.pages {
        println!("  {page:<28} {:>8} octets {:>8.1} ms", cost.octets, cost.ms);
    }
    Ok(())
}
