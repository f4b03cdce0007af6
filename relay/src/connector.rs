//! Opening sessions to one site: its exchangers in their order, each address of each, within
//! the relay's connections; and the places for what a session has sent and not settled.

mod tries;
mod wire;

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use dns::{Exchanger, Resolver};
use mail::Phase;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::delivery::Destination;
use crate::demand::{Demand, HostTls};
use crate::egress::Egress;
use crate::hops::SmartHost;
use crate::reach::Reach;
use crate::relay::{Relay, lock};
use crate::smtp::{Session, SessionError, Target, TlsClient, TlsPolicy, Trouble};
use crate::tls_reports::{Tally, Tried};
use tries::{Tries, as_required, no_address, no_promise};
pub(crate) use wire::{Place, Wire};

/// A whole opening, whatever its servers do.
const OPENING_MAX: Duration = Duration::from_secs(600);

/// Opens sessions to a site.
pub(crate) struct Connector {
    egress: Arc<Egress>,
    smart: Option<Arc<SmartHost>>,
    exchangers: Mutex<Vec<Exchanger>>,
    resolver: Arc<Resolver>,
    tls: Arc<TlsClient>,
    reach: Arc<Reach>,
    tally: Arc<Tally>,
    relay: ConnectorConfig,
    open: Arc<Semaphore>,
    stopping: CancellationToken,
}

#[derive(Clone)]
struct ConnectorConfig {
    port: u16,
    allow_private: bool,
    chunking: bool,
    unsettled_max: u8,
    tls: TlsPolicy,
    timeouts: crate::smtp::Timeouts,
}

impl Connector {
    pub(crate) fn new(relay: &Relay, egress: Arc<Egress>, destination: &Destination) -> Self {
        let (config, smart) = (&relay.config, destination.smart.clone());
        Self {
            egress,
            exchangers: Mutex::new(destination.exchangers.clone()),
            resolver: relay.resolver.clone(),
            tls: relay.tls.clone(),
            reach: relay.reach.clone(),
            tally: relay.tally.clone(),
            relay: ConnectorConfig {
                port: smart.as_ref().map_or(config.port, |smart| smart.port),
                // Whom an operator names may lie anywhere.
                allow_private: config.allow_private || smart.is_some(),
                chunking: config.chunking,
                unsettled_max: config.unsettled_max,
                // What is demanded of a smart host is said with it.
                tls: smart
                    .as_ref()
                    .map_or_else(|| config.tls_at(destination.site.as_str()), |smart| smart.tls),
                timeouts: config.timeouts.clone(),
            },
            open: relay.connections.clone(),
            stopping: relay.stopping.clone(),
            smart,
        }
    }

    /// For what must arrive whatever TLS there is.
    pub(crate) fn undemanding(
        relay: &Relay,
        egress: Arc<Egress>,
        destination: &Destination,
    ) -> Self {
        let mut connector = Self::new(relay, egress, destination);
        connector.relay.tls = connector.relay.tls.min(TlsPolicy::Opportunistic);
        connector
    }

    /// How a session with this exchanger is to be secured.
    async fn wanted(&self, demand: Option<&Demand>, host: &str) -> Result<HostTls, SessionError> {
        let (place, mut rule) = ((host, self.relay.port), self.relay.tls);
        if let Some(demand) = demand.filter(|_| Demand::requires_tls()) {
            if let Some(error) = demand.unproved(host) {
                return Err(error);
            }
            rule = rule.max(TlsPolicy::Verified);
        }
        HostTls::of(rule, demand, &self.resolver, place).await.map_err(|flaw| {
            demand.iter().for_each(|demand| self.tally.refused(demand, host, &flaw));
            SessionError::trouble(Phase::Tls, Trouble::Policy(flaw.why))
        })
    }

    /// Counts a session for the domain whose mail asked for it.
    fn count(&self, host: &str, wanted: &HostTls, result: Result<&Session, &SessionError>) {
        let Some(demand) = Demand::asked_for() else { return };
        let tried = Tried { host, sending_ip: self.egress.source.address, wanted };
        self.tally.session(&demand, &tried, result);
    }

    /// The addresses of a host that this source may connect to.
    async fn usable(&self, host: &str) -> Result<Vec<IpAddr>, SessionError> {
        let found = match host.parse::<IpAddr>() {
            // Only a smart host is written so.
            Ok(ip) => Arc::from([ip]),
            Err(_) => {
                let found = self.resolver.addresses(host).await;
                found.map_err(|why| no_address(&format!("{host}: {why}")))?
            }
        };
        let (mut refused, mut strange) = (String::new(), 0);
        let usable = found.iter().copied().filter(|ip| {
            if !self.relay.allow_private && !dns::is_public(*ip) {
                refused = format!("{host} lies in private address space");
                return false;
            }
            // Mail never leaves from an address that nobody named.
            let own = self.egress.source.address;
            let is_kin = own.is_none_or(|own| own.is_ipv4() == ip.is_ipv4());
            if !is_kin {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                let source = self.egress.name();
                refused = format!("{host} has only {family} and the source {source} has none");
                strange += 1;
            }
            is_kin
        });
        let usable: Vec<IpAddr> = usable.collect();
        match usable.is_empty() {
            true if strange == found.len() => {
                Err(SessionError::trouble(Phase::Dns, Trouble::NoWay(refused)))
            }
            true => Err(no_address(&refused)),
            false => Ok(usable),
        }
    }

    /// A session with one of a host's addresses; none if those failed that were tried.
    ///
    /// # Errors
    /// What other servers would answer with, too.
    async fn connect(
        &self,
        host: &str,
        wanted: &HostTls,
        addresses: Vec<IpAddr>,
        tries: &mut Tries,
    ) -> Result<Option<Session>, SessionError> {
        let port = self.relay.port;
        let mut left: Vec<SocketAddr> =
            addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        left.truncate(tries.addresses);
        tries.addresses -= left.len();
        let now = Instant::now();
        let has_broken_tls = |addr: &SocketAddr| self.reach.broken_tls.holds(addr.ip(), now);
        let plain: Vec<SocketAddr> = left.iter().copied().filter(has_broken_tls).collect();
        let is_unchunked = |addr: &SocketAddr| {
            !self.relay.chunking || self.reach.broken_chunking.holds(addr.ip(), now)
        };
        let unchunked: Vec<SocketAddr> = left.iter().copied().filter(is_unchunked).collect();
        let tls = match &wanted.dane {
            Some(wish) => self.tls.with_dane(wish.clone()),
            None => self.tls.as_ref().clone(),
        };
        while !left.is_empty() && tries.servers > 0 {
            let target = Target {
                addrs: &left,
                plain: &plain,
                unchunked: &unchunked,
                host: wanted.name.as_deref().unwrap_or(host),
                local_ip: self.egress.source.address,
                via: self.egress.via.as_ref(),
                ehlo_name: &self.egress.source.ehlo,
                tls: wanted.policy,
                timeouts: &self.relay.timeouts,
                hop: self.smart.as_ref().map(|smart| smart.hop()).unwrap_or_default(),
            };
            match Session::connect(&target, &tls).await {
                Ok(session) => {
                    self.count(host, wanted, Ok(&session));
                    self.were_silent(session.silent());
                    self.answered(&session);
                    if Demand::requires_tls() && !session.assures_tls() {
                        tries.servers -= 1;
                        tries.note(no_promise(host));
                        session.quit().await;
                        return Ok(None);
                    }
                    return Ok(Some(session));
                }
                Err(error) if is_everywhere(&error) => return Err(error),
                Err(error) => {
                    self.count(host, wanted, Err(&error));
                    match error.peer {
                        // It speaks, and does not want us or cannot: the others of the host may.
                        Some(peer) => {
                            left.retain(|addr| *addr != peer);
                            tries.servers -= 1;
                        }
                        None => self.were_silent(&std::mem::take(&mut left)),
                    }
                    tries.note(as_required(host, wanted.explain(host, error)));
                }
            }
        }
        Ok(None)
    }

    /// The exchangers in their order, each address of each, until one lets us in; last of all
    /// those addresses that did not answer of late.
    async fn open(&self, open: OwnedSemaphorePermit) -> Result<Wire, SessionError> {
        // RFC 8689, 4.2.1: each exchanger is asked before it is said that none will do.
        let mut tries = if Demand::requires_tls() { Tries::of_all() } else { Tries::new() };
        let (mut avoided, mut no_way, mut has_way) = (Vec::new(), None, false);
        let exchangers = in_turn(&lock(&self.exchangers), &RandomState::new());
        let demand = Demand::asked_for();
        for exchanger in exchangers {
            if tries.are_over() {
                break;
            }
            let wanted = match self.wanted(demand.as_deref(), &exchanger.host).await {
                Ok(wanted) => wanted,
                Err(why) => {
                    tries.note(why);
                    continue;
                }
            };
            let addresses = match self.usable(&exchanger.host).await {
                Ok(addresses) => addresses,
                Err(why) if matches!(why.trouble, Some(Trouble::NoWay(_))) => {
                    no_way = Some(why);
                    continue;
                }
                Err(why) => {
                    has_way = true;
                    tries.note(why);
                    continue;
                }
            };
            has_way = true;
            let now = Instant::now();
            let (bad, good): (Vec<IpAddr>, Vec<IpAddr>) =
                addresses.into_iter().partition(|ip| self.reach.silent.holds(*ip, now));
            if let Some(session) = self.connect(&exchanger.host, &wanted, good, &mut tries).await? {
                return Ok(self.wire(session, (exchanger.host.as_ref(), wanted), open));
            }
            avoided.push((exchanger.host, wanted, bad));
        }
        for (host, wanted, addresses) in avoided {
            if let Some(session) = self.connect(&host, &wanted, addresses, &mut tries).await? {
                return Ok(self.wire(session, (host.as_ref(), wanted), open));
            }
        }
        // It is the source's trouble only if it is so with every exchanger.
        Err(no_way.filter(|_| !has_way).unwrap_or_else(|| tries.why()))
    }

    fn were_silent(&self, addrs: &[SocketAddr]) {
        let now = Instant::now();
        addrs.iter().for_each(|addr| self.reach.silent.note(addr.ip(), now));
    }

    fn answered(&self, session: &Session) {
        let peer = session.peer();
        self.reach.silent.forget(peer.ip());
        if session.tls().is_some() {
            self.reach.broken_tls.forget(peer.ip());
        } else if session.is_tls_broken() {
            self.reach.broken_tls.note(peer.ip(), Instant::now());
        }
    }

    fn wire(
        &self,
        session: Session,
        (host, tls): (&str, HostTls),
        open: OwnedSemaphorePermit,
    ) -> Wire {
        let mx = format!("{host} [{}]", session.peer().ip());
        let unsettled = Arc::new(Semaphore::new(usize::from(self.relay.unsettled_max)));
        Wire { session, host: host.to_owned(), mx, tls, unsettled, open: Arc::new(open) }
    }

    /// A server turned out not to know the CHUNKING that it offers.
    pub(crate) fn chunking_failed(&self, session: &Session) {
        self.reach.broken_chunking.note(session.peer().ip(), Instant::now());
    }

    /// The exchangers as DNS gives them now.
    pub(crate) fn refresh(&self, exchangers: &[Exchanger]) {
        let mut known = lock(&self.exchangers);
        if known.as_slice() != exchangers {
            *known = exchangers.to_vec();
        }
    }
}

impl managed::Manager for Connector {
    type Type = Wire;
    type Error = SessionError;

    async fn create(&self) -> Result<Wire, SessionError> {
        let ended = self.stopping.run_until_cancelled(async {
            let Ok(open) = self.open.clone().acquire_owned().await else { return None };
            // Apart, for each worker has room for its largest step as long as it lives.
            Some(timeout(OPENING_MAX, Box::pin(self.open(open))).await)
        });
        match ended.await.flatten() {
            Some(Ok(opened)) => opened,
            Some(Err(_)) => Err(SessionError::trouble(Phase::Connect, Trouble::Timeout)),
            None => Err(no_address("the relay is ending")),
        }
    }

    async fn recycle(&self, wire: &mut Wire, _: &Metrics) -> RecycleResult<SessionError> {
        if !wire.session.is_usable() {
            return Err(RecycleError::message("it is closed"));
        }
        match Demand::asked_for() {
            Some(demand) if !demand.is_met_by(&wire.host, &wire.tls, &wire.session) => {
                Err(RecycleError::message("it is not what the domain demands of TLS"))
            }
            Some(demand)
                if Demand::requires_tls() && !demand.is_assured_by(&wire.host, &wire.session) =>
            {
                Err(RecycleError::message("it is not what the message demands of TLS"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether it says nothing of this server that other servers would not hear too: it is the egress
/// source's own trouble, or a login that is wrong, which is not to be tried at every address.
fn is_everywhere(error: &SessionError) -> bool {
    matches!(
        error.trouble,
        Some(Trouble::Source(_) | Trouble::NoWay(_) | Trouble::Login { passing: false, .. })
    )
}

/// The exchangers by preference; those of equal preference in any order, so that each carries
/// its part (RFC 5321, 5.1: "MUST randomize").
fn in_turn(exchangers: &[Exchanger], chance: &impl BuildHasher) -> Vec<Exchanger> {
    let mut turn = exchangers.to_vec();
    turn.sort_by_cached_key(|e| (e.preference, chance.hash_one(&e.host)));
    turn
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;

    use super::*;

    pub(crate) fn exchanger((preference, host): (u16, &str)) -> Exchanger {
        Exchanger { preference, host: host.into() }
    }

    #[test]
    fn equals_come_in_any_order_and_the_worse_come_last() {
        let all = [(10, "a"), (10, "b"), (10, "c"), (20, "backup")].map(exchanger);
        let mut first = HashSet::new();
        for _ in 0..200 {
            let turn = in_turn(&all, &RandomState::new());
            assert_eq!(turn[3].host.as_ref(), "backup");
            first.insert(turn[0].host.clone());
        }
        assert_eq!(first.len(), 3);
    }
}
