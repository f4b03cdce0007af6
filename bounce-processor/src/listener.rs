//! The doors: who may connect, how many at a time, and an orderly end.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dns::Resolver;
use mail::hygiene::Policy;
use mail::verp::ReturnPathKeys;
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use web::Https;

use crate::config::{Config, Settings};
use crate::error::BounceError;
use crate::house::{Ending, House, Protocol};
use crate::lmtp::{LmtpDoor, Neighbour, accept_lmtp};
use crate::mailbox::{Folder, Mailbox};
use crate::manners::{Manner, Manners};
use crate::replies::Forwarder;
use crate::returned::Returns;
use crate::session::Session;
use crate::tls::Tls;

/// What mails under way may take to be finished when we stop.
const GRACE: Duration = Duration::from_secs(8);
/// After a failed accept (no file descriptor left): long enough for one to be freed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Large mails in memory at the same time.
const LARGE_MAX: usize = 8;

/// What the bounce processor needs of the platform.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// Those that the relays sign return paths with.
    pub return_path_keys: ReturnPathKeys,
    /// Those that the relays sign unsubscribe links with.
    pub unsubscribe_keys: ReturnPathKeys,
    /// What the relays judge addresses by.
    pub policy: Policy,
    /// Finds web services.
    pub resolver: Arc<Resolver>,
    /// This host's name.
    pub host: String,
}

/// The bounce processor, its ports bound.
#[derive(Debug)]
pub struct Bounces {
    smtp: TcpListener,
    address: SocketAddr,
    lmtp: Option<LmtpDoor>,
    doors: Arc<Doors>,
    forwarder: Option<Forwarder>,
}

/// What all doors share.
#[derive(Debug)]
struct Doors {
    settings: Settings,
    connections: Arc<Semaphore>,
    /// Of the house's own mail servers, whom no stranger keeps waiting.
    neighbours: Arc<Semaphore>,
    clients: Arc<Clients>,
    large: Semaphore,
    manners: Manners,
    tls: Option<Tls>,
    returns: Arc<Returns>,
}

impl Bounces {
    /// Checks the settings, prepares the mailbox and binds the ports.
    ///
    /// # Errors
    /// When a setting cannot be used, the mailbox cannot be made, or a port is taken.
    pub async fn bind(config: &Config, parts: Parts) -> Result<Self, BounceError> {
        let settings = config.settings()?;
        let tls = Tls::open(&config.tls)?;
        let mailbox = Mailbox::open(&config.mailbox, config.mailbox_bytes_max, &parts.host)?;
        let wrong = |source| not_bound("bounces.listen", &config.listen.to_string(), source);
        let smtp = TcpListener::bind(config.listen).await.map_err(wrong)?;
        let address = smtp.local_addr().map_err(wrong)?;
        let lmtp = match &settings.lmtp {
            None => None,
            Some(place) => {
                let bound = LmtpDoor::bind(place).await;
                Some(bound.map_err(|e| not_bound("bounces.lmtp", &config.lmtp, e))?)
            }
        };
        let answers = config.mailbox.join(Folder::Replies.name());
        let https = settings.ways.hook.as_ref().map(|_| https(&parts.resolver)).transpose()?;
        let name = settings.name.as_str();
        let forwarder = Forwarder::new(answers, settings.ways.clone(), https, name);
        let returns =
            Arc::new(Returns::new(&settings, &config.replies.addresses, parts, Some(mailbox)));
        let millis = Duration::from_millis;
        let doors = Doors {
            settings,
            connections: Arc::new(Semaphore::new(config.connections_max)),
            neighbours: Arc::new(Semaphore::new(config.connections_max)),
            clients: Arc::new(Clients {
                max: config.connections_per_client_max,
                open: Mutex::default(),
            }),
            large: Semaphore::new(LARGE_MAX),
            manners: Manners::new(
                millis(config.greeting_delay_ms),
                millis(config.impolite_delay_ms),
            ),
            tls,
            returns,
        };
        Ok(Self { smtp, address, lmtp, doors: Arc::new(doors), forwarder })
    }

    /// Where it listens: the port, when the configuration left the choice to the system.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for LMTP, if it does so on a port.
    #[must_use]
    pub fn lmtp_addr(&self) -> Option<SocketAddr> {
        match &self.lmtp {
            Some(LmtpDoor::Tcp(listener)) => listener.local_addr().ok(),
            Some(LmtpDoor::Unix(_)) | None => None,
        }
    }

    /// Receives until `shutdown`; then finishes the mails under way.
    ///
    /// # Errors
    /// None at present: trouble with Redis is answered with "come again".
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BounceError> {
        let Self { smtp, lmtp, doors, forwarder, .. } = self;
        let mut sessions = JoinSet::new();
        if let Some(forwarder) = forwarder {
            let answered = Arc::clone(&doors.returns.answered);
            sessions.spawn(forwarder.run(answered, shutdown.clone()));
        }
        let returns = Arc::clone(&doors.returns);
        let stop = shutdown.clone();
        sessions.spawn(async move {
            tokio::select! {
                () = returns.learned.follow(&returns.store) => {}
                () = stop.cancelled() => {}
            }
        });
        for poll in &doors.settings.polls {
            let (returns, bytes_max) =
                (Arc::clone(&doors.returns), doors.settings.limits.bytes_max);
            sessions.spawn(poll.clone().run(returns, bytes_max, shutdown.clone()));
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = sessions.join_next() => {
                    if let Err(defect) = ended {
                        tracing::error!("a defect in the program: {defect}");
                    }
                }
                accepted = smtp.accept() => match accepted {
                    Ok((stream, client)) => {
                        doors.welcome(stream, client.ip(), &shutdown, &mut sessions);
                    }
                    Err(e) => not_accepted(&e).await,
                },
                accepted = accept_lmtp(lmtp.as_ref()) => match accepted {
                    Ok(Neighbour::Tcp(stream, client)) => {
                        doors.let_in(stream, client, &shutdown, &mut sessions);
                    }
                    Ok(Neighbour::Unix(stream)) => {
                        let client = IpAddr::from(Ipv4Addr::LOCALHOST);
                        doors.let_in(stream, client, &shutdown, &mut sessions);
                    }
                    Err(e) => not_accepted(&e).await,
                },
            }
        }
        drop((smtp, lmtp));
        let finish = async { while sessions.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finish).await.is_err() {
            tracing::warn!(
                left = sessions.len(),
                "connections were cut off; their mail comes again"
            );
        }
        Ok(())
    }
}

fn https(resolver: &Arc<Resolver>) -> Result<Arc<Https>, BounceError> {
    let wrong = |why| BounceError::Setting(format!("bounces.replies.webhook: {why}"));
    Https::for_hooks(resolver).map(Arc::new).map_err(wrong)
}

fn not_bound(setting: &'static str, address: &str, source: std::io::Error) -> BounceError {
    BounceError::Listen { setting, address: address.to_owned(), source }
}

async fn not_accepted(error: &std::io::Error) {
    tracing::warn!("a connection could not be accepted: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

impl Doors {
    /// A stranger from the network: so many at a time, and in their turn.
    fn welcome(
        self: &Arc<Self>,
        stream: TcpStream,
        client: IpAddr,
        shutdown: &CancellationToken,
        sessions: &mut JoinSet<()>,
    ) {
        let seat = Arc::clone(&self.connections).try_acquire_owned().ok();
        let guest = Clients::seat(&self.clients, client);
        let (Some(seat), Some(guest)) = (seat, guest) else {
            turn_away(&stream);
            return;
        };
        let (doors, stop) = (Arc::clone(self), shutdown.clone());
        sessions.spawn(async move {
            let _held: (OwnedSemaphorePermit, Guest) = (seat, guest);
            doors.converse(stream, client, Protocol::Smtp, &stop).await;
        });
    }

    /// A mail server of this house.
    fn let_in<S>(
        self: &Arc<Self>,
        stream: S,
        client: IpAddr,
        shutdown: &CancellationToken,
        sessions: &mut JoinSet<()>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (doors, stop) = (Arc::clone(self), shutdown.clone());
        let seat = Arc::clone(&self.neighbours);
        sessions.spawn(async move {
            // It waits for a seat: it is not turned away in its own house.
            let Ok(_seat) = seat.acquire_owned().await else { return };
            doors.converse(stream, client, Protocol::Lmtp, &stop).await;
        });
    }

    async fn converse<S>(
        &self,
        stream: S,
        client: IpAddr,
        protocol: Protocol,
        stop: &CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        metrics::gauge!("malleposte_bounces_connections").increment(1.0);
        let greeting = match protocol {
            Protocol::Smtp => self.manners.wait(client),
            Protocol::Lmtp => Duration::ZERO,
        };
        let house = House {
            protocol,
            name: self.settings.name.as_str(),
            limits: self.settings.limits,
            large: &self.large,
            offers_tls: self.tls.is_some(),
            greeting: Some(greeting),
        };
        let over = Session::new(stream, client, house, &*self.returns).run(stop).await;
        self.remember(client, protocol, over.ending, over.mails);
        if let (Some(stream), Some(tls)) = (over.part().await, &self.tls) {
            self.converse_under(tls, stream, client, house, stop).await;
        }
        metrics::gauge!("malleposte_bounces_connections").decrement(1.0);
    }

    /// The rest of a conversation, under TLS: from the beginning, but for the greeting.
    async fn converse_under<S>(
        &self,
        tls: &Tls,
        stream: S,
        client: IpAddr,
        house: House<'_>,
        stop: &CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let shaken = tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await;
        let outcome = if matches!(shaken, Ok(Ok(_))) { "made" } else { "failed" };
        metrics::counter!("malleposte_bounces_tls_total", "outcome" => outcome).increment(1);
        let house = House { offers_tls: false, greeting: None, ..house };
        let Ok(Ok(stream)) = shaken else { return };
        let session = Session::new(stream, client, house, &*self.returns);
        // Two conversations in one future would take the memory of both.
        let over = Box::pin(session.run(stop)).await;
        self.remember(client, house.protocol, over.ending, over.mails);
        over.part().await;
    }

    fn remember(&self, client: IpAddr, protocol: Protocol, ending: Ending, mails: usize) {
        let reason = match ending {
            Ending::Quit | Ending::Gone | Ending::Stopped | Ending::Secure => None,
            Ending::Late => Some("late"),
            Ending::Nonsense => Some("nonsense"),
            Ending::Cut => Some("unfit"),
            Ending::Early => Some("early"),
        };
        match ending {
            // A mail server of this house speaks for others.
            _ if protocol == Protocol::Lmtp => {}
            _ if mails > 0 => self.manners.note(client, Manner::Polite),
            Ending::Nonsense | Ending::Cut | Ending::Early => {
                self.manners.note(client, Manner::Impolite);
            }
            _ => {}
        }
        if let Some(reason) = reason {
            metrics::counter!("malleposte_bounces_refused_total", "reason" => reason).increment(1);
        }
    }
}

/// One short line, if it fits into the socket's buffer, and out.
fn turn_away(stream: &TcpStream) {
    metrics::counter!("malleposte_bounces_refused_total", "reason" => "busy").increment(1);
    // A socket so new that it cannot be written to belongs to nobody who would read it.
    let _ = stream.try_write(b"421 4.7.0 too many connections, come again\r\n");
}

/// Connections by client, so that one does not take all.
#[derive(Debug)]
struct Clients {
    max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

struct Guest {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    fn seat(clients: &Arc<Self>, client: IpAddr) -> Option<Guest> {
        let mut open = clients.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= clients.max {
            return None;
        }
        *count += 1;
        Some(Guest { clients: Arc::clone(clients), client })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}
