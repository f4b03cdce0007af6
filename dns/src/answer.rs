//! One question, asked as the configuration wants it, and what its answer is worth: vouched for by
//! a resolver that is trusted, or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, TokioResolver};

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

/// Who is asked.
pub(crate) enum Asker {
    /// Name servers that prove nothing.
    Own(Box<TokioResolver>),
    /// Name servers whose word about DNSSEC is taken: their AD bit (RFC 6840, 5.7).
    Trusting(Box<NameServerPool<TokioRuntimeProvider>>),
}

impl Asker {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let system = |error: NetError| ConfigError::System(error.to_string());
        if config.dnssec == Dnssec::TrustAd {
            let mut options = ResolverOpts::default();
            adjust(&mut options, config);
            let tls = TlsConfig::new().map_err(system)?;
            let context = Arc::new(PoolContext::new(options, tls));
            let pool = NameServerPool::from_config(
                servers(config),
                context,
                TokioRuntimeProvider::default(),
            );
            return Ok(Self::Trusting(Box::new(pool)));
        }
        let mut builder = if config.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(system)?
        } else {
            let servers = ResolverConfig::from_parts(None, Vec::new(), servers(config));
            TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
        };
        adjust(builder.options_mut(), config);
        Ok(Self::Own(Box::new(builder.build().map_err(system)?)))
    }

    /// The answer, and whether it is proved; of a negative one too.
    pub(crate) async fn ask(
        &self,
        name: Name,
        kind: RecordType,
        ttl_max: Duration,
    ) -> Result<Answer, (NetError, bool)> {
        match self {
            Self::Own(resolver) => match resolver.lookup(name, kind).await {
                Ok(lookup) => {
                    let left = lookup.valid_until().saturating_duration_since(Instant::now());
                    let records = lookup.answers().to_vec();
                    Ok(Answer { records, ttl: left.min(ttl_max), secure: false })
                }
                Err(error) => Err((error, false)),
            },
            Self::Trusting(pool) => {
                let mut options = DnsRequestOptions::default();
                options.use_edns = true;
                options.edns_set_dnssec_ok = true;
                options.recursion_desired = true;
                let sent = pool.lookup(Query::query(name, kind), options).first_answer().await;
                let response = sent.map_err(|error| (error, false))?;
                let secure = response.metadata.authentic_data;
                let response = DnsError::from_response(response);
                let response = response.map_err(|error| (NetError::from(error), secure))?;
                let records = response.answers.clone();
                let ttl = records.iter().map(|r| r.ttl).min().unwrap_or(0);
                let ttl = Duration::from_secs(ttl.into()).min(ttl_max);
                Ok(Answer { records, ttl, secure })
            }
        }
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

fn adjust(options: &mut ResolverOpts, config: &Config) {
    options.timeout = Duration::from_millis(config.timeout_ms);
    options.attempts = config.attempts;
    // What is remembered is what we made of the answers; texts are not, for who proves
    // a domain has just written one.
    options.cache_size = 0;
    // A name in this machine's hosts file is no mail exchanger of the world's.
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = config.concurrent;
    options.negative_max_ttl = Some(Duration::from_secs(config.negative_ttl_max_s));
}
