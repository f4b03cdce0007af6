//! Who is told of alarms.

use std::path::PathBuf;

use bounce_processor::NextHop;
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
