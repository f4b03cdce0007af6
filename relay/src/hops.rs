//! Smart hosts as this relay knows them: where they are, how to speak to them, and until when
//! nobody tries because they did not let us in.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dns::Exchanger;
use mail::route::Routes;
use mail::{Domain, Site, Timestamp};
use web::Https;

use crate::config::{Config, HopTls, SmartHost as SmartHostConfig, routes};
use crate::delivery::Destination;
use crate::relay::lock;
use crate::smtp::{Hop, Login, TlsPolicy};

/// A server that did not let us in is left alone this long, doubling to the maximum: some lock out
/// whoever tries a wrong password often. A new secret is tried at once.
const SHUT: Duration = Duration::from_secs(60);
const SHUT_MAX: Duration = Duration::from_secs(3600);

/// A next hop that an operator named.
pub(crate) struct SmartHost {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) tls: TlsPolicy,
    /// Empty: the campaign's.
    pub(crate) pool: String,
    /// The domain whose exchangers it is, if it is not a host by itself.
    pub(crate) exchangers_of: Option<Domain>,
    implicit_tls: bool,
    login: Option<Login>,
    known: Mutex<Option<Arc<Destination>>>,
    shut: Mutex<Shut>,
}

/// Since it did not let us in.
#[derive(Default)]
struct Shut {
    until: Timestamp,
    failures: u32,
    /// When the secret that was refused was written.
    secret_of: Option<SystemTime>,
}

impl SmartHost {
    fn new(name: &str, config: &SmartHostConfig, https: &Arc<Https>) -> Arc<Self> {
        let tls = match (config.tls, config.verify) {
            (HopTls::None, _) => TlsPolicy::Never,
            (HopTls::StartTls | HopTls::Implicit, true) => TlsPolicy::Verified,
            (HopTls::StartTls | HopTls::Implicit, false) => TlsPolicy::Required,
        };
        let this = Arc::new(Self {
            name: name.to_owned(),
            port: config.port(),
            tls,
            pool: config.pool.clone(),
            exchangers_of: config.exchangers_of(),
            implicit_tls: config.tls == HopTls::Implicit,
            login: config.login(https),
            known: Mutex::default(),
            shut: Mutex::default(),
        });
        if this.exchangers_of.is_none() {
            let host = config.host.to_ascii_lowercase().into_boxed_str();
            this.lies_at(vec![Exchanger { preference: 0, host }]);
        }
        this
    }

    /// Where it is.
    pub(crate) fn lies_at(self: &Arc<Self>, exchangers: Vec<Exchanger>) -> Arc<Destination> {
        let site = Site::from_name(&self.name);
        let smart = Some(self.clone());
        let destination = Arc::new(Destination { site, exchangers, smart });
        *lock(&self.known) = Some(destination.clone());
        destination
    }

    /// Where it was when it was last asked for.
    pub(crate) fn known(&self) -> Option<Arc<Destination>> {
        lock(&self.known).clone()
    }

    /// What a session must know.
    pub(crate) fn hop(&self) -> Hop<'_> {
        Hop { implicit_tls: self.implicit_tls, login: self.login.as_ref(), may_be_namesake: true }
    }

    /// It did not let us in: an operator must act. Many connections fail at the same time: that
    /// counts once.
    pub(crate) fn shuts(&self, now: Timestamp, why: &str) {
        let mut shut = lock(&self.shut);
        if shut.until > now {
            return;
        }
        let rest = (SHUT * 2u32.pow(shut.failures.min(10))).min(SHUT_MAX);
        let secret_of = self.login.as_ref().and_then(Login::changed_at);
        *shut = Shut { until: now + rest, failures: shut.failures + 1, secret_of };
        let rest_s = rest.as_secs();
        tracing::error!(smart_host = self.name, why, rest_s, "a smart host does not let us in");
    }

    /// Until when nobody tries, if so.
    pub(crate) fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
        let shut = lock(&self.shut);
        if shut.until <= now {
            return None;
        }
        let is_same = self.login.as_ref().and_then(Login::changed_at) == shut.secret_of;
        is_same.then_some(shut.until)
    }

    /// It took a message, or an operator says that it will.
    pub(crate) fn opens(&self) {
        let mut shut = lock(&self.shut);
        if shut.failures > 0 {
            *shut = Shut::default();
        }
    }
}

/// The routes of this relay; `None` leads to the exchangers.
pub(crate) fn hops(
    config: &Config,
    https: &Arc<Https>,
) -> Result<Routes<Option<Arc<SmartHost>>>, String> {
    let named = config.smart_hosts.iter();
    let hosts: std::collections::BTreeMap<&str, Arc<SmartHost>> =
        named.map(|(name, host)| (name.as_str(), SmartHost::new(name, host, https))).collect();
    Ok(routes(config)?.map(|to| to.and_then(|name| hosts.get(name.as_str()).cloned())))
}
