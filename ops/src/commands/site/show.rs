//! `malleposte site show`: one site, source by source, with its evidence.

use std::fmt::Write as _;

use ledger::PaceChange;
use mail::holds::Hold;
use mail::orders::{Order, Orders, ScopeKind};
use mail::reply::clean_text;
use mail::throttle::{Dimension, Fixed, HourKnown, Limits};
use mail::{Site, Timestamp};
use serde_json::{Value, json};

use super::list::row;
use super::view::{PaceSeen, View, moment, per_second};
use super::{Desk, Which};
use crate::commands::now;

/// Changes that are shown of each source.
const CHANGES: usize = 10;
/// Changes among which the last words of a block are looked for.
const LOOKED_THROUGH: usize = 200;

/// What is told of a source beside its record.
struct Evidence {
    /// The newest, newest first.
    changes: Vec<PaceChange>,
    /// What the site said when it last blocked the source.
    blocked: Option<String>,
}

/// A source at a site, for the console.
pub(crate) struct SiteTold {
    pub(crate) seen: PaceSeen,
    pub(crate) messages_per_connection: u32,
    pub(crate) limits: Limits,
    pub(crate) held_until: Option<Timestamp>,
    /// What the site said when it last blocked the source.
    pub(crate) blocked: Option<String>,
    /// The orders that hold for it.
    pub(crate) orders: Vec<Order>,
    /// The newest first.
    pub(crate) changes: Vec<PaceChange>,
}

impl Desk {
    /// One source at one site; `None`: there is no record.
    pub(crate) async fn told(&self, source: &str, site: &Site) -> anyhow::Result<Option<SiteTold>> {
        let known = self.at(site, Some(source)).await?.into_iter().next();
        let Some(known) = known else { return Ok(None) };
        let (orders, at) = (self.orders().await?, now());
        let view = self.view(&known, &orders, at);
        let (changes, blocked) = self.changes(source, site)?;
        Ok(Some(SiteTold {
            seen: view.seen(&orders),
            messages_per_connection: view.messages_per_connection(),
            limits: view.limits,
            held_until: known.pace.hold_until(),
            blocked,
            orders: concerning(&orders, site, Some(source)).into_iter().cloned().collect(),
            changes,
        }))
    }

    pub(super) async fn show(&self, which: &Which) -> anyhow::Result<()> {
        let site = self.find(&which.site).await?;
        print!("{}", self.shown(&site, which.source.as_deref()).await?);
        Ok(())
    }

    /// What is known of a site, as text or as JSON.
    pub(super) async fn shown(&self, site: &Site, source: Option<&str>) -> anyhow::Result<String> {
        let known = self.at(site, source).await?;
        let (orders, at) = (self.orders().await?, now());
        let holds = self.store.holds(at).await?;
        let holds: Vec<Hold> =
            holds.into_iter().filter(|hold| hold.key.site == site.as_str()).collect();
        let mut told = Vec::new();
        for insight in &known {
            let view = self.view(insight, &orders, at);
            let evidence = self.evidence(&insight.source, site)?;
            told.push((view, evidence));
        }
        let concern = concerning(&orders, site, source);
        if self.voice.is_json() {
            let sources: Vec<Value> = told.iter().map(|(v, e)| source_json(v, e)).collect();
            let shown = json!({
                "site": site.as_str(), "sources": sources, "orders": concern, "holds": holds,
            });
            return Ok(format!("{shown}\n"));
        }
        Ok(self.tell(site, &told, &concern, &holds))
    }

    fn evidence(&self, source: &str, site: &Site) -> anyhow::Result<Evidence> {
        let (mut changes, blocked) = self.changes(source, site)?;
        changes.truncate(CHANGES);
        Ok(Evidence { changes, blocked })
    }

    /// The newest changes of a pace, and what the site said last.
    fn changes(
        &self,
        source: &str,
        site: &Site,
    ) -> anyhow::Result<(Vec<PaceChange>, Option<String>)> {
        let Some(ledger) = &self.ledger else { return Ok((Vec::new(), None)) };
        let changes = ledger.pace_changes(source, site.as_str(), Timestamp(0), LOOKED_THROUGH)?;
        let reply = changes.iter().find_map(|change| change.entry.event.reply.as_ref());
        let said = reply.map(|reply| clean_text(&reply.to_string()));
        Ok((changes, said))
    }

    fn tell(
        &self,
        site: &Site,
        told: &[(View<'_>, Evidence)],
        orders: &[&Order],
        holds: &[Hold],
    ) -> String {
        let mut text = format!("{site}\n");
        let mut line = |content: String| {
            let _infallible = writeln!(text, "{content}");
        };
        line(match told.first().and_then(|(view, _)| view.provider.as_ref()) {
            Some((name, title)) => {
                format!("  provider {name} ({title}): `malleposte providers show {name}`")
            }
            None => "  no provider's file applies".to_owned(),
        });
        for order in orders {
            let until = order.until.map(|t| format!(", until {}", moment(t))).unwrap_or_default();
            line(format!(
                "  order {}: {order}, by {} since {}{until}: {}",
                order.id,
                order.by,
                moment(order.at),
                order.reason
            ));
        }
        for hold in holds {
            line(format!("  order {}: {hold}, until {}", hold.id, moment(hold.until)));
        }
        if told.is_empty() {
            line("  no record: no mail went there lately, and it would start as configured".into());
        }
        for (view, evidence) in told {
            line(String::new());
            line(source_text(view, evidence, self.ledger.is_some()));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

/// The orders that hold for mail to a site, as far as a site and its source tell.
fn concerning<'a>(orders: &'a Orders, site: &Site, source: Option<&str>) -> Vec<&'a Order> {
    let is_concerned = |order: &&Order| match order.scope.kind {
        ScopeKind::All => true,
        ScopeKind::Site => order.scope.name == site.as_str(),
        ScopeKind::Source => source.is_none_or(|source| order.scope.name == source),
        ScopeKind::Tenant | ScopeKind::Campaign | ScopeKind::Domain | ScopeKind::Relay => false,
    };
    orders.all().iter().filter(is_concerned).collect()
}

fn source_text(view: &View<'_>, evidence: &Evidence, has_history: bool) -> String {
    let pace = &view.known.pace;
    let mut text = String::new();
    let mut row = |name: &str, content: String| {
        let _infallible = writeln!(text, "  {name:<24} {content}");
    };
    row("rate", rate_line(view));
    row("connections", connections_line(view));
    row("messages per connection", per_connection_line(view));
    row("binds", view.binding().phrase().to_owned());
    if let Some(until) = view.known.full_until {
        row("used up", format!("until {}: `malleposte warmup` says what was sent", moment(until)));
    }
    if pace.hold_until().is_some() {
        row("blocked", blocked_line(view, evidence));
    }
    let hours: Vec<String> = pace.hours_known().iter().map(hour).collect();
    if !hours.is_empty() {
        row("took by hour, UTC", hours.join(", "));
    }
    row("heard of", pace.heard_at().map_or_else(|| "never".to_owned(), moment));
    for claim in &view.known.now.claims {
        let campaigns: Vec<String> =
            claim.waiting.iter().map(|(campaign, n)| format!("{campaign} {n}")).collect();
        let of = if campaigns.is_empty() {
            String::new()
        } else {
            format!(" ({})", campaigns.join(", "))
        };
        row(
            "shared by",
            format!(
                "{}: {} wait{of}, {} connections open",
                claim.relay,
                claim.waiting(),
                claim.in_use
            ),
        );
    }
    match (&evidence.changes[..], has_history) {
        ([], true) => row("changes", "history tells of none".to_owned()),
        ([], false) => row("changes", "there is no history on this machine".to_owned()),
        (_, _) => {
            row("changes", "newest first; `malleposte site undo SITE NUMBER --why …`".to_owned())
        }
    }
    for change in &evidence.changes {
        let _infallible = writeln!(text, "    {}", change_line(change));
    }
    let since = view.since().map(|at| format!(", since {}", moment(at))).unwrap_or_default();
    format!("source {}: {}{since}\n{}", view.known.source, view.stands(), text.trim_end())
}

fn change_line(change: &PaceChange) -> String {
    let event = &change.entry.event;
    let signed = clean_text(&format!("{:.1}", change.signed));
    let by =
        if event.service.is_empty() { String::new() } else { format!("  ({})", event.service) };
    let reply = event.reply.as_ref().map(|reply| clean_text(&reply.to_string()));
    let reply = reply.map(|reply| format!("\n        {reply}")).unwrap_or_default();
    format!("{}  {}  {signed}{by}{reply}", change.number, moment(event.at))
}

fn why(view: &View<'_>, what: Dimension, refused: Option<String>) -> String {
    let at =
        view.known.pace.cut_at(what).map(|at| format!(" ({})", moment(at))).unwrap_or_default();
    match refused {
        Some(refused) => format!("; the site last objected at {refused}{at}"),
        None => "; the site has not objected".to_owned(),
    }
}

fn is_fixed(view: &View<'_>, of: impl Fn(&Fixed) -> bool) -> String {
    let order = view.fixes.iter().rev().find(|order| of(&order.fixed));
    order.map(|order| format!(", fixed by order {}", order.id)).unwrap_or_default()
}

fn rate_line(view: &View<'_>) -> String {
    let pace = &view.known.pace;
    let (found, now) = (pace.rate_found(), view.rate());
    let found = if found == now { String::new() } else { format!(", found {}", per_second(found)) };
    let fixed = is_fixed(view, |fixed| fixed.rate.is_some());
    let refused = why(view, Dimension::Rate, pace.rate_refused().map(per_second));
    let (least, most) = (view.limits.rate_min, view.limits.rate_max);
    format!("{} a second{fixed}{found}{refused}; bounds {least} to {most}", per_second(now))
}

fn connections_line(view: &View<'_>) -> String {
    let pace = &view.known.pace;
    let fixed = is_fixed(view, |fixed| fixed.connections.is_some());
    let (found, now) = (pace.connections_found(), view.connections());
    let found = if found == now { String::new() } else { format!(", found {found}") };
    let refused =
        why(view, Dimension::Connections, pace.connections_refused().map(|n| n.to_string()));
    let in_use = view.known.now.in_use();
    let most = view.limits.connections_max;
    format!("{now}{fixed}, {in_use} in use{found}{refused}; bounds 1 to {most}")
}

fn per_connection_line(view: &View<'_>) -> String {
    let pace = &view.known.pace;
    let fixed = is_fixed(view, |fixed| fixed.messages_per_connection.is_some());
    let (found, now) = (pace.messages_per_connection(), view.messages_per_connection());
    let found = if found == now { String::new() } else { format!(", found {found}") };
    let most = view.limits.messages_per_connection_max;
    let at = pace.cut_at(Dimension::MessagesPerConnection);
    let at = at.map(|at| format!("; last moved {}", moment(at))).unwrap_or_default();
    format!("{now}{fixed}{found}{at}; bounds 1 to {most}")
}

fn blocked_line(view: &View<'_>, evidence: &Evidence) -> String {
    let since = view.known.pace.hold_since().map_or_else(|| "a while ago".to_owned(), moment);
    let words = evidence.blocked.as_deref().map(|words| format!("; it said {words:?}"));
    let words = words.unwrap_or_default();
    format!("since {since}, {}{words}; `malleposte site release` ends it", view.stands())
}

fn hour(known: &HourKnown) -> String {
    format!("{:02}h {}", known.hour, per_second(known.rate))
}

fn source_json(view: &View<'_>, evidence: &Evidence) -> Value {
    let pace = &view.known.pace;
    let mut source = row(view);
    let claims: Vec<Value> = view.known.now.claims.iter().map(claim_json).collect();
    let more = json!({
        "provider": view.provider.as_ref().map(|(name, _)| name),
        "limits": view.limits,
        "fixed": view.fixed,
        "found": {
            "rate": pace.rate_found(),
            "connections": pace.connections_found(),
            "messages_per_connection": pace.messages_per_connection(),
        },
        "refused": { "rate": pace.rate_refused(), "connections": pace.connections_refused() },
        "connections_in_use": view.known.now.in_use(),
        "blocked_with": evidence.blocked,
        "hours": pace.hours_known(),
        "heard_at": pace.heard_at().map(|at| at.to_string()),
        "shared_by": claims,
        "changes": evidence.changes,
    });
    if let (Some(source), Value::Object(more)) = (source.as_object_mut(), more) {
        source.extend(more);
    }
    source
}

fn claim_json(claim: &store::Claim) -> Value {
    let waiting: serde_json::Map<String, Value> =
        claim.waiting.iter().map(|(campaign, n)| (campaign.to_string(), json!(n))).collect();
    json!({ "relay": claim.relay, "connections": claim.in_use, "waiting": waiting })
}
