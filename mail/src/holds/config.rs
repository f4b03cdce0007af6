//! When mail is held, and for how long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A week: nothing that waits longer is delivered anyhow.
const SECONDS_MAX: u64 = 7 * 86_400;

/// When sites have a sender domain, a campaign or a link wait, and for how long. The same on all relays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether anything is held by itself.
    pub enabled: bool,
    /// Answers that must say so, within `window_s`: one or two may be about something else.
    pub answers_min: u32,
    /// Seconds from the first answer that says so, within which the others must follow.
    pub window_s: u64,
    /// Share of the answers that must say so, where it is about a quota; the others took the message.
    pub quota_share: f64,
    /// Share of the answers that must say so, where it is about anything but a quota: content
    /// filters refuse some messages of any campaign.
    pub refusal_share: f64,
    /// Seconds of the first hold because of a quota; each that follows soon lasts twice as long.
    pub quota_s: u64,
    /// Seconds of the first hold because of reputation, content or authentication, which a person
    /// must mend; each that follows soon lasts twice as long.
    pub refusal_s: u64,
    /// Seconds of a hold at most.
    pub max_s: u64,
    /// Seconds for which nothing is held again of what a person has let go.
    pub respite_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            answers_min: 3,
            window_s: 60,
            quota_share: 0.2,
            refusal_share: 0.5,
            quota_s: 300,
            refusal_s: 1800,
            max_s: 4 * 3600,
            respite_s: 3600,
        }
    }
}

/// Why a configuration of holds cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// One answer is chance, a thousand are too late.
    #[error("answers_min {0} must be 2 to 1000")]
    Answers(u32),
    /// Not a share.
    #[error("{name} {value} must lie between 0.01 and 1: it is a share, 0.2 being 20 %")]
    Share {
        /// Which.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// Never, or for longer than anything is kept.
    #[error("{name} {value} must be 1 to {max}")]
    Seconds {
        /// Which.
        name: &'static str,
        /// What was given.
        value: u64,
        /// At most.
        max: u64,
    },
}

impl Config {
    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// The first one that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(2..=1000).contains(&self.answers_min) {
            return Err(ConfigError::Answers(self.answers_min));
        }
        let shares = [("quota_share", self.quota_share), ("refusal_share", self.refusal_share)];
        for (name, value) in shares {
            if !(0.01..=1.0).contains(&value) {
                return Err(ConfigError::Share { name, value });
            }
        }
        let seconds = [
            ("window_s", self.window_s, 3600),
            ("max_s", self.max_s, SECONDS_MAX),
            ("quota_s", self.quota_s, self.max_s),
            ("refusal_s", self.refusal_s, self.max_s),
            ("respite_s", self.respite_s, SECONDS_MAX),
        ];
        for (name, value, max) in seconds {
            if !(1..=max).contains(&value) {
                return Err(ConfigError::Seconds { name, value, max });
            }
        }
        Ok(())
    }
}
