//! Who is told of alarms.

use std::path::PathBuf;

use bounce_processor::NextHop;
use mail::Address;
use mail::plain::Lang;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Alarms: what is wrong with the platform, told by mail and by a webhook. Without either they stand
/// in the log, in history and in the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses that alarms are mailed to. Empty: nobody.
    pub mail_to: Vec<String>,
    /// The address that they come from. Empty: `malleposte` at the name of this host.
    pub mail_from: String,
    /// The mail server that takes them: one that does not need this platform.
    pub next_hop: NextHop,
    /// The URL that alarms are told to as JSON, signed as Standard Webhooks are. Empty: none.
    pub webhook: String,
    /// The file that holds what is signed with: `whsec_` and 24 to 64 octets in base64.
    pub webhook_secret_file: PathBuf,
    /// Hours after which an alarm that is still raised is told again, 1 to 720.
    pub remind_hours: u64,
    /// The language of mails: en or fr.
    pub language: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mail_to: Vec::new(),
            mail_from: String::new(),
            next_hop: NextHop::default(),
            webhook: String::new(),
            webhook_secret_file: PathBuf::new(),
            remind_hours: 24,
            language: "en".into(),
        }
    }
}

/// Hours that a reminder may be apart.
const REMIND_HOURS: std::ops::RangeInclusive<u64> = 1..=720;

impl Config {
    /// Whether the settings make sense; files that they name are read where alarms are told.
    ///
    /// # Errors
    /// The first setting that cannot be used: its name, what it is, and what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if Lang::from_word(&self.language).is_none() {
            return Err(format!("language: {:?} is neither en nor fr", self.language));
        }
        if !REMIND_HOURS.contains(&self.remind_hours) {
            return Err(format!("remind_hours is {}: 1 to 720", self.remind_hours));
        }
        let from = (!self.mail_from.is_empty()).then_some(("mail_from", &self.mail_from));
        for (key, text) in self.mail_to.iter().map(|to| ("mail_to", to)).chain(from) {
            text.parse::<Address>().map_err(|why| format!("{key}: {text:?} {why}"))?;
        }
        Ok(())
    }
}
