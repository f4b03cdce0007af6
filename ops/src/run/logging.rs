//! Where log lines go: standard error, for people or as JSON.

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// What is told, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much is told: error, warn, info, debug, trace, or by module as in
    /// `info,relay=debug`. The variable RUST_LOG overrides it.
    pub level: String,
    /// Lines for people or objects for machines.
    pub format: Form,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One line of text an event, in colour on a terminal.
    Human,
    /// One JSON object an event.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Form::Human }
    }
}

impl Config {
    /// Whether the level can be understood.
    ///
    /// # Errors
    /// The directive that cannot.
    pub fn check(&self) -> Result<(), String> {
        filter(&self.level).map(|_| ()).map_err(|e| format!("`level`: {e}"))
    }
}

/// `EnvFilter` takes any word for the name of a module, so that "inof" would silence
/// everything: a bare word must be a level.
fn filter(directives: &str) -> Result<EnvFilter, String> {
    for directive in directives.split(',').map(str::trim) {
        let level = directive.rsplit('=').next().unwrap_or_default();
        if level.parse::<tracing_subscriber::filter::LevelFilter>().is_err() || level.is_empty() {
            return Err(format!("{level:?} is not one of error, warn, info, debug, trace, off"));
        }
    }
    EnvFilter::try_new(directives).map_err(|e| format!("{directives:?}: {e}"))
}

/// Starts logging for the rest of the process.
///
/// # Errors
/// A level that cannot be understood, or logging that was started before.
pub fn init(config: &Config) -> anyhow::Result<()> {
    let asked = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = match asked {
        Some(text) => {
            EnvFilter::try_new(&text).map_err(|e| anyhow::anyhow!("RUST_LOG {text:?}: {e}"))?
        }
        None => filter(&config.level).map_err(|e| anyhow::anyhow!("`log.level`: {e}"))?,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        Form::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Form::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_refused_instead_of_silencing_everything() {
        let check = |level: &str| Config { level: level.to_owned(), ..Config::default() }.check();
        for good in ["info", "warn,relay=debug", "off"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["inof", "info,relay=debgu", "", "info,"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
