//! The pretend internet: a DNS server and the mail servers of many providers on
//! loopback addresses, in this process. It behaves as its scenario says, and keeps a
//! book of what truly happened.

mod dialect;
mod dns;
pub mod fate;
mod hold;
mod keep;
mod limits;
mod report;
mod returns;
mod session;
mod strict;
mod tls;
mod wire;
pub mod wording;
mod world;
mod zone;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use fate::{End, Fate, Meant};
pub use hold::{Held, Hold};
pub use keep::Kept;
pub use zone::{Fault, Zone};

use crate::book::{Book, Counters};
use crate::scenario::{Keep, Scenario};
use hold::Gate;
use keep::Keeper;
use limits::Meter;
use returns::Returns;
use strict::Inspector;
use tls::Certificates;
use world::{HostId, World};

/// Where the pretend internet listens.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    /// The DNS server's address; port 0 takes a free one.
    pub dns: SocketAddr,
    /// The port of all mail exchangers; 0 takes one that is free on all their addresses.
    pub smtp_port: u16,
}

impl Default for Listen {
    fn default() -> Self {
        Self { dns: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), smtp_port: 0 }
    }
}

/// What every connection shares.
struct Shared {
    world: Arc<World>,
    zone: Arc<Zone>,
    book: Arc<Book>,
    meters: Vec<Meter>,
    gate: Gate,
    keeper: Keeper,
    /// Messages are taken and their connections cut without a reply.
    hangs_up: AtomicBool,
    returns: Returns,
    inspector: Inspector,
    tls: TlsAcceptor,
    started: Instant,
    serial: AtomicU64,
}

impl Shared {
    fn counters_of(&self, host: HostId) -> &Counters {
        self.book.counters(self.world.hosts[host].counter)
    }

    fn counts_only(&self) -> bool {
        self.world.scenario.record == Keep::Identity
    }
}

/// A running pretend internet. Dropped without [`Internet::stop`] it ends too, unwaited for.
pub struct Internet {
    shared: Arc<Shared>,
    dns: dns::Dns,
    dns_address: SocketAddr,
    smtp_port: u16,
    certificates: Certificates,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Internet {
    /// Starts DNS and mail servers on loopback addresses.
    ///
    /// # Errors
    /// When an address cannot be bound or the scenario contradicts itself.
    pub async fn start(scenario: Scenario, listen: Listen) -> Result<Self> {
        raise_descriptor_limit();
        let world = Arc::new(World::new(scenario)?);
        let zone = Arc::new(Zone::default());
        if let Some(first) = world.hosts.first().and_then(|h| h.mx.first()) {
            zone::reserve_faults(&zone, &first.host, first.address);
        }
        let (tls, certificates) = tls::acceptor(&world)?;
        let started = Instant::now();
        let keep = world.scenario.record;
        let book = Arc::new(Book::new(keep, world.counters.clone(), started));
        let (smtp_port, listeners) = bind_all(&world, listen.smtp_port)?;
        let (dns_address, dns) =
            dns::start(listen.dns, Arc::clone(&world), Arc::clone(&zone)).await?;
        let inspector = Inspector::new(world.scenario.strict, dns_address)?;
        let meters = world.hosts.iter().map(|h| Meter::new(h.manner.limits.clone())).collect();
        let shared = Arc::new(Shared {
            world,
            zone,
            book,
            meters,
            gate: Gate::new(),
            keeper: Keeper::default(),
            hangs_up: AtomicBool::new(false),
            returns: Returns::new(),
            inspector,
            tls,
            started,
            serial: AtomicU64::new(1),
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        for (host, listener) in listeners {
            let serve = serve(Arc::clone(&shared), host, listener, tasks.clone(), stop.clone());
            tasks.spawn(serve);
        }
        for _ in 0..shared.world.scenario.returns.connections {
            tasks.spawn(returns::carry(Arc::clone(&shared), stop.clone()));
        }
        Ok(Self {
            shared,
            dns,
            dns_address,
            smtp_port,
            certificates,
            tasks,
            stop: stop.drop_guard(),
        })
    }

    /// The DNS server's address (UDP and TCP).
    #[must_use]
    pub fn dns_address(&self) -> SocketAddr {
        self.dns_address
    }

    /// The port on which all mail exchangers listen.
    #[must_use]
    pub fn smtp_port(&self) -> u16 {
        self.smtp_port
    }

    /// The certificate of all mail exchangers.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificates.own
    }

    /// The authority that gave it to them.
    #[must_use]
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.certificates.authority
    }

    /// Records to add to the pretend DNS.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.shared.zone
    }

    /// The book; stays readable after [`Internet::stop`].
    #[must_use]
    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.shared.book)
    }

    /// Providers and groups of hosters by their name in the scenario, with the address of
    /// the first mail exchanger of each.
    #[must_use]
    pub fn providers(&self) -> Vec<(String, SocketAddr)> {
        let world = &self.shared.world;
        let first = |counter| {
            let host = world.hosts.iter().find(|host| host.counter == counter)?;
            let exchanger = host.mx.iter().find(|mx| !mx.down)?;
            Some(SocketAddr::from((exchanger.address, self.smtp_port)))
        };
        let names = world.counters.iter().cloned().enumerate();
        names.filter_map(|(counter, name)| Some((name, first(counter)?))).collect()
    }

    /// The name of the provider or group of hosters that takes mail for a domain.
    #[must_use]
    pub fn provider_of(&self, domain: &str) -> Option<&str> {
        let world = &self.shared.world;
        let host = world.host_of(&domain.to_ascii_lowercase())?;
        Some(&world.counters[world.hosts[host].counter])
    }

    /// What will be done with an address; `None` when nobody takes mail for its domain.
    #[must_use]
    pub fn fate(&self, address: &str) -> Option<Fate> {
        self.shared.world.fate(address)
    }

    /// How the story of an address should end, leaving aside limits, blocks and cut
    /// connections, after which a relay is to try again.
    #[must_use]
    pub fn meant(&self, address: &str) -> Meant {
        self.shared.world.meant(address)
    }

    /// Where reports, complaints and absence notices are sent to: the bounce processor.
    /// Until this is known they wait.
    pub fn send_returns_to(&self, bounce_processor: SocketAddr) {
        self.shared.returns.set_destination(Some(bounce_processor));
    }

    /// How many reports wait to be sent.
    #[must_use]
    pub fn returns_waiting(&self) -> u64 {
        self.shared.book.live().values().map(|live| live.reports_waiting).sum()
    }

    /// In how many ways mail has come back that was written as somewhere else once
    /// ([`crate::scenario::Fates::dialects`]).
    #[must_use]
    pub fn dialects_spoken(&self) -> usize {
        self.shared.returns.spoken()
    }

    /// Shuts the gate between final dots and replies. Every message that comes to its
    /// end from now on waits there, until [`Internet::release_replies`] or the hold's time.
    pub fn hold_replies(&self, hold: Hold) {
        self.shared.gate.shut(hold);
    }

    /// Waits until at least `n` connections are held, or `patience` is over. Returns
    /// those that are held then, which may be fewer.
    pub async fn wait_held(&self, n: usize, patience: Duration) -> Vec<Held> {
        self.shared.gate.wait_held(n, patience).await
    }

    /// The connections held now.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        self.shared.gate.held()
    }

    /// Opens the gate again.
    pub fn release_replies(&self) {
        self.shared.gate.open();
    }

    /// From now on, or no more: every server takes messages and hangs up instead of replying.
    pub fn hang_up_after_dots(&self, does: bool) {
        self.shared.hangs_up.store(does, Ordering::Relaxed);
    }

    /// From now on the first so many messages that are taken are kept, as they came.
    pub fn keep_messages(&self, messages: usize) {
        self.shared.keeper.want(messages);
    }

    /// Those that were kept so far; they are forgotten here.
    #[must_use]
    pub fn take_kept(&self) -> Vec<Kept> {
        self.shared.keeper.take()
    }

    /// Stops listening, cuts all connections, and waits until every task has ended.
    pub async fn stop(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
        self.dns.stop().await;
    }
}

/// Two hundred hosters and a few connections to each are more descriptors than the
/// usual soft limit of 1024; up to the hard one a process may help itself.
fn raise_descriptor_limit() {
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit { current: now.maximum, maximum: now.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn serve(
    shared: Arc<Shared>,
    host: HostId,
    listener: TcpListener,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to come back.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        let serial = shared.serial.fetch_add(1, Ordering::Relaxed);
        let conversation = session::converse(Arc::clone(&shared), host, stream, serial);
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = conversation => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Binds every exchanger's address on one port.
fn bind_all(world: &World, port: u16) -> Result<(u16, Vec<(HostId, TcpListener)>)> {
    const TRIES: usize = 50;
    let exchangers: Vec<(HostId, Ipv4Addr)> = world
        .hosts
        .iter()
        .enumerate()
        .flat_map(|(id, host)| host.mx.iter().filter(|x| !x.down).map(move |x| (id, x.address)))
        .collect();
    let mut failed = None;
    for _ in 0..TRIES {
        match bind_on(&exchangers, port) {
            Ok(bound) => return Ok(bound),
            Err(error) => failed = Some(error),
        }
        if port != 0 {
            break;
        }
    }
    Err(failed.context("there are no mail exchangers to bind")?)
}

/// With room for a thousand that connect at the same moment. Linux lets more of them believe that
/// they are connected, and they wait for a greeting in vain.
fn listen_at(at: SocketAddr) -> std::io::Result<TcpListener> {
    const BACKLOG: u32 = 4096;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

fn bind_on(
    exchangers: &[(HostId, Ipv4Addr)],
    port: u16,
) -> Result<(u16, Vec<(HostId, TcpListener)>)> {
    let mut port = port;
    let mut listeners = Vec::with_capacity(exchangers.len());
    for (host, address) in exchangers {
        let at = SocketAddr::from((IpAddr::V4(*address), port));
        let listener = listen_at(at).with_context(|| format!("cannot bind {at} for SMTP"))?;
        port = listener.local_addr()?.port();
        listeners.push((*host, listener));
    }
    Ok((port, listeners))
}
