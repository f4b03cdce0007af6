//! `malleposte completions`: the script that makes a shell complete our commands.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  malleposte completions bash > /etc/bash_completion.d/malleposte
  malleposte completions zsh > ~/.zfunc/_malleposte
  malleposte completions fish > ~/.config/fish/completions/malleposte.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut command = Cli::command();
        clap_complete::generate(self.shell, &mut command, "malleposte", &mut std::io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}
