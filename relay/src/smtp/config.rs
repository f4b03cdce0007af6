//! How long each step may take, and how much encryption is wanted.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds to wait for each answer (RFC 5321, 4.5.3.2). A server that is given less
/// than these may be a slow one that was about to take the message, and would then have it twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For the connection to open. Dead servers cost this much each; the RFC says nothing.
    pub connect_s: u32,
    /// For the greeting. Some servers let strangers wait on purpose.
    pub banner_s: u32,
    /// For the answer to EHLO.
    pub ehlo_s: u32,
    /// For STARTTLS and the handshake.
    pub tls_s: u32,
    /// For the answer to MAIL.
    pub mail_s: u32,
    /// For the answer to RCPT.
    pub rcpt_s: u32,
    /// For the answer to DATA.
    pub data_s: u32,
    /// For a block of the message to be taken.
    pub block_s: u32,
    /// For the answer to the final dot. Too short a time makes duplicates: the server
    /// may be busy delivering.
    pub dot_s: u32,
    /// For the answer to QUIT, which changes nothing.
    pub quit_s: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_s: 30,
            banner_s: 300,
            ehlo_s: 300,
            tls_s: 60,
            mail_s: 300,
            rcpt_s: 300,
            data_s: 120,
            block_s: 180,
            dot_s: 600,
            quit_s: 5,
        }
    }
}

impl Timeouts {
    /// The wait for the answer of a phase.
    #[must_use]
    pub fn of(&self, phase: mail::Phase) -> Duration {
        use mail::Phase;
        let seconds = match phase {
            Phase::Dns | Phase::Connect | Phase::Local => self.connect_s,
            Phase::Banner => self.banner_s,
            Phase::Ehlo => self.ehlo_s,
            Phase::Tls => self.tls_s,
            Phase::Mail => self.mail_s,
            Phase::Rcpt => self.rcpt_s,
            Phase::Data => self.data_s,
            Phase::Dot | Phase::Returned => self.dot_s,
        };
        Duration::from_secs(u64::from(seconds))
    }
}

/// How much encryption a session must have, the least first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TlsPolicy {
    /// Plain text even where TLS is offered: for test sinks and broken servers.
    Never,
    /// TLS where it is offered, whatever the certificate, and plain text where not
    /// (RFC 7435): better than nothing against those who only listen.
    #[default]
    Opportunistic,
    /// TLS whatever the certificate; no delivery without.
    #[serde(rename = "encrypted")]
    Required,
    /// TLS with a certificate that a known authority gave to the server's name.
    Verified,
}
