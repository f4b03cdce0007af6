//! What operators order: hold this, fail that, send those from elsewhere. An order
//! names a scope, says who gave it and why, and holds until it is undone or its time is
//! over. Here is what an order concerns; carrying it out is the relays' business.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::CampaignId;
use crate::throttle::Fixed;
use crate::time::Timestamp;

/// Orders that hold at one time, at most: each relay weighs every recipient against all
/// of them. A list that long is a configuration, and belongs there.
pub const ORDERS_MAX: usize = 200;

crate::words! {
    /// What is to be done.
    Verb {
        /// Nothing goes until it is undone. No attempt is counted, lifetimes run on.
        Suspend = "suspend",
        /// What was accepted before the order fails, with the reason given.
        Bounce = "bounce",
        /// It goes from another pool.
        Reroute = "reroute",
        /// What rests or is delayed goes now.
        Retry = "retry",
        /// A relay leases nothing more and finishes what it has.
        Drain = "drain",
        /// Some of the pace at a site is what the operator says.
        Fix = "fix",
    }
}

crate::words! {
    /// What kind of thing an order names.
    ScopeKind {
        /// Everything.
        All = "all",
        /// A destination: the name of an MX set.
        Site = "site",
        /// An egress source.
        Source = "source",
        /// A tenant.
        Tenant = "tenant",
        /// A campaign.
        Campaign = "campaign",
        /// A recipient domain.
        Domain = "domain",
        /// A relay, by its name.
        Relay = "relay",
    }
}

/// What an order concerns: a kind and a name. `all` has no name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// The kind of thing.
    pub kind: ScopeKind,
    /// Which one, in lower case.
    pub name: String,
}

/// `site google.com`, `all`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ScopeKind::All => f.write_str("all"),
            kind => write!(f, "{kind} {}", self.name),
        }
    }
}

/// Why something cannot be an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A name where none belongs, or none where one does.
    #[error("{kind} {}", if *.kind == ScopeKind::All { "takes no name" } else { "needs a name" })]
    Name {
        /// The kind of scope.
        kind: ScopeKind,
    },
    /// The name is not of that kind.
    #[error("{name:?} is not a {kind}{}", hint(*kind))]
    Unfit {
        /// The kind of scope.
        kind: ScopeKind,
        /// What was given.
        name: String,
    },
    /// A verb that means nothing for that kind.
    #[error("{verb} {kind} is not possible; possible: {possible}")]
    Senseless {
        /// What was to be done.
        verb: Verb,
        /// With what.
        kind: ScopeKind,
        /// The kinds that it can be done with.
        possible: String,
    },
}

fn hint(kind: ScopeKind) -> &'static str {
    match kind {
        ScopeKind::Campaign => ": write c12",
        ScopeKind::Domain => ": write example.org",
        _ => "",
    }
}

impl Scope {
    /// A scope of its parts, checked: a campaign's number, a domain that reads.
    ///
    /// # Errors
    /// When the name is not one of that kind.
    pub fn new(kind: ScopeKind, name: &str) -> Result<Self, OrderError> {
        let unfit = || OrderError::Unfit { kind, name: name.to_owned() };
        if name.is_empty() != (kind == ScopeKind::All) {
            return Err(OrderError::Name { kind });
        }
        let name = match kind {
            ScopeKind::Campaign => name.parse::<CampaignId>().map_err(|_| unfit())?.to_string(),
            ScopeKind::Domain => {
                let domain: crate::Domain = name.parse().map_err(|_| unfit())?;
                domain.as_str().to_owned()
            }
            ScopeKind::Site => name.to_lowercase(),
            ScopeKind::All | ScopeKind::Source | ScopeKind::Tenant | ScopeKind::Relay => {
                name.to_owned()
            }
        };
        if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(unfit());
        }
        Ok(Self { kind, name })
    }
}

impl Verb {
    /// The kinds of scope that it makes sense for.
    #[must_use]
    pub fn scopes(self) -> &'static [ScopeKind] {
        use ScopeKind::{All, Campaign, Domain, Relay, Site, Source, Tenant};
        match self {
            Self::Suspend => &[All, Site, Source, Tenant, Campaign, Domain],
            // Which source a recipient has is known only when it goes: it cannot name what waits.
            Self::Bounce => &[Site, Tenant, Campaign, Domain],
            Self::Reroute => &[All, Site, Source, Tenant, Campaign, Domain],
            Self::Retry => &[All, Site, Tenant, Campaign, Domain],
            Self::Drain => &[Relay],
            Self::Fix => &[Site],
        }
    }

    /// Whether it can be done with such a thing.
    ///
    /// # Errors
    /// When not, with what it can be done with.
    pub fn check(self, scope: &Scope) -> Result<(), OrderError> {
        if self.scopes().contains(&scope.kind) {
            return Ok(());
        }
        let possible: Vec<&str> = self.scopes().iter().map(|kind| kind.as_str()).collect();
        Err(OrderError::Senseless { verb: self, kind: scope.kind, possible: possible.join(", ") })
    }
}

/// An order that holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Counts up over the platform; what `undo` names.
    pub id: u64,
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub scope: Scope,
    /// The pool of a reroute; otherwise empty.
    #[serde(default)]
    pub pool: String,
    /// What a fix fixes; otherwise nothing.
    #[serde(default, skip_serializing_if = "Fixed::is_nothing")]
    pub fixed: Fixed,
    /// The one source that a fix is about; empty: all of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// It ends by itself then.
    pub until: Option<Timestamp>,
}

/// `suspend site google.com`, `reroute all to warm`, `fix site google.com for eu-1 at 5/s`.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.scope)?;
        if !self.pool.is_empty() {
            write!(f, " to {}", self.pool)?;
        }
        if !self.source.is_empty() {
            write!(f, " for {}", self.source)?;
        }
        if self.fixed.is_nothing() { Ok(()) } else { write!(f, " at {}", self.fixed) }
    }
}

/// What is known of a recipient when it is weighed against the orders. What is not known
/// yet matches no order about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Its campaign.
    pub campaign: Option<CampaignId>,
    /// Its tenant; empty: not known.
    pub tenant: &'a str,
    /// Its domain; empty: not known, or many.
    pub domain: &'a str,
    /// Its site; empty: not known.
    pub site: &'a str,
    /// The egress source; empty: not known.
    pub source: &'a str,
}

impl Scope {
    fn is_about(&self, subject: &Subject<'_>) -> bool {
        let is = |known: &str| !known.is_empty() && known == self.name;
        match self.kind {
            ScopeKind::All => true,
            ScopeKind::Site => is(subject.site),
            ScopeKind::Source => is(subject.source),
            ScopeKind::Tenant => is(subject.tenant),
            ScopeKind::Domain => is(subject.domain),
            ScopeKind::Campaign => subject.campaign.is_some_and(|id| self.name.parse() == Ok(id)),
            ScopeKind::Relay => false,
        }
    }
}

/// The orders that hold, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Orders(Vec<Order>);

impl Orders {
    /// The orders among these that have not ended by themselves.
    #[must_use]
    pub fn new(mut all: Vec<Order>, now: Timestamp) -> Self {
        all.retain(|order| order.until.is_none_or(|until| until > now));
        all.sort_by_key(|order| order.id);
        Self(all)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Order] {
        &self.0
    }

    /// Whether there is none: nearly always.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The order that holds this back, if any.
    #[must_use]
    pub fn suspends(&self, subject: &Subject<'_>) -> Option<&Order> {
        self.first(Verb::Suspend, subject)
    }

    /// The order by which a recipient accepted then fails, if any.
    #[must_use]
    pub fn bounces(&self, subject: &Subject<'_>, accepted_at: Timestamp) -> Option<&Order> {
        self.of(Verb::Bounce).find(|o| accepted_at <= o.at && o.scope.is_about(subject))
    }

    /// The pool that it goes from instead of its own; the newest order decides.
    #[must_use]
    pub fn pool(&self, subject: &Subject<'_>) -> Option<&str> {
        let order = self.of(Verb::Reroute).rfind(|o| o.scope.is_about(subject));
        order.map(|o| o.pool.as_str())
    }

    /// The order that has this relay drained, if any. A relay is named as in its configuration.
    #[must_use]
    pub fn drains(&self, relay: &str) -> Option<&Order> {
        self.of(Verb::Drain).find(|o| o.scope.name == relay)
    }

    /// What is fixed of the pace of a source at a site; of each dimension the newest order decides.
    #[must_use]
    pub fn fixed(&self, source: &str, site: &str) -> Fixed {
        self.fixes(source, site).fold(Fixed::default(), |fixed, order| fixed.with(order.fixed))
    }

    /// The orders that fix anything of it, oldest first.
    pub fn fixes<'a>(&'a self, source: &'a str, site: &'a str) -> impl Iterator<Item = &'a Order> {
        let is_theirs =
            move |o: &&Order| o.scope.name == site && (o.source.is_empty() || o.source == source);
        self.of(Verb::Fix).filter(is_theirs)
    }

    /// Orders to try again that are newer than one seen before.
    pub fn retries_after(&self, seen: u64) -> impl Iterator<Item = &Order> {
        self.of(Verb::Retry).filter(move |o| o.id > seen)
    }

    /// The newest number, 0 without any.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.last().map_or(0, |o| o.id)
    }

    fn of(&self, verb: Verb) -> impl DoubleEndedIterator<Item = &Order> {
        self.0.iter().filter(move |o| o.verb == verb)
    }

    fn first(&self, verb: Verb, subject: &Subject<'_>) -> Option<&Order> {
        self.of(verb).find(|o| o.scope.is_about(subject))
    }
}

impl Order {
    /// Whether it is about this.
    #[must_use]
    pub fn is_about(&self, subject: &Subject<'_>) -> bool {
        self.scope.is_about(subject)
    }
}

#[cfg(test)]
mod tests;
