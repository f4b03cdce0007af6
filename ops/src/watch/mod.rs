//! The eyes of the platform: they look at the queue, the paces, the relays and Redis. Where the ledger
//! runs, one pair looks every few seconds and says what it sees as metrics; the console looks with the
//! same pair, or with one of its own. They decide nothing about mail; a relay that has been silent for
//! a day they take off the register.

mod alarms;
mod gauges;
mod paces;
mod sights;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::Ledger;
use store::Store;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use alarms::AlarmsConfig;
pub(crate) use alarms::Ways;
use alarms::{Alarms, Look};
pub(crate) use sights::{Campaigns, Memory, Sights};

use crate::commands::{Desk, Voice, now};
use crate::config::Config;

/// Between two looks for metrics.
const EVERY: Duration = Duration::from_secs(10);

/// A relay that was killed is news for so long; whoever comes back says so itself.
const BURIED_AFTER_MS: u64 = 24 * 3_600_000;

/// A pair of eyes, for as many as want to see.
pub struct Eyes {
    desk: Desk,
    seen: Mutex<Seen>,
}

/// What was seen last, and what is remembered from look to look.
#[derive(Default)]
struct Seen {
    memory: Memory,
    last: Option<(Instant, Result<Arc<Sights>, String>)>,
}

impl Eyes {
    /// Eyes on a platform.
    ///
    /// # Errors
    /// When what is known of providers does not read.
    pub fn new(store: &Store, config: &Config) -> anyhow::Result<Self> {
        let desk = Desk::new(store, config, Voice::Silent)?;
        Ok(Self { desk, seen: Mutex::default() })
    }

    /// What there is to see; a look that is younger than `fresh` is not repeated. Of several who ask at
    /// once, one looks.
    pub(crate) async fn look(&self, fresh: Duration) -> anyhow::Result<Arc<Sights>> {
        let mut seen = self.seen.lock().await;
        // A look that failed is not repeated either: others wait for this one.
        if let Some((at, last)) = &seen.last
            && at.elapsed() < fresh
        {
            return last.clone().map_err(anyhow::Error::msg);
        }
        let looked =
            Sights::look(&self.desk, self.desk.store(), &mut seen.memory).await.map(Arc::new);
        let kept = looked.as_ref().map(Arc::clone).map_err(|error| format!("{error:#}"));
        seen.last = Some((Instant::now(), kept));
        looked
    }

    /// Something was done: the next look is a new one.
    pub(crate) async fn blink(&self) {
        self.seen.lock().await.last = None;
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }
}

/// Looks until `stop`, says what it sees as metrics, and what is wrong to whom it may concern.
///
/// # Errors
/// None: what cannot be seen is said and looked at again.
pub(crate) async fn run(
    eyes: Arc<Eyes>,
    config: Config,
    ledger: Ledger,
    ways: Ways,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut alarms = Alarms::new(eyes.desk.store(), &config, ledger, ways);
    let mut shown = gauges::Shown::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_blind = false;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(looked) = stop.run_until_cancelled(eyes.look(EVERY / 2)).await else { break };
        match &looked {
            Ok(sights) => {
                shown.show(sights);
                bury(eyes.desk.store(), sights).await;
            }
            Err(error) if !is_blind => {
                tracing::warn!("the platform cannot be watched: {error:#}");
            }
            Err(_) => {}
        }
        let seen = match &looked {
            Ok(sights) => Look::All(sights),
            Err(_) if eyes.desk.store().servers().await.is_ok() => Look::Nothing,
            Err(_) => Look::Away,
        };
        let judged = alarms.look(seen, now());
        if stop.run_until_cancelled(judged).await.is_none() {
            break;
        }
        shown.complaints(alarms.complaints());
        is_blind = looked.is_err();
        gauges::redis_answers(!is_blind);
    }
    Ok(())
}

async fn bury(store: &Store, sights: &Sights) {
    let is_dead = |seen_at: u64| sights.at.0.saturating_sub(seen_at) > BURIED_AFTER_MS;
    for (relay, _) in sights.relays.iter().filter(|(_, record)| is_dead(record.seen_at.0)) {
        match store.remove_relay(relay).await {
            Ok(()) => tracing::info!(relay, "silent for a day: taken off the register"),
            Err(error) => tracing::warn!(relay, "cannot be taken off the register: {error}"),
        }
    }
}
