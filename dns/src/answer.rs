//! One question, asked as the configuration wants it, and what its answer is worth: vouched for by
//! a resolver that is trusted, or not.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

use crate::config::{Config, ConfigError, Dnssec};

/// Records that were found.
pub(crate) struct Answer {
    pub(crate) records: Vec<Record>,
    pub(crate) ttl: Duration,
    /// DNSSEC proves all of them.
    pub(crate) secure: bool,
}

/// A negative answer, and how long it holds.
pub(crate) enum Negative {
    NoSuchName(Duration),
    /// And whether that is proved.
    NoRecord(Duration, bool),
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

    /// The answer, and whether it is proved; of a negative one too.
    pub(crate) async fn ask(
        &self,
        name: Name,
        kind: RecordType,
        ttl_max: Duration,
    ) -> Result<Answer, (NetError, bool)> {
        let asked = self.servers.lookup(Query::query(name, kind), self.options);
        let response = asked.first_answer().await.map_err(|error| (error, false))?;
        let secure = self.trusts_ad && response.metadata.authentic_data;
        let response =
            DnsError::from_response(response).map_err(|error| (NetError::from(error), secure))?;
        let records = response.into_message().answers;
        let ttl = records.iter().map(|r| r.ttl).min().unwrap_or(0);
        let ttl = Duration::from_secs(ttl.into()).min(ttl_max);
        Ok(Answer { records, ttl, secure })
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
