//! What is found here and said by no server: a message is not sent, or cannot be sent now. The words
//! that tell of it are ours, and hold names that strangers chose, so the rules about servers' words
//! do not read them: what it means is written here.

use super::{Finding, Permanence, Reaction, Signal};
use crate::category::{Category, Hygiene, Scope, words};
use crate::reply::{EnhancedStatus, Reply};

words! {
    /// Why a message is not sent, where no server said so. Events have the word as their rule.
    Own {
        /// The recipient's address is not ASCII, and the server takes no such (RFC 6531).
        Utf8Recipient = "own-utf8-recipient",
        /// `From` or `Reply-To` is not ASCII, and the server takes no such headers.
        Utf8Sender = "own-utf8-sender",
        /// No server promises to pass it on over TLS alone, as it demands (RFC 8689).
        RequireTls = "own-require-tls",
        /// The same, and nothing proves which servers are the domain's.
        Unproved = "own-unproved",
        /// The same, and there is no TLS now that is good enough.
        Unencrypted = "own-unencrypted",
        /// It is larger than the server says that it takes (RFC 1870).
        TooBig = "own-too-big",
        /// The domain takes no mail (RFC 7505).
        NullMx = "own-null-mx",
        /// There is no such domain.
        NoDomain = "own-no-domain",
        /// The domain has neither an exchanger nor an address.
        NoExchanger = "own-no-exchanger",
        /// It would come back to us.
        Loop = "own-loop",
        /// DNS does not tell now where it goes.
        Unresolved = "own-unresolved",
        /// What the domain demands of TLS is not to be had now (MTA-STS, DANE).
        TlsDemand = "own-tls-demand",
        /// What this relay's operators demand of TLS is not to be had now.
        TlsRule = "own-tls-rule",
        /// The egress source cannot be used, or has no way to the server.
        Source = "own-source",
        /// No relay has the egress pool that it should go from.
        NoPool = "own-no-pool",
        /// The smart host does not take it from us, or is not found.
        SmartHost = "smart-host",
    }
}

impl Own {
    /// What it means. Never anything for the pace: the site has not spoken.
    #[must_use]
    pub fn finding(self) -> Finding {
        use Category as C;
        use Permanence::{Permanent, Temporary};
        let (category, permanence, scope) = match self {
            Self::Utf8Recipient => (C::Protocol, Permanent, Scope::Recipient),
            Self::Utf8Sender => (C::Protocol, Permanent, Scope::Message),
            Self::RequireTls | Self::Unproved => (C::Policy, Permanent, Scope::Message),
            Self::TooBig => (C::TooBig, Permanent, Scope::Message),
            Self::NullMx | Self::NoDomain | Self::NoExchanger => {
                (C::NoDomain, Permanent, Scope::Site)
            }
            Self::Loop => (C::Network, Permanent, Scope::Site),
            Self::Unencrypted | Self::Unresolved | Self::TlsDemand | Self::TlsRule => {
                (C::Network, Temporary, Scope::Site)
            }
            Self::Source => (C::Network, Temporary, Scope::Source),
            Self::NoPool => (C::System, Temporary, Scope::Source),
            Self::SmartHost => (C::Policy, Temporary, Scope::Site),
        };
        // DNS can lie: see `usual_hygiene`.
        let hygiene = if category == C::NoDomain { Hygiene::Count } else { Hygiene::None };
        let (rule, signal) = (self.as_str(), Signal::None);
        let reaction = Reaction::default();
        Finding { category, permanence, hygiene, scope, signal, rule, confidence: 100, reaction }
    }

    /// Whether trying again cannot help.
    #[must_use]
    pub fn is_final(self) -> bool {
        self.finding().permanence == Permanence::Permanent
    }

    /// As a server would have said it, with these words (RFC 3463 and its registry).
    #[must_use]
    pub fn reply(self, text: &str) -> Reply {
        let (code, status) = match self {
            Self::Utf8Recipient => (550, EnhancedStatus(5, 6, 7)),
            Self::Utf8Sender => (550, EnhancedStatus(5, 6, 9)),
            Self::RequireTls => (550, EnhancedStatus(5, 7, 30)),
            Self::Unproved => (550, EnhancedStatus(5, 7, 10)),
            Self::Unencrypted | Self::TlsDemand | Self::TlsRule => (451, EnhancedStatus(4, 7, 10)),
            Self::TooBig => (550, EnhancedStatus(5, 3, 4)),
            Self::NullMx => (556, EnhancedStatus(5, 1, 10)),
            Self::NoDomain | Self::NoExchanger => (550, EnhancedStatus(5, 1, 2)),
            Self::Loop => (554, EnhancedStatus(5, 4, 6)),
            Self::Unresolved | Self::SmartHost => (451, EnhancedStatus(4, 4, 3)),
            Self::Source => (451, EnhancedStatus(4, 4, 1)),
            Self::NoPool => (451, EnhancedStatus(4, 3, 5)),
        };
        Reply::new(code, Some(status), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_here_is_final_exactly_where_its_code_says_so_and_suppresses_nobody() {
        for own in Own::ALL {
            let (finding, reply) = (own.finding(), own.reply("why"));
            let status = reply.status.expect("a status");
            assert_eq!(reply.is_permanent(), own.is_final(), "{own}");
            assert_eq!(u16::from(status.0), reply.code / 100, "{own}");
            assert_eq!((finding.rule, finding.signal), (own.as_str(), Signal::None));
            assert_ne!(finding.hygiene, Hygiene::Suppress, "{own}");
        }
    }
}
