//! The workers of a site: each sends one recipient after the other while the pace lets them go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deadpool::managed::Object;

use super::{IDLE_WAIT, SiteLane};
use crate::connector::Connector;
use crate::delivery;
use crate::job::Job;
use crate::relay::Relay;

/// One of those who send; counted as long as it lives, however it ends.
struct Worker(Arc<SiteLane>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.workers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SiteLane {
    pub(super) fn employ(self: &Arc<Self>, relay: &Arc<Relay>) {
        // While nobody answers nobody tries, unless a session is open all the same.
        if self.rests_until(relay.now()).is_some() && self.sessions.status().size == 0 {
            return;
        }
        let allowed = self.pace.connections();
        while self.waiting() > 0 && self.workers.load(Ordering::Relaxed) < allowed {
            self.workers.fetch_add(1, Ordering::Relaxed);
            let (site, relay_too) = (self.clone(), relay.clone());
            relay.tasks.spawn(async move {
                let worker = Worker(site);
                worker.0.work(&relay_too).await;
            });
            // As many as there are recipients is enough.
            if self.workers.load(Ordering::Relaxed) as usize >= self.waiting() {
                break;
            }
        }
    }

    async fn work(self: &Arc<Self>, relay: &Arc<Relay>) {
        let mut message = message::Message::with_capacity(16 * 1024);
        while !relay.stopping.is_cancelled() {
            if self.workers.load(Ordering::Relaxed) > self.pace.connections() {
                return;
            }
            let Some(job) = self.next(relay).await else { return };
            delivery::attempt(relay, self, job, &mut message).await;
            // Its files are others' too, and may have to make room.
            message.clear();
        }
    }

    /// The next recipient, chosen when it may go and not before: until then somebody more
    /// urgent may come. None when nobody waits.
    async fn next(&self, relay: &Relay) -> Option<Job> {
        let epoch = loop {
            if self.waiting() == 0 {
                return None;
            }
            let epoch = self.pace.epoch();
            if self.pace.try_granted() {
                break epoch;
            }
            if !self.starving.swap(true, Ordering::Relaxed) {
                self.wake.notify_one();
            }
            tokio::select! {
                () = self.pace.granted() => break self.pace.epoch(),
                // Whoever waited may have been taken by another worker.
                () = tokio::time::sleep(IDLE_WAIT) => {}
                () = relay.stopping.cancelled() => return None,
            }
        };
        tokio::select! {
            () = self.pace.spread() => {}
            () = relay.stopping.cancelled() => return None,
        }
        let Some(mut job) = self.lock().pop() else {
            self.pace.give_back();
            return None;
        };
        job.epoch = epoch;
        Some(job)
    }

    /// Closes sessions that nobody has used for `idle`, politely.
    pub(super) fn close_idle(&self, idle: Duration) {
        let allowed = self.pace.connections() as usize;
        let mut kept = 0;
        let removed = self.sessions.retain(|_, metrics| {
            kept += 1;
            metrics.last_used() < idle && kept <= allowed
        });
        for wire in removed.removed {
            tokio::spawn(wire.session.quit());
        }
    }

    /// Ends a session that has carried enough.
    pub(crate) fn close(wire: Object<Connector>) {
        tokio::spawn(Object::take(wire).session.quit());
    }
}
