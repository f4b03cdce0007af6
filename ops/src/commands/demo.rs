//! `malleposte demo`: everything at once, against the pretend internet.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::Config;
use crate::demo::{Wish, run};
use crate::run::logging;

/// Send a campaign through everything on this machine: API, queue, two relays, DNS, SMTP,
/// returned mail, history. One relay is killed on the way
///
/// The mail goes to a pretend internet on loopback addresses: providers with hidden limits,
/// greylists, full mailboxes, hang-ups, late reports. At the end our book is compared with theirs,
/// recipient by recipient; the status is 0 only when they agree.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Recipients of the campaign
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(500..=5_000_000))]
    recipients: u64,
    /// One JSON object instead of the display and the summary
    #[arg(long)]
    json: bool,
    /// Makes other recipients
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stay after the end, until Ctrl-C: for a look at the console
    #[arg(long)]
    stay: bool,
    /// Keep everything in this folder, which must be new, to look at it afterwards
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(folder) = &self.keep {
            std::fs::create_dir(folder).map_err(|e| {
                anyhow::anyhow!(
                    "--keep {}: {e}; name a folder that does not exist yet",
                    folder.display()
                )
            })?;
        }
        let mut config = Config::default();
        config.log.level = "warn".into();
        logging::init(&config.log)?;
        let wish = Wish {
            recipients: self.recipients,
            seed: self.seed,
            is_watched: !self.json && std::io::stderr().is_terminal(),
            stays: self.stay,
            program: std::env::current_exe()?,
            data_dir: self.keep.map(std::path::absolute).transpose()?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let summary = runtime.block_on(run(&wish))?;
        if self.json {
            println!("{}", serde_json::to_string(&summary)?);
        } else {
            print!("{summary}");
        }
        Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
