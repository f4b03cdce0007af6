//! Questions and their answers, told apart: there, not there, no such name, and
//! nobody knows for now.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mail::Domain;
use tokio::sync::Semaphore;

use crate::answer::{Answer, Asker, Negative, denial};
use crate::cache::Cache;
use crate::config::{Config, ConfigError, Family};
use crate::dane::Dane;
use crate::special::{is_localhost, is_outside_dns};

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
    asker: Asker,
    pub(crate) config: Config,
    /// Questions that may be under way.
    permits: Semaphore,
    /// With whether DNSSEC proves them.
    routes: Cache<(Arc<Route>, bool)>,
    hosts: Cache<Addresses>,
    pub(crate) danes: Cache<Arc<Dane>>,
    asked: AtomicU64,
    failed: AtomicU64,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver; asks nothing yet.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            asker: Asker::new(config)?,
            permits: Semaphore::new(config.concurrent),
            routes: Cache::new(config.cache_entries),
            hosts: Cache::new(config.cache_entries),
            danes: Cache::new(config.cache_entries),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            config: config.clone(),
        })
    }

    /// Questions that name servers were asked so far, and those of them that nobody answered, or
    /// with SERVFAIL and its like.
    #[must_use]
    pub fn questions(&self) -> (u64, u64) {
        // In this order: never more failed than were asked.
        let failed = self.failed.load(Ordering::Acquire);
        (self.asked.load(Ordering::Acquire), failed)
    }

    /// Where the mail of `domain` goes.
    pub async fn route(&self, domain: &Domain) -> Arc<Route> {
        self.remembered_route(domain).await.0
    }

    /// With whether DNSSEC proves it.
    pub(crate) async fn remembered_route(&self, domain: &Domain) -> (Arc<Route>, bool) {
        let now = Instant::now();
        if let Some(route) = self.routes.get(domain.as_str(), now) {
            count("remembered");
            return route;
        }
        let (route, secure, ttl) = self.look_up_route(domain.as_str()).await;
        let route = (Arc::new(route), secure);
        self.routes.insert(domain.as_str(), now + ttl, route.clone());
        route
    }

    async fn look_up_route(&self, domain: &str) -> (Route, bool, Duration) {
        match self.ask(domain, RecordType::MX).await {
            Ok(answer) => {
                let (exchangers, unusable) = exchangers(&answer);
                let route = match unusable {
                    _ if !exchangers.is_empty() => Route::Hosts(exchangers),
                    Some(none) if none.is_empty() => Route::NullMx,
                    // Its addresses are for other things (RFC 5321, 5.1).
                    Some(what) => Route::Temporary {
                        why: format!("its MX record names {what:?}, which is no mail exchanger"),
                    },
                    None => return self.implicit_route(domain, answer.ttl).await,
                };
                (route, answer.secure, answer.ttl)
            }
            Err(Negative::NoSuchName(ttl)) => (Route::NoSuchDomain, false, ttl),
            Err(Negative::NoRecord(ttl)) => self.implicit_route(domain, ttl).await,
            Err(Negative::Failed(why)) => (Route::Temporary { why }, false, self.failure_ttl()),
        }
    }

    /// Without MX records the domain is its own exchanger, if it has an address.
    async fn implicit_route(&self, domain: &str, ttl: Duration) -> (Route, bool, Duration) {
        let secure = self.is_proved(domain).await;
        let itself = || vec![Exchanger { preference: 0, host: domain.into() }];
        match self.addresses(domain).await {
            Ok(_) => (Route::Hosts(itself()), secure, ttl),
            // One of the family that is not wanted here is an address all the same.
            Err(NoAddresses::NoAddress) if self.has_any_address(domain).await => {
                (Route::Hosts(itself()), secure, ttl)
            }
            Err(NoAddresses::NoSuchHost | NoAddresses::NoAddress) => (Route::NoMail, secure, ttl),
            Err(NoAddresses::Temporary { why }) => {
                (Route::Temporary { why }, false, self.failure_ttl())
            }
        }
    }

    /// The addresses of a host, never none, the two families in turn; the configuration says which
    /// begins.
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
        if is_localhost(host) {
            return (Ok(self.loopback()), self.ttl_max());
        }
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
        let mut families: Vec<Vec<IpAddr>> = Vec::new();
        let mut ttl = self.ttl_max();
        let mut none = NoAddresses::NoSuchHost;
        for answer in &answers {
            match answer {
                Ok(lookup) => {
                    families.push(addresses(lookup).collect());
                    ttl = ttl.min(lookup.ttl);
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
        let each = |nth: usize| families.iter().filter_map(move |family| family.get(nth));
        let in_turn = (0..ADDRESSES_MAX).flat_map(each).copied();
        let found: Vec<IpAddr> = in_turn.take(ADDRESSES_MAX).collect();
        if found.is_empty() { (Err(none), ttl) } else { (Ok(found.into()), ttl) }
    }

    /// Whether a host has an address of the family that the configuration leaves out, or may have.
    async fn has_any_address(&self, host: &str) -> bool {
        let left_out = match self.config.family {
            Family::Ipv4Only => RecordType::AAAA,
            Family::Ipv6Only => RecordType::A,
            Family::Ipv4First | Family::Ipv6First => return false,
        };
        match self.ask(host, left_out).await {
            Ok(answer) => addresses(&answer).next().is_some(),
            Err(Negative::Failed(_)) => true,
            Err(Negative::NoSuchName(_) | Negative::NoRecord(..)) => false,
        }
    }

    fn loopback(&self) -> Arc<[IpAddr]> {
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        match self.config.family {
            Family::Ipv4Only => [v4].into(),
            Family::Ipv6Only => [v6].into(),
            Family::Ipv4First => [v4, v6].into(),
            Family::Ipv6First => [v6, v4].into(),
        }
    }

    /// The texts at a name, as they are now: nothing is remembered.
    pub async fn txt(&self, name: &str) -> Txt {
        match self.ask(name, RecordType::TXT).await {
            Ok(answer) => {
                let texts = texts(&answer);
                if texts.is_empty() { Txt::NotFound } else { Txt::Found(texts) }
            }
            Err(Negative::NoSuchName(_) | Negative::NoRecord(..)) => Txt::NotFound,
            Err(Negative::Failed(why)) => Txt::Temporary { why },
        }
    }

    pub(crate) async fn ask(&self, name: &str, kind: RecordType) -> Result<Answer, Negative> {
        let fail = |why: String| {
            count("failed");
            Negative::Failed(format!("{kind} {name}: {why}"))
        };
        if is_outside_dns(name) {
            count("no-such-name");
            return Err(Negative::NoSuchName(self.ttl_max()));
        }
        let mut asked = Name::from_ascii(name).map_err(|error| fail(error.to_string()))?;
        // Without the search domains of this machine.
        asked.set_fqdn(true);
        let _permit = self.permits.acquire().await.map_err(|error| fail(error.to_string()))?;
        self.asked.fetch_add(1, Ordering::AcqRel);
        let fail = |why: String| {
            self.failed.fetch_add(1, Ordering::AcqRel);
            fail(why)
        };
        // Hickory keeps to its timeout for each try; several servers and TCP add up.
        let tries = u32::try_from(self.config.attempts + 1).unwrap_or(u32::MAX);
        let wait = Duration::from_millis(self.config.timeout_ms).saturating_mul(2 * tries);
        match tokio::time::timeout(wait, self.asker.ask(asked, kind, self.ttl_max())).await {
            Ok(Ok(answer)) => {
                count("found");
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.negative(&error).unwrap_or_else(|| fail(error.to_string()))),
            Err(_) => Err(fail("no answer in time".to_owned())),
        }
    }

    fn negative(&self, error: &NetError) -> Option<Negative> {
        let (code, ttl) = denial(error)?;
        let most = self.config.negative_ttl_max_s;
        // Without an SOA nobody says how long it holds (RFC 2308, 5): not long.
        let ttl = ttl.map_or(most.min(60), |ttl| u64::from(ttl).min(most));
        let ttl = Duration::from_secs(ttl);
        match code {
            ResponseCode::NXDomain => {
                count("no-such-name");
                Some(Negative::NoSuchName(ttl))
            }
            ResponseCode::NoError => {
                count("no-record");
                Some(Negative::NoRecord(ttl))
            }
            _ => None,
        }
    }

    pub(crate) fn ttl_max(&self) -> Duration {
        Duration::from_secs(self.config.ttl_max_s)
    }

    pub(crate) fn failure_ttl(&self) -> Duration {
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

/// The exchangers by preference and name, and what an MX record names that is none: nothing
/// (RFC 7505), an address, or a name without a dot, which means another host on each network.
fn exchangers(answer: &Answer) -> (Vec<Exchanger>, Option<String>) {
    let mut found = Vec::new();
    let mut unusable = None;
    for record in &answer.records {
        let RData::MX(mx) = &record.data else { continue };
        let host = mx.exchange.to_ascii().to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        if host.parse::<IpAddr>().is_err() && host.contains('.') {
            found.push(Exchanger { preference: mx.preference, host: host.into() });
        } else {
            unusable = Some(host.to_owned());
        }
    }
    found.sort_by(|a, b| (a.preference, &a.host).cmp(&(b.preference, &b.host)));
    let mut seen = HashSet::new();
    found.retain(|exchanger| seen.insert(exchanger.host.clone()));
    found.truncate(EXCHANGERS_MAX);
    (found, unusable)
}

fn addresses(answer: &Answer) -> impl Iterator<Item = IpAddr> {
    answer.records.iter().filter_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    })
}

fn texts(answer: &Answer) -> Vec<String> {
    let mut octets = 0;
    let mut texts = Vec::new();
    for record in answer.records.iter().take(TEXTS_MAX) {
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
