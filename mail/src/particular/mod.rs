//! What is particular about a failure: the quota, the limit, the block list, the time to wait. Read
//! from the words of the other side, which are not to be trusted: only what has a known form comes
//! out (a number with its unit, an address, a domain, a name out of a list here), and where two
//! readings are possible nothing does. The sentences are in `plain`; what a failure means is decided
//! by `classify` and not changed here.

mod message;
mod names;
mod network;
mod recipient;
mod refusal;
mod samples;
mod size;
mod span;
mod text;
mod typo;

use std::net::IpAddr;
use std::time::Duration;

use crate::category::{Category, Hygiene, Phase, words};
use crate::classify::{Finding, Own, Permanence, Said};
use crate::event::{Event, EventKind};
use crate::reply::EnhancedStatus;
use crate::returned::FailedRecipient;
use crate::{Address, Domain};
pub use names::{BlockList, Link, VirusName};
pub use size::Size;
pub(crate) use span::in_words;
use text::Text;
pub use typo::meant;

/// A failure as it is known where it is to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Why.
    pub category: Category,
    /// Whether this message is given up.
    pub permanence: Permanence,
    /// What it does to the address.
    pub hygiene: Hygiene,
    /// The rule that decided.
    pub rule: &'a str,
    /// The enhanced status, where there is one.
    pub status: Option<EnhancedStatus>,
    /// What was said.
    pub text: &'a str,
    /// Whom it is about.
    pub recipient: Option<&'a str>,
}

impl<'a> Failure<'a> {
    /// A server's answer, as it would be acted upon.
    #[must_use]
    pub fn heard(said: &Said<'a>, finding: &Finding, recipient: Option<&'a str>) -> Self {
        let insists = said.code.is_some_and(|code| code >= 500);
        let by_code = if insists { Permanence::Permanent } else { Permanence::Temporary };
        let permanence = match finding.goes_again(by_code) {
            true => Permanence::Temporary,
            false => Permanence::Permanent,
        };
        let Finding { category, hygiene, rule, .. } = *finding;
        Self {
            category,
            permanence,
            hygiene,
            rule,
            status: said.status,
            text: said.text,
            recipient,
        }
    }

    /// What a report says of a recipient.
    #[must_use]
    pub fn returned(failed: &'a FailedRecipient) -> Self {
        let Finding { category, permanence, hygiene, rule, .. } = failed.finding;
        let (status, text) = (failed.status, failed.diagnostic.as_str());
        let recipient = failed.recipient.as_deref();
        Self { category, permanence, hygiene, rule, status, text, recipient }
    }

    /// A failure that an event tells of; nothing if it tells of none.
    #[must_use]
    pub fn told(event: &'a Event) -> Option<Self> {
        let category = event.category?;
        let permanence = match event.kind {
            EventKind::Deferred => Permanence::Temporary,
            _ => Permanence::Permanent,
        };
        let said = event.reply.as_ref();
        // What is decided here quotes others: only our own refusals are read.
        let is_ours = event.phase == Some(Phase::Local) && Own::from_word(&event.rule).is_none();
        let note = if is_ours { "" } else { event.note.as_str() };
        Some(Self {
            category,
            permanence,
            // Histories of before know none.
            hygiene: event.hygiene.unwrap_or_else(|| usual(category)),
            rule: &event.rule,
            status: said.and_then(|reply| reply.status),
            text: said.map_or(note, |reply| reply.text.as_str()),
            recipient: Some(event.recipient.as_str()).filter(|to| !to.is_empty()),
        })
    }
}

fn usual(category: Category) -> Hygiene {
    crate::classify::usually(category, Permanence::Permanent).hygiene
}

words! {
    /// What is blocked or thought little of.
    Whose {
        /// The network address that sent it.
        Server = "server",
        /// The domain of the sender.
        Domain = "domain",
    }
}

words! {
    /// A proof of who the sender is. The words are names that people know.
    Check {
        /// RFC 7208.
        Spf = "SPF",
        /// RFC 6376.
        Dkim = "DKIM",
        /// RFC 7489.
        Dmarc = "DMARC",
    }
}

words! {
    /// What a limit is about.
    Per {
        /// Messages over one connection.
        Connection = "connection",
        /// Connections at a time.
        AtOnce = "at-once",
        /// Recipients of one message.
        Message = "message",
        /// Messages in a minute.
        Minute = "minute",
        /// Messages in an hour.
        Hour = "hour",
        /// Messages in a day.
        Day = "day",
    }
}

/// Since when a mailbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// A day: year, month, day of the month.
    Day(u16, u8, u8),
    /// For so long.
    For(Duration),
}

/// What is particular about a failure. Each belongs to one category, or to few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Particular {
    /// How full, and how much goes in; one of the two is there.
    Quota {
        /// What lies in the mailbox.
        used: Option<Size>,
        /// What may.
        quota: Option<Size>,
    },
    /// Full for so long.
    FullSince(Since),
    /// Full by the number of messages in it.
    FullOfMessages,
    /// The message is larger than this.
    SizeLimit {
        /// What they take.
        limit: Size,
        /// What the message has; always more.
        message: Option<Size>,
    },
    /// The address is not written as one (5.1.3).
    Syntax,
    /// The server knows a similar address.
    Spelling(Address),
    /// The person has left the organisation.
    Left,
    /// The domain does not exist.
    NoSuchDomain,
    /// The domain exists and has no exchanger.
    NoMailServer,
    /// The domain declares that it takes no mail (RFC 7505).
    NullMx,
    /// The new address that a server names (RFC 5321, 3.4).
    NewAddress(Address),
    /// Switched off because nobody used it.
    Inactive,
    /// Suspended by the provider.
    Suspended,
    /// Closed for good.
    Closed,
    /// Locked for now.
    Locked,
    /// A sending service has it on its own list of failed addresses.
    OnSendersList,
    /// The recipient takes mail from known senders only.
    KnownSendersOnly,
    /// The recipient has blocked this sender.
    SenderBlocked,
    /// A filter of the recipient's own.
    OwnFilter,
    /// On a block list.
    Listed {
        /// Whose list.
        list: BlockList,
        /// What is on it.
        whose: Whose,
        /// The address named, if one alone is.
        ip: Option<IpAddr>,
        /// Where to look it up.
        link: Option<Link>,
    },
    /// The server that sent it has no proper name in DNS.
    ReverseDns(Option<IpAddr>),
    /// The name in HELO is not to their liking.
    Greeting,
    /// A poor reputation, on no list.
    Reputation(Whose),
    /// Which proofs failed, in the order of [`Check::ALL`]; never empty.
    Checks {
        /// Those that are named.
        failed: Vec<Check>,
        /// Whose they are.
        domain: Option<Domain>,
    },
    /// A virus.
    Virus(Option<VirusName>),
    /// A forbidden attachment, with its kind (`.exe`).
    Attachment(Option<&'static str>),
    /// A link whose domain is listed.
    BadLink {
        /// The domain.
        host: Option<Domain>,
        /// Whose list.
        list: Option<BlockList>,
    },
    /// Points of a spam filter, in tenths.
    Score {
        /// What the message got.
        tenths: u32,
        /// From where it is refused.
        limit: Option<u32>,
    },
    /// A limit of theirs.
    Limit {
        /// About what.
        per: Per,
        /// How many.
        count: Option<u32>,
        /// When to come back.
        wait: Option<Duration>,
    },
    /// Too fast, and when to come back.
    Slower(Duration),
    /// This one mailbox receives too quickly.
    RecipientBusy,
    /// When a greylist lets in.
    Greylist(Duration),
    /// The server does not handle the domain.
    Relaying,
    /// Over TLS only.
    TlsWanted,
    /// A group, for its members.
    MembersOnly,
    /// For people inside the organisation.
    InsidersOnly,
    /// The sender's address or domain is refused as such.
    SenderRefused,
    /// The message is not built by the standards.
    Form,
    /// Only who logs in may send.
    LoginWanted,
    /// The server does not answer.
    NoAnswer,
    /// The server refuses connections.
    ConnectionRefused,
    /// The connection broke off.
    BrokenOff,
    /// DNS does not answer.
    NameServers,
    /// Mail goes round in a circle.
    Loop,
    /// Tried for so long.
    Lasted(Duration),
}

impl Particular {
    /// What is particular about a failure. `None` where its category says all that is known.
    ///
    /// Any text may be asked: what is read of it is bounded, and costs some microseconds.
    #[must_use]
    pub fn of(failure: &Failure<'_>) -> Option<Self> {
        let text = Text::new(failure);
        match Own::from_word(failure.rule) {
            // Our own words, and the only ones with figures.
            Some(Own::TooBig) => return message::size_limit(&text),
            Some(_) => return None,
            None => {}
        }
        match failure.category {
            Category::NoMailbox => recipient::no_mailbox(&text),
            Category::Moved => recipient::moved(&text),
            Category::NoDomain => recipient::no_domain(&text),
            Category::MailboxDisabled => recipient::disabled(&text),
            Category::MailboxFull => recipient::full(&text),
            Category::RecipientRefused => recipient::refused(&text),
            Category::TooBig => message::size_limit(&text),
            Category::Content => message::content(&text),
            Category::Auth => message::auth(&text),
            Category::ReputationBlock => refusal::reputation(&text),
            Category::Policy => refusal::policy(&text),
            Category::RateLimited => refusal::rate_limited(&text),
            Category::Greylisted => text.wait().map(Self::Greylist),
            Category::Network => network::network(&text),
            Category::Expired => text.lasted().map(Self::Lasted),
            Category::System | Category::Protocol | Category::Undetermined => None,
        }
    }

    /// One word for it, as programs read it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Quota { .. } => "quota",
            Self::FullSince(_) => "full-since",
            Self::FullOfMessages => "full-of-messages",
            Self::SizeLimit { .. } => "size-limit",
            Self::Syntax => "syntax",
            Self::Spelling(_) => "spelling",
            Self::Left => "left",
            Self::NoSuchDomain => "no-such-domain",
            Self::NoMailServer => "no-mail-server",
            Self::NullMx => "null-mx",
            Self::NewAddress(_) => "new-address",
            Self::Inactive => "inactive",
            Self::Suspended => "suspended",
            Self::Closed => "closed",
            Self::Locked => "locked",
            Self::OnSendersList => "on-senders-list",
            Self::KnownSendersOnly => "known-senders-only",
            Self::SenderBlocked => "sender-blocked",
            Self::OwnFilter => "own-filter",
            Self::Listed { .. } => "block-list",
            Self::ReverseDns(_) => "reverse-dns",
            Self::Greeting => "greeting",
            Self::Reputation(_) => "reputation",
            Self::Checks { .. } => "checks",
            Self::Virus(_) => "virus",
            Self::Attachment(_) => "attachment",
            Self::BadLink { .. } => "bad-link",
            Self::Score { .. } => "score",
            Self::Limit { .. } => "limit",
            Self::Slower(_) => "slower",
            Self::RecipientBusy => "recipient-busy",
            Self::Greylist(_) => "greylist",
            Self::Relaying => "relaying",
            Self::TlsWanted => "tls-wanted",
            Self::MembersOnly => "members-only",
            Self::InsidersOnly => "insiders-only",
            Self::SenderRefused => "sender-refused",
            Self::Form => "form",
            Self::LoginWanted => "login-wanted",
            Self::NoAnswer => "no-answer",
            Self::ConnectionRefused => "connection-refused",
            Self::BrokenOff => "broken-off",
            Self::NameServers => "name-servers",
            Self::Loop => "loop",
            Self::Lasted(_) => "lasted",
        }
    }
}
