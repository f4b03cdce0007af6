//! `malleposte check`: is this configuration good? Starts nothing and binds nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Global;
use crate::config::{Config, example};
use crate::run::metrics::catalogue::page as metrics_page;

/// Say what is wrong with a configuration, without starting anything
///
/// Reads the files and the MALLEPOSTE_ variables as every other command would, and lists
/// everything that is wrong: unknown keys with the likely right one, values of a wrong
/// kind, files that cannot be read, files about providers whose rules miss their examples.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 good (warnings or not), 1 wrong.

Examples:
  malleposte check                                    the usual files
  malleposte check relay.toml                         this file
  malleposte check base.toml relay.toml               these, the later one wins
  malleposte check --print-example > malleposte.toml  a file to start from")]
pub(super) struct Check {
    /// The files to check [default: those the other commands would read]
    #[arg(value_name = "CONFIG")]
    files: Vec<PathBuf>,

    /// Print a file with every setting, its meaning and its default
    #[arg(long)]
    print_example: bool,

    /// Print the page about metrics: each with its meaning and what to do when it moves
    #[arg(long)]
    print_metrics: bool,
}

impl Check {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        if self.print_example {
            print!("{}", example::<Config>());
            return Ok(ExitCode::SUCCESS);
        }
        if self.print_metrics {
            print!("{}", metrics_page());
            return Ok(ExitCode::SUCCESS);
        }
        let mut asked = global.clone();
        if !self.files.is_empty() {
            asked.config = self.files;
        }
        let config = match asked.read() {
            Ok(config) => config,
            Err(problems) => {
                eprintln!("{problems}");
                return Ok(ExitCode::FAILURE);
            }
        };
        if let Err(error) = relay::providers(&config.relay.providers) {
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
        for warning in config.warnings() {
            eprintln!("warning: {warning}");
        }
        let names: Vec<_> = asked.files().iter().map(|file| file.display().to_string()).collect();
        match names.as_slice() {
            [] => println!("no file, only defaults and variables: OK"),
            names => println!("{}: OK", names.join(", ")),
        }
        Ok(ExitCode::SUCCESS)
    }
}
