//! One source at one site, judged for people: what holds, since when, and how interesting that is.

use mail::orders::{Order, Orders, ScopeKind, Verb};
use mail::throttle::{Binding, Dimension, Fixed, Limits};
use mail::{Site, Timestamp};
use relay::{Insight, insights_of, limits_at};

use super::Desk;
use crate::commands::now;

/// How things stand; the most interesting first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// The site blocks the source.
    Held,
    /// An operator has fixed some of it.
    Fixed,
    /// The site has objected, and the pace keeps below that.
    Limited,
    /// The site has never objected, or not for long.
    Free,
}

pub(super) struct View<'a> {
    pub(super) known: &'a Insight,
    pub(super) limits: Limits,
    /// The provider's name and title, if it is a provider's site.
    pub(super) provider: Option<(String, String)>,
    pub(super) fixed: Fixed,
    pub(super) fixes: Vec<Order>,
    pub(super) at: Timestamp,
}

impl Desk {
    pub(super) fn view<'a>(&self, known: &'a Insight, orders: &Orders, at: Timestamp) -> View<'a> {
        let (limits, provider) = limits_at(&self.config.relay, &self.known, &known.site);
        let site = known.site.as_str();
        View {
            known,
            provider: provider.map(|p| (p.name.clone(), p.title.clone())),
            fixed: orders.fixed(&known.source, site).within(&limits),
            fixes: orders.fixes(&known.source, site).cloned().collect(),
            limits,
            at,
        }
    }
}

/// A pace as those see it who watch all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PaceSeen {
    pub(crate) source: String,
    pub(crate) site: Site,
    /// Messages a second that may go.
    pub(crate) rate: f64,
    /// At which it was last refused; 0: never.
    pub(crate) rate_refused: f64,
    pub(crate) connections: u32,
    pub(crate) connections_max: u32,
    pub(crate) waiting: u64,
    /// Whether the site blocks the source.
    pub(crate) is_blocked: bool,
    /// The provider's title, if it is a provider's site.
    pub(crate) provider: Option<String>,
    /// Whether an operator has fixed some of it.
    pub(crate) is_fixed: bool,
    /// Whether an operator has suspended the site or the source.
    pub(crate) is_suspended: bool,
    pub(crate) binding: Binding,
}

impl Desk {
    /// Those of these paces that have a record.
    pub(crate) async fn seen(&self, paces: Vec<(String, Site)>) -> anyhow::Result<Vec<PaceSeen>> {
        let found = self.looked_at(insights_of(&self.store, paces).await?).await?;
        let (orders, at) = (self.orders().await?, now());
        Ok(found.iter().map(|known| self.view(known, &orders, at).seen(&orders)).collect())
    }
}

/// Whether an order lets nothing go there, whoever it is for.
fn is_suspended(orders: &Orders, known: &Insight) -> bool {
    orders.all().iter().filter(|order| order.verb == Verb::Suspend).any(|order| {
        match order.scope.kind {
            ScopeKind::All => true,
            ScopeKind::Site => order.scope.name == known.site.as_str(),
            ScopeKind::Source => order.scope.name == known.source,
            ScopeKind::Tenant | ScopeKind::Campaign | ScopeKind::Domain | ScopeKind::Relay => false,
        }
    })
}

impl View<'_> {
    pub(super) fn seen(&self, orders: &Orders) -> PaceSeen {
        let Insight { source, site, pace, now, .. } = self.known;
        PaceSeen {
            source: source.clone(),
            site: site.clone(),
            rate: self.rate(),
            rate_refused: pace.rate_refused().unwrap_or(0.0),
            connections: now.in_use(),
            connections_max: self.connections(),
            waiting: now.waiting(),
            is_blocked: pace.hold_until().is_some_and(|until| until > self.at),
            provider: self.provider.as_ref().map(|(_, title)| title.clone()),
            is_fixed: !self.fixed.is_nothing(),
            is_suspended: is_suspended(orders, self.known),
            binding: self.binding(),
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.fixed.rate_of(&self.known.pace, &self.limits, self.at)
    }

    pub(super) fn connections(&self) -> u32 {
        self.fixed.connections_of(&self.known.pace, self.at)
    }

    pub(super) fn messages_per_connection(&self) -> u32 {
        let found = self.known.pace.messages_per_connection();
        self.fixed.messages_per_connection.unwrap_or(found)
    }

    pub(super) fn binding(&self) -> Binding {
        self.known.binding(&self.fixed, self.at)
    }

    pub(super) fn standing(&self) -> Standing {
        let pace = &self.known.pace;
        if pace.hold_until().is_some() {
            Standing::Held
        } else if !self.fixed.is_nothing() {
            Standing::Fixed
        } else if pace.is_taught() {
            Standing::Limited
        } else {
            Standing::Free
        }
    }

    /// Since when it stands so, where that is known.
    pub(super) fn since(&self) -> Option<Timestamp> {
        let pace = &self.known.pace;
        match self.standing() {
            Standing::Held => pace.hold_since(),
            Standing::Fixed => self.fixes.last().map(|order| order.at),
            Standing::Limited => {
                let of =
                    [Dimension::Rate, Dimension::Connections, Dimension::MessagesPerConnection];
                of.into_iter().filter_map(|what| pace.cut_at(what)).max()
            }
            Standing::Free => pace.begun_at(),
        }
    }

    /// The standing in words.
    pub(super) fn stands(&self) -> String {
        match (self.standing(), self.known.pace.hold_until()) {
            (Standing::Held, Some(until)) if until > self.at => {
                format!("held until {}", moment(until))
            }
            (Standing::Held, _) => "held, probed more often now".to_owned(),
            (Standing::Fixed, _) => {
                let ids: Vec<String> = self.fixes.iter().map(|o| o.id.to_string()).collect();
                format!("fixed by hand, order {}", ids.join(", "))
            }
            (Standing::Limited, _) => "at a limit found".to_owned(),
            (Standing::Free, _) => "free".to_owned(),
        }
    }
}

/// A moment to the second.
pub(super) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.split('.').next().unwrap_or(&text))
}

/// A rate as people read it.
pub(super) fn per_second(rate: f64) -> String {
    if rate < 1.0 { format!("{rate:.3}") } else { format!("{rate:.1}") }
}
