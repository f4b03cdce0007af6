//! What the doors hand in, and who decides about it.

use std::net::IpAddr;

use mail::Timestamp;

/// Why a recipient is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// Not our domain: relaying.
    Relay,
    /// Nobody of that name.
    Unknown,
}

/// What became of a mail, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Everything that follows from it is durable.
    Taken,
    /// Nothing is lost if the client keeps it and comes again.
    NotNow,
    /// It goes round in circles.
    Loop,
}

impl Verdict {
    pub(crate) fn answer(self) -> &'static str {
        match self {
            Self::Taken => "250 2.0.0 taken",
            Self::NotNow => "451 4.3.0 cannot be kept at the moment, come again",
            Self::Loop => "554 5.4.6 this mail goes round in circles",
        }
    }
}

/// Where a mail came from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// A client, and what it calls itself.
    Client(IpAddr, &'a str),
    /// A mailbox that was read, and when the mail says that it was written.
    Mailbox(&'a str, Option<Timestamp>),
}

/// A mail with its envelope.
#[derive(Debug)]
pub(crate) struct Letter<'a, R> {
    pub(crate) origin: Origin<'a>,
    /// Empty for `<>`; `None` where nobody told.
    pub(crate) sender: Option<&'a str>,
    pub(crate) recipients: &'a [R],
    pub(crate) octets: &'a [u8],
}

/// Who decides.
pub(crate) trait Desk: Sync {
    /// A recipient that was admitted.
    type Recipient: Send + Sync;
    /// Whether mail for this address is taken; `None`: no domain was given.
    fn admit(&self, local: &str, domain: Option<&str>) -> Result<Self::Recipient, NotAdmitted>;
    /// Deals with a mail: what became of it for each recipient, in order.
    fn take(
        &self,
        letter: Letter<'_, Self::Recipient>,
    ) -> impl Future<Output = Vec<Verdict>> + Send;
}
