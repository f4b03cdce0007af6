//! The states of a DKIM key.

use serde::{Deserialize, Serialize};

/// What a key is for at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Made, and its record is to be published; does not sign yet.
    Published,
    /// Signs; one key for each algorithm.
    Active,
    /// Signs no more; its record stays until no mail that it signed is on its way.
    Retired,
}

impl KeyState {
    /// The word that is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    /// Before there were states, keys signed.
    pub(crate) fn of_old() -> Self {
        Self::Active
    }
}

impl std::fmt::Display for KeyState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
