//! `loadtests figures`: what `malleposte plan` reckons with. Arguments and output only.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::under_test::UnderTest;
use crate::bench::figures;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Writes the figures to this file instead of printing them
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    under_test: UnderTest,
}

/// Measures and writes.
///
/// # Errors
/// When a measurement cannot be made or the file not written.
pub async fn run(arguments: Arguments) -> Result<()> {
    let program = arguments.under_test.program()?;
    let folder = tempfile::tempdir()?;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?;
    let today = mail::Timestamp(now.as_millis() as u64).to_string();
    let figures = figures(&program, folder.path(), &today[..10]).await?;
    let text = match arguments.under_test.json {
        true => serde_json::to_string(&figures)? + "\n",
        false => toml::to_string(&figures)?,
    };
    match &arguments.out {
        Some(file) => std::fs::write(file, text).with_context(|| file.display().to_string()),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}
