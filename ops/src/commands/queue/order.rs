//! The operator's verbs: each becomes an order that every relay learns within a second,
//! and an event with who and why.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, bail};
use dns::{Resolver, Route};
use mail::event::EventKind;
use mail::orders::{Order, Scope, ScopeKind, Verb};
use mail::queue::Lane;
use mail::{CampaignId, Domain, Event, ShardId, Site};
use serde_json::json;
use store::{CampaignStatus, NewOrder, Store, relay_name};

use super::signed::{About, Signed};
use crate::commands::{Voice, now};
use crate::config::Config;

/// An order outlives every recipient that it can be about: no lifetime is longer (30 days).
const BOUNCE_HOLDS: Duration = Duration::from_secs(30 * 86_400);
/// Each relay has heard it by then.
const RETRY_HOLDS: Duration = Duration::from_secs(300);
/// `drain --wait` gives up after this.
const DRAINED_WITHIN: Duration = Duration::from_secs(600);

/// The platform, as the verbs need it.
pub(crate) struct Hand<'a> {
    pub(in crate::commands) store: &'a Store,
    pub(in crate::commands) config: &'a Config,
    pub(in crate::commands) voice: Voice,
}

impl Hand<'_> {
    /// Gives an order about a scope, and makes due what should notice it.
    pub(crate) async fn order(&self, verb: Verb, about: About, pool: String) -> anyhow::Result<()> {
        about.signed.check()?;
        let scope = self.scope(about.kind, &about.name).await?;
        verb.check(&scope)?;
        self.check_there(&scope).await?;
        let now = now();
        let until = match verb {
            Verb::Bounce => Some(now + BOUNCE_HOLDS),
            Verb::Retry => Some(now + RETRY_HOLDS),
            Verb::Suspend | Verb::Reroute | Verb::Drain | Verb::Fix => None,
        };
        let new = NewOrder::new(verb, scope, about.signed.by(), about.signed.why.clone());
        let new = NewOrder { pool, until, ..new };
        let order = self.store.give_order(new, now).await?;
        if matches!(verb, Verb::Bounce | Verb::Retry) {
            self.make_due(&order.scope).await?;
        }
        self.say(&order, "holds");
        self.warn_of_paused(&order).await
    }

    /// Ends every order of a kind about a scope, as `resume` does, and a campaign's pause.
    pub(crate) async fn resume(&self, about: About) -> anyhow::Result<()> {
        about.signed.check()?;
        let scope = self.scope(about.kind, &about.name).await?;
        let orders = self.store.orders(now()).await?;
        let fitting = |o: &&Order| o.verb == Verb::Suspend && o.scope == scope;
        let ids: Vec<u64> = orders.all().iter().filter(fitting).map(|o| o.id).collect();
        let is_resumed = scope.kind == ScopeKind::Campaign
            && self.resume_campaign(&scope, &about.signed).await?;
        if ids.is_empty() && !is_resumed {
            bail!("{scope} is not suspended; `malleposte queue orders` lists what holds");
        }
        for id in ids {
            self.undo(id, &about.signed).await?;
        }
        Ok(())
    }

    /// Ends one order. What it held back goes at once.
    pub(crate) async fn undo(&self, id: u64, signed: &Signed) -> anyhow::Result<()> {
        signed.check()?;
        let undone = self.store.undo_order(id, &signed.by(), &signed.why, now()).await?;
        if undone.is_none() && self.undo_hold(id, signed).await? {
            return Ok(());
        }
        let order = undone.with_context(|| {
            format!("order {id} does not hold; `malleposte queue orders` lists those that do")
        })?;
        match order.verb {
            Verb::Suspend => self.make_due(&order.scope).await?,
            Verb::Bounce => self.voice.remark("what has failed by it stays failed"),
            Verb::Reroute | Verb::Retry | Verb::Drain | Verb::Fix => {}
        }
        self.say(&order, "is undone");
        Ok(())
    }

    pub(in crate::commands) async fn list(&self) -> anyhow::Result<()> {
        let orders = self.store.orders(now()).await?;
        let automatic = self.automatic().await?;
        if self.voice.is_json() {
            println!(
                "{}",
                json!({ "orders": orders.all(), "holds": automatic.holds_as_json(),
                    "paused": automatic.paused_as_json() })
            );
            return Ok(());
        }
        if orders.is_empty() && automatic.is_empty() {
            println!("no orders hold");
        }
        for order in orders.all() {
            let until = order.until.map(|t| format!(", until {t}")).unwrap_or_default();
            println!(
                "{:>4}  {order}  by {} at {}{until}: {}",
                order.id, order.by, order.at, order.reason
            );
        }
        automatic.print();
        Ok(())
    }

    pub(crate) async fn drain(
        &self,
        name: &str,
        signed: &Signed,
        wait: bool,
    ) -> anyhow::Result<()> {
        signed.check()?;
        let scope = Scope::new(ScopeKind::Relay, name)?;
        if !self.store.relays().await?.iter().any(|(id, _)| is_named(id, name)) {
            bail!("no relay {name:?} is registered; `malleposte queue relays` lists them");
        }
        let new = NewOrder::new(Verb::Drain, scope, signed.by(), signed.why.clone());
        let order = self.store.give_order(new, now()).await?;
        self.say(&order, "holds");
        if wait { self.await_drained(name).await } else { Ok(()) }
    }

    async fn await_drained(&self, name: &str) -> anyhow::Result<()> {
        let began = std::time::Instant::now();
        while began.elapsed() < DRAINED_WITHIN {
            let relays = self.store.relays().await?;
            let busy = relays
                .iter()
                .filter(|(id, _)| is_named(id, name))
                .any(|(_, r)| !r.draining || r.leased > 0);
            if !busy {
                self.voice.say(
                    || format!("{name} holds nothing any more: it can be stopped"),
                    || json!({ "relay": name, "is": "drained" }),
                );
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("{name} still has recipients in hand after {} s", DRAINED_WITHIN.as_secs());
    }

    pub(crate) async fn cancel(&self, campaign: &str, signed: &Signed) -> anyhow::Result<()> {
        signed.check()?;
        let id: CampaignId = campaign.parse()?;
        let found = self.store.campaign(id).await?;
        let found = found.with_context(|| format!("there is no campaign {id}"))?;
        let by = signed.by();
        match campaign_api::cancel(self.store, found, &by).await? {
            Err(why) => bail!(why),
            Ok(campaign) => {
                self.tell_about(id, &format!("cancel campaign {id}"), signed).await?;
                self.say_campaign(id, campaign.status);
                Ok(())
            }
        }
    }

    /// Tells what was done to a campaign that is no lasting order.
    pub(crate) async fn tell_about(
        &self,
        id: CampaignId,
        what: &str,
        signed: &Signed,
    ) -> anyhow::Result<()> {
        let note = format!("{what} by {}: {}", signed.by(), signed.why);
        let event = Event { campaign: Some(id), note, ..Event::new(EventKind::Ordered, now()) };
        Ok(self.store.tell_ordered(event).await?)
    }

    pub(in crate::commands) fn say(&self, order: &Order, what: &str) {
        self.voice.say(
            || format!("order {} {what}: {order}", order.id),
            || json!({ "order": order, "is": what }),
        );
    }

    pub(super) fn say_campaign(&self, id: CampaignId, status: CampaignStatus) {
        self.voice.say(
            || format!("campaign {id} is {status}"),
            || json!({ "campaign": id.to_string(), "is": status }),
        );
    }

    /// What was accepted of a campaign that does not run is not leased, and so fails later.
    async fn warn_of_paused(&self, order: &Order) -> anyhow::Result<()> {
        if order.verb != Verb::Bounce {
            return Ok(());
        }
        let states: Vec<CampaignId> =
            self.campaigns(&order.scope).await?.into_iter().map(|(id, _)| id).collect();
        let told = self.store.campaign_states(&states).await?;
        let still = states.iter().zip(told).filter(|(_, s)| s.is_some_and(|s| !s.is_leasable()));
        let still: Vec<String> = still.map(|(id, _)| id.to_string()).collect();
        if !still.is_empty() {
            let still = still.join(", ");
            self.voice.remark(&format!(
                "{still} not running: what waits there fails once it is resumed, or cancel it"
            ));
        }
        Ok(())
    }

    async fn scope(&self, kind: ScopeKind, name: &str) -> anyhow::Result<Scope> {
        let scope = Scope::new(kind, name)?;
        if kind != ScopeKind::Site {
            return Ok(scope);
        }
        // An operator knows domains; a site is found by one that it serves.
        let known = self.store.paces().await?.iter().any(|(_, site)| site.as_str() == scope.name);
        match scope.name.parse::<Domain>() {
            Ok(domain) if !known => match self.site_of(&domain).await? {
                Some(site) => Ok(Scope::new(kind, site.as_str())?),
                None => bail!("{name:?} is neither a site nor a domain with a mail exchanger"),
            },
            Ok(_) | Err(_) => Ok(scope),
        }
    }

    /// Where mail to a domain goes, as DNS has it.
    pub(in crate::commands) async fn site_of(
        &self,
        domain: &Domain,
    ) -> anyhow::Result<Option<Site>> {
        let resolver = Resolver::new(&self.config.dns)?;
        Ok(site(&resolver, domain).await)
    }

    async fn check_there(&self, scope: &Scope) -> anyhow::Result<()> {
        if scope.kind == ScopeKind::Campaign
            && self.store.campaign(scope.name.parse()?).await?.is_none()
        {
            bail!("there is no {scope}; `malleposte queue` lists them");
        }
        Ok(())
    }

    /// Campaigns that are not over and that a scope may be about.
    async fn campaigns(&self, scope: &Scope) -> anyhow::Result<Vec<(CampaignId, String)>> {
        let mut found = Vec::new();
        for (id, _) in self.store.active_campaigns().await? {
            let Some(campaign) = self.store.campaign(id).await? else { continue };
            let fits = match scope.kind {
                ScopeKind::Campaign => scope.name == id.to_string(),
                ScopeKind::Tenant => scope.name == campaign.record.tenant,
                ScopeKind::All
                | ScopeKind::Site
                | ScopeKind::Source
                | ScopeKind::Domain
                | ScopeKind::Relay => true,
            };
            if fits {
                found.push((id, campaign.record.tenant));
            }
        }
        Ok(found)
    }

    /// What is delayed and may be about the scope is looked at now. Small domains share lanes:
    /// theirs is made due as a whole, and whoever is not meant has one attempt early.
    pub(in crate::commands) async fn make_due(&self, scope: &Scope) -> anyhow::Result<()> {
        let resolver = Resolver::new(&self.config.dns)?;
        let mut sites: HashMap<Domain, bool> = HashMap::new();
        for (id, _) in self.campaigns(scope).await? {
            match scope.kind {
                ScopeKind::Domain => {
                    let shard = self.store.shard_of(&scope.name);
                    let own = Lane { campaign: id, domain: scope.name.parse().ok() };
                    let shared = Lane { campaign: id, domain: None };
                    self.store.expedite_lanes(shard, &[own, shared]).await?;
                }
                ScopeKind::Site => {
                    for (shard, lanes) in
                        self.lanes_of_site(id, scope, &resolver, &mut sites).await?
                    {
                        self.store.expedite_lanes(shard, &lanes).await?;
                    }
                }
                _ => self.store.expedite(id).await?,
            }
        }
        Ok(())
    }

    async fn lanes_of_site(
        &self,
        id: CampaignId,
        scope: &Scope,
        resolver: &Resolver,
        known: &mut HashMap<Domain, bool>,
    ) -> anyhow::Result<BTreeMap<ShardId, Vec<Lane>>> {
        let mut found: BTreeMap<ShardId, Vec<Lane>> = BTreeMap::new();
        for shard in self.store.all_shards() {
            for lane in self.store.lanes(shard, id).await? {
                let is_there = match &lane.domain {
                    None => true,
                    Some(domain) => match known.get(domain) {
                        Some(is_there) => *is_there,
                        None => {
                            let site = site(resolver, domain).await;
                            let is_there = site.is_some_and(|s| s.as_str() == scope.name);
                            known.insert(domain.clone(), is_there);
                            is_there
                        }
                    },
                };
                if is_there {
                    found.entry(shard).or_default().push(lane);
                }
            }
        }
        Ok(found)
    }
}

async fn site(resolver: &Resolver, domain: &Domain) -> Option<Site> {
    match resolver.route(domain).await.as_ref() {
        Route::Hosts(exchangers) => {
            let hosts: Vec<&str> = exchangers.iter().map(|e| e.host.as_ref()).collect();
            Some(Site::of_hosts(&hosts))
        }
        _ => None,
    }
}

/// A relay in the register is `NAME-PID-START`.
fn is_named(id: &str, name: &str) -> bool {
    id == name || relay_name(id) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_named_as_in_its_configuration() {
        assert!(is_named("relay-a-4711-19a2b3c", "relay-a"));
        assert!(is_named("relay-a-4711-19a2b3c", "relay-a-4711-19a2b3c"));
        assert!(!is_named("relay-a-4711-19a2b3c", "relay"));
    }
}
