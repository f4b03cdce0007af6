//! What systemd is told: ready, alive, stopping. Without systemd (no `NOTIFY_SOCKET`) all of
//! it is silence.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::task::AbortOnDropHandle;

/// Says that the services are started: units that are ordered after this one may follow.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that the way out has begun. From here on TimeoutStopSec= counts, and the watchdog
/// still does: a relay that hangs while it drains is no use to anybody.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::warn!("systemd cannot be told {state:?}: {e}");
    }
}

/// Feeds systemd's watchdog (WatchdogSec=) for as long as the handle lives, twice per period
/// and only after a sign of life. `None` where nobody watches.
pub(crate) fn watchdog() -> Option<AbortOnDropHandle<()>> {
    let period = sd_notify::watchdog_enabled()?;
    tracing::debug!(?period, "systemd watches");
    Some(AbortOnDropHandle::new(tokio::spawn(feed(period / 2))))
}

async fn feed(every: Duration) {
    let mut beat = tokio::time::interval(every);
    loop {
        beat.tick().await;
        if is_alive(every).await {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("no sign of life within {every:?}: systemd is not told of any");
        }
    }
}

/// The clock ticks (this was woken), a new task is taken up by a worker, and a blocking
/// thread is to be had, which SQLite and files need. What is away on purpose is no death:
/// a Redis that does not answer would otherwise have every relay killed while it keeps the
/// outcomes that it must settle later.
async fn is_alive(within: Duration) -> bool {
    let signs = async {
        let task = tokio::spawn(async {}).await.is_ok();
        task && tokio::task::spawn_blocking(|| ()).await.is_ok()
    };
    tokio::time::timeout(within, signs).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_blocking_threads_are_all_stuck_shows_no_sign_of_life() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            assert!(is_alive(Duration::from_secs(5)).await);
            let (free, stuck) = std::sync::mpsc::channel::<()>();
            let held = tokio::task::spawn_blocking(move || stuck.recv());
            assert!(!is_alive(Duration::from_millis(100)).await);
            drop(free);
            assert!(held.await.expect("ended").is_err());
            assert!(is_alive(Duration::from_secs(5)).await);
        });
    }
}
