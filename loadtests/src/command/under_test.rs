//! Arguments that every command has which measures or tries the real program.

use std::path::PathBuf;

use anyhow::Result;

use crate::program::Program;

/// The program under test, and how its figures are told.
#[derive(Debug, clap::Args)]
pub(crate) struct UnderTest {
    /// The program under test; `malleposte` beside this one without it.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where it keeps its data; the disk is part of what is measured.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Prints one object of JSON instead of text for people.
    #[arg(long)]
    pub(crate) json: bool,
}

impl UnderTest {
    /// The program, found.
    pub(crate) fn program(&self) -> Result<Program> {
        Program::find(self.program.clone(), self.folder.clone())
    }
}
