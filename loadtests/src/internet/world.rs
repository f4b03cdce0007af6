//! The map of the pretend internet: which host answers for which domain, and what is
//! wrong with its DNS. Computed from the scenario; nothing here changes.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::Result;
use mail::Category;

use super::fate::{Draw, End, Fate, Meant};
use crate::generator;
use crate::mix;
use crate::scenario::{Exchanger, Manner, Scenario};

/// The place of a host in [`World::hosts`].
pub(crate) type HostId = usize;

/// One mail system: a provider or a small hoster.
#[derive(Debug)]
pub(crate) struct Host {
    /// The counter it belongs to: an index into [`World::counters`].
    pub(crate) counter: usize,
    pub(crate) mx: Vec<Exchanger>,
    pub(crate) manner: Manner,
    pub(crate) draw: Draw,
    /// Every recipient is taken at once: nothing to look up.
    pub(crate) plain: bool,
}

/// What the DNS says of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dwelling {
    /// MX records of this host.
    Mx(HostId),
    /// No MX, but an address: this host's.
    Implicit(HostId),
    /// A null MX.
    NullMx,
    /// No such name.
    Nowhere,
    /// SERVFAIL, for a while or for ever; then the host's MX records.
    ServFail(HostId),
    /// No answer, for a while or for ever; then the host's MX records.
    Silent(HostId),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) hosts: Vec<Host>,
    /// Names of the counters: one for each provider and each group of hosters.
    pub(crate) counters: Vec<String>,
    domains: HashMap<String, HostId>,
    exchangers: HashMap<String, Ipv4Addr>,
    /// Where the long tail lives.
    hosters: std::ops::Range<HostId>,
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Result<Self> {
        let mut world = Self {
            hosts: Vec::new(),
            counters: Vec::new(),
            domains: HashMap::new(),
            exchangers: HashMap::new(),
            hosters: 0..0,
            scenario,
        };
        let scenario = world.scenario.clone();
        for provider in &scenario.provider {
            let counter = world.counter(&provider.name);
            let id = world.hosts.len();
            let domains = provider.domains.iter().map(|d| (d.to_ascii_lowercase(), id));
            world.domains.extend(domains);
            let manner = scenario.manner_named(&provider.manner)?.clone();
            world.settle(counter, provider.mx.clone(), manner);
            if provider.tail {
                world.hosters = id..id + 1;
            }
        }
        let first = world.hosts.len();
        for group in &scenario.hosting {
            let counter = world.counter(&group.name);
            for _ in 0..group.count {
                let k = world.hosts.len() - first;
                let manner = scenario.manner_named(&group.manner)?.clone();
                let mx = Exchanger {
                    host: format!("mx.{}-{k}.pretend.test", group.name),
                    address: Ipv4Addr::new(127, 0, 2 + (k / 250) as u8, 1 + (k % 250) as u8),
                    preference: 10,
                    down: false,
                };
                world.settle(counter, vec![mx], manner);
            }
        }
        if world.hosters.is_empty() {
            world.hosters = first..world.hosts.len();
        }
        Ok(world)
    }

    fn counter(&mut self, name: &str) -> usize {
        self.counters.push(name.to_owned());
        self.counters.len() - 1
    }

    fn settle(&mut self, counter: usize, mx: Vec<Exchanger>, manner: Manner) {
        let names = mx.iter().map(|x| (x.host.to_ascii_lowercase(), x.address));
        self.exchangers.extend(names);
        let draw = Draw::new(self.scenario.seed, &manner);
        let busy = super::fate::shares(&manner.fates).any(|(_, share)| share > 0.0)
            || manner.greylist.share > 0.0
            || !manner.blocks.is_empty()
            || manner.limits.rate_per_s > 0.0
            || !manner.limits.moves.is_empty()
            || manner.hangups.rcpt > 0.0;
        self.hosts.push(Host { counter, mx, manner, draw, plain: !busy });
    }

    /// The address of a mail exchanger.
    pub(crate) fn exchanger(&self, name: &str) -> Option<Ipv4Addr> {
        self.exchangers.get(name).copied()
    }

    /// What the DNS says of a domain (lower-case, no final dot); `None` when the pretend
    /// internet has never heard of it.
    pub(crate) fn dwelling(&self, domain: &str) -> Option<Dwelling> {
        if let Some(host) = self.domains.get(domain) {
            return Some(Dwelling::Mx(*host));
        }
        let rank = generator::tail_rank(domain)?;
        if self.hosters.is_empty() {
            return None;
        }
        let seed = self.scenario.seed;
        let among = self.hosters.len() as u64;
        let drawn = u128::from(mix::of_number(seed, 20, u64::from(rank)));
        let host = self.hosters.start + ((drawn * u128::from(among)) >> 64) as usize;
        Some(self.trouble(rank, host))
    }

    fn trouble(&self, rank: u32, host: HostId) -> Dwelling {
        let dns = &self.scenario.dns;
        let at = mix::share(mix::of_number(self.scenario.seed, 21, u64::from(rank)));
        if rank < dns.spared {
            return Dwelling::Mx(host);
        }
        let mut upto = 0.0;
        [
            (dns.nxdomain, Dwelling::Nowhere),
            (dns.null_mx, Dwelling::NullMx),
            (dns.servfail, Dwelling::ServFail(host)),
            (dns.silent, Dwelling::Silent(host)),
            (dns.implicit_mx, Dwelling::Implicit(host)),
        ]
        .into_iter()
        .find_map(|(share, dwelling)| {
            upto += share;
            (at < upto).then_some(dwelling)
        })
        .unwrap_or(Dwelling::Mx(host))
    }

    /// The host that takes a domain's mail, if any does in the end.
    pub(crate) fn host_of(&self, domain: &str) -> Option<HostId> {
        match self.dwelling(domain)? {
            Dwelling::Mx(host) | Dwelling::Implicit(host) => Some(host),
            Dwelling::ServFail(host) | Dwelling::Silent(host) => {
                (self.scenario.dns.trouble_ms > 0).then_some(host)
            }
            Dwelling::NullMx | Dwelling::Nowhere => None,
        }
    }

    /// What will be done with an address, if any host answers for its domain.
    pub(crate) fn fate(&self, address: &str) -> Option<Fate> {
        let (_, domain) = address.rsplit_once('@')?;
        let host = self.host_of(&domain.to_ascii_lowercase())?;
        Some(self.hosts[host].draw.fate(address))
    }

    /// How the story of an address should end.
    pub(crate) fn meant(&self, address: &str) -> Meant {
        let domain = address.rsplit_once('@').map_or("", |(_, d)| d).to_ascii_lowercase();
        let dwelling = self.dwelling(&domain);
        let end = match (self.host_of(&domain), dwelling) {
            (Some(host), _) if self.hosts[host].mx.iter().all(|mx| mx.down) => {
                End::Unreachable(Category::Network)
            }
            (Some(host), _) => return self.hosts[host].draw.fate(address).meant(),
            (None, Some(Dwelling::ServFail(_) | Dwelling::Silent(_))) => {
                End::Unreachable(Category::Network)
            }
            (None, _) => End::Failed(Category::NoDomain),
        };
        Meant { end, report: None }
    }
}
