//! `malleposte site list`: every source at every site, the most interesting first.

use std::collections::BTreeSet;

use relay::Insight;
use serde_json::{Value, json};

use super::Desk;
use super::view::{Standing, View, moment, per_second};
use crate::commands::now;

impl Desk {
    pub(super) async fn list(&self) -> anyhow::Result<()> {
        let (all, orders, at) = (self.all().await?, self.orders().await?, now());
        let mut views: Vec<View<'_>> =
            all.iter().map(|known| self.view(known, &orders, at)).collect();
        views.sort_by_cached_key(|view| {
            (view.standing(), view.known.site.clone(), view.known.source.clone())
        });
        if self.voice.is_json() {
            println!("{}", json!({ "sites": views.iter().map(row).collect::<Vec<_>>() }));
        } else if views.is_empty() {
            println!("no site is known yet: a pace begins with the first mail to a site");
        } else {
            print(&views);
        }
        Ok(())
    }
}

/// A line of the list for programs.
pub(super) fn row(view: &View<'_>) -> Value {
    let Insight { source, site, now, pace, full_until } = view.known;
    json!({
        "source": source,
        "site": site.as_str(),
        "rate": view.rate(),
        "connections": view.connections(),
        "messages_per_connection": view.messages_per_connection(),
        "standing": word(view.standing()),
        "held_until": pace.hold_until().map(|at| at.to_string()),
        "used_up_until": full_until.map(|at| at.to_string()),
        "binds": view.binding().as_str(),
        "relays": now.claims.len(),
        "waiting": now.waiting(),
        "since": view.since().map(|at| at.to_string()),
    })
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Held => "held",
        Standing::Fixed => "fixed",
        Standing::Limited => "limited",
        Standing::Free => "free",
    }
}

fn print(views: &[View<'_>]) {
    let wide = |of: fn(&View<'_>) -> usize| views.iter().map(of).max().unwrap_or(0);
    let source = wide(|view| view.known.source.len()).max("source".len());
    let site = wide(|view| view.known.site.as_str().len()).max("site".len());
    println!(
        "{:<source$}  {:<site$}  {:>8} {:>5} {:>9} {:>6} {:>8}  {:<12} {:<20}  standing",
        "source", "site", "rate/s", "conn", "msgs/conn", "relays", "waiting", "binds", "since"
    );
    for view in views {
        let since = view.since().map_or_else(|| "-".to_owned(), moment);
        println!(
            "{:<source$}  {:<site$}  {:>8} {:>5} {:>9} {:>6} {:>8}  {:<12} {since:<20}  {}",
            view.known.source,
            view.known.site,
            per_second(view.rate()),
            view.connections(),
            view.messages_per_connection(),
            view.known.now.claims.len(),
            view.known.now.waiting(),
            view.binding(),
            view.stands()
        );
    }
    println!("{}", sum(views));
}

fn sum(views: &[View<'_>]) -> String {
    let of = |standing| views.iter().filter(|view| view.standing() == standing).count();
    let claims = || views.iter().flat_map(|view| &view.known.now.claims);
    let relays: BTreeSet<&str> = claims().map(|claim| claim.relay.as_str()).collect();
    let waiting: u64 = claims().map(store::Claim::waiting).sum();
    format!(
        "{} in all: {} held, {} fixed by hand, {} at a limit found, {} free; {waiting} recipients wait in {} relays",
        views.len(),
        of(Standing::Held),
        of(Standing::Fixed),
        of(Standing::Limited),
        of(Standing::Free),
        relays.len()
    )
}
