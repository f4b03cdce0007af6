//! The ledger's settings.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::LedgerError;

/// The history of everything that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder of the history, one file a month. Empty: `ledger` in the data folder.
    pub folder: PathBuf,
    /// Months that are kept, this one included; 0 keeps all. An older month's file is deleted
    /// whole. Ask whoever answers for personal data before raising it.
    pub keep_months: u32,
    /// Events are stored at least this often, in milliseconds, 10 to 5000. Longer costs less
    /// disk work; what waits is safe in the queue meanwhile.
    pub store_every_ms: u64,
    /// How often the accounts are compared with the queue's, in seconds, 1 to 3600.
    pub balance_every_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { folder: PathBuf::new(), keep_months: 25, store_every_ms: 200, balance_every_s: 5 }
    }
}

impl Config {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// The first one that cannot.
    pub fn check(&self) -> Result<(), LedgerError> {
        let refuse = |what: String| Err(LedgerError::Setting(what));
        if self.folder.as_os_str().is_empty() {
            return refuse("ledger.folder is not set: name a folder for the history".into());
        }
        if !(10..=5000).contains(&self.store_every_ms) {
            let given = self.store_every_ms;
            return refuse(format!("ledger.store_every_ms is {given}: it must be 10 to 5000"));
        }
        if !(1..=3600).contains(&self.balance_every_s) {
            let given = self.balance_every_s;
            return refuse(format!("ledger.balance_every_s is {given}: it must be 1 to 3600"));
        }
        Ok(())
    }
}
