//! How services get what they need from the configuration: the store, the keys, the
//! resolver. One function a service; which of them run together is the command's business.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bounce_processor::Bounces;
use dns::Resolver;
use ledger::{Ledger, Questions};
use mail::verp::ReturnPathKeys;
use store::{SealKeys, Store};

use crate::config::Config;
use crate::console;
use crate::redis_child;
use crate::run::frame::Frame;
use crate::secrets::Secrets;
use crate::watch::{self, Eyes};

/// Past the final dot a server may take ten minutes to answer; nobody waits that long for a
/// restart. What is not answered by then may be sent twice, and is counted.
pub const RELAY_GRACE: Duration = Duration::from_secs(30);
/// What every other service may take.
pub const GRACE: Duration = Duration::from_secs(15);

/// The store that the configuration names, or that of an `up` on the same data folder.
///
/// # Errors
/// When there is neither, or it does not answer.
pub async fn connect(config: &Config) -> anyhow::Result<Store> {
    let mut settings = config.store.clone();
    if settings.url.is_empty() {
        settings.url = redis_child::running(&config.data_dir).with_context(|| {
            format!(
                "store.url is not set and no `malleposte up` runs on {}: start one, or name a Redis",
                config.data_dir.display()
            )
        })?;
    }
    open_store(&settings).await
}

/// A store at its address.
///
/// # Errors
/// When it does not answer or is unfit.
pub async fn open_store(settings: &store::Config) -> anyhow::Result<Store> {
    Store::open(settings).await.with_context(|| format!("the store at {}", place(&settings.url)))
}

/// An address without what may be a password.
fn place(url: &str) -> &str {
    url.rsplit('@').next().unwrap_or(url)
}

/// The platform's keys by their use.
pub struct Keys {
    secrets: Secrets,
}

impl Keys {
    /// Reads them, or makes the first.
    ///
    /// # Errors
    /// When they can be neither read nor made.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { secrets: Secrets::open(&config.secrets, &config.data_dir)? })
    }

    /// Open private keys in the store.
    #[must_use]
    pub fn seal(&self) -> SealKeys {
        SealKeys::new(self.secrets.derive("seal"))
    }

    /// Sign return paths.
    ///
    /// # Errors
    /// When the names of the keys are unfit.
    pub fn return_paths(&self) -> anyhow::Result<ReturnPathKeys> {
        Ok(ReturnPathKeys::new(self.secrets.derive("verp"))?)
    }

    /// Sign unsubscribe links.
    ///
    /// # Errors
    /// When the names of the keys are unfit.
    pub fn links(&self) -> anyhow::Result<ReturnPathKeys> {
        Ok(ReturnPathKeys::new(self.secrets.derive("unsubscribe"))?)
    }
}

/// The name of this host, for greetings and lists.
#[must_use]
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// Starts the ledger, and beside it whoever watches the platform: there is one of each.
pub fn start_ledger(frame: &mut Frame, store: &Store) -> anyhow::Result<Arc<Eyes>> {
    let ledger = Ledger::open(&frame.config.ledger)?;
    let read = store.clone();
    let eyes = Arc::new(Eyes::new(store, &frame.config)?);
    let (watching, config, asked) = (Arc::clone(&eyes), frame.config.clone(), ledger.clone());
    let ways = watch::Ways::new(&config.alarms, &config.dns);
    let ways = ways.map_err(|why| anyhow::anyhow!("alarms.{why}"))?;
    frame.services.start("ledger", GRACE, |stop| async move { Ok(ledger.run(&read, stop).await?) });
    frame.services.start("watch", GRACE, |stop| watch::run(watching, config, asked, ways, stop));
    Ok(eyes)
}

/// What the bounce processor needs.
///
/// # Errors
/// When the names of the keys are unfit, or there is no resolver.
pub fn bounce_parts(
    config: &Config,
    store: &Store,
    keys: &Keys,
) -> anyhow::Result<bounce_processor::Parts> {
    Ok(bounce_processor::Parts {
        store: store.clone(),
        return_path_keys: keys.return_paths()?,
        unsubscribe_keys: keys.links()?,
        policy: config.hygiene,
        resolver: Arc::new(Resolver::new(&config.dns)?),
        host: host_name(),
    })
}

/// Starts the bounce processor.
pub async fn start_bounces(frame: &mut Frame, store: &Store, keys: &Keys) -> anyhow::Result<()> {
    let parts = bounce_parts(&frame.config, store, keys)?;
    let bounces = Bounces::bind(&frame.config.bounces, parts).await?;
    frame.services.start("bounces", GRACE, |stop| async move { Ok(bounces.run(stop).await?) });
    Ok(())
}

/// Starts the relay.
pub fn start_relay(frame: &mut Frame, store: &Store, keys: &Keys) -> anyhow::Result<()> {
    if let Some(warning) = frame.config.return_path_warning() {
        tracing::warn!("{warning}");
    }
    let config = frame.config.relay.clone();
    let parts = relay::Parts {
        store: store.clone(),
        resolver: Arc::new(Resolver::new(&frame.config.dns)?),
        seal: keys.seal(),
        return_path_keys: keys.return_paths()?,
        unsubscribe_keys: keys.links()?,
        policy: frame.config.hygiene,
        host: host_name(),
    };
    frame.services.start("relay", RELAY_GRACE, |stop| async move {
        Ok(relay::run(config, parts, stop).await?)
    });
    Ok(())
}

/// Starts the API, and the console with it: it looks with these eyes.
pub fn start_api(
    frame: &mut Frame,
    store: &Store,
    keys: &Keys,
    eyes: Arc<Eyes>,
) -> anyhow::Result<()> {
    let config = frame.config.api.clone();
    let history = Questions::new(frame.config.ledger.clone());
    let parts = campaign_api::Parts {
        store: store.clone(),
        txt: Arc::new(Resolver::new(&frame.config.dns)?),
        links: keys.links()?,
        history: history.clone(),
        staging: staging(&frame.config.data_dir),
        beside: None,
    };
    let (pages, store) = (frame.config.clone(), store.clone());
    frame.services.start("api", GRACE, |stop| async move {
        let beside = console::router(&pages, &store, eyes, history, stop.clone());
        let parts = campaign_api::Parts { beside, ..parts };
        Ok(campaign_api::serve(config, parts, stop).await?)
    });
    Ok(())
}

fn staging(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("staging")
}
