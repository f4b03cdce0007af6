//! `malleposte bounces guide`: what every reason means, for people who send campaigns.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use mail::guide::{Format, guide};
use mail::plain::Lang;

use super::ended;
use crate::commands::Global;
use crate::commands::trace::lang;

/// Write the guide to every reason for which mail fails or comes back: what happened, what to do
///
/// It is made from what the program itself goes by and says, in English or French, as Markdown or as
/// one page for a browser that loads nothing from elsewhere. When an address is suppressed is told as
/// the configuration has it.
#[derive(Debug, Args)]
pub(super) struct Guide {
    /// Its language: en or fr
    #[arg(long, default_value = "en", value_parser = lang)]
    lang: Lang,
    /// What it is written as: md or html
    #[arg(long, default_value = "md", value_parser = format)]
    format: Format,
}

fn format(word: &str) -> Result<Format, String> {
    Format::from_word(word).ok_or_else(|| format!("{word:?} is neither md nor html"))
}

impl Guide {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<ExitCode> {
        let text = guide(self.lang, self.format, &global.read()?.hygiene);
        ended(io::stdout().write_all(text.as_bytes()), true)
    }
}
