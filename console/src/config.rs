//! The settings of the console.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The console, which the API serves under `/console`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the API serves it.
    pub enabled: bool,
    /// Hours after which somebody must sign in again, 1 to 720.
    pub session_hours: u64,
    /// Whether people come by https, through a proxy in front: cookies go no other way then.
    pub https: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, session_hours: 12, https: false }
    }
}

impl Config {
    /// How long somebody stays signed in.
    pub(crate) const fn session(&self) -> Duration {
        Duration::from_secs(self.session_hours * 3600)
    }

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The one that does not, and what may be.
    pub fn check(&self) -> Result<(), String> {
        match self.session_hours {
            1..=720 => Ok(()),
            hours => Err(format!("session_hours is {hours}: 1 to 720")),
        }
    }
}
