//! A relay's life: how its parts start, and the order in which they end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mail::Timestamp;
use mail::queue::Outcome;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Parts, Relay};
use crate::config::{Config, ConfigError};
use crate::job::Settlement;
use crate::settler::{self, Places, Settler};
use crate::site::SiteLane;
use crate::{leaser, load};

/// Between two words about what an end waits for.
const ENDING_TOLD: Duration = Duration::from_secs(5);

/// Runs a relay until `stopping`: then nothing more is leased, what is past DATA is
/// finished, the rest is handed back, and everything is settled.
///
/// # Errors
/// When the settings cannot be. Trouble of the store is waited out.
pub async fn run(
    config: Config,
    parts: Parts,
    stopping: CancellationToken,
) -> Result<(), ConfigError> {
    config.check()?;
    config.check_addresses()?;
    let (settlements, inbox) = mpsc::channel(settler::WAITING_MAX);
    let relay = Arc::new(Relay::new(config, parts, stopping, settlements)?);
    let name = relay.heart.relay().to_owned();
    tracing::info!(relay = name, "relay starts");
    if !relay.config.sign {
        tracing::warn!("relay.sign is off: nothing is signed here, the next hop must do it");
    }
    let places = Places {
        closed: relay.connections.clone(),
        connections_max: relay.config.connections_max as usize,
        unsettled_max: usize::from(relay.config.unsettled_max),
    };
    let settler = Settler::new(relay.store.clone(), name.clone(), relay.register.clone(), places);
    let settler = tokio::spawn(settler.run(inbox));
    let beating = CancellationToken::new();
    let heart = tokio::spawn(relay.clone().beat(beating.clone()));

    relay.tasks.spawn(relay.clone().report_tls());
    relay.tasks.spawn(load::watch(relay.clone()));
    relay.tasks.spawn(relay.clone().watch_providers());
    relay.tasks.spawn(relay.clone().follow_learned());

    leaser::run(&relay).await;

    relay.await_tasks().await;
    relay.tell_tls_counts().await;
    relay.hand_back_all().await;
    let store = relay.store.clone();
    drop_senders(relay, heart, beating).await;
    let _ = settler.await;
    if let Err(error) = store.remove_relay(&name).await {
        tracing::warn!(%error, "cannot leave the register of relays");
    }
    tracing::info!(relay = name, "relay ended; everything is settled");
    Ok(())
}

/// One look for TLS reports that are due at `now`, as a relay that runs has one each minute: those
/// that no other relay has are sent. Answers how many were tried.
///
/// # Errors
/// When the settings cannot be. Trouble of the store is waited out.
pub async fn send_tls_reports(
    config: Config,
    parts: Parts,
    now: Timestamp,
) -> Result<usize, ConfigError> {
    config.check()?;
    config.check_addresses()?;
    let (settlements, _) = mpsc::channel(1);
    let relay = Relay::new(config, parts, CancellationToken::new(), settlements)?;
    Ok(relay.send_due_tls_reports(|| now).await)
}

/// The settler ends when nobody can send to it any more.
async fn drop_senders(
    relay: Arc<Relay>,
    heart: tokio::task::JoinHandle<()>,
    beating: CancellationToken,
) {
    beating.cancel();
    let _ = heart.await;
    drop(relay);
}

impl Relay {
    /// Until nothing runs any more, saying now and then what is waited for.
    async fn await_tasks(&self) {
        self.tasks.close();
        while tokio::time::timeout(ENDING_TOLD, self.tasks.wait()).await.is_err() {
            let (tasks, in_hand) = (self.tasks.len(), self.in_hand.load(Ordering::Relaxed));
            tracing::warn!(tasks, in_hand, "still ending: transactions or their settling go on");
        }
    }

    async fn hand_back_all(&self) {
        let sites: Vec<Arc<SiteLane>> = self.lock_sites().values().cloned().collect();
        for job in sites.iter().flat_map(|site| site.drain()) {
            self.settle(Settlement::silent(job, Outcome::Back)).await;
        }
        self.lock_sites().clear();
    }
}
