//! The platform of the demo: private Redis, ledger, bounce processor
//! and API in this process, two relays as processes of their own, and the pretend internet
//! around them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use console::new_password;
use ledger::Ledger;
use loadtests::{Books, Internet, Listen, Scenario};
use mail::{Domain, retry};
use rustix::process::{Pid, Signal, kill_process};
use store::{ApiKey, ApiKeyRecord, Right, Store};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::commands::{add_operator, add_sender, now};
use crate::config::Config;
use crate::redis_child::{RedisChild, STOP_GRACE};
use crate::run::frame::Frame;
use crate::run::services::Services;
use crate::wiring::{self, Keys};

/// The sender domain of the campaigns here.
pub const SENDER: &str = "news.malleposte.test";
/// Who may open the console here.
pub const OPERATOR: &str = "demo";
const RETURNS: &str = "returns.malleposte.test";
/// The relays' own addresses, by which the pretend internet tells them apart.
pub(super) const RELAYS: [(&str, Ipv4Addr); 2] =
    [("relay-a", Ipv4Addr::new(127, 0, 1, 1)), ("relay-b", Ipv4Addr::new(127, 0, 1, 2))];
const RELAY_STOPS_WITHIN: Duration = Duration::from_secs(30);

/// What a platform is put up with.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The program to run relays with.
    pub program: PathBuf,
    /// Where everything is kept; a temporary folder when it is not given.
    pub data_dir: Option<PathBuf>,
    /// The pretend internet.
    pub scenario: Scenario,
    /// Changes settings before anything starts.
    pub adjust: fn(&mut Config),
}

/// Everything that a campaign passes through, and the internet that it goes to.
pub struct Platform {
    /// Where the mail goes.
    pub internet: Internet,
    /// The queue.
    pub store: Store,
    /// History, to be read.
    pub ledger: Ledger,
    /// A key of the API that may submit campaigns.
    pub api_key: String,
    /// The password of [`OPERATOR`], who may open the console.
    pub console_password: String,
    /// Two, in processes of their own.
    pub relays: Vec<RelayProcess>,
    pub(super) config: Config,
    services: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
    asked: CancellationToken,
    _folder: Option<tempfile::TempDir>,
}

/// A relay in a process of its own.
pub struct RelayProcess {
    /// Its name in the configuration; that in the queue begins with it.
    pub name: &'static str,
    /// The address that it sends from.
    pub address: Ipv4Addr,
    child: Child,
    log: PathBuf,
    /// Killed on purpose.
    is_killed: bool,
}

impl Platform {
    /// Starts everything and waits until the relays are there.
    ///
    /// # Errors
    /// When a part does not come up, with its reason.
    pub async fn start(stage: Stage) -> anyhow::Result<Self> {
        Self::start_on(stage, None).await
    }

    /// Like [`start`](Self::start), on servers that are there already; `None`: on a private one.
    ///
    /// # Errors
    /// When a part does not come up, with its reason.
    pub async fn start_on(stage: Stage, servers: Option<store::Config>) -> anyhow::Result<Self> {
        let folder = match stage.data_dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("malleposte-demo-").tempdir()?),
        };
        let data_dir = match (&stage.data_dir, &folder) {
            (Some(given), _) => given.clone(),
            (None, Some(made)) => made.path().to_owned(),
            (None, None) => bail!("no folder for the demo"),
        };
        let internet = Internet::start(stage.scenario, Listen::default()).await?;
        let mut config = settings(&data_dir, &internet)?;
        (stage.adjust)(&mut config);
        let asked = CancellationToken::new();
        let mut frame =
            Frame { config: config.clone(), services: Services::new(), asked: asked.clone() };
        match servers {
            Some(servers) => config.store = servers,
            None => {
                let redis = RedisChild::start(&config.redis, &data_dir).await?;
                config.store.url = redis.url();
                frame.services.start("redis", STOP_GRACE, |stop| redis.supervise(stop));
            }
        }
        frame.config.store = config.store.clone();
        let store = wiring::open_store(&config.store).await?;
        let keys = Keys::open(&config)?;
        publish(&internet, &store, &keys, config.bounces.listen).await?;
        let api_key = make_key(&store).await?;
        let console_password = new_password();
        add_operator(&store, OPERATOR, &console_password).await?;
        let eyes = wiring::start_ledger(&mut frame, &store)?;
        wiring::start_bounces(&mut frame, &store, &keys).await?;
        wiring::start_api(&mut frame, &store, &keys, eyes)?;
        let ledger = Ledger::open(&config.ledger)?;
        let services = tokio::spawn(frame.services.run(asked.clone()));
        let mut relays = Vec::new();
        for (name, address) in RELAYS {
            relays.push(RelayProcess::start(&stage.program, &config, name, address)?);
        }
        let mut platform = Self {
            internet,
            store,
            ledger,
            api_key,
            console_password,
            relays,
            config,
            services: Some(services),
            asked,
            _folder: folder,
        };
        platform.await_relays().await?;
        Ok(platform)
    }

    /// Where the API is.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.config.api.listen)
    }

    /// Where it can be watched, and how to come in.
    #[must_use]
    pub fn invitation(&self) -> String {
        let (url, password) = (self.api_url(), &self.console_password);
        format!("watch it at {url}/console: name {OPERATOR}, password {password}")
    }

    /// What is compared at the end.
    #[must_use]
    pub fn books(&self) -> Books<'_> {
        Books { store: &self.store, ledger: &self.ledger, internet: &self.internet }
    }

    async fn await_relays(&mut self) -> anyhow::Result<()> {
        for _ in 0..150 {
            if self.store.relays().await?.len() == RELAYS.len() {
                return Ok(());
            }
            self.is_well()?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the relays do not come up within 15 seconds")
    }

    /// Whether everything runs that should.
    ///
    /// # Errors
    /// What does not, with its last words.
    pub fn is_well(&mut self) -> anyhow::Result<()> {
        if self.services.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
            bail!("a service ended; its log is above");
        }
        for relay in &mut self.relays {
            if !relay.is_killed
                && let Some(status) = relay.child.try_wait()?
            {
                bail!("{} ended by itself with {status}:\n{}", relay.name, relay.last_words());
            }
        }
        Ok(())
    }

    /// Relays first, Redis last.
    ///
    /// # Errors
    /// What did not end in good order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for relay in &mut self.relays {
            relay.stop().await?;
        }
        self.asked.cancel();
        if let Some(services) = self.services.take() {
            services.await??;
        }
        self.internet.stop().await;
        Ok(())
    }
}

fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

/// Everything that differs from the defaults, and why: the internet is on loopback, and
/// a demonstration cannot wait an hour for a second attempt.
fn settings(data_dir: &Path, internet: &Internet) -> anyhow::Result<Config> {
    let mut config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
    config.metrics.listen = crate::run::metrics::Listen(None);
    config.log.level = "warn".into();
    config.api.listen = free_port()?;
    config.api.public_url = "https://mail.malleposte.test".into();
    config.bounces.listen = free_port()?;
    config.bounces.connections_per_client_max = config.bounces.connections_max;
    config.dns.servers = vec![internet.dns_address()];
    config.dns.timeout_ms = 1000;
    config.dns.failure_ttl_s = 2;
    config.relay.return_path_domain = RETURNS.into();
    config.relay.port = internet.smtp_port();
    config.relay.allow_private = true;
    config.relay.retry = retry::Config {
        first_s: 2,
        factor: 1.5,
        max_s: 10,
        lifetime_s: 600,
        greylist_s: 4,
        busy_mailbox_s: 5,
    };
    config.relay.pace.hold_s = 5;
    config.relay.pace.hold_max_s = 20;
    config.relay.pace.probes_per_minute = 60.0;
    config.relay.timeouts.dot_s = 20;
    config.relay.timeouts.banner_s = 20;
    config.follow();
    Ok(config)
}

/// The zone that a real platform's administrator would write.
async fn publish(
    internet: &Internet,
    store: &Store,
    keys: &Keys,
    bounces: SocketAddr,
) -> anyhow::Result<()> {
    let domain: Domain = SENDER.parse()?;
    let selector = add_sender(store, keys, &domain, "mp1", "default").await?;
    let zone = internet.zone();
    zone.add_txt(&selector.dns_name(&domain), &selector.record);
    zone.add_mx(RETURNS, 10, &format!("mx.{RETURNS}"));
    zone.add_a(&format!("mx.{RETURNS}"), Ipv4Addr::LOCALHOST);
    internet.send_returns_to(bounces);
    Ok(())
}

async fn make_key(store: &Store) -> anyhow::Result<String> {
    let key = ApiKey::generate();
    let record = ApiKeyRecord {
        name: "demo".into(),
        tenant: "default".into(),
        right: Right::Campaigns,
        created_at: now(),
    };
    store.put_api_key(&key, &record).await?;
    Ok(key.0)
}

impl RelayProcess {
    fn start(
        program: &Path,
        config: &Config,
        name: &'static str,
        address: Ipv4Addr,
    ) -> anyhow::Result<Self> {
        let mut config = config.clone();
        config.relay.name = name.into();
        // One name for both, so that they share one pace; two addresses, to tell them apart.
        config.relay.sources = vec![relay::Source {
            address: Some(address.into()),
            ehlo: format!("{name}.malleposte.test"),
            ..relay::Source::named("demo")
        }];
        let file = config.data_dir.join(format!("{name}.toml"));
        std::fs::write(&file, toml::to_string(&config)?)?;
        let log = config.data_dir.join(format!("{name}.log"));
        let log_file = std::fs::File::options().create(true).append(true).open(&log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .arg("--config")
            .arg(&file)
            .arg("relay")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a relay with setpriv; install util-linux")?;
        Ok(Self { name, address, child, log, is_killed: false })
    }

    /// The process, while it runs; `setpriv` gives its own number to the relay.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// `kill -9`: no goodbye, no clean-up.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.is_killed = true;
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(pid) = self.child.id() else { return Ok(()) };
        let pid = Pid::from_raw(pid as i32).context("a relay without a pid")?;
        kill_process(pid, Signal::TERM)?;
        match tokio::time::timeout(RELAY_STOPS_WITHIN, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("{} ended with {}:\n{}", self.name, status?, self.last_words()),
            Err(_) => bail!("{} does not end on SIGTERM:\n{}", self.name, self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}
