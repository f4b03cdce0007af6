//! The eyes of the platform, one pair of them, where the ledger runs: every few seconds they look at
//! the queue, the paces, the relays and Redis, and say what they see as metrics. They decide nothing
//! about mail; a relay that has been silent for a day they take off the register.

mod gauges;
mod paces;
mod sights;

use std::time::Duration;

use store::Store;
use tokio_util::sync::CancellationToken;

use sights::Sights;
pub(crate) use sights::{Campaigns, Memory};

use crate::commands::Desk;
use crate::config::Config;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// A relay that was killed is news for so long; whoever comes back says so itself.
const BURIED_AFTER_MS: u64 = 24 * 3_600_000;

/// Looks until `stop`.
///
/// # Errors
/// None: what cannot be seen is said and looked at again.
pub async fn run(store: Store, config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let mut memory = Memory::default();
    let mut shown = gauges::Shown::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut desk = None;
    let mut is_blind = false;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let look = async {
            let desk = match &desk {
                Some(desk) => desk,
                None => desk.insert(Desk::new(&store, &config, false)?),
            };
            Sights::look(desk, &store, &mut memory).await
        };
        let Some(looked) = stop.run_until_cancelled(look).await else { break };
        match &looked {
            Ok(sights) => {
                shown.show(sights);
                bury(&store, sights).await;
            }
            Err(error) if !is_blind => {
                tracing::warn!("the platform cannot be watched: {error:#}");
            }
            Err(_) => {}
        }
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
