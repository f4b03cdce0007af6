//! What was seen, as metrics. Labels are bounded: priorities, relays, servers, and the paces with the
//! most to do.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

use mail::CampaignId;
use mail::throttle::Binding;
use metrics::gauge;
use store::{CampaignStatus, RelayState, ServerState};

use super::alarms::SiteComplaints;
use super::sights::{CampaignSeen, Sights};
use crate::commands::PaceSeen;

/// Pairs of source and site, campaigns, and sites with complaints, that are shown at a time.
const SHOWN: usize = 30;
/// And ever: what was told once is told for ever.
const SHOWN_EVER: usize = 300;

/// What was shown before: what is gone is nothing, not what it was.
#[derive(Debug, Default)]
pub(super) struct Shown {
    paces: Names<(String, String)>,
    priorities: BTreeSet<u8>,
    relays: BTreeSet<String>,
    servers: BTreeSet<String>,
    campaigns: Names<CampaignId>,
    complaints: Names<String>,
}

/// Labels that come and go.
#[derive(Debug)]
struct Names<N> {
    now: HashSet<N>,
    ever: HashSet<N>,
}

impl<N> Default for Names<N> {
    fn default() -> Self {
        Self { now: HashSet::new(), ever: HashSet::new() }
    }
}

/// Who is told of.
struct Told<'a, N, T> {
    by_name: Vec<(N, &'a T)>,
    /// There are names enough.
    others: Vec<&'a T>,
    /// They were told of the last time.
    gone: Vec<N>,
}

impl<N: Clone + Eq + Hash> Names<N> {
    /// Of these, the first come first.
    fn tell<'a, T>(&mut self, all: &'a [T], name: impl Fn(&T) -> N) -> Told<'a, N, T> {
        let (mut by_name, mut others) = (Vec::new(), Vec::new());
        for one in all.iter().take(SHOWN) {
            let name = name(one);
            if self.ever.len() < SHOWN_EVER {
                self.ever.insert(name.clone());
            }
            match self.ever.contains(&name) {
                true => by_name.push((name, one)),
                false => others.push(one),
            }
        }
        let now = by_name.iter().map(|(name, _)| name.clone()).collect();
        let before = std::mem::replace(&mut self.now, now);
        let gone = before.into_iter().filter(|name| !self.now.contains(name)).collect();
        Told { by_name, others, gone }
    }
}

/// Whether Redis answers all questions.
pub(super) fn redis_answers(does: bool) {
    gauge!("malleposte_redis_up").set(f64::from(u8::from(does)));
}

impl Shown {
    pub(super) fn show(&mut self, sights: &Sights) {
        self.servers(sights);
        self.queue(sights);
        self.relays(sights);
        self.paces(&sights.paces);
        self.campaigns(&sights.campaigns.judged);
        gauge!("malleposte_dkim_oldest_key_seconds").set(sights.oldest_key_s);
        gauge!("malleposte_outbox_fullness_ratio").set(sights.outbox_fullness);
        gauge!("malleposte_feedback_waiting").set(sights.feedback_waiting as f64);
    }

    fn queue(&mut self, sights: &Sights) {
        self.priorities.extend(sights.campaigns.waiting.keys());
        for priority in &self.priorities {
            let waiting = sights.campaigns.waiting.get(priority).copied().unwrap_or_default();
            let label = priority.to_string();
            gauge!("malleposte_queue_recipients", "priority" => label.clone())
                .set(waiting.recipients as f64);
            gauge!("malleposte_queue_oldest_seconds", "priority" => label).set(waiting.oldest_s);
        }
        for status in CampaignStatus::ALL {
            let campaigns = sights.campaigns.by_status.get(status.as_str()).copied().unwrap_or(0);
            gauge!("malleposte_campaigns", "status" => status.as_str()).set(campaigns as f64);
        }
    }

    /// Numbers of campaigns are never used again: after so many campaigns the worst of the further ones
    /// stands for all of them.
    fn campaigns(&mut self, running: &[CampaignSeen]) {
        let told = self.campaigns.tell(running, |seen| seen.id);
        for (id, seen) in told.by_name {
            of_campaign(&id.to_string(), seen.failed, seen.complained);
        }
        let worst =
            |of: fn(&CampaignSeen) -> f64| told.others.iter().map(|s| of(s)).fold(0.0, f64::max);
        of_campaign("other", worst(|seen| seen.failed), worst(|seen| seen.complained));
        for gone in told.gone {
            of_campaign(&gone.to_string(), 0.0, 0.0);
        }
    }

    /// Those with the most complaints come first.
    pub(super) fn complaints(&mut self, sites: &[SiteComplaints]) {
        let told = self.complaints.tell(sites, |seen| seen.site.clone());
        told.by_name.iter().for_each(|(site, seen)| of_site(site, seen.share));
        of_site("other", told.others.iter().map(|seen| seen.share).fold(0.0, f64::max));
        told.gone.iter().for_each(|gone| of_site(gone, 0.0));
    }

    fn servers(&mut self, sights: &Sights) {
        let now: BTreeSet<String> = sights.servers.iter().map(|s| s.name.clone()).collect();
        self.servers.difference(&now).for_each(|gone| of_server(gone, None));
        sights.servers.iter().for_each(|server| of_server(&server.name, Some(server)));
        self.servers = now;
    }

    fn relays(&mut self, sights: &Sights) {
        let now = sights.silent_s();
        let gone = self.relays.iter().filter(|name| !now.contains_key(*name));
        let all = now.iter().map(|(name, s)| (name, *s)).chain(gone.map(|name| (name, 0.0)));
        for (name, silent_s) in all {
            gauge!("malleposte_relay_silent_seconds", "relay" => name.clone()).set(silent_s);
        }
        for state in RelayState::ALL {
            let relays =
                sights.relays.iter().filter(|(_, record)| record.state(sights.at) == *state);
            gauge!("malleposte_relays", "state" => state.as_str()).set(relays.count() as f64);
        }
        self.relays = now.into_keys().collect();
    }

    /// Those with the most to do come first.
    fn paces(&mut self, paces: &[PaceSeen]) {
        let blocked = paces.iter().filter(|pace| pace.is_blocked).count();
        gauge!("malleposte_paces_blocked").set(blocked as f64);
        gauge!("malleposte_paces").set(paces.len() as f64);
        let key = |pace: &PaceSeen| (pace.source.clone(), pace.site.as_str().to_owned());
        let told = self.paces.tell(paces, key);
        told.by_name.iter().for_each(|(key, pace)| show(key, Some(pace)));
        told.gone.iter().for_each(|gone| show(gone, None));
    }
}

fn of_campaign(campaign: &str, failed: f64, complained: f64) {
    let label = || campaign.to_owned();
    gauge!("malleposte_campaign_failed_ratio", "campaign" => label()).set(failed);
    gauge!("malleposte_campaign_complained_ratio", "campaign" => label()).set(complained);
}

fn of_site(site: &str, complained: f64) {
    gauge!("malleposte_site_complained_ratio", "site" => site.to_owned()).set(complained);
}

/// A pace, or that it is none of the busiest any more.
fn show((source, site): &(String, String), pace: Option<&PaceSeen>) {
    let labels = || [("source", source.clone()), ("site", site.clone())];
    let number = |of: fn(&PaceSeen) -> f64| pace.map_or(0.0, of);
    gauge!("malleposte_pace_rate", &labels()).set(number(|pace| pace.rate));
    gauge!("malleposte_pace_rate_refused", &labels()).set(number(|pace| pace.rate_refused));
    gauge!("malleposte_pace_connections", &labels())
        .set(number(|pace| f64::from(pace.connections)));
    gauge!("malleposte_pace_connections_max", &labels())
        .set(number(|pace| f64::from(pace.connections_max)));
    gauge!("malleposte_pace_waiting", &labels()).set(number(|pace| pace.waiting as f64));
    for binding in Binding::ALL {
        let binds = pace.is_some_and(|pace| pace.binding == *binding);
        let [source, site] = labels();
        gauge!("malleposte_pace_binding", &[source, site, ("what", binding.as_str().to_owned())])
            .set(f64::from(u8::from(binds)));
    }
}

/// A server, or that it takes no writes any more.
fn of_server(name: &str, server: Option<&ServerState>) {
    let label = || name.to_owned();
    let number = |of: fn(&ServerState) -> f64| server.map_or(0.0, of);
    gauge!("malleposte_redis_memory_bytes", "server" => label())
        .set(number(|server| server.memory_bytes as f64));
    gauge!("malleposte_redis_memory_max_bytes", "server" => label())
        .set(number(|server| server.memory_max_bytes as f64));
    gauge!("malleposte_redis_clients", "server" => label())
        .set(number(|server| server.clients as f64));
    gauge!("malleposte_redis_replicas", "server" => label())
        .set(number(|server| server.replicas as f64));
    gauge!("malleposte_redis_latency_seconds", "server" => label())
        .set(number(|server| server.latency.as_secs_f64()));
    // One that is gone fails at nothing.
    let persists = server.is_none_or(|server| server.is_persisting);
    gauge!("malleposte_redis_persisting", "server" => label()).set(f64::from(u8::from(persists)));
}
