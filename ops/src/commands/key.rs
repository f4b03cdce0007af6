//! `malleposte key`: API keys for people and tools.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use store::{ApiKey, ApiKeyRecord, Right};

use super::Global;
use crate::wiring::connect;

/// Make API keys
#[derive(Debug, Args)]
pub(super) struct Key {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key and print it; it is kept nowhere in the clear
    Add {
        /// What it is for, such as the tool that uses it
        name: String,
        /// For whom it acts
        #[arg(long, default_value = "default")]
        tenant: String,
        /// What it may do: admin, campaigns, read
        #[arg(long, default_value = "campaigns", value_parser = right)]
        right: Right,
    },
}

fn right(word: &str) -> Result<Right, String> {
    Right::from_word(word).ok_or_else(|| format!("{word:?} is none of admin, campaigns, read"))
}

impl Key {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        super::block_on(async move {
            let Verb::Add { name, tenant, right } = self.verb;
            let store = connect(&config).await?;
            let key = ApiKey::generate();
            let record = ApiKeyRecord { name, tenant, right, created_at: super::now() };
            store.put_api_key(&key, &record).await?;
            println!("{}", key.0);
            Ok(ExitCode::SUCCESS)
        })
    }
}
