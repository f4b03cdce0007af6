//! One question, asked as the configuration wants it, and what its answer is worth: vouched for by
//! a resolver that is trusted, or not.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

use crate::config::{Config, ConfigError, Dnssec};

/// Aliases that are followed by asking again. Every name server has some such bound.
const ALIASES_MAX: usize = 8;

/// Records that were found.
pub(crate) struct Answer {
    pub(crate) records: Vec<Record>,
    pub(crate) ttl: Duration,
    /// DNSSEC proves all of them.
    pub(crate) secure: bool,
    /// There is nothing else, if what was asked for is not among them.
    is_final: bool,
}

impl Answer {
    /// What a name is an alias of by these records, if that must be asked for: nothing is said of
    /// records of this type there, or that there are none.
    fn left_at(&self, name: &Name, kind: RecordType) -> Option<Name> {
        if self.is_final || self.records.iter().any(|record| record.record_type() == kind) {
            return None;
        }
        let mut end = name;
        // As often as there are records: they may go round in a circle.
        for _ in &self.records {
            let alias = self.records.iter().find_map(|record| match &record.data {
                RData::CNAME(alias_of) if record.name == *end => Some(&alias_of.0),
                _ => None,
            });
            let Some(alias_of) = alias else { break };
            end = alias_of;
        }
        (end != name).then(|| end.clone())
    }
}

/// A negative answer, and how long it holds.
pub(crate) enum Negative {
    NoSuchName(Duration),
    NoRecord(Duration),
    Failed(String),
}

/// Asks name servers, as they are told in the configuration or known to the system. Without
/// hickory's memory above: ours has what we made of the answers, and texts are not remembered, for
/// who proves a domain has just written one.
pub(crate) struct Asker {
    servers: RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>,
    options: DnsRequestOptions,
    /// Their word about DNSSEC is taken: their AD bit (RFC 6840, 5.7).
    trusts_ad: bool,
}

impl Asker {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let system = |error: NetError| ConfigError::System(error.to_string());
        let (named, mut options) = if config.servers.is_empty() {
            let (known, options) = read_system_conf().map_err(system)?;
            (known.name_servers, options)
        } else {
            (servers(config), ResolverOpts::default())
        };
        options.timeout = Duration::from_millis(config.timeout_ms);
        options.max_active_requests = config.concurrent;
        let tls = TlsConfig::new().map_err(system)?;
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = NameServerPool::from_config(named, context, TokioRuntimeProvider::default());
        let trusts_ad = config.dnssec == Dnssec::TrustAd;
        let mut options = DnsRequestOptions::default();
        options.use_edns = trusts_ad;
        options.edns_set_dnssec_ok = trusts_ad;
        options.recursion_desired = true;
        Ok(Self { servers: RetryDnsHandle::new(pool, config.attempts), options, trusts_ad })
    }

    /// The answer, and whether it is proved. A name server should follow aliases; where one does
    /// not, it has said nothing yet of what was asked for.
    pub(crate) async fn ask(
        &self,
        name: Name,
        kind: RecordType,
        ttl_max: Duration,
    ) -> Result<Answer, NetError> {
        let mut answer = self.ask_once(name.clone(), kind, ttl_max).await?;
        let mut name = name;
        for _ in 0..=ALIASES_MAX {
            let Some(alias_of) = answer.left_at(&name, kind) else { return Ok(answer) };
            name = alias_of;
            let (ttl, is_proved) = (answer.ttl, answer.secure);
            answer = self.ask_once(name.clone(), kind, ttl_max.min(ttl)).await?;
            answer.secure &= is_proved;
        }
        Err(NetError::from(format!("more than {ALIASES_MAX} aliases follow one another")))
    }

    async fn ask_once(
        &self,
        name: Name,
        kind: RecordType,
        ttl_max: Duration,
    ) -> Result<Answer, NetError> {
        let asked = self.servers.lookup(Query::query(name, kind), self.options);
        let response = asked.first_answer().await?;
        let secure = self.trusts_ad && response.metadata.authentic_data;
        let response = DnsError::from_response(response).map_err(NetError::from)?;
        // With the zone's SOA it says that there is nothing at the end of the aliases (RFC 2308, 2).
        let is_final =
            response.soa().is_some() || response.metadata.response_code == ResponseCode::NXDomain;
        let records = response.into_message().answers;
        let ttl = records.iter().map(|r| r.ttl).min().unwrap_or(0);
        let ttl = Duration::from_secs(ttl.into()).min(ttl_max);
        Ok(Answer { records, ttl, secure, is_final })
    }
}

fn servers(config: &Config) -> Vec<NameServerConfig> {
    let named = config.servers.iter().map(|server| {
        let mut named = NameServerConfig::udp_and_tcp(server.ip());
        named.connections.iter_mut().for_each(|c| c.port = server.port());
        named
    });
    named.collect()
}

/// What says that there is nothing; what else went wrong is no answer.
pub(crate) fn denial(error: &NetError) -> Option<(ResponseCode, Option<u32>)> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if is_denial(none) => {
            Some((none.response_code, none.negative_ttl))
        }
        _ => None,
    }
}

/// A referral is no answer: the server does not know the domain that it should.
fn is_denial(none: &NoRecords) -> bool {
    none.response_code == ResponseCode::NXDomain || none.soa.is_some() || none.ns.is_none()
}
