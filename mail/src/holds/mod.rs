//! Holds: mail of a sender domain, a tenant, a campaign or with a link waits at one site, because
//! the site said so of just that. This is the one place that decides it. The pace of the source at
//! the site is not touched, other mail goes on there, and the same mail goes on elsewhere.

mod config;
mod hold;
#[cfg(test)]
mod tests;
mod whose;

pub use config::{Config, ConfigError};
pub use hold::{Change, Hold, News, Standing, tenant_hold};
pub use whose::{Blame, Mail, blame};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::category::words;

/// Holds, and what may become one, at one time over the platform. More sites and senders in
/// trouble than this are trouble of another kind.
pub const HOLDS_MAX: usize = 500;

words! {
    /// What is held. A recipient is not: whose mailbox is busy waits alone, see [`crate::retry`].
    Kind {
        /// A sender domain.
        SenderDomain = "sender-domain",
        /// A tenant, when several of its sender domains are held.
        Tenant = "tenant",
        /// A campaign.
        Campaign = "campaign",
        /// Mail that links to a domain.
        LinkDomain = "link-domain",
    }
}

words! {
    /// Why.
    Cause {
        /// Its quota at the site is used up.
        Quota = "quota",
        /// The quota of one of its link domains is, and the site does not say of which.
        LinkQuota = "link-quota",
        /// Its reputation there is too low.
        Reputation = "reputation",
        /// SPF, DKIM or DMARC fails.
        Auth = "auth",
        /// A rule refuses the sender.
        Policy = "policy",
        /// What it says or carries is refused.
        Content = "content",
    }
}

impl Cause {
    /// Whether time alone mends it.
    #[must_use]
    pub fn is_quota(self) -> bool {
        matches!(self, Self::Quota | Self::LinkQuota)
    }

    fn phrase(self) -> &'static str {
        match self {
            Self::Quota => "its quota there is used up",
            Self::LinkQuota => {
                "the quota of a domain that it links to is used up, and the site does not say of which"
            }
            Self::Reputation => "its reputation there is too low",
            Self::Auth => "its SPF, DKIM or DMARC fails",
            Self::Policy => "a rule there refuses the sender",
            Self::Content => "what it says or carries is refused",
        }
    }
}

/// What is held where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The kind of thing.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// The site, and no other.
    pub site: String,
}

/// `sender-domain news.example at mx.example.net`
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.kind, self.name, self.site)
    }
}
