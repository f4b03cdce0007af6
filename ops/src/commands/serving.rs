//! The commands that serve: everything at once, or one service against a shared Redis.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use console::new_password;
use store::{ApiKey, ApiKeyRecord, Durability, Right, Store};

use super::Global;
use crate::config::Config;
use crate::redis_child::{Fsync, RedisChild, STOP_GRACE};
use crate::run::frame::{Frame, serve};
use crate::watch::Eyes;
use crate::wiring::{self, Keys, connect, open_store};

/// Run everything on this machine: private Redis, ledger, bounce processor, relay and API
///
/// Needs no configuration. With `store.url` set it uses that Redis instead of its own.
/// The first start makes an API key and a password for the console, and shows them once. Ends on SIGTERM in good order: nothing
/// more is leased, what is past DATA is finished, the rest is handed back, Redis goes last.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// Leave the relay out: others relay for this platform
    #[arg(long)]
    no_relay: bool,
}

/// Run one relay against the platform's Redis; any number may run
#[derive(Debug, Args)]
pub(super) struct Relay {}

/// Run one HTTP API against the platform's Redis
#[derive(Debug, Args)]
pub(super) struct Api {}

/// Run the ledger: the platform's history, one per platform
#[derive(Debug, Args)]
pub(super) struct Ledger {}

impl Up {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        serve(global.read()?, "up", async |frame| {
            let store = own_or_shared(frame).await?;
            let keys = Keys::open(&frame.config)?;
            let eyes = wiring::start_ledger(frame, &store)?;
            wiring::start_bounces(frame, &store, &keys).await?;
            if !self.no_relay {
                wiring::start_relay(frame, &store, &keys)?;
            }
            wiring::start_api(frame, &store, &keys, eyes)?;
            first_key(&store, &frame.config).await
        })
    }
}

impl Relay {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        serve(global.read()?, "relay", async |frame| {
            let store = connect(&frame.config).await?;
            wiring::start_relay(frame, &store, &Keys::open(&frame.config)?)
        })
    }
}

/// One bounce processor.
pub(super) fn bounces(global: &Global) -> anyhow::Result<ExitCode> {
    serve(global.read()?, "bounces", async |frame| {
        let store = connect(&frame.config).await?;
        wiring::start_bounces(frame, &store, &Keys::open(&frame.config)?).await
    })
}

impl Api {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        serve(global.read()?, "api", async |frame| {
            let store = connect(&frame.config).await?;
            let eyes = Arc::new(Eyes::new(&store, &frame.config)?);
            wiring::start_api(frame, &store, &Keys::open(&frame.config)?, eyes)?;
            first_key(&store, &frame.config).await
        })
    }
}

impl Ledger {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        serve(global.read()?, "ledger", async |frame| {
            let store = connect(&frame.config).await?;
            wiring::start_ledger(frame, &store).map(drop)
        })
    }
}

/// The Redis that the configuration names, or a private child.
async fn own_or_shared(frame: &mut Frame) -> anyhow::Result<Store> {
    if !frame.config.store.url.is_empty() {
        return connect(&frame.config).await;
    }
    let redis = RedisChild::start(&frame.config.redis, &frame.config.data_dir).await?;
    let mut settings = store::Config { url: redis.url(), ..frame.config.store.clone() };
    // An answer must not promise more than this child keeps.
    if frame.config.redis.appendfsync != Fsync::Always && settings.durability == Durability::Always
    {
        settings.durability = Durability::Everysec;
    }
    frame.services.start("redis", STOP_GRACE, |stop| redis.supervise(stop));
    open_store(&settings).await
}

/// A platform without any key gets one for its administrator, and a way into the console, shown this
/// once.
async fn first_key(store: &Store, config: &Config) -> anyhow::Result<()> {
    if store.api_key_count().await? > 0 {
        return Ok(());
    }
    let key = ApiKey::generate();
    let record = ApiKeyRecord {
        name: "admin".into(),
        tenant: "default".into(),
        right: Right::Admin,
        created_at: super::now(),
    };
    store.put_api_key(&key, &record).await?;
    println!("API at http://{}", config.api.listen);
    println!("API key of the administrator, shown only now: {}", key.0);
    if config.console.enabled {
        let password = new_password();
        super::add_operator(store, "admin", &password).await?;
        println!("Console at http://{}/console", config.api.listen);
        println!("Name admin, password, shown only now: {password}");
    }
    Ok(())
}
