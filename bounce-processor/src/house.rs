//! The circumstances of a conversation, and how it ends.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::Limits;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Smtp,
    /// SMTP that answers to a mail for each recipient.
    Lmtp,
}

/// The circumstances of a conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct House<'h> {
    pub(crate) protocol: Protocol,
    /// Our name.
    pub(crate) name: &'h str,
    pub(crate) limits: Limits,
    pub(crate) large: &'h Semaphore,
    /// Whether STARTTLS is offered.
    pub(crate) offers_tls: bool,
    /// How long the client waits for the greeting; nobody is greeted a second time under TLS.
    pub(crate) greeting: Option<Duration>,
}

/// How a conversation ended, for the meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Quit,
    Gone,
    Late,
    Nonsense,
    Cut,
    /// It talked before it was greeted.
    Early,
    Stopped,
    /// Both want TLS now.
    Secure,
}
