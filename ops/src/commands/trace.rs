//! `malleposte trace ADDRESS`: everything that happened to a recipient, in order.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use ledger::render_story;
use mail::Address;
use mail::plain::Lang;

use super::{Global, history, no_history};

/// Tell a recipient's story: each attempt, each answer, what it means and what was done
#[derive(Debug, Args)]
pub(super) struct Trace {
    /// The recipient's address
    address: String,
    /// Language of the explanations: en or fr
    #[arg(long, default_value = "en", value_parser = lang)]
    lang: Lang,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn lang(word: &str) -> Result<Lang, String> {
    Lang::from_word(word).ok_or_else(|| format!("{word:?} is neither en nor fr"))
}

impl Trace {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        if let Err(error) = self.address.parse::<Address>() {
            bail!("{:?} {error}", self.address);
        }
        let ledger = history(&config)?.ok_or_else(|| no_history(&config))?;
        let story = ledger.story(&self.address)?;
        if self.json {
            println!("{}", serde_json::to_string(&story)?);
        } else {
            print!("{}", render_story(&story, self.lang));
        }
        Ok(ExitCode::SUCCESS)
    }
}
