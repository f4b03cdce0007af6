//! The platform under test: private Redis, ledger, API and relay as processes of their
//! own in a folder of their own, and the pretend internet in this one, uncounted.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use store::Store;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::{DURABILITY, PerService, Times};
use crate::client::{Client, metric, page};
use crate::internet::{Internet, Listen};
use crate::process::Process;
use crate::program::{Program, ask, free_port, make_sender};
use crate::scenario::{Scenario, Tls};

/// The sender domain of every measured campaign.
pub(super) const SENDER: &str = "news.malleposte.test";
/// A relay that has registered takes the first lease within this.
const REGISTERS_WITHIN: Duration = Duration::from_millis(1500);

/// How the platform is set up.
pub(super) struct Setup {
    pub(super) tls: bool,
    pub(super) dkim: bool,
    pub(super) connections: u32,
    pub(super) messages_per_connection: u32,
    pub(super) shards: u16,
}

pub(super) struct Platform {
    pub(super) internet: Internet,
    pub(super) client: Client,
    program: PathBuf,
    config: PathBuf,
    redis: Process,
    redis_url: String,
    ledger: Option<Process>,
    api: Process,
    relay: Option<Process>,
    pages: Pages,
    _folder: tempfile::TempDir,
}

/// Where each process shows its numbers.
struct Pages {
    ledger: SocketAddr,
    relay: SocketAddr,
}

impl Platform {
    pub(super) async fn start(program: &Program, setup: &Setup) -> Result<Self> {
        let mut scenario = Scenario::named("throughput")?;
        if setup.tls {
            scenario.manner.values_mut().for_each(|manner| manner.tls = Tls::Required);
        }
        let internet = Internet::start(scenario, Listen::default()).await?;
        let folder = program.folder_for("mp-bench-")?;
        let path = &program.path;
        let alone = write(folder.path(), "redis", "", None)?;
        let mut redis = Process::start(path, &alone, "redis")?;
        let redis_url = redis.first_line().await?;
        let api_at = free_port(Ipv4Addr::LOCALHOST)?;
        let pages = Pages {
            ledger: free_port(Ipv4Addr::LOCALHOST)?,
            relay: free_port(Ipv4Addr::LOCALHOST)?,
        };
        let text = settings(setup, &internet, &redis_url, api_at);
        let config = write(folder.path(), "common", &text, None)?;
        make_sender(path, &config, &internet, SENDER, "default").await?;
        let key = ask(path, &config, &["key", "add", "measurement"]).await?;
        let at_ledger = write(folder.path(), "ledger", &text, Some(pages.ledger))?;
        let mut ledger = Process::start(path, &at_ledger, "ledger")?;
        ledger.await_page(&format!("http://{}/metrics", pages.ledger)).await?;
        let at_api = write(folder.path(), "api", &text, Some(free_port(Ipv4Addr::LOCALHOST)?))?;
        let mut api = Process::start(path, &at_api, "api")?;
        api.await_page(&format!("http://{api_at}/readyz")).await?;
        let config = write(folder.path(), "relay", &text, Some(pages.relay))?;
        Ok(Self {
            internet,
            client: Client::new(format!("http://{api_at}"), key.trim().to_owned()),
            program: path.clone(),
            config,
            redis,
            redis_url,
            ledger: Some(ledger),
            api,
            relay: None,
            pages,
            _folder: folder,
        })
    }

    /// One relay, ready to lease.
    pub(super) async fn start_relay(&mut self) -> Result<()> {
        let mut relay = Process::start(&self.program, &self.config, "relay")?;
        relay.await_page(&format!("http://{}/metrics", self.pages.relay)).await?;
        tokio::time::sleep(REGISTERS_WITHIN).await;
        self.relay = Some(relay);
        Ok(())
    }

    /// Processor time used so far.
    pub(super) fn times(&self) -> Result<Times> {
        let of =
            |process: &Option<Process>| process.as_ref().map_or(Ok(Duration::ZERO), Process::cpu);
        Ok(Times([of(&self.relay)?, self.redis.cpu()?, of(&self.ledger)?, self.api.cpu()?]))
    }

    /// The most memory that each ever had resident, in MiB.
    pub(super) fn peaks(&self) -> Result<PerService> {
        let of = |process: &Option<Process>| process.as_ref().map_or(Ok(0), Process::peak_kib);
        let (relay, ledger) = (of(&self.relay)?, of(&self.ledger)?);
        let kib = [relay, self.redis.peak_kib()?, ledger, self.api.peak_kib()?];
        Ok(PerService::new(kib.map(|kib| kib as f64 / 1024.0)))
    }

    /// Events that are in history.
    pub(super) async fn events(&self) -> Result<u64> {
        let page = page(&format!("http://{}/metrics", self.pages.ledger)).await?;
        Ok(metric(&page, "malleposte_ledger_events_total") as u64)
    }

    /// Nobody reads the outbox any more.
    pub(super) async fn stop_ledger(&mut self) -> Result<()> {
        match self.ledger.take() {
            Some(ledger) => ledger.stop().await,
            None => Ok(()),
        }
    }

    /// The queue itself, as a relay sees it.
    pub(super) async fn store(&self) -> Result<Store> {
        let config = store::Config { url: self.redis_url.clone(), ..store::Config::default() };
        Ok(Store::open(&config).await?)
    }

    /// Octets of Redis's memory in use.
    pub(super) async fn redis_memory(&self) -> Result<u64> {
        let socket = self.redis_url.strip_prefix("redis+unix://").context("not a unix socket")?;
        let socket = socket.split('?').next().unwrap_or_default();
        let mut stream = tokio::net::UnixStream::connect(socket).await?;
        stream.write_all(b"INFO memory\r\n").await?;
        // The section is a few KB; a line with its end tells the figure.
        let mut lines = BufReader::new(stream.take(64 * 1024)).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(octets) = line.strip_prefix("used_memory:") {
                return Ok(octets.trim().parse()?);
            }
        }
        anyhow::bail!("redis does not tell its memory")
    }

    /// Waits until the pretend internet has taken so many messages; answers when that was.
    pub(super) async fn await_delivered(
        &mut self,
        wanted: u64,
        began: Instant,
        within: Duration,
    ) -> Result<Duration> {
        /// Short against what is measured, and too rare to cost anything.
        const LOOK: Duration = Duration::from_millis(5);
        let book = self.internet.book();
        loop {
            let delivered: u64 = book.live().values().map(|live| live.delivered).sum();
            if delivered >= wanted {
                return Ok(began.elapsed());
            }
            self.is_well()?;
            ensure!(began.elapsed() < within, "only {delivered} of {wanted} are delivered");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether everything runs that should.
    pub(super) fn is_well(&mut self) -> Result<()> {
        for process in [&mut self.relay, &mut self.ledger].into_iter().flatten() {
            process.is_well()?;
        }
        self.redis.is_well()?;
        self.api.is_well()
    }

    /// Relay first, Redis last.
    pub(super) async fn stop(self) -> Result<()> {
        if let Some(relay) = self.relay {
            relay.stop().await?;
        }
        self.api.stop().await?;
        if let Some(ledger) = self.ledger {
            ledger.stop().await?;
        }
        self.redis.stop().await?;
        self.internet.stop().await;
        Ok(())
    }
}

/// What differs from the defaults: addresses, durability named, and a pace that never
/// binds, because the pace is not what is measured.
fn settings(setup: &Setup, internet: &Internet, redis_url: &str, api: SocketAddr) -> String {
    let Setup { tls: _, dkim, connections, messages_per_connection, shards } = setup;
    let (dns, smtp) = (internet.dns_address(), internet.smtp_port());
    format!(
        "[store]\nurl = {redis_url:?}\ndurability = {DURABILITY:?}\nshards = {shards}\n\
         [api]\nlisten = \"{api}\"\npublic_url = \"https://mail.malleposte.test\"\n\
         [dns]\nservers = [\"{dns}\"]\n\
         [relay]\nname = \"relay\"\nreturn_path_domain = \"returns.malleposte.test\"\n\
         port = {smtp}\nallow_private = true\nsign = {dkim}\n\
         [relay.pace]\nrate_start = 1000000.0\nrate_max = 1000000.0\n\
         connections_start = {connections}\nconnections_max = {connections}\n\
         messages_per_connection_max = {messages_per_connection}\n"
    )
}

fn write(folder: &Path, name: &str, text: &str, page: Option<SocketAddr>) -> Result<PathBuf> {
    let page = page.map_or("off".to_owned(), |page| page.to_string());
    let data = folder.join("data");
    let text = format!(
        "data_dir = {data:?}\n{text}[metrics]\nlisten = \"{page}\"\n[log]\nlevel = \"warn\"\n"
    );
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, text)?;
    Ok(file)
}
