//! The relay's settings.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::PathBuf;

use mail::{Domain, egress, holds, load, retry, share, throttle, warmup};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod oauth;
mod plans;
mod routing;
mod source;
mod tls_reports;

pub use oauth::OAuth;
pub(crate) use plans::Plans;
pub use plans::warmup_plans;
pub(crate) use routing::routes;
pub use routing::{Auth, HopTls, Route, SmartHost};
pub use source::Source;
pub use tls_reports::TlsReports;

use crate::schedules::Schedules;
use crate::smtp;

/// From what the largest campaign's files take once they are encoded (50 MiB become 70) to what a
/// counter of KiB holds easily.
const FILES_MEMORY: std::ops::RangeInclusive<u64> = 80 << 20..=64 << 30;

/// How this relay sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of this relay in lists, events and metrics. Empty: the host's name.
    pub name: String,
    /// Domain that returned mail comes back to; its MX must be the bounce processor. Empty: a name
    /// made from the host's, which works for a trial on this host only.
    pub return_path_domain: String,
    /// Public address of the API that stands in unsubscribe links. Empty: that of `api.public_url`.
    pub public_url: String,
    /// Port of the mail exchangers spoken to: 25, or another for trials.
    pub port: u16,
    /// Whether mail exchangers in loopback and private address space may be spoken to. Off, so that
    /// nobody's DNS can point this relay at its own network.
    pub allow_private: bool,
    /// Local addresses to send from. Empty: one source `default` that leaves the choice to the system.
    pub sources: Vec<Source>,
    /// Sources by pool; a campaign names a pool, or goes from its tenant's. The pool `default` holds
    /// all sources unless given here. Inside a pool each recipient keeps its source.
    pub pools: BTreeMap<String, Vec<String>>,
    /// Messages per connection that may be sent and not yet settled, 1 to 16: what a kill can double.
    /// 1 is the strict mode: each message is settled before the next final dot.
    pub unsettled_max: u8,
    /// Recipients held in memory at one time.
    pub in_hand_max: usize,
    /// SMTP connections open at one time, to all sites together.
    pub connections_max: u32,
    /// Memory for the files of campaigns, encoded, in octets: whatever is sent to whom, a campaign's
    /// are there once. Campaigns that do not fit beside each other are read by turns.
    pub files_memory_bytes: u64,
    /// Whether messages are signed with the sender domain's DKIM key. Off only where the next hop
    /// signs, and to measure what signing costs: large providers refuse bulk mail without a signature.
    pub sign: bool,
    /// Whether a message of up to 64 KiB goes in one write with its envelope (BDAT, RFC 3030) where
    /// a server offers CHUNKING and PIPELINING: one round trip for a message instead of two.
    pub chunking: bool,
    /// How much encryption is wanted at every site: "opportunistic", "encrypted", "verified" or "never".
    /// `relay.sites` says otherwise for one; what a domain demands by DANE or MTA-STS is done on top.
    pub tls: smtp::TlsPolicy,
    /// Whether the MTA-STS policies of recipients' domains are fetched and kept to (RFC 8461).
    pub mta_sts: bool,
    /// File of certificates (PEM) of authorities trusted besides the system's, for mail exchangers
    /// and policy hosts alike: a company's own authority. Empty: none.
    pub authorities: String,
    /// Port of the hosts that MTA-STS policies are fetched from: 443, or another for trials.
    pub https_port: u16,
    /// How long an idle connection is kept, in seconds.
    pub idle_s: u64,
    /// When to try again, and for how long.
    pub retry: retry::Config,
    /// What a tenant wants otherwise, by its name.
    pub tenants: BTreeMap<String, Tenant>,
    /// Which mail takes another next hop than the exchangers of its recipient's domain: the first
    /// route that fits decides, and what none fits goes to the exchangers.
    pub routes: Vec<Route>,
    /// Next hops by name, for `relay.routes`: servers that bring mail further, such as Microsoft
    /// 365, Google Workspace or a Postfix of yours. See docs/OPERATIONS.md for all of their keys.
    pub smart_hosts: BTreeMap<String, SmartHost>,
    /// What holds for a site otherwise, by the end of its name: `google.com` is also
    /// `(alt1|alt2|gmail-smtp-in).l.google.com`. The longest end that fits is taken.
    pub sites: BTreeMap<String, SiteRules>,
    /// Bounds of the pace at each site.
    pub pace: throttle::Limits,
    /// How much less this relay takes while its host is under pressure; other relays take the rest.
    /// Each figure is no pressure below its `from` and full pressure at its `full`, and the strongest
    /// one counts. See docs/PACE.md.
    pub load: load::Config,
    /// What waits at a site because of its sender, its content or its links, while others go on.
    pub holds: holds::Config,
    /// Folder of files about mailbox providers, to be edited while the relay runs: one of the name of
    /// a built-in one replaces it, any other is added. Empty: the built-in ones, which
    /// `malleposte providers export` writes. See docs/PACE.md.
    pub providers: PathBuf,
    /// Warm-up plans of your own by name, written like the built-in ones, which `malleposte warmup
    /// plans` shows: `mine = { title = "Mine", per = "day", ceilings = [200, 400, 800] }`.
    pub warmup: BTreeMap<String, warmup::Written>,
    /// How long each step of a conversation may take.
    pub timeouts: smtp::Timeouts,
    /// Reports about TLS to domains that ask for them.
    pub tls_reports: TlsReports,
}

/// What one tenant wants otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tenant {
    /// Its part of a site's budget beside others that wait, 0.01 to 100: one of weight 3 gets
    /// three times as much as one of weight 1, however many campaigns either has.
    pub weight: f64,
    /// The pool of its campaigns that name none, or `default`. Empty: `default`.
    pub pool: String,
    /// When to try again, and for how long.
    pub retry: retry::Overrides,
}

impl Default for Tenant {
    fn default() -> Self {
        let retry = retry::Overrides::default();
        Self { weight: share::WEIGHT, pool: String::new(), retry }
    }
}

/// What holds for one site otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SiteRules {
    /// When to try again.
    pub retry: retry::Overrides,
    /// How much encryption is wanted there; none: as `relay.tls` says.
    pub tls: Option<smtp::TlsPolicy>,
    /// Bounds of the pace there, whatever `relay.pace` and its provider's file say.
    pub pace: throttle::Overrides,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            return_path_domain: String::new(),
            public_url: String::new(),
            port: 25,
            allow_private: false,
            sources: Vec::new(),
            pools: BTreeMap::new(),
            unsettled_max: 8,
            in_hand_max: 20_000,
            connections_max: 1000,
            files_memory_bytes: 256 << 20,
            sign: true,
            chunking: true,
            tls: smtp::TlsPolicy::default(),
            mta_sts: true,
            authorities: String::new(),
            https_port: 443,
            idle_s: 5,
            retry: retry::Config::default(),
            tenants: BTreeMap::new(),
            routes: Vec::new(),
            smart_hosts: BTreeMap::new(),
            sites: BTreeMap::new(),
            pace: throttle::Limits::default(),
            load: load::Config::default(),
            holds: holds::Config::default(),
            providers: PathBuf::new(),
            warmup: BTreeMap::new(),
            timeouts: smtp::Timeouts::default(),
            tls_reports: TlsReports::default(),
        }
    }
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Out of range or contradictory.
    #[error("{0}")]
    Setting(String),
    /// A retry schedule.
    #[error("{0}: {1}")]
    Retry(String, #[source] retry::ScheduleError),
    /// The bounds of the pace.
    #[error("relay.pace: {0}")]
    Pace(#[from] throttle::LimitsError),
    /// The load of the host.
    #[error("relay.load: {0}")]
    Load(#[from] load::ConfigError),
    /// What is held, and for how long.
    #[error("relay.holds: {0}")]
    Holds(#[from] holds::ConfigError),
    /// The files about providers.
    #[error(transparent)]
    Providers(#[from] crate::providers::ProvidersError),
}

impl Config {
    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// The first one that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |what: String| Err(ConfigError::Setting(what));
        if !(1..=16).contains(&self.unsettled_max) {
            return refuse(format!(
                "relay.unsettled_max is {}: it must be 1 to 16",
                self.unsettled_max
            ));
        }
        if self.in_hand_max < 10 {
            return refuse(format!("relay.in_hand_max is {}: at least 10", self.in_hand_max));
        }
        if !FILES_MEMORY.contains(&self.files_memory_bytes) {
            let (min, max) = (FILES_MEMORY.start(), FILES_MEMORY.end());
            return refuse(format!(
                "relay.files_memory_bytes is {}: it must be {min} to {max}",
                self.files_memory_bytes
            ));
        }
        if self.connections_max == 0 || self.port == 0 || self.https_port == 0 {
            return refuse(
                "relay.connections_max, relay.port and relay.https_port must not be 0".into(),
            );
        }
        if !self.return_path_domain.is_empty() && self.return_path_domain.parse::<Domain>().is_err()
        {
            return refuse(format!(
                "relay.return_path_domain {:?} is not a domain",
                self.return_path_domain
            ));
        }
        self.check_egress()?;
        routes(self).map_err(ConfigError::Setting)?;
        self.tls_reports.submitter()?;
        Schedules::new(self)?;
        self.pace.check()?;
        self.load.check()?;
        self.holds.check()?;
        for (name, rules) in &self.sites {
            if let Err(why) = rules.pace.check() {
                return refuse(format!("relay.sites.{name:?}.pace: {why}"));
            }
        }
        self.check_warmup()
    }

    /// Sources, the pools that name them, and the tenants that name those.
    fn check_egress(&self) -> Result<(), ConfigError> {
        let refuse = |what: String| Err(ConfigError::Setting(what));
        let mut names: Vec<&str> = self.sources.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|p| p[0] == p[1]) {
            return refuse(format!("relay.sources: the name {:?} is given twice", pair[0]));
        }
        if names.iter().any(|n| n.is_empty() || n.contains('|')) {
            return refuse("relay.sources: each needs a name, without |".into());
        }
        for source in &self.sources {
            source.via().map_err(ConfigError::Setting)?;
            if !egress::WEIGHTS.contains(&source.weight) {
                let (name, weight) = (&source.name, source.weight);
                return refuse(format!(
                    "relay.sources: {name:?}: weight {weight} must lie between 0.01 and 100"
                ));
            }
        }
        for (pool, members) in &self.pools {
            if let Some(stranger) = members.iter().find(|m| !names.contains(&m.as_str())) {
                return refuse(format!(
                    "relay.pools.{pool}: {stranger:?} is not one of relay.sources"
                ));
            }
            if members.is_empty() {
                return refuse(format!("relay.pools.{pool} is empty"));
            }
        }
        for (name, tenant) in &self.tenants {
            if !share::WEIGHTS.contains(&tenant.weight) {
                let weight = tenant.weight;
                return refuse(format!(
                    "relay.tenants.{name:?}: weight {weight} must lie between 0.01 and 100"
                ));
            }
            if !self.has_pool(&tenant.pool) {
                let pool = &tenant.pool;
                return refuse(format!(
                    "relay.tenants.{name:?}: {pool:?} is not one of relay.pools"
                ));
            }
        }
        Ok(())
    }

    /// Whether this host has the addresses that it is to send from. Opens sockets, and no port.
    ///
    /// # Errors
    /// The first one that it does not have.
    pub fn check_addresses(&self) -> Result<(), ConfigError> {
        for source in &self.sources {
            let Some(ip) = source.address.filter(|_| source.via.is_empty()) else { continue };
            if let Err(error) = UdpSocket::bind((ip, 0)) {
                let (name, why) = (&source.name, smtp::plain(&error));
                return Err(ConfigError::Setting(format!(
                    "relay.sources: {name:?}: cannot send from {ip}: {why}"
                )));
            }
        }
        Ok(())
    }

    /// What holds for a site otherwise: the rules with the longest end of its name.
    pub(crate) fn site_rules(&self, site: &str) -> Option<&SiteRules> {
        let fits = |end: &str| {
            site.strip_suffix(end).is_some_and(|head| head.is_empty() || head.ends_with('.'))
        };
        let fitting = self.sites.iter().filter(|(end, _)| fits(end));
        fitting.max_by_key(|(end, _)| end.len()).map(|(_, rules)| rules)
    }

    /// How much encryption is wanted at a site, whatever its domains demand.
    pub(crate) fn tls_at(&self, site: &str) -> smtp::TlsPolicy {
        self.site_rules(site).and_then(|rules| rules.tls).unwrap_or(self.tls)
    }

    /// Whether there is a pool of that name; empty is `default`.
    fn has_pool(&self, pool: &str) -> bool {
        matches!(pool, "" | "default") || self.pools.contains_key(pool)
    }

    /// The pools with their sources: those configured, and `default`.
    #[must_use]
    pub(crate) fn resolved_pools(&self, host: &str) -> BTreeMap<String, Vec<Source>> {
        let ehlo = |s: &Source| if s.ehlo.is_empty() { host.to_owned() } else { s.ehlo.clone() };
        let mut all: Vec<Source> =
            self.sources.iter().map(|s| Source { ehlo: ehlo(s), ..s.clone() }).collect();
        if all.is_empty() {
            all.push(Source { ehlo: host.to_owned(), ..Source::named("default") });
        }
        let by_name = |name: &String| all.iter().find(|s| s.name == *name).cloned();
        let mut pools: BTreeMap<String, Vec<Source>> = self
            .pools
            .iter()
            .map(|(pool, members)| (pool.clone(), members.iter().filter_map(by_name).collect()))
            .collect();
        pools.entry("default".into()).or_insert(all);
        pools
    }
}
