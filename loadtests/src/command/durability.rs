//! `loadtests durability`: what each level loses and costs. Arguments and output only.

use std::path::PathBuf;

use anyhow::Result;

use crate::durability::{Wish, durability};

/// What to try.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Cuts of each kind at each level.
    #[arg(long, default_value_t = 10)]
    cuts: usize,
    /// The moments of the cuts are drawn from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A server with WAITAOF; `ops/install.sh --tests` puts one where it is looked for.
    #[arg(long, default_value = "target/valkey/valkey-server")]
    valkey: PathBuf,
    /// Where servers keep their files; the disk is part of what is measured.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Prints one object of JSON instead of text for people.
    #[arg(long)]
    json: bool,
}

/// Tries, measures and prints.
///
/// # Errors
/// When a server does not do what it should; a loss is a result.
pub async fn run(arguments: Arguments) -> Result<()> {
    let valkey = arguments.valkey.canonicalize().ok();
    let Arguments { cuts, seed, valkey: _, folder, json } = arguments;
    let wish = Wish { cuts, seed, valkey, folder };
    let tell = |line: &str| {
        if !json {
            println!("{line}");
        }
    };
    let report = durability(&wish, tell).await?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    }
    for words in &report.left_out {
        eprintln!("left out: {words}");
    }
    Ok(())
}
