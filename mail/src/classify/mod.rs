//! What a refusal means. One classifier for SMTP replies and for the diagnoses in
//! returned mail: text first, by rules that are data (`rules/*.toml`), then the
//! enhanced status, then the code. The two verdicts, about the address and about
//! the pace, follow from the category unless the rule says otherwise. What one provider alone
//! says is `provider`'s, by the same engine, and is asked first at its sites.

pub(crate) mod engine;
mod fallback;
mod fold;
mod own;
mod rules;

pub(crate) use fallback::BY_STATUS;
pub use fold::fold;
pub(crate) use fold::{EXAMINED_OCTETS_MAX, cut, fold_beside};
pub use own::Own;

use std::time::Duration;

use serde::Serialize;

use crate::category::{Category, Hygiene, Phase, Scope, words};
use crate::reply::{EnhancedStatus, Reply};

words! {
    /// Whether trying again later can help, whatever the first digit says.
    Permanence {
        /// No.
        Permanent = "permanent",
        /// Yes.
        Temporary = "temporary",
    }
}

words! {
    /// What the pace makes of it: which dimension the answer speaks about.
    Signal {
        /// Nothing: the pace is not concerned.
        None = "none",
        /// Too many messages in a time.
        Rate = "rate",
        /// Too many connections at once.
        Connections = "connections",
        /// Too many messages on this connection: reconnect, that is all.
        MessagesPerConnection = "messages-per-connection",
        /// The source is blocked at this site.
        Block = "block",
        /// Come back later with the same envelope from the same address.
        Greylist = "greylist",
        /// This one mailbox receives too quickly.
        RecipientBusy = "recipient-busy",
        /// The quota or the reputation of the sender's domain.
        SenderDomain = "sender-domain",
        /// The quota or the reputation of a domain that the message links to.
        LinkDomain = "link-domain",
        /// What the message says.
        Content = "content",
        /// The site itself is in trouble.
        SiteTrouble = "site-trouble",
    }
}

/// An answer to be understood.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Where in the conversation, or by mail.
    pub phase: Phase,
    /// The reply code, where there is one.
    pub code: Option<u16>,
    /// The enhanced status, where there is one.
    pub status: Option<EnhancedStatus>,
    /// The words.
    pub text: &'a str,
}

impl<'a> Said<'a> {
    /// Takes `550 5.1.1 no such user` apart; without a code all of it is text.
    #[must_use]
    pub fn from_line(phase: Phase, line: &'a str) -> Self {
        let line = line.trim();
        let code = line.get(..3).and_then(|c| c.parse().ok()).filter(|c| (200..600).contains(c));
        let mut text = match code {
            Some(_) => line[3..].trim_start_matches(['-', ' ']),
            None => line,
        };
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let status = first.parse().ok();
        if status.is_some() {
            text = rest;
        }
        Self { phase, code, status, text }
    }

    /// What a server answered.
    #[must_use]
    pub fn reply(phase: Phase, reply: &'a Reply) -> Self {
        Self { phase, code: Some(reply.code), status: reply.status, text: &reply.text }
    }

    /// 4yz, by the code or else by the status; `None` when neither is there.
    fn is_transient(&self) -> Option<bool> {
        let class = self.code.map(|c| c / 100).or(self.status.map(|s| u16::from(s.0)))?;
        match class {
            4 => Some(true),
            5 => Some(false),
            _ => None,
        }
    }
}

/// What it means, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Why the message was not delivered.
    pub category: Category,
    /// Whether trying again later can help.
    pub permanence: Permanence,
    /// What this one event does to the address.
    pub hygiene: Hygiene,
    /// Who should change behaviour.
    pub scope: Scope,
    /// Which dimension of the pace it speaks about.
    pub signal: Signal,
    /// The rule that decided.
    pub rule: &'static str,
    /// How sure, in percent: a rule about a text 90, a status alone 60, a code alone 30.
    pub confidence: u8,
    /// What the provider's rule asks for besides; nothing where a general rule decided.
    #[serde(skip)]
    pub reaction: Reaction,
}

impl Finding {
    /// Whether it says anything to those who send, beyond this one recipient and message: to the
    /// pace at the site, or to a hold of a sender domain, a link or a campaign.
    #[must_use]
    pub fn concerns_sending(&self) -> bool {
        use Category::{Network, RateLimited, ReputationBlock, System};
        self.signal != Signal::None
            || matches!(self.category, RateLimited | ReputationBlock | System | Network)
    }

    /// Whether another attempt may help, after a server said by its code that it can or cannot. One
    /// that says 5yz has said never: to insist costs reputation. It is believed unless it only means
    /// the pace, as some do, or its provider's rule knows that it means a while.
    #[must_use]
    pub fn goes_again(&self, said: Permanence) -> bool {
        let is_pace = matches!(
            self.signal,
            Signal::Rate
                | Signal::Connections
                | Signal::MessagesPerConnection
                | Signal::Greylist
                | Signal::RecipientBusy
        ) || self.category == Category::RateLimited;
        let is_believed =
            said == Permanence::Permanent && !is_pace && self.reaction.retry.is_none();
        self.permanence == Permanence::Temporary && !is_believed
    }
}

/// What a provider's rule asks for, beyond what follows from the meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaction {
    /// If whoever the scope names comes to rest for it: for so long at first.
    pub hold: Option<Duration>,
    /// The recipient goes again, whatever the first digit says, and not before so long.
    pub retry: Option<Duration>,
}

/// What a rule may say beyond the category.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overrides {
    pub(crate) permanence: Option<Permanence>,
    pub(crate) hygiene: Option<Hygiene>,
    pub(crate) scope: Option<Scope>,
    pub(crate) signal: Option<Signal>,
}

/// The meaning of an answer. Costs a few microseconds and never fails: what nothing
/// recognises is [`Category::Undetermined`].
#[must_use]
pub fn classify(said: &Said<'_>) -> Finding {
    classify_folded(said, &fold(said.text))
}

/// [`classify`], where the text has been folded already.
pub(crate) fn classify_folded(said: &Said<'_>, folded: &str) -> Finding {
    let Some(rule) = rules::find(said, folded) else { return fallback::find(said) };
    let by_words = finding(said, rule.category, rule.overrides, &rule.id, rule.confidence);
    // Words that are next to nothing give way to numbers.
    let by_number = (rule.confidence < fallback::BY_STATUS).then(|| fallback::find(said));
    by_number.filter(|by_number| by_number.confidence > rule.confidence).unwrap_or(by_words)
}

/// [`classify`] for a server's reply.
#[must_use]
pub fn classify_reply(phase: Phase, reply: &Reply) -> Finding {
    classify(&Said::reply(phase, reply))
}

/// What usually follows from a category when a server says that trying again can or cannot help.
/// `rule` is empty: none decided.
#[must_use]
pub fn usually(category: Category, said: Permanence) -> Finding {
    let code = match said {
        Permanence::Permanent => 550,
        Permanence::Temporary => 450,
    };
    let said = Said { phase: Phase::Rcpt, code: Some(code), status: None, text: "" };
    finding(&said, category, Overrides::default(), "", 0)
}

/// A line that a general rule claims: the first of its own examples, which may name a phase.
pub(crate) fn example_of(rule: &str) -> Option<&'static str> {
    rules::example(rule)
}

pub(crate) fn finding(
    said: &Said<'_>,
    category: Category,
    overrides: Overrides,
    rule: &'static str,
    confidence: u8,
) -> Finding {
    let permanence = overrides.permanence.unwrap_or_else(|| usual_permanence(category, said));
    let scope = overrides.scope.unwrap_or_else(|| usual_scope(category, said.phase));
    Finding {
        category,
        permanence,
        hygiene: overrides.hygiene.unwrap_or_else(|| usual_hygiene(category, permanence, said)),
        scope,
        signal: overrides.signal.unwrap_or_else(|| usual_signal(category, scope)),
        rule,
        confidence,
        reaction: Reaction::default(),
    }
}

fn usual_permanence(category: Category, said: &Said<'_>) -> Permanence {
    use Category as C;
    let by_code = |otherwise: Permanence| match said.is_transient() {
        Some(true) => Permanence::Temporary,
        Some(false) => Permanence::Permanent,
        None => otherwise,
    };
    match category {
        // Space is freed, limits pass, whichever digit the server chose.
        C::MailboxFull | C::RateLimited | C::Greylisted => Permanence::Temporary,
        C::Expired => Permanence::Permanent,
        C::NoMailbox | C::Moved | C::NoDomain | C::MailboxDisabled => {
            by_code(Permanence::Permanent)
        }
        C::RecipientRefused | C::TooBig | C::Content | C::ReputationBlock | C::Policy | C::Auth => {
            by_code(Permanence::Permanent)
        }
        C::Network | C::System | C::Protocol | C::Undetermined => by_code(Permanence::Temporary),
    }
}

fn usual_hygiene(category: Category, permanence: Permanence, said: &Said<'_>) -> Hygiene {
    use Category as C;
    match category {
        // `450 user unknown` may be a directory that is down for a moment.
        C::NoMailbox | C::Moved if permanence == Permanence::Temporary => Hygiene::Count,
        C::NoMailbox | C::Moved => Hygiene::Suppress,
        // DNS can lie and accounts are reopened: twice, with a day between.
        C::NoDomain | C::MailboxDisabled => Hygiene::Count,
        C::MailboxFull | C::RecipientRefused | C::Expired | C::Undetermined => Hygiene::Count,
        C::System if said.status == Some(EnhancedStatus(5, 3, 0)) => Hygiene::Count,
        C::TooBig
        | C::Content
        | C::ReputationBlock
        | C::Policy
        | C::Auth
        | C::RateLimited
        | C::Greylisted
        | C::Network
        | C::System
        | C::Protocol => Hygiene::None,
    }
}

fn usual_scope(category: Category, phase: Phase) -> Scope {
    use Category as C;
    match category {
        C::NoMailbox | C::Moved | C::MailboxDisabled | C::MailboxFull | C::RecipientRefused => {
            Scope::Recipient
        }
        // Our own look-up speaks of the domain, a report only of the recipient it names.
        C::NoDomain if phase == Phase::Dns => Scope::Site,
        C::NoDomain | C::Greylisted | C::Expired | C::Undetermined => Scope::Recipient,
        C::TooBig | C::Content | C::Policy | C::Protocol => Scope::Message,
        C::ReputationBlock | C::RateLimited => Scope::Source,
        C::Auth => Scope::SenderDomain,
        C::Network | C::System if phase == Phase::Returned => Scope::Recipient,
        C::Network | C::System => Scope::Site,
    }
}

pub(crate) fn usual_signal(category: Category, scope: Scope) -> Signal {
    use Category as C;
    match category {
        C::RateLimited => match scope {
            Scope::Recipient => Signal::RecipientBusy,
            Scope::Connection => Signal::MessagesPerConnection,
            Scope::SenderDomain => Signal::SenderDomain,
            Scope::LinkDomain => Signal::LinkDomain,
            Scope::Message => Signal::Content,
            Scope::Source | Scope::Site => Signal::Rate,
        },
        C::Greylisted => Signal::Greylist,
        C::ReputationBlock | C::Content if scope == Scope::LinkDomain => Signal::LinkDomain,
        C::ReputationBlock if scope == Scope::Source => Signal::Block,
        C::ReputationBlock | C::Auth => Signal::SenderDomain,
        C::Content => Signal::Content,
        C::Policy if scope == Scope::SenderDomain => Signal::SenderDomain,
        C::Policy if scope == Scope::Source => Signal::Block,
        C::Network | C::System if scope == Scope::Site => Signal::SiteTrouble,
        _ => Signal::None,
    }
}
