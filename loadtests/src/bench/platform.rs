//! The platform under test: private Redis, ledger, API and relay as processes of their
//! own in a folder of their own, and the pretend internet in this one, uncounted.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ledger::Ledger;
use store::Store;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::setup::{SENDER, Setup, settings, write};
use super::{PerService, Times};
use crate::audit::Books;
use crate::client::{Client, metric, page};
use crate::internet::{Internet, Listen};
use crate::process::Process;
use crate::program::{Program, ask, free_port, make_sender, make_sender_with};
use crate::scenario::Tls;

/// A relay that has registered takes the first lease within this.
const REGISTERS_WITHIN: Duration = Duration::from_millis(1500);

pub(super) struct Platform {
    pub(super) internet: Internet,
    pub(super) client: Client,
    program: PathBuf,
    api_url: String,
    text: String,
    redis: Process,
    redis_url: String,
    ledger: Option<Process>,
    api: Process,
    bounces: Option<Process>,
    relays: Vec<Process>,
    /// Where each shows its numbers.
    relay_pages: Vec<SocketAddr>,
    /// Where the ledger shows its numbers.
    ledger_page: SocketAddr,
    shards: u16,
    folder: tempfile::TempDir,
}

impl Platform {
    /// Measures on a fresh platform, and stops it whatever came of it.
    ///
    /// # Errors
    /// Those of the measurement; else when queue and history disagree at the end.
    pub(super) async fn measured<T>(
        program: &Program,
        setup: &Setup,
        measure: impl AsyncFnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut platform = Self::start(program, setup).await?;
        let measured = measure(&mut platform).await;
        let stopped = platform.stop().await;
        let measured = measured?;
        stopped?;
        Ok(measured)
    }

    pub(super) async fn start(program: &Program, setup: &Setup) -> Result<Self> {
        let mut scenario = setup.scenario.clone();
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
        let ledger_page = free_port(Ipv4Addr::LOCALHOST)?;
        let text = settings(setup, &internet, &redis_url, api_at);
        let config = write(folder.path(), "common", &text, None)?;
        let words = [SENDER, "--algorithm", setup.signing.algorithm()];
        make_sender_with(path, &config, &internet, &words).await?;
        let key = ask(path, &config, &["key", "add", "measurement"]).await?;
        let at_ledger = write(folder.path(), "ledger", &text, Some(ledger_page))?;
        let mut ledger = Process::start(path, &at_ledger, "ledger")?;
        ledger.await_page(&format!("http://{ledger_page}/metrics")).await?;
        let at_api = write(folder.path(), "api", &text, Some(free_port(Ipv4Addr::LOCALHOST)?))?;
        let mut api = Process::start(path, &at_api, "api")?;
        api.await_page(&format!("http://{api_at}/readyz")).await?;
        let api_url = format!("http://{api_at}");
        Ok(Self {
            internet,
            client: Client::new(api_url.clone(), key.trim().to_owned()),
            program: path.clone(),
            api_url,
            text,
            redis,
            redis_url,
            ledger: Some(ledger),
            api,
            bounces: None,
            relays: Vec::new(),
            relay_pages: Vec::new(),
            ledger_page,
            shards: setup.shards,
            folder,
        })
    }

    /// Relays, ready to lease.
    pub(super) async fn start_relays(&mut self, count: u16) -> Result<()> {
        for n in 0..count {
            let page = free_port(Ipv4Addr::LOCALHOST)?;
            let config = write(self.folder.path(), &format!("relay-{n}"), &self.text, Some(page))?;
            let mut relay = Process::start(&self.program, &config, "relay")?;
            relay.await_page(&format!("http://{page}/metrics")).await?;
            self.relays.push(relay);
            self.relay_pages.push(page);
        }
        tokio::time::sleep(REGISTERS_WITHIN).await;
        Ok(())
    }

    /// The bounce processor; answers where it listens.
    pub(super) async fn start_bounces(&mut self) -> Result<SocketAddr> {
        let (page, at) = (free_port(Ipv4Addr::LOCALHOST)?, free_port(Ipv4Addr::LOCALHOST)?);
        let listens = format!(
            "{}[bounces]\nlisten = \"{at}\"\nconnections_per_client_max = 200\n",
            self.text
        );
        let config = write(self.folder.path(), "bounces", &listens, Some(page))?;
        let mut bounces = Process::start(&self.program, &config, "bounces")?;
        bounces.await_page(&format!("http://{page}/metrics")).await?;
        self.bounces = Some(bounces);
        Ok(at)
    }

    /// Processor time of the bounce processor and of Redis so far.
    pub(super) fn returns_cpu(&self) -> Result<[Duration; 2]> {
        let bounces = self.bounces.as_ref().map_or(Ok(Duration::ZERO), Process::cpu)?;
        Ok([bounces, self.redis.cpu()?])
    }

    /// Where the relays show their numbers.
    pub(super) fn relay_pages(&self) -> &[SocketAddr] {
        &self.relay_pages
    }

    /// A tenant with a key of its own and a proved sender domain.
    pub(super) async fn add_tenant(&self, tenant: &str) -> Result<(Client, String)> {
        let config = self.folder.path().join("common.toml");
        let sender = format!("{tenant}.malleposte.test");
        make_sender(&self.program, &config, &self.internet, &sender, tenant).await?;
        let words = ["key", "add", "measurement", "--tenant", tenant];
        let key = ask(&self.program, &config, &words).await?;
        Ok((Client::new(self.api_url.clone(), key.trim().to_owned()), sender))
    }

    /// Where the API listens, and the console.
    pub(super) fn api_address(&self) -> String {
        self.api_url.trim_start_matches("http://").to_owned()
    }

    /// Somebody who may open the console; answers the password.
    pub(super) async fn add_operator(&self, name: &str) -> Result<String> {
        let config = self.folder.path().join("common.toml");
        let told = ask(&self.program, &config, &["console", "add", name]).await?;
        let password = told.lines().find_map(|line| line.split_once("shown only now: "));
        Ok(password.context("`console add` prints no password")?.1.trim().to_owned())
    }

    /// Processor time used so far.
    pub(super) fn times(&self) -> Result<Times> {
        let relays: Vec<Duration> = self.relays.iter().map(Process::cpu).collect::<Result<_>>()?;
        let ledger = self.ledger.as_ref().map_or(Ok(Duration::ZERO), Process::cpu)?;
        Ok(Times([relays.iter().sum(), self.redis.cpu()?, ledger, self.api.cpu()?]))
    }

    /// The most memory that each ever had resident, in MiB.
    pub(super) fn peaks(&self) -> Result<PerService> {
        let relays: Vec<u64> = self.relays.iter().map(Process::peak_kib).collect::<Result<_>>()?;
        let ledger = self.ledger.as_ref().map_or(Ok(0), Process::peak_kib)?;
        let kib = [relays.iter().sum(), self.redis.peak_kib()?, ledger, self.api.peak_kib()?];
        Ok(PerService::new(kib.map(|kib| kib as f64 / 1024.0)))
    }

    /// A relay's metrics.
    pub(super) async fn relay_page(&self, relay: usize) -> Result<String> {
        let at = self.relay_pages.get(relay).context("there is no such relay")?;
        page(&format!("http://{at}/metrics")).await
    }

    /// Events that are in history.
    pub(super) async fn events(&self) -> Result<u64> {
        let page = page(&format!("http://{}/metrics", self.ledger_page)).await?;
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
        let (url, shards) = (self.redis_url.clone(), self.shards);
        let config = store::Config { url, shards, ..store::Config::default() };
        Ok(Store::open(&config).await?)
    }

    /// Whatever was measured counts only if queue and history agree at the end.
    async fn check_accounts(&self) -> Result<()> {
        let folder = self.folder.path().join("data/ledger");
        let history = Ledger::open(&ledger::Config { folder, ..ledger::Config::default() })?;
        let store = self.store().await?;
        let books = Books { store: &store, ledger: &history, internet: &self.internet };
        let off = books.disagreement().await?;
        ensure!(off == 0, "queue and history disagree about {off} recipients");
        Ok(())
    }

    /// Octets of Redis's memory in use.
    pub(super) async fn redis_memory(&self) -> Result<u64> {
        let line = self.ask_redis("INFO memory", "used_memory:").await?;
        Ok(line.trim().parse()?)
    }

    /// The same without the buffers of its clients, which come and go with connections.
    pub(super) async fn redis_data(&self) -> Result<u64> {
        let clients = self.ask_redis("INFO memory", "mem_clients_normal:").await?;
        Ok(self.redis_memory().await?.saturating_sub(clients.trim().parse()?))
    }

    /// Records of paces that are listed.
    pub(super) async fn paces_listed(&self) -> Result<u64> {
        Ok(self.ask_redis("SCARD mp:paces", ":").await?.trim().parse()?)
    }

    /// The rest of the first line of an answer that begins with these words.
    async fn ask_redis(&self, command: &str, words: &str) -> Result<String> {
        let socket = self.redis_url.strip_prefix("redis+unix://").context("not a unix socket")?;
        let socket = socket.split('?').next().unwrap_or_default();
        let mut stream = tokio::net::UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        // The section is a few KB; a line with its end tells the figure.
        let mut lines = BufReader::new(stream.take(64 * 1024)).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(rest) = line.strip_prefix(words) {
                return Ok(rest.to_owned());
            }
        }
        anyhow::bail!("redis has no {words:?} in its answer to {command:?}")
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
            let delivered = book.delivered();
            if delivered >= wanted {
                return Ok(began.elapsed());
            }
            self.is_well()?;
            if began.elapsed() >= within {
                let words: String = self.relays.iter().map(Process::last_words).collect();
                bail!("only {delivered} of {wanted} are delivered:\n{words}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether everything runs that should.
    pub(super) fn is_well(&mut self) -> Result<()> {
        let others = self.ledger.iter_mut().chain(&mut self.bounces);
        self.relays.iter_mut().chain(others).try_for_each(Process::is_well)?;
        self.redis.is_well()?;
        self.api.is_well()
    }

    /// Relay first, Redis last.
    pub(super) async fn stop(mut self) -> Result<()> {
        for relay in std::mem::take(&mut self.relays) {
            relay.stop().await?;
        }
        if let Some(bounces) = self.bounces.take() {
            bounces.stop().await?;
        }
        if self.ledger.is_some() {
            self.check_accounts().await?;
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
