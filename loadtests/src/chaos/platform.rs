//! The platform of a chaos run: every service a process of its own, in loopback addresses of
//! the run's own, and the pretend internet in this one. The first relay reaches Redis over a
//! [`Link`], which can be bad; the others use its socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ledger::Ledger;
use rustix::process::Signal;
use store::Store;

use super::plan::{Fault, Plan};
use crate::audit::Books;
use crate::client::Client;
use crate::disk::SmallDisk;
use crate::fsync::Watched;
use crate::internet::{Internet, Listen};
use crate::link::Link;
use crate::process::{self, Process};
use crate::program::{ask, free_port, make_sender};
use crate::scenario::Scenario;

/// Sender domains with their tenants.
pub(super) const TENANTS: [(&str, &str); 2] =
    [("default", "news.malleposte.test"), ("second", "offers.malleposte.test")];
const RETURNS: &str = "returns.malleposte.test";
/// Room for what some thousand recipients leave in an AOF and in history, several times.
const QUEUE_DISK_MIB: u32 = 96;
const HISTORY_DISK_MIB: u32 = 64;
const RELAYS_COME_WITHIN: Duration = Duration::from_secs(20);

/// A service by its process, and how to start it again.
pub(super) struct Service {
    program: PathBuf,
    config: PathBuf,
    word: &'static str,
    pub(super) process: Process,
    /// Killed on purpose.
    is_down: bool,
}

/// A relay, and where it sends from.
pub(super) struct Relay {
    pub(super) service: Service,
    pub(super) address: Ipv4Addr,
}

pub(super) struct Platform {
    pub(super) internet: Internet,
    pub(super) store: Store,
    pub(super) history: Ledger,
    /// One of each tenant.
    pub(super) customers: Vec<Client>,
    pub(super) redis: Service,
    pub(super) ledger: Service,
    pub(super) bounces: Service,
    pub(super) api: Service,
    pub(super) relays: Vec<Relay>,
    pub(super) link: Link,
    pub(super) disk: Option<SmallDisk>,
    watched: Option<Watched>,
}

/// Where a run may put what it needs.
pub(super) struct Place<'a> {
    pub(super) program: &'a Path,
    pub(super) folder: &'a Path,
    /// Of the loopback addresses: no two runs at a time have the same.
    pub(super) slot: u8,
}

impl Place<'_> {
    /// The run's `n`-th address. Two runs share none, also of two commands at a time.
    fn address(&self, n: u8) -> Ipv4Addr {
        let command = 64 + (std::process::id() % 128) as u8;
        Ipv4Addr::new(127, command, self.slot, n)
    }

    fn free_port(&self) -> Result<SocketAddr> {
        free_port(self.address(100))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.folder.join(format!("{name}.toml"));
        let rest = "[metrics]\nlisten = \"off\"\n[log]\nlevel = \"warn\"\n";
        std::fs::write(&file, format!("{text}{rest}"))?;
        Ok(file)
    }

    fn service(&self, name: &str, word: &'static str, text: &str) -> Result<Service> {
        let config = self.write(name, text)?;
        let process = Process::start(self.program, &config, word)?;
        Ok(Service { program: self.program.to_owned(), config, word, process, is_down: false })
    }
}

impl Service {
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.is_down = true;
        self.process.kill().await
    }

    /// A new process in the place of the one that was killed.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.process = Process::start(&self.program, &self.config, self.word)?;
        self.is_down = false;
        Ok(())
    }

    fn is_well(&mut self) -> Result<()> {
        if self.is_down { Ok(()) } else { self.process.is_well() }
    }
}

impl Platform {
    pub(super) async fn start(plan: &Plan, place: &Place<'_>) -> Result<Self> {
        let mut scenario = Scenario::named("chaos")?;
        scenario.seed = plan.seed;
        let internet = Internet::start(scenario, Listen::default()).await?;
        let (queue, history) = (place.folder.join("queue"), place.folder.join("history"));
        let disk = match plan.fault {
            Fault::RedisDiskFull => Some(SmallDisk::mount(&queue, QUEUE_DISK_MIB)?),
            Fault::LedgerDiskFull => Some(SmallDisk::mount(&history, HISTORY_DISK_MIB)?),
            _ => None,
        };
        let mut redis = place.service("redis", "redis", &format!("data_dir = {queue:?}\n"))?;
        let url = redis.process.first_line().await?;
        let watched = match plan.fault {
            Fault::RedisCut => {
                let aof = append_only_file(&queue)?;
                let trace = place.folder.join("strace.txt");
                Some(Watched::attach(redis.process.child()?, &aof, &trace).await?)
            }
            _ => None,
        };
        let socket = url.strip_prefix("redis+unix://").context("not a unix socket")?;
        let link = Link::new(place.free_port()?, Path::new(socket)).await?;
        let (api_at, bounces_at) = (place.free_port()?, place.free_port()?);
        let text = settings(place, &internet, &url, api_at, bounces_at, &history);
        let config = place.write("common", &text)?;
        let keys = introduce(place.program, &config, &internet, bounces_at).await?;
        let ledger = place.service("ledger", "ledger", &text)?;
        let bounces = place.service("bounces", "bounces", &text)?;
        let api = place.service("api", "api", &text)?;
        let mut relays = Vec::new();
        for n in 0..plan.relays {
            let over = format!("redis://{}", link.address());
            let text = if n == 0 { text.replace(&url, &over) } else { text.clone() };
            relays.push(relay(place, n, &text)?);
        }
        let config = store::Config { url, ..store::Config::default() };
        let store = Store::open(&config).await?;
        let history =
            Ledger::open(&ledger::Config { folder: history, ..ledger::Config::default() })?;
        let customer = |key: String| Client::new(format!("http://{api_at}"), key);
        let customers = keys.into_iter().map(customer).collect();
        let mut platform = Self {
            internet,
            store,
            history,
            customers,
            redis,
            ledger,
            bounces,
            api,
            relays,
            link,
            disk,
            watched,
        };
        platform.api.process.await_page(&format!("http://{api_at}/readyz")).await?;
        platform.await_relays().await?;
        Ok(platform)
    }

    pub(super) fn books(&self) -> Books<'_> {
        Books { store: &self.store, ledger: &self.history, internet: &self.internet }
    }

    async fn await_relays(&mut self) -> Result<()> {
        let began = tokio::time::Instant::now();
        while began.elapsed() < RELAYS_COME_WITHIN {
            if self.store.relays().await?.len() == self.relays.len() {
                return Ok(());
            }
            self.is_well()?;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        bail!("the relays do not come up within {RELAYS_COME_WITHIN:?}")
    }

    /// Whether everything runs that should.
    pub(super) fn is_well(&mut self) -> Result<()> {
        for relay in &mut self.relays {
            relay.service.is_well()?;
        }
        for service in [&mut self.redis, &mut self.ledger, &mut self.bounces, &mut self.api] {
            service.is_well()?;
        }
        Ok(())
    }

    /// `kill -9` of the Redis server, whose keeper is left to bring it back.
    pub(super) fn kill_redis(&self) -> Result<()> {
        process::send(self.redis.process.child()?, Signal::KILL)
    }

    /// `kill -9` of the Redis server, whose keeper cannot do anything about it yet.
    pub(super) fn kill_redis_for_longer(&self) -> Result<()> {
        let server = self.redis.process.child()?;
        self.redis.process.signal(Signal::STOP)?;
        process::send(server, Signal::KILL)
    }

    /// After that: what was not on the disk is taken from it. Answers the octets.
    pub(super) async fn cut_power(&mut self) -> Result<u64> {
        let watched = self.watched.take().context("nobody watches redis")?;
        watched.cut().await
    }

    pub(super) fn let_redis_back(&self) -> Result<()> {
        self.redis.process.signal(Signal::CONT)
    }

    /// Relays first, Redis last; each must end in good order.
    pub(super) async fn stop(self) -> Result<()> {
        let relays = self.relays.into_iter().map(|relay| relay.service.process.stop());
        let mut ending: tokio::task::JoinSet<Result<()>> = tokio::task::JoinSet::new();
        relays.for_each(|relay| drop(ending.spawn(relay)));
        while let Some(ended) = ending.join_next().await {
            ended??;
        }
        self.internet.stop().await;
        self.api.process.stop().await?;
        self.bounces.process.stop().await?;
        self.ledger.process.stop().await?;
        self.redis.process.stop().await
    }
}

/// The file that Redis appends to; there is one while it has never rewritten it.
fn append_only_file(data_dir: &Path) -> Result<PathBuf> {
    let folder = data_dir.join("redis/appendonlydir");
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".incr.aof") {
            return Ok(path);
        }
    }
    bail!("there is no append-only file in {folder:?}")
}

/// What differs from the defaults, and why: the internet is on loopback, a run cannot wait
/// an hour for a second attempt, and cut connections and trouble are so many here that a
/// pace that respects them would take minutes.
fn settings(
    place: &Place<'_>,
    internet: &Internet,
    redis_url: &str,
    api: SocketAddr,
    bounces: SocketAddr,
    history: &Path,
) -> String {
    let data = place.folder.join("data");
    let (dns, smtp) = (internet.dns_address(), internet.smtp_port());
    format!(
        "data_dir = {data:?}\n\
         [store]\nurl = {redis_url:?}\ndurability = \"always\"\n\
         [ledger]\nfolder = {history:?}\n\
         [api]\nlisten = \"{api}\"\npublic_url = \"https://mail.malleposte.test\"\n\
         [bounces]\nlisten = \"{bounces}\"\nconnections_per_client_max = 200\n\
         [dns]\nservers = [\"{dns}\"]\ntimeout_ms = 1000\nfailure_ttl_s = 1\n\
         [relay.retry]\nfirst_s = 1\nfactor = 1.5\nmax_s = 4\nlifetime_s = 600\n\
         greylist_s = 2\nbusy_mailbox_s = 2\n\
         [relay.pace]\nrate_start = 700.0\nrate_min = 400.0\nhold_s = 2\nhold_max_s = 4\n\
         probes_per_minute = 60.0\n\
         [relay.load]\nenabled = false\n[api.gates]\nenabled = false\n\
         [relay.timeouts]\ndot_s = 20\nbanner_s = 20\n\
         [relay]\nreturn_path_domain = \"{RETURNS}\"\nport = {smtp}\nallow_private = true\n"
    )
}

fn relay(place: &Place<'_>, n: usize, common: &str) -> Result<Relay> {
    let (name, address) = (format!("relay-{n}"), place.address(1 + n as u8));
    // One source for all, so that they share one pace; an address each, to tell them apart.
    let text = format!(
        "{common}name = {name:?}\n\
         [[relay.sources]]\nname = \"chaos\"\naddress = \"{address}\"\n\
         ehlo = \"{name}.malleposte.test\"\n"
    );
    Ok(Relay { service: place.service(&name, "relay", &text)?, address })
}

/// Tenants with their sender domains and keys, and the zone that their administrator would
/// write. Answers the keys.
async fn introduce(
    program: &Path,
    config: &Path,
    internet: &Internet,
    bounces: SocketAddr,
) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for (tenant, domain) in TENANTS {
        make_sender(program, config, internet, domain, tenant).await?;
        let key = ask(program, config, &["key", "add", "chaos", "--tenant", tenant]).await?;
        keys.push(key.trim().to_owned());
    }
    let (zone, std::net::IpAddr::V4(home)) = (internet.zone(), bounces.ip()) else {
        bail!("returned mail comes back over IPv4 here");
    };
    zone.add_mx(RETURNS, 10, &format!("mx.{RETURNS}"));
    zone.add_a(&format!("mx.{RETURNS}"), home);
    internet.send_returns_to(bounces);
    Ok(keys)
}
