//! What is seen, in the words of the console.

use console::{Answer, ChangeSeen, OrderSeen, Pace, Relay, Server, SiteSeen, Trouble, Waiting};
use mail::orders::{Order, ScopeKind, Verb};
use mail::reply::clean_text;
use mail::throttle::Dimension;
use mail::{Site, Timestamp};
use store::{RelayRecord, relay_name};

use super::{Wired, broken};
use crate::commands::{PaceSeen, SiteTold};
use crate::watch::Sights;

pub(super) fn sights(seen: &Sights) -> console::Sights {
    let Sights { servers, relays, campaigns, paces, outbox_fullness, feedback_waiting, .. } = seen;
    let waiting = campaigns.waiting.iter().filter(|(_, waiting)| waiting.recipients > 0);
    console::Sights {
        at: seen.at,
        servers: servers.iter().map(server).collect(),
        relays: relays.iter().map(|(id, record)| relay(id, record, seen)).collect(),
        waiting: waiting
            .map(|(priority, waiting)| Waiting {
                priority: *priority,
                recipients: waiting.recipients,
                oldest_s: waiting.oldest_s,
            })
            .collect(),
        campaigns: campaigns.by_status.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect(),
        paces: paces.iter().map(pace).collect(),
        outbox_fullness: *outbox_fullness,
        feedback_waiting: *feedback_waiting,
    }
}

fn server(state: &store::ServerState) -> Server {
    Server {
        name: state.name.clone(),
        memory_bytes: state.memory_bytes,
        memory_max_bytes: state.memory_max_bytes,
        latency_ms: state.latency.as_secs_f64() * 1000.0,
        is_persisting: state.is_persisting,
    }
}

fn relay(id: &str, record: &RelayRecord, seen: &Sights) -> Relay {
    let name = relay_name(id);
    let drains = |order: &&Order| {
        order.verb == Verb::Drain
            && order.scope.kind == ScopeKind::Relay
            && [id, name].contains(&order.scope.name.as_str())
    };
    Relay {
        id: id.to_owned(),
        name: name.to_owned(),
        host: record.host.clone(),
        state: record.state(seen.at).as_str(),
        seen_at: record.seen_at,
        started_at: record.started_at,
        connections: record.connections,
        leased: record.leased,
        budget_percent: record.budget_percent,
        pressed_by: record.pressed_by.clone(),
        pools: record.pools.clone(),
        drain_order: seen.orders.all().iter().find(drains).map(|order| order.id),
    }
}

fn pace(seen: &PaceSeen) -> Pace {
    Pace {
        source: seen.source.clone(),
        site: seen.site.as_str().to_owned(),
        provider: seen.provider.clone(),
        rate: seen.rate,
        rate_refused: seen.rate_refused,
        connections: seen.connections,
        connections_max: seen.connections_max,
        waiting: seen.waiting,
        is_blocked: seen.is_blocked,
        is_fixed: seen.is_fixed,
        is_suspended: seen.is_suspended,
        binding: seen.binding,
    }
}

fn order(order: &Order) -> OrderSeen {
    OrderSeen {
        id: order.id,
        what: order.to_string(),
        by: order.by.clone(),
        why: order.reason.clone(),
        at: order.at,
        until: order.until,
    }
}

fn change(told: &ledger::PaceChange) -> ChangeSeen {
    let change = &told.signed.change;
    ChangeSeen {
        number: told.number.to_string(),
        at: told.entry.event.at,
        what: format!("{:.1}", told.signed),
        rate: (change.what == Dimension::Rate).then_some(change.to),
        reply: told.entry.event.reply.as_ref().map(|reply| clean_text(&reply.to_string())),
    }
}

impl Wired {
    pub(super) async fn site_seen(&self, source: &str, site: &str) -> Answer<SiteSeen> {
        let told = self.eyes.desk().told(source, &Site::from_name(site)).await.map_err(broken)?;
        let absent = || Trouble::Absent(format!("pace of source {source:?} at {site}"));
        let SiteTold {
            seen,
            messages_per_connection,
            limits,
            held_until,
            blocked,
            orders,
            changes,
        } = told.ok_or_else(absent)?;
        Ok(SiteSeen {
            pace: pace(&seen),
            messages_per_connection,
            rate_bounds: (limits.rate_min, limits.rate_max),
            blocked_with: blocked,
            held_until: held_until.filter(|until| *until > Timestamp(0)),
            orders: orders.iter().map(order).collect(),
            changes: changes.iter().map(change).collect(),
        })
    }
}
