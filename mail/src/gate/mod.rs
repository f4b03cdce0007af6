//! Gates: when a campaign is stopped early because of its list. Addresses that do not exist and
//! recipients who call it spam are counted against those who took it; what sites make of our
//! speed, our addresses or their own trouble never is. A gate judges only once a canary of the
//! campaign is answered, and stops it only when its share is surely over the line, so that one
//! bounce of three stops nobody. It judges sums, so it does not matter in which order news come.

mod memory;
#[cfg(test)]
mod tests;

pub use memory::{Memory, Note, Step};

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::category::{Category, Hygiene, words};

/// How sure a share must be over its line: 39 of 40, by the lower end of Wilson's interval of 95 %.
const Z: f64 = 1.96;

/// When campaigns are warned of and paused because of their list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether campaigns are judged at all; one alone is spared by `gates: false` in its definition.
    pub enabled: bool,
    /// Share of dead addresses, of those that answered, over which a campaign is warned of.
    /// Amazon SES reviews accounts at 0.05.
    pub bounces_warn: f64,
    /// Share of dead addresses, of those that answered, over which a campaign is paused. Amazon SES
    /// pauses accounts at 0.1.
    pub bounces_pause: f64,
    /// Share of complaints, of those who took the message, over which a campaign is warned of.
    /// Amazon SES reviews accounts at 0.001; Gmail asks for less than 0.003.
    pub complaints_warn: f64,
    /// Share of complaints, of those who took the message, over which a campaign is paused. Amazon
    /// SES pauses accounts at 0.005.
    pub complaints_pause: f64,
    /// Share of a campaign that must have answered before it is judged, within `canary_min` and
    /// `canary_max`.
    pub canary_share: f64,
    /// A campaign is judged after so many answers at the earliest; one that is smaller never is.
    pub canary_min: u64,
    /// A campaign is judged after so many answers at the latest, whatever its size: what a million
    /// bad addresses may cost.
    pub canary_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            bounces_warn: 0.05,
            bounces_pause: 0.1,
            complaints_warn: 0.001,
            complaints_pause: 0.005,
            canary_share: 0.01,
            canary_min: 200,
            canary_max: 2000,
        }
    }
}

/// Why a configuration of gates cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Lines that are no shares, or in the wrong order.
    #[error(
        "{gate}_warn {warn} and {gate}_pause {pause} must rise from above 0 to 1: they are shares, 0.05 being 5 %"
    )]
    Lines {
        /// Which gate's.
        gate: Gate,
        /// Where it warns.
        warn: f64,
        /// Where it pauses.
        pause: f64,
    },
    /// Not a share.
    #[error("canary_share {0} must lie between 0 and 1: it is a share, 0.01 being 1 %")]
    Share(f64),
    /// Too few to judge by, or the wrong way round.
    #[error("canary_min {min} and canary_max {max} must rise from at least 20 to 1000000000")]
    Canary {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
}

words! {
    /// What is judged.
    Gate {
        /// Addresses that do not exist.
        Bounces = "bounces",
        /// Recipients who report it as spam.
        Complaints = "complaints",
    }
}

words! {
    /// What is done about it, weakest first.
    Level {
        /// Somebody should look.
        Warn = "warn",
        /// It is stopped until somebody has.
        Pause = "pause",
    }
}

/// What was counted of a campaign. Every recipient counts once in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Its recipients.
    pub accepted: u64,
    /// Those whose destination took the message.
    pub delivered: u64,
    /// Those whose address was refused for good because it is dead.
    pub dead: u64,
    /// Those of `delivered` that came back later because the address is dead.
    pub returned_dead: u64,
    /// Those of `delivered` who reported it as spam.
    pub complained: u64,
}

impl Counts {
    /// What was counted since then.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        Self {
            accepted: self.accepted,
            delivered: self.delivered.saturating_sub(then.delivered),
            dead: self.dead.saturating_sub(then.dead),
            returned_dead: self.returned_dead.saturating_sub(then.returned_dead),
            complained: self.complained.saturating_sub(then.complained),
        }
    }

    /// The sum of two parts.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            dead: self.dead + other.dead,
            returned_dead: self.returned_dead + other.returned_dead,
            complained: self.complained + other.complained,
        }
    }

    /// How many are bad, of how many that said anything about it. What came back late may belong
    /// to deliveries before the count began.
    fn of(&self, gate: Gate) -> (u64, u64) {
        let (bad, of) = match gate {
            Gate::Bounces => (self.dead + self.returned_dead, self.delivered + self.dead),
            Gate::Complaints => (self.complained, self.delivered),
        };
        (bad.min(of), of)
    }
}

/// Whether a final failure says that the address is dead. Full mailboxes, blocks, limits and
/// troubles say nothing about the quality of a list; and domains that are not there are told at once,
/// whatever the pace, while the living still wait for their turn: they would make any list look bad.
#[must_use]
pub fn is_dead(category: Category, hygiene: Hygiene) -> bool {
    let is_dead =
        matches!(category, Category::NoMailbox | Category::Moved | Category::MailboxDisabled);
    is_dead && hygiene != Hygiene::None
}

/// A share that is surely over a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// Of what.
    pub gate: Gate,
    /// What is done about it.
    pub level: Level,
    /// How many were bad.
    pub bad: u64,
    /// Of how many.
    pub of: u64,
    /// The line.
    pub line: f64,
}

/// `62 of 400 addresses that answered are dead (15.5 %), surely more than 10 %`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, bad, of, line, .. } = self;
        let what = match gate {
            Gate::Bounces => "addresses that answered are dead",
            Gate::Complaints => "recipients who took it reported it as spam",
        };
        let share = *bad as f64 / (*of).max(1) as f64;
        write!(f, "{bad} of {of} {what} ({} %), surely more than {} %", cent(share), cent(*line))
    }
}

/// Percent, with two digits behind the point where they say anything.
fn cent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}

/// The checked gates.
#[derive(Debug, Clone, PartialEq)]
pub struct Gates(Config);

impl Gates {
    /// Checks a configuration.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let gates = Self(config.clone());
        for gate in Gate::ALL {
            let (warn, pause) = (gates.line(*gate, Level::Warn), gates.line(*gate, Level::Pause));
            if !(warn > 0.0 && warn <= pause && pause <= 1.0) {
                return Err(ConfigError::Lines { gate: *gate, warn, pause });
            }
        }
        if !(0.0..=1.0).contains(&config.canary_share) {
            return Err(ConfigError::Share(config.canary_share));
        }
        let (min, max) = (config.canary_min, config.canary_max);
        if min < 20 || max < min || max > 1_000_000_000 {
            return Err(ConfigError::Canary { min, max });
        }
        Ok(gates)
    }

    /// How many must have answered before a campaign is judged.
    #[must_use]
    pub fn canary(&self, accepted: u64) -> u64 {
        let share = (accepted as f64 * self.0.canary_share).ceil() as u64;
        share.clamp(self.0.canary_min, self.0.canary_max)
    }

    /// What these counts come to: the strongest finding, if there is any.
    #[must_use]
    pub fn judge(&self, counts: &Counts) -> Option<Finding> {
        let levels = [Level::Pause, Level::Warn];
        let mut all = levels.into_iter().flat_map(|l| Gate::ALL.iter().map(move |g| (*g, l)));
        all.find_map(|(gate, level)| self.finding(counts, gate, level))
    }

    fn finding(&self, counts: &Counts, gate: Gate, level: Level) -> Option<Finding> {
        let (bad, of) = counts.of(gate);
        let line = self.line(gate, level);
        let is_over =
            self.0.enabled && of >= self.canary(counts.accepted) && surely(bad, of) > line;
        is_over.then_some(Finding { gate, level, bad, of, line })
    }

    fn line(&self, gate: Gate, level: Level) -> f64 {
        match (gate, level) {
            (Gate::Bounces, Level::Warn) => self.0.bounces_warn,
            (Gate::Bounces, Level::Pause) => self.0.bounces_pause,
            (Gate::Complaints, Level::Warn) => self.0.complaints_warn,
            (Gate::Complaints, Level::Pause) => self.0.complaints_pause,
        }
    }
}

/// The share that there surely is: the lower end of Wilson's interval.
fn surely(bad: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    let (n, z2) = (of as f64, Z * Z);
    let p = bad as f64 / n;
    let middle = p + z2 / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((middle - half) / (1.0 + z2 / n)).max(0.0)
}
