//! The sites that a relay sends to: which one a domain's recipients go to, how many it may
//! hold for one, what is told of them and what operators say about them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dns::{Exchanger, Route};
use mail::classify::Own;
use mail::orders::{Order, ScopeKind, Subject};
use mail::throttle::{Change, Why};
use mail::{Domain, Event, Phase, Site, Timestamp};

use super::{Relay, lock};
use crate::delivery::{Destination, Refusal, Whereto, pool_by};
use crate::egress::Egress;
use crate::hops::SmartHost;
use crate::job::Job;
use crate::shares::Flow;
use crate::site::{SiteKey, SiteLane};

/// A recipient of a site that fills the hands comes again after this, in seconds, at the latest.
const CROWDED_S_MAX: f64 = 60.0;
/// Sites known by domain for this long without asking the resolver's cache again.
const DESTINATIONS_MAX: usize = 12_000;

impl Relay {
    /// So few connections are left that idle ones had better be closed: with a site for each
    /// recipient they would be all there are.
    pub(crate) fn is_short_of_connections(&self) -> bool {
        self.connections.available_permits() < self.config.connections_max as usize / 4
    }

    /// The smart host that mail goes to, if it does not go to its domain's exchangers.
    pub(crate) fn hop(&self, domain: &Domain, flow: &Flow) -> Option<&Arc<SmartHost>> {
        let (recipient, sender, tenant) = (domain.as_str(), &flow.sender, &flow.tenant);
        self.hops.hop(&mail::route::Mail { recipient, sender, tenant })?.as_ref()
    }

    /// The pool that mail goes from: that of its smart host, or its flow's.
    pub(crate) fn pool_at<'a>(&'a self, domain: &Domain, flow: &'a Flow) -> &'a str {
        pool_by(self.hop(domain, flow), flow)
    }

    /// Where a flow's recipients of a domain go.
    pub(crate) async fn destination(&self, domain: &Domain, flow: &Flow) -> Whereto {
        match self.hop(domain, flow) {
            Some(smart) => self.at_smart_host(smart).await,
            None => self.at_exchangers(domain).await,
        }
    }

    /// Where a smart host lies. Whatever DNS says, it is the operator's to mend and no verdict
    /// about a recipient.
    async fn at_smart_host(&self, smart: &Arc<SmartHost>) -> Whereto {
        let Some(domain) = &smart.exchangers_of else {
            let known = smart.known().unwrap_or_else(|| smart.lies_at(Vec::new()));
            return Whereto::Site(known);
        };
        let why = match self.resolver.route(domain).await.as_ref() {
            Route::Hosts(exchangers) => return Whereto::Site(smart.lies_at(exchangers.clone())),
            Route::NullMx => "it takes no mail".to_owned(),
            Route::NoSuchDomain | Route::NoMail => "it has no mail exchanger".to_owned(),
            Route::Temporary { why } => why.clone(),
        };
        let text = format!("the smart host {:?} is mx:{domain}: {why}", smart.name);
        Whereto::Nowhere(Refusal { phase: Phase::Dns, own: Own::SmartHost, text })
    }

    async fn at_exchangers(&self, domain: &Domain) -> Whereto {
        let refusal = |own, text: &str| {
            Whereto::Nowhere(Refusal { phase: Phase::Dns, own, text: text.to_owned() })
        };
        let route = self.resolver.route(domain).await;
        match route.as_ref() {
            Route::Hosts(exchangers) => {
                let exchangers = before_ourselves(exchangers, &self.own_names);
                if exchangers.is_empty() {
                    let text = "mail loops back to this host, which is the domain's exchanger";
                    return refusal(Own::Loop, text);
                }
                let hosts: Vec<&str> = exchangers.iter().map(|e| e.host.as_ref()).collect();
                let site = Site::of_hosts(&hosts);
                let exchangers = exchangers.to_vec();
                let destination = Arc::new(Destination { site, exchangers, smart: None });
                let mut known = lock(&self.destinations);
                if known.len() >= DESTINATIONS_MAX {
                    known.clear();
                }
                known.insert(domain.clone(), destination.clone());
                Whereto::Site(destination)
            }
            Route::NullMx => refusal(Own::NullMx, "the domain takes no mail: null MX"),
            Route::NoSuchDomain => refusal(Own::NoDomain, "no such domain"),
            Route::NoMail => {
                refusal(Own::NoExchanger, "the domain has no mail exchanger and no address")
            }
            Route::Temporary { why } => {
                refusal(Own::Unresolved, &format!("the domain cannot be resolved now: {why}"))
            }
        }
    }

    /// Where a flow's recipients of a domain go, if it was asked for before.
    pub(crate) fn known_destination(
        &self,
        domain: &Domain,
        flow: &Flow,
    ) -> Option<Arc<Destination>> {
        match self.hop(domain, flow) {
            Some(smart) => smart.known(),
            None => self.known_exchangers(domain),
        }
    }

    /// The exchangers of a domain, if they were asked for before.
    pub(crate) fn known_exchangers(&self, domain: &Domain) -> Option<Arc<Destination>> {
        lock(&self.destinations).get(domain).cloned()
    }

    /// The lane of a source and a site; made when it is the first.
    pub(crate) fn site(
        self: &Arc<Self>,
        destination: &Destination,
        egress: &Arc<Egress>,
    ) -> Arc<SiteLane> {
        let key = SiteKey { source: egress.name().to_owned(), site: destination.site.clone() };
        let mut sites = self.lock_sites();
        if let Some(site) = sites.get(&key) {
            site.refresh(&destination.exchangers);
            return site.clone();
        }
        let site = Arc::new(SiteLane::new(self, key.clone(), egress.clone(), destination));
        sites.insert(key, site.clone());
        self.tasks.spawn(site.clone().drive(self.clone()));
        site
    }

    /// Out of the lane that domains share, recipients of one slow site could fill all hands, and
    /// nobody else would be served: beyond its part of the site's room a flow waits in the queue.
    pub(crate) fn crowded_until(&self, site: &SiteLane, job: &Job) -> Option<Timestamp> {
        let (in_hand, max) = (self.in_hand.load(Ordering::Relaxed), self.config.in_hand_max);
        if job.lease.lane.domain.is_some() || in_hand < max / 2 {
            return None;
        }
        let now = self.now();
        let room = (site.wanted(now).unwrap_or(0) * 2).max(max / 8);
        let messages = site.crowd(&job.content.sending, room)?;
        let left_s = (messages as f64 / site.pace.rate().max(0.1)).clamp(2.0, CROWDED_S_MAX);
        Some(Timestamp((now.0 / 1000 + left_s as u64) * 1000))
    }

    /// Drops a site that has nothing to do; `false` if something came meanwhile.
    pub(crate) fn forget_site(&self, site: &Arc<SiteLane>) -> bool {
        let mut sites = self.lock_sites();
        let is_closed = site.close_line();
        if is_closed {
            sites.remove(&site.key);
        }
        is_closed
    }

    /// Tells the common controller what a site answered, and the ledger what that changed.
    pub(crate) async fn tell_pace(&self, site: &SiteLane) {
        let in_use = site.sessions.status().size as u32;
        let changes = match site.pace.tell(&self.store, in_use, self.now()).await {
            Ok(changes) => changes,
            Err(error) => {
                tracing::debug!(site = %site.key.site, %error, "the pace was not told");
                site.pace.owes_news();
                return;
            }
        };
        let event = |change: Change| {
            let event = self.pace_event(Some(&site.key), change.to_string());
            let reply = site.last_block().filter(|_| change.why == Why::Blocked);
            Event { reply, ..event }
        };
        let events: Vec<Event> = changes.into_iter().map(event).collect();
        self.tell_pace_events(&events).await;
    }

    /// What last kept this relay from a job's site, if it is known.
    pub(crate) fn last_trouble(&self, job: &Job) -> Option<String> {
        let destination = self.known_destination(&job.domain()?, &job.content.sending.flow)?;
        let (pool, site) = (self.pool_of(job, &destination), &destination.site);
        let egress = self.source_at(&pool, Some(site), job.address(), false)?;
        let key = SiteKey { source: egress.name().to_owned(), site: site.clone() };
        self.lock_sites().get(&key)?.trouble()
    }

    /// An operator wants a destination tried now: what rests because nobody answered goes.
    pub(crate) fn wake_sites(&self, order: &Order) {
        for (key, site) in self.lock_sites().iter() {
            let subject =
                Subject { site: key.site.as_str(), source: &key.source, ..Subject::default() };
            let is_about_sites = matches!(order.scope.kind, ScopeKind::All | ScopeKind::Site);
            if !is_about_sites || order.is_about(&subject) {
                site.try_again();
            }
        }
    }

    /// Orders may be others than a moment ago: what is fixed at each site in use is what they say.
    pub(crate) fn fix_paces(&self) {
        for (key, site) in self.lock_sites().iter() {
            site.pace.fix(self.fixed(key));
        }
    }

    /// The providers were read anew, and every site in use goes on with what holds now. Answers how
    /// many have other limits.
    pub(crate) fn follow_providers(&self) -> usize {
        self.lock_sites().values().filter(|site| site.follow_provider(self)).count()
    }

    pub(super) fn lock_sites(&self) -> std::sync::MutexGuard<'_, HashMap<SiteKey, Arc<SiteLane>>> {
        lock(&self.sites)
    }
}

/// The exchangers that a domain prefers to this host; all, where this host is none of them. Those
/// that it does not prefer would only bring the mail here (RFC 5321, 5.1).
fn before_ourselves<'a>(exchangers: &'a [Exchanger], own: &BTreeSet<String>) -> &'a [Exchanger] {
    let ours = exchangers.iter().find(|e| own.contains(e.host.as_ref()));
    let better = |ours: &Exchanger| exchangers.partition_point(|e| e.preference < ours.preference);
    &exchangers[..ours.map_or(exchangers.len(), better)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::tests::exchanger;

    #[test]
    fn who_is_an_exchanger_itself_sends_only_to_those_before_it() {
        let all = [(10, "a"), (20, "b"), (20, "us"), (30, "c")].map(exchanger);
        let own = |name: &str| BTreeSet::from([name.to_owned()]);
        let hosts = |name| {
            before_ourselves(&all, &own(name)).iter().map(|e| e.host.as_ref()).collect::<Vec<_>>()
        };
        assert_eq!(hosts("us"), ["a"]);
        assert_eq!(hosts("a"), [""; 0]);
        assert_eq!(hosts("another"), ["a", "b", "us", "c"]);
    }
}
