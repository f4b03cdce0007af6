//! The port: who may connect, how many at a time, and an orderly end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mail::hygiene::Policy;
use mail::verp::ReturnPathKeys;
use store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Settings};
use crate::error::BounceError;
use crate::mailbox::Mailbox;
use crate::returned::{Noted, Returns};
use crate::session::{Ending, Session};
use crate::tenants::Tenants;

/// What mails under way may take to be finished when we stop.
const GRACE: Duration = Duration::from_secs(8);
/// After a failed accept (no file descriptor left): long enough for one to be freed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Large mails in memory at the same time.
const LARGE_MAX: usize = 8;

/// The bounce processor, its port bound.
#[derive(Debug)]
pub struct Bounces {
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
    connections: Arc<Semaphore>,
    clients: Arc<Clients>,
    large: Arc<Semaphore>,
    returns: Arc<Returns>,
}

impl Bounces {
    /// Checks the settings, prepares the mailbox and binds the port. `keys` are those that
    /// the relays sign return paths with, `policy` the one that they judge addresses by.
    ///
    /// # Errors
    /// When a setting cannot be used, the mailbox cannot be made, or the port is taken.
    pub async fn bind(
        config: &Config,
        store: Store,
        keys: ReturnPathKeys,
        policy: Policy,
    ) -> Result<Self, BounceError> {
        let settings = config.settings()?;
        let mailbox = Mailbox::open(&config.mailbox, config.mailbox_bytes_max)?;
        let address = config.listen;
        let wrong = |source| BounceError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let returns = Returns {
            tenants: Tenants::new(store.clone()),
            store,
            keys,
            policy,
            domains: settings.domains.clone(),
            name: settings.name.to_string(),
            mailbox: Arc::new(mailbox),
            noted: Noted::default(),
        };
        Ok(Self {
            listener,
            address,
            settings,
            connections: Arc::new(Semaphore::new(config.connections_max)),
            clients: Arc::new(Clients {
                max: config.connections_per_client_max,
                open: Mutex::default(),
            }),
            large: Arc::new(Semaphore::new(LARGE_MAX)),
            returns: Arc::new(returns),
        })
    }

    /// Where it listens: the port, when the configuration left the choice to the system.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Receives until `shutdown`; then finishes the mails under way.
    ///
    /// # Errors
    /// None at present: trouble with Redis is answered with "come again".
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BounceError> {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = sessions.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, client)) => self.welcome(stream, client.ip(), &shutdown, &mut sessions),
                    Err(e) => {
                        tracing::warn!("a connection could not be accepted: {e}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        let finish = async { while sessions.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finish).await.is_err() {
            tracing::warn!(
                left = sessions.len(),
                "connections were cut off; their mail comes again"
            );
        }
        Ok(())
    }

    fn welcome(
        &self,
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
        let (returns, stop) = (Arc::clone(&self.returns), shutdown.clone());
        let large = Arc::clone(&self.large);
        let (name, limits) = (self.settings.name.to_string(), self.settings.limits);
        sessions.spawn(async move {
            let _held: (OwnedSemaphorePermit, Guest) = (seat, guest);
            metrics::gauge!("malleposte_bounces_connections").increment(1.0);
            let session = Session::new(stream, client, &name, &*returns, limits, &large);
            let reason = match session.run(&stop).await {
                Ending::Quit | Ending::Gone | Ending::Stopped => None,
                Ending::Late => Some("late"),
                Ending::Nonsense => Some("nonsense"),
                Ending::Cut => Some("unfit"),
            };
            metrics::gauge!("malleposte_bounces_connections").decrement(1.0);
            if let Some(reason) = reason {
                metrics::counter!("malleposte_bounces_refused_total", "reason" => reason)
                    .increment(1);
            }
        });
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
