//! The ways in which providers behave: limits, delays, fates, cut connections.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::internet::fate::shares;
use crate::internet::wording::{Said, Style};

/// A way to behave.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manner {
    /// Whose words it uses.
    pub style: Style,
    /// Replies in other words than the style's: the code, a space, the text.
    pub replies: BTreeMap<Said, String>,
    /// STARTTLS.
    pub tls: Tls,
    /// PIPELINING is not offered.
    pub no_pipelining: bool,
    /// CHUNKING is offered.
    pub chunking: bool,
    /// SMTPUTF8 is offered. Without it what is not ASCII in a header is a violation.
    pub smtputf8: bool,
    /// REQUIRETLS is offered once the session is encrypted.
    pub require_tls: bool,
    /// Hidden limits, per client address.
    pub limits: Limits,
    /// Greylisting.
    pub greylist: Greylist,
    /// What becomes of the recipients: shares of them.
    pub fates: Fates,
    /// Connections cut by the server, by step.
    pub hangups: Hangups,
    /// Delays before replies.
    pub delays: Delays,
    /// Times at which the client's address is blocked.
    pub blocks: Vec<Block>,
    /// Times at which a sender's domain is over its quota, whatever address its mail comes from.
    pub quotas: Vec<SenderQuota>,
}

/// Whether STARTTLS is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Not at all.
    #[default]
    None,
    /// Offered.
    Offered,
    /// Without it, MAIL is answered 530.
    Required,
    /// Offered, but the handshake fails.
    Broken,
}

/// Hidden limits for each client address; 0 means none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Recipients a second.
    pub rate_per_s: f64,
    /// Recipients that may come at once; 0 means one second's worth.
    pub burst: f64,
    /// The same limit for all clients together instead of for each address.
    pub shared: bool,
    /// A refused recipient uses up the limit like an accepted one.
    pub refusals_count: bool,
    /// Connections at the same time.
    pub connections: u32,
    /// Messages per connection.
    pub messages_per_connection: u32,
    /// At that limit the server closes without a word.
    pub silent_close: bool,
    /// The rate from a moment on: the limit moves. In the order of time.
    pub moves: Vec<Move>,
}

/// From `after_ms` on (since the start) the rate is another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// Since the start of the pretend internet.
    pub after_ms: u64,
    /// Recipients a second; 0 means no limit.
    pub rate_per_s: f64,
}

/// Greylisting by recipient.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Greylist {
    /// Share of the recipients.
    pub share: f64,
    /// How long after the first attempt it lets them through.
    pub delay_ms: u64,
}

/// Shares (0 to 1) of recipients; what is left over is accepted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Fates {
    pub busy: f64,
    pub trouble: f64,
    pub full_for_now: f64,
    pub no_mailbox: f64,
    pub moved: f64,
    pub disabled: f64,
    pub full: f64,
    pub refused: f64,
    pub too_big: f64,
    pub content: f64,
    pub policy: f64,
    pub auth: f64,
    pub blocked: f64,
    pub bounce_no_mailbox: f64,
    pub bounce_full: f64,
    pub bounce_disabled: f64,
    pub bounce_content: f64,
    pub delay_notice: f64,
    pub complain: f64,
    pub out_of_office: f64,
    pub dialects: f64,
}

/// Probabilities (0 to 1) that the server cuts the connection at a step. Recipient
/// steps stop doing so after the third attempt, so that everybody is served in the end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hangups {
    /// Before the banner.
    pub connect: f64,
    /// In the middle of the banner.
    pub banner: f64,
    /// At EHLO.
    pub ehlo: f64,
    /// At MAIL.
    pub mail: f64,
    /// At RCPT.
    pub rcpt: f64,
    /// At DATA, before 354.
    pub data: f64,
    /// In the body.
    pub body: f64,
    /// After the final dot and before the reply; the message has been taken.
    pub dot: f64,
}

/// Delays in milliseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delays {
    /// Before the banner.
    pub banner_ms: u64,
    /// Share of the connections that wait for the banner; 0 means all.
    pub banner_share: f64,
    /// Between the final dot and the reply.
    pub dot_ms: u64,
    /// Before the reply to RCPT.
    pub rcpt_ms: u64,
}

/// A time during which every recipient is refused as blocked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Since the start of the pretend internet.
    pub after_ms: u64,
    /// How long.
    pub for_ms: u64,
    /// Only what this client sends; else everybody's.
    #[serde(default)]
    pub client: Option<IpAddr>,
}

/// A time during which mail of a domain is refused after the final dot.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderQuota {
    /// The domain of From.
    pub sender: String,
    /// Since the start of the pretend internet.
    #[serde(default)]
    pub after_ms: u64,
    /// How long.
    pub for_ms: u64,
}

impl SenderQuota {
    /// Whether mail of this domain is refused, `since_start` after the start.
    #[must_use]
    pub fn holds(&self, sender: &str, since_start: Duration) -> bool {
        let from = Duration::from_millis(self.after_ms);
        let is_on = (from..from + Duration::from_millis(self.for_ms)).contains(&since_start);
        is_on && self.sender.eq_ignore_ascii_case(sender)
    }
}

impl Block {
    /// Whether it is on for a client, `since_start` after the start.
    #[must_use]
    pub fn holds(&self, client: IpAddr, since_start: Duration) -> bool {
        let from = Duration::from_millis(self.after_ms);
        let is_on = (from..from + Duration::from_millis(self.for_ms)).contains(&since_start);
        is_on && self.client.is_none_or(|blocked| blocked == client)
    }
}

impl Manner {
    pub(super) fn check(&self) -> Result<()> {
        let sum = shares(&self.fates).map(|(_, share)| share).sum::<f64>();
        ensure!((0.0..=1.0).contains(&sum), "the fates sum to {sum}, which is more than all");
        for (said, line) in &self.replies {
            let known = mail::Reply::parse(line).is_some_and(|r| r.code >= 400);
            ensure!(known && line.is_ascii(), "{said:?}: {line:?} is not a 4xx or 5xx reply");
        }
        Ok(())
    }
}
