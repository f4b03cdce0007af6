//! `loadtests fairness`: one large tenant against many small ones. Arguments and output only.

use anyhow::{Context, Result};

use super::under_test::UnderTest;
use crate::bench::{FairWish, fairness};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Relays that share the work.
    #[arg(long, default_value_t = 2)]
    relays: u16,
    /// Messages a second of the one site that all recipients live at.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Recipients of the large tenant.
    #[arg(long, default_value_t = 1_000_000)]
    big: u64,
    /// Small tenants, and recipients of each.
    #[arg(long, default_value = "100x100", value_parser = product)]
    small: (u64, u64),
    /// Weights of the small tenants, in turn. May be repeated.
    #[arg(long)]
    weight: Vec<f64>,
    /// Recipients of an urgent campaign that comes in the middle.
    #[arg(long, default_value_t = 0)]
    urgent: u64,
    /// The same seed gives the same recipients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    under_test: UnderTest,
}

fn product(text: &str) -> Result<(u64, u64)> {
    let (tenants, each) = text.split_once('x').context("TENANTSxRECIPIENTS, such as 100x100")?;
    let (tenants, each) = (tenants.parse()?, each.parse()?);
    anyhow::ensure!(tenants > 0 && each > 0, "at least one tenant with one recipient");
    Ok((tenants, each))
}

/// Measures and prints.
///
/// # Errors
/// When the measurement cannot be made.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let wish = FairWish {
        relays: arguments.relays,
        rate: arguments.rate,
        big: arguments.big,
        smalls: arguments.small.0,
        small: arguments.small.1,
        weights: arguments.weight,
        urgent: arguments.urgent,
        seed: arguments.seed,
    };
    let fairness = fairness(&program, &wish).await?;
    if arguments.under_test.json {
        println!("{}", serde_json::to_string(&fairness)?);
        return Ok(());
    }
    println!(
        "{} recipients of one tenant against {} × {}, {} relays, {}/s:",
        wish.big, wish.smalls, wish.small, wish.relays, wish.rate
    );
    println!(
        "  shares per weight      {:.0} to {:.0} in {:.1} s: ratio {:.3}, Jain {:.4}",
        fairness.least_share,
        fairness.most_share,
        fairness.window_s,
        fairness.share_ratio,
        fairness.jain
    );
    println!(
        "  small ones' p99 wait   {:.1} s of {:.1} s",
        fairness.small_p99_wait_s, fairness.bound_s
    );
    println!(
        "  rate used              {:.1} % by all, {:.1} % by the large one alone",
        fairness.window_used * 100.0,
        fairness.alone_used * 100.0
    );
    if let (Some(took), Some(bound)) = (fairness.urgent_s, fairness.urgent_bound_s) {
        println!("  the urgent campaign    {took:.1} s of {bound:.1} s");
    }
    Ok(())
}
