//! What a relay does each second: it renews its leases, and beside that it learns what
//! operators and returned mail say, tells what it is doing, and keeps the queue's house.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mail::classify::Signal;
use mail::{Event, ShardId};
use store::{Batch, Feedback, RelayRecord};
use tokio_util::sync::CancellationToken;

use super::Relay;
use crate::heart::BEAT;
use crate::meters;

/// Feedback records taken in one heartbeat.
const FEEDBACK_MAX: usize = 100;
/// Rounds of packing anew in one heartbeat, of some batches each: processor time of about a
/// hundredth of a core at most.
const REPACK_ROUNDS: usize = 5;
/// Between two looks for what only this relay can read, in heartbeats.
const RESTORE_BEATS: u32 = 60;
/// Between two looks at the pools of other relays.
const POOLS_BEATS: u32 = 5;

/// A tick each second, and none made up for that was missed.
fn beats() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

impl Relay {
    /// Renews each second, and beside it, so that nothing of it can hold a renewal up, attends
    /// to what else comes up each second.
    pub(super) async fn beat(self: Arc<Self>, until: CancellationToken) {
        tokio::join!(self.keep_leases(&until), self.keep_informed(&until));
    }

    async fn keep_leases(&self, until: &CancellationToken) {
        let mut ticks = beats();
        let mut silent = false;
        while until.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.heart.beat(&self.store).await {
                Ok(lost) => {
                    lost.into_iter().for_each(|shard| self.register.forget(shard));
                    if silent {
                        tracing::info!("redis is back");
                    }
                    silent = false;
                }
                Err(error) => {
                    if !silent {
                        tracing::error!(%error, "cannot renew; sending stops until redis is back");
                    }
                    silent = true;
                }
            }
        }
    }

    async fn keep_informed(self: &Arc<Self>, until: &CancellationToken) {
        let mut ticks = beats();
        loop {
            let attended = tokio::select! {
                _ = ticks.tick() => self.attend().await,
                // Each message that goes until then is refused as well.
                () = self.holds.news() => self.attend_holds().await,
                () = until.cancelled() => return,
            };
            if let Err(error) = attended {
                tracing::debug!(%error, "orders, feedback and register wait for redis");
            }
        }
    }

    /// Learns what operators ordered and what returned mail tells, says what the relay is doing.
    async fn attend(self: &Arc<Self>) -> Result<(), store::StoreError> {
        self.learn_rulings().await?;
        self.attend_holds().await?;
        self.take_feedback().await?;
        self.attend_to_load().await;
        let connections =
            self.config.connections_max as usize - self.connections.available_permits();
        let in_hand = self.in_hand.load(Ordering::Relaxed);
        meters::holding(in_hand, connections, self.lock_sites().len());
        meters::kill_could_double(connections, self.config.unsettled_max);
        let record = RelayRecord {
            host: self.host.clone(),
            pid: std::process::id(),
            started_at: self.started_at,
            seen_at: self.now(),
            connections: connections as u32,
            unsettled_max: u32::from(self.config.unsettled_max),
            leased: in_hand as u32,
            draining: self.stopping.is_cancelled() || self.is_drained(),
            reads_batch: Batch::VERSION,
            pools: self.pools.names().cloned().collect(),
            budget_percent: (self.load.budget() * 100.0).round() as u8,
            pressed_by: self.load.causes(),
        };
        self.store.put_relay(self.heart.relay(), &record).await?;
        self.keep_house().await
    }

    /// Asks how those fare who come after the relays, and tells history how this one does.
    async fn attend_to_load(&self) {
        if !self.load.is_on() {
            return;
        }
        let (outbox, feedback) =
            tokio::join!(self.store.outbox_fullness(), self.store.feedback_waiting());
        self.load.heard_backlog(outbox.ok().zip(feedback.ok()));
        let news = self.load.take_news().into_iter();
        let events: Vec<Event> = news.map(|note| self.pace_event(None, note)).collect();
        self.tell_pace_events(&events).await;
    }

    /// What is nobody's in particular: each second one shard's sparse batches are packed
    /// anew, and now and then what older relays could not read is put back.
    async fn keep_house(&self) -> Result<(), store::StoreError> {
        let beat = self.beats.fetch_add(1, Ordering::Relaxed);
        let shards = u32::from(self.store.shards());
        for _ in 0..REPACK_ROUNDS {
            if self.store.repack(ShardId((beat % shards) as u16)).await? == 0 {
                break;
            }
        }
        if beat.is_multiple_of(POOLS_BEATS) {
            self.learn_pools().await;
        }
        if beat.is_multiple_of(RESTORE_BEATS) {
            self.forget_missing();
            crate::opening::restore_readable(self).await?;
        }
        Ok(())
    }

    /// Returned mail weighs in: what it says of the pace goes to the sites that it came from, as
    /// far as this relay sends there; what it says of a sender, a campaign or a link to the holds.
    async fn take_feedback(self: &Arc<Self>) -> Result<(), store::StoreError> {
        let feedback = self.store.take_feedback(FEEDBACK_MAX).await?;
        let (of_holds, of_pace): (Vec<_>, Vec<_>) = feedback.into_iter().partition(is_of_holds);
        if !of_holds.is_empty() {
            let relay = self.clone();
            self.tasks.spawn(async move { relay.heard_late(of_holds).await });
        }
        for feedback in of_pace {
            let Ok(domain) = feedback.domain.parse() else { continue };
            let Some(destination) = self.known_exchangers(&domain) else { continue };
            for (key, site) in self.lock_sites().iter() {
                if key.site == destination.site {
                    site.heard_later(feedback.category);
                }
            }
        }
        Ok(())
    }
}

/// Whether a report speaks of what holds are about.
fn is_of_holds(feedback: &Feedback) -> bool {
    matches!(feedback.signal, Some(Signal::SenderDomain | Signal::LinkDomain | Signal::Content))
}
