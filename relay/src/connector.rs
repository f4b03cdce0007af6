//! Opening sessions to one site: its exchangers in their order, each address of each, within
//! the relay's connections; and the places for what a session has sent and not settled.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use dns::{Exchanger, Resolver};
use mail::Phase;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Source;
use crate::relay::{Relay, lock};
use crate::smtp::{Session, SessionError, Target, TlsClient, TlsPolicy, Trouble};

/// An open session and the places for what it has sent and not settled.
pub(crate) struct Wire {
    pub(crate) session: Session,
    pub(crate) mx: String,
    unsettled: Arc<Semaphore>,
    open: Arc<OwnedSemaphorePermit>,
}

/// The place of one unsettled message. The connection counts as open until the last of
/// its messages is settled, closed or not: so connections times places is what a kill can double.
#[derive(Debug)]
pub(crate) struct Place {
    _unsettled: OwnedSemaphorePermit,
    _open: Arc<OwnedSemaphorePermit>,
}

impl Wire {
    /// Waits until another message may be unsettled.
    pub(crate) async fn place(&self) -> Option<Place> {
        let unsettled = self.unsettled.clone().acquire_owned().await.ok()?;
        Some(Place { _unsettled: unsettled, _open: self.open.clone() })
    }
}

/// Opens sessions to a site.
pub(crate) struct Connector {
    source: Source,
    exchangers: Mutex<Vec<Exchanger>>,
    resolver: Arc<Resolver>,
    tls: Arc<TlsClient>,
    relay: ConnectorConfig,
    open: Arc<Semaphore>,
}

#[derive(Clone)]
struct ConnectorConfig {
    port: u16,
    allow_private: bool,
    unsettled_max: u8,
    timeouts: crate::smtp::Timeouts,
}

impl Connector {
    pub(crate) fn new(relay: &Relay, source: Source, exchangers: Vec<Exchanger>) -> Self {
        let config = &relay.config;
        Self {
            source,
            exchangers: Mutex::new(exchangers),
            resolver: relay.resolver.clone(),
            tls: relay.tls.clone(),
            relay: ConnectorConfig {
                port: config.port,
                allow_private: config.allow_private,
                unsettled_max: config.unsettled_max,
                timeouts: config.timeouts.clone(),
            },
            open: relay.connections.clone(),
        }
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

    /// The exchangers in their order, each address of each, until one lets us in.
    async fn create(&self) -> Result<Wire, SessionError> {
        let open = self.open.clone().acquire_owned().await;
        let open = open.map_err(|_| no_address("the relay is ending"))?;
        let mut last = no_address("no mail exchanger has an address");
        let exchangers = lock(&self.exchangers).clone();
        for exchanger in exchangers {
            let addresses = match self.resolver.addresses(&exchanger.host).await {
                Ok(addresses) => addresses,
                Err(why) => {
                    last = no_address(&format!("{}: {why}", exchanger.host));
                    continue;
                }
            };
            for ip in addresses.iter().copied() {
                if !self.relay.allow_private && !dns::is_public(ip) {
                    last = no_address(&format!("{} lies in private address space", exchanger.host));
                    continue;
                }
                let target = Target {
                    addr: SocketAddr::new(ip, self.relay.port),
                    host: &exchanger.host,
                    local_ip: self.source.address.filter(|a| a.is_ipv4() == ip.is_ipv4()),
                    ehlo_name: &self.source.ehlo,
                    tls: TlsPolicy::Opportunistic,
                    timeouts: &self.relay.timeouts,
                };
                match Session::connect(&target, &self.tls).await {
                    Ok(session) => {
                        return Ok(Wire {
                            session,
                            mx: format!("{} [{ip}]", exchanger.host),
                            unsettled: Arc::new(Semaphore::new(usize::from(
                                self.relay.unsettled_max,
                            ))),
                            open: Arc::new(open),
                        });
                    }
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    async fn recycle(&self, wire: &mut Wire, _: &Metrics) -> RecycleResult<SessionError> {
        if wire.session.is_usable() { Ok(()) } else { Err(RecycleError::message("it is closed")) }
    }
}

fn no_address(why: &str) -> SessionError {
    SessionError {
        phase: Phase::Dns,
        reply: None,
        trouble: Some(Trouble::Io(std::io::Error::other(why.to_owned()))),
    }
}
