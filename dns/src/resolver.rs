//! Questions and their answers, told apart: there, not there, no such name, and
//! nobody knows for now.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mail::Domain;
use tokio::sync::Semaphore;

use crate::cache::Cache;
use crate::config::{Config, ConfigError, Family};

/// Exchangers that are looked at; nobody has more for a good reason.
const EXCHANGERS_MAX: usize = 32;
/// Addresses of one host that are looked at.
const ADDRESSES_MAX: usize = 32;
/// Texts of one name, and octets of all of them.
const TEXTS_MAX: usize = 64;
const TEXT_OCTETS_MAX: usize = 64 * 1024;

/// A mail exchanger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanger {
    /// Lower is tried first (RFC 5321, 5.1).
    pub preference: u16,
    /// Its name, lower case, without the final dot.
    pub host: Box<str>,
}

/// Where a domain's mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To these, in the order of their preference; without MX records to the domain's
    /// own addresses (RFC 5321, 5.1). Never empty.
    Hosts(Vec<Exchanger>),
    /// Nowhere: the domain says that it takes no mail (RFC 7505).
    NullMx,
    /// There is no such domain.
    NoSuchDomain,
    /// The domain has neither exchangers nor addresses.
    NoMail,
    /// Nobody knows for now.
    Temporary {
        /// What went wrong.
        why: String,
    },
}

impl Route {
    /// The exchangers in groups of equal preference, the first group first.
    pub fn groups(&self) -> impl Iterator<Item = &[Exchanger]> {
        let hosts = match self {
            Self::Hosts(hosts) => hosts.as_slice(),
            Self::NullMx | Self::NoSuchDomain | Self::NoMail | Self::Temporary { .. } => &[],
        };
        hosts.chunk_by(|a, b| a.preference == b.preference)
    }
}

/// Why a host has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAddresses {
    /// There is no such host.
    #[error("no such host")]
    NoSuchHost,
    /// It has none of the family that is wanted.
    #[error("the host has no address")]
    NoAddress,
    /// Nobody knows for now.
    #[error("{why}")]
    Temporary {
        /// What went wrong.
        why: String,
    },
}

/// The texts at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txt {
    /// Each record's strings joined, as SPF, DKIM and the others want it.
    Found(Vec<String>),
    /// No such name, or no text there.
    NotFound,
    /// Nobody knows for now.
    Temporary {
        /// What went wrong.
        why: String,
    },
}

type Addresses = Result<Arc<[IpAddr]>, NoAddresses>;

/// Asks and remembers. One serves a whole process.
pub struct Resolver {
    inner: TokioResolver,
    config: Config,
    /// Questions that may be under way.
    permits: Semaphore,
    routes: Cache<Arc<Route>>,
    hosts: Cache<Addresses>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A negative answer, and how long it holds.
enum Negative {
    NoSuchName(Duration),
    NoRecord(Duration),
    Failed(String),
}

impl Resolver {
    /// A resolver; asks nothing yet.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        let system = |error: NetError| ConfigError::System(error.to_string());
        let mut builder = if config.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(system)?
        } else {
            let servers = config.servers.iter().map(|server| {
                let mut named = NameServerConfig::udp_and_tcp(server.ip());
                named.connections.iter_mut().for_each(|c| c.port = server.port());
                named
            });
            let servers = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = Duration::from_millis(config.timeout_ms);
        options.attempts = config.attempts;
        // What is remembered is what we made of the answers; texts are not, for who proves
        // a domain has just written one.
        options.cache_size = 0;
        // A name in this machine's hosts file is no mail exchanger of the world's.
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = config.concurrent;
        options.negative_max_ttl = Some(Duration::from_secs(config.negative_ttl_max_s));
        Ok(Self {
            inner: builder.build().map_err(system)?,
            permits: Semaphore::new(config.concurrent),
            routes: Cache::new(config.cache_entries),
            hosts: Cache::new(config.cache_entries),
            config: config.clone(),
        })
    }

    /// Where the mail of `domain` goes.
    pub async fn route(&self, domain: &Domain) -> Arc<Route> {
        let now = Instant::now();
        if let Some(route) = self.routes.get(domain.as_str(), now) {
            count("remembered");
            return route;
        }
        let (route, ttl) = self.look_up_route(domain.as_str()).await;
        let route = Arc::new(route);
        self.routes.insert(domain.as_str(), now + ttl, route.clone());
        route
    }

    async fn look_up_route(&self, domain: &str) -> (Route, Duration) {
        match self.ask(domain, RecordType::MX).await {
            Ok(answer) => {
                let (exchangers, is_null) = exchangers(&answer);
                if !exchangers.is_empty() {
                    (Route::Hosts(exchangers), self.ttl(&answer))
                } else if is_null {
                    (Route::NullMx, self.ttl(&answer))
                } else {
                    self.implicit_route(domain, self.ttl(&answer)).await
                }
            }
            Err(Negative::NoSuchName(ttl)) => (Route::NoSuchDomain, ttl),
            Err(Negative::NoRecord(ttl)) => self.implicit_route(domain, ttl).await,
            Err(Negative::Failed(why)) => (Route::Temporary { why }, self.failure_ttl()),
        }
    }

    /// Without MX records the domain is its own exchanger, if it has an address.
    async fn implicit_route(&self, domain: &str, ttl: Duration) -> (Route, Duration) {
        match self.addresses(domain).await {
            Ok(_) => (Route::Hosts(vec![Exchanger { preference: 0, host: domain.into() }]), ttl),
            Err(NoAddresses::NoSuchHost | NoAddresses::NoAddress) => (Route::NoMail, ttl),
            Err(NoAddresses::Temporary { why }) => (Route::Temporary { why }, self.failure_ttl()),
        }
    }

    /// The addresses of a host, never none, in the order that the configuration wants.
    pub async fn addresses(&self, host: &str) -> Addresses {
        let now = Instant::now();
        if let Some(addresses) = self.hosts.get(host, now) {
            count("remembered");
            return addresses;
        }
        let (addresses, ttl) = self.look_up_addresses(host).await;
        self.hosts.insert(host, now + ttl, addresses.clone());
        addresses
    }

    async fn look_up_addresses(&self, host: &str) -> (Addresses, Duration) {
        let (a, aaaa) = (self.ask(host, RecordType::A), self.ask(host, RecordType::AAAA));
        let answers = match self.config.family {
            Family::Ipv4Only => vec![a.await],
            Family::Ipv6Only => vec![aaaa.await],
            Family::Ipv4First => {
                let (a, aaaa) = tokio::join!(a, aaaa);
                vec![a, aaaa]
            }
            Family::Ipv6First => {
                let (a, aaaa) = tokio::join!(a, aaaa);
                vec![aaaa, a]
            }
        };
        let mut found = Vec::new();
        let mut ttl = Duration::from_secs(self.config.ttl_max_s);
        let mut none = NoAddresses::NoSuchHost;
        for answer in &answers {
            match answer {
                Ok(lookup) => {
                    found.extend(addresses(lookup));
                    ttl = ttl.min(self.ttl(lookup));
                    none = worse(none, NoAddresses::NoAddress);
                }
                Err(Negative::NoSuchName(for_now)) => ttl = ttl.min(*for_now),
                Err(Negative::NoRecord(for_now)) => {
                    ttl = ttl.min(*for_now);
                    none = worse(none, NoAddresses::NoAddress);
                }
                Err(Negative::Failed(why)) => {
                    ttl = ttl.min(self.failure_ttl());
                    none = worse(none, NoAddresses::Temporary { why: why.clone() });
                }
            }
        }
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() { (Err(none), ttl) } else { (Ok(found.into()), ttl) }
    }

    /// The texts at a name, as they are now: nothing is remembered.
    pub async fn txt(&self, name: &str) -> Txt {
        match self.ask(name, RecordType::TXT).await {
            Ok(answer) => {
                let texts = texts(&answer);
                if texts.is_empty() { Txt::NotFound } else { Txt::Found(texts) }
            }
            Err(Negative::NoSuchName(_) | Negative::NoRecord(_)) => Txt::NotFound,
            Err(Negative::Failed(why)) => Txt::Temporary { why },
        }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Lookup, Negative> {
        let fail = |why: String| {
            count("failed");
            Negative::Failed(format!("{kind} {name}: {why}"))
        };
        let mut asked = Name::from_ascii(name).map_err(|error| fail(error.to_string()))?;
        // Without the search domains of this machine.
        asked.set_fqdn(true);
        let _permit = self.permits.acquire().await.map_err(|error| fail(error.to_string()))?;
        // Hickory keeps to its timeout for each try; several servers and TCP add up.
        let tries = u32::try_from(self.config.attempts + 1).unwrap_or(u32::MAX);
        let wait = Duration::from_millis(self.config.timeout_ms).saturating_mul(2 * tries);
        match tokio::time::timeout(wait, self.inner.lookup(asked, kind)).await {
            Ok(Ok(lookup)) => {
                count("found");
                Ok(lookup)
            }
            Ok(Err(error)) => Err(self.negative(&error).unwrap_or_else(|| fail(error.to_string()))),
            Err(_) => Err(fail("no answer in time".to_owned())),
        }
    }

    fn negative(&self, error: &NetError) -> Option<Negative> {
        let NetError::Dns(DnsError::NoRecordsFound(none)) = error else { return None };
        let most = self.config.negative_ttl_max_s;
        // Without an SOA nobody says how long it holds (RFC 2308, 5): not long.
        let ttl = none.negative_ttl.map_or(most.min(60), |ttl| u64::from(ttl).min(most));
        let ttl = Duration::from_secs(ttl);
        match none.response_code {
            ResponseCode::NXDomain => {
                count("no-such-name");
                Some(Negative::NoSuchName(ttl))
            }
            // A referral is no answer: the server does not know the domain that it should.
            ResponseCode::NoError if none.soa.is_some() || none.ns.is_none() => {
                count("no-record");
                Some(Negative::NoRecord(ttl))
            }
            _ => None,
        }
    }

    fn ttl(&self, answer: &Lookup) -> Duration {
        let left = answer.valid_until().saturating_duration_since(Instant::now());
        left.min(Duration::from_secs(self.config.ttl_max_s))
    }

    fn failure_ttl(&self) -> Duration {
        Duration::from_secs(self.config.failure_ttl_s)
    }
}

/// What is less certain counts: a failure hides what else there may be.
fn worse(a: NoAddresses, b: NoAddresses) -> NoAddresses {
    match (&a, &b) {
        (NoAddresses::Temporary { .. }, _) | (_, NoAddresses::NoSuchHost) => a,
        (NoAddresses::NoAddress, NoAddresses::NoAddress) => a,
        (_, NoAddresses::Temporary { .. } | NoAddresses::NoAddress) => b,
    }
}

/// The exchangers by preference and name, and whether there was a null MX.
fn exchangers(answer: &Lookup) -> (Vec<Exchanger>, bool) {
    let mut found = Vec::new();
    let mut is_null = false;
    for record in answer.answers() {
        let RData::MX(mx) = &record.data else { continue };
        let host = mx.exchange.to_ascii().to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        // An address where a name should be is nothing that could be looked up.
        if host.is_empty() {
            is_null = true;
        } else if host.parse::<IpAddr>().is_err() {
            found.push(Exchanger { preference: mx.preference, host: host.into() });
        }
    }
    found.sort_by(|a, b| (a.preference, &a.host).cmp(&(b.preference, &b.host)));
    let mut seen = HashSet::new();
    found.retain(|exchanger| seen.insert(exchanger.host.clone()));
    found.truncate(EXCHANGERS_MAX);
    (found, is_null)
}

fn addresses(answer: &Lookup) -> impl Iterator<Item = IpAddr> {
    answer.answers().iter().filter_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    })
}

fn texts(answer: &Lookup) -> Vec<String> {
    let mut octets = 0;
    let mut texts = Vec::new();
    for record in answer.answers().iter().take(TEXTS_MAX) {
        let RData::TXT(txt) = &record.data else { continue };
        let text = String::from_utf8_lossy(&txt.txt_data.concat()).into_owned();
        octets += text.len();
        if octets > TEXT_OCTETS_MAX {
            break;
        }
        texts.push(text);
    }
    texts
}

fn count(answer: &'static str) {
    metrics::counter!("malleposte_dns_answers_total", "answer" => answer).increment(1);
}
