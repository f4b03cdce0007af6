//! `loadtests bounces`: what it costs to understand what comes back. Arguments and output only.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::under_test::UnderTest;
use crate::bench::{Reports, Understanding, mails, reports, understand};

/// The examples of this repository, at the sizes of real mail.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../mail/tests/returned");

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A folder of mails, each as it is; without it the examples of this repository, quoting as much
    /// of a message as real returned mail does.
    #[arg(long)]
    mails: Option<PathBuf>,
    /// Seconds of understanding.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Reports that come in over SMTP; 0: none.
    #[arg(long, default_value_t = 20_000)]
    reports: u64,
    #[command(flatten)]
    under_test: UnderTest,
}

/// Measures and prints.
///
/// # Errors
/// When a measurement cannot be made.
pub async fn run(arguments: Arguments) -> Result<()> {
    let mails = match &arguments.mails {
        Some(folder) => mails(folder, true)?,
        None => mails(EXAMPLES.as_ref(), false)?,
    };
    let understanding = understand(&mails, arguments.seconds)?;
    let over_smtp = match arguments.reports {
        0 => None,
        wanted => Some(reports(&arguments.under_test.program()?, wanted).await?),
    };
    if arguments.under_test.json {
        let mut told = serde_json::to_value(&understanding)?;
        if let (Some(told), Some(run)) = (told.as_object_mut(), &over_smtp) {
            told.extend(serde_json::to_value(run)?.as_object().cloned().unwrap_or_default());
        }
        println!("{}", json!(told));
    } else {
        print(&understanding, over_smtp.as_ref());
    }
    Ok(())
}

fn print(understanding: &Understanding, over_smtp: Option<&Reports>) {
    let Understanding { messages, octets, messages_per_cpu_s, largest_ms, largest_mb } =
        understanding;
    println!(
        "{messages} mails of {octets} octets: {messages_per_cpu_s:.0} in a second of one processor; \
         one of 20 MB: {largest_ms:.1} ms, {largest_mb:.1} MiB"
    );
    if let Some(Reports { reports, smtp_reports_per_s, cpu_us: [bounces, redis], durability }) =
        over_smtp
    {
        println!(
            "{reports} reports over SMTP, suppressed: {smtp_reports_per_s:.0} a second, durability \
             {durability}; {bounces:.1} µs of the bounce processor and {redis:.1} µs of Redis each"
        );
    }
}
