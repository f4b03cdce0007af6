//! What a failure means: the taxonomy, and the two verdicts that follow from it.
//! Hygiene is about the address; scope is about who should change behaviour.
//! They are separate outputs, because a block of our address is no fault of the
//! recipient's. The classifier that finds the category lives in `classify`.

pub use crate::words;

/// An enum whose values are words: in every output, record and label.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every value, in the order of the declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it in every output.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The value of a word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
words! {
    /// Why a message was not delivered. docs/BOUNCES.md describes each at length.
    Category {
        /// No such mailbox at this domain.
        NoMailbox = "no-mailbox",
        /// The person has another address now.
        Moved = "moved",
        /// The domain does not exist or takes no mail (RFC 7505).
        NoDomain = "no-domain",
        /// The mailbox exists and is switched off.
        MailboxDisabled = "mailbox-disabled",
        /// The mailbox is over its quota.
        MailboxFull = "mailbox-full",
        /// This recipient does not want it, for a reason of their own.
        RecipientRefused = "recipient-refused",
        /// The message is larger than they take.
        TooBig = "too-big",
        /// What the message says or carries is refused: spam, virus, attachment.
        Content = "content",
        /// Our address or network is blocked.
        ReputationBlock = "reputation-block",
        /// A rule of theirs refuses us: relaying, sender, form.
        Policy = "policy",
        /// SPF, DKIM or DMARC failed.
        Auth = "auth",
        /// Too fast, too many connections, too much.
        RateLimited = "rate-limited",
        /// Come back later, on principle.
        Greylisted = "greylisted",
        /// No conversation came about: DNS trouble, no route, no answer, TLS.
        Network = "network",
        /// Given up after the lifetime.
        Expired = "expired",
        /// Their system is in trouble.
        System = "system",
        /// The two of us disagree about SMTP.
        Protocol = "protocol",
        /// Nothing recognised.
        Undetermined = "undetermined",
    }
}

words! {
    /// What one event does to the address.
    Hygiene {
        /// Never write to it again.
        Suppress = "suppress",
        /// Remember it; enough of them over enough days suppress.
        Count = "count",
        /// Nothing: the address is not to blame.
        None = "none",
    }
}

words! {
    /// Who should change behaviour: how far the news reaches for sending.
    Scope {
        /// Only this recipient.
        Recipient = "recipient",
        /// This message or campaign, whoever receives it.
        Message = "message",
        /// Everything from this sender domain.
        SenderDomain = "sender-domain",
        /// Everything that links to a domain.
        LinkDomain = "link-domain",
        /// Everything from this egress source to this site.
        Source = "source",
        /// Everything to this site.
        Site = "site",
        /// Only this connection: reconnect and go on.
        Connection = "connection",
    }
}

words! {
    /// Where in the conversation the answer came.
    Phase {
        /// Resolving the domain.
        Dns = "dns",
        /// Opening the connection.
        Connect = "connect",
        /// The greeting.
        Banner = "banner",
        /// EHLO or HELO.
        Ehlo = "ehlo",
        /// STARTTLS and the handshake.
        Tls = "tls",
        /// MAIL FROM.
        Mail = "mail",
        /// RCPT TO.
        Rcpt = "rcpt",
        /// DATA, before the body.
        Data = "data",
        /// After the final dot.
        Dot = "dot",
        /// Reported later, by mail.
        Returned = "returned",
        /// Decided here, before any conversation.
        Local = "local",
    }
}

words! {
    /// What kind of mail came back.
    Report {
        /// A delivery status notification about a failure (RFC 3464), or a text that says so.
        Failure = "failure",
        /// Still trying.
        Delayed = "delayed",
        /// Delivered, relayed or expanded.
        Delivered = "delivered",
        /// Out of office and the like (RFC 3834).
        AutoReply = "auto-reply",
        /// "Click here so that your message is delivered".
        ChallengeResponse = "challenge-response",
        /// A feedback loop: reported as spam (RFC 5965).
        Complaint = "complaint",
        /// A feedback loop: the person wants out.
        OptOut = "opt-out",
        /// An authentication failure report (RFC 6591).
        AuthReport = "auth-report",
        /// A DMARC aggregate report (RFC 7489, 7.2).
        DmarcAggregate = "dmarc-aggregate",
        /// A TLS report (RFC 8460).
        TlsReport = "tls-report",
        /// A read receipt (RFC 8098).
        Mdn = "mdn",
        /// Anything else: a person wrote, most likely.
        Other = "other",
    }
}
