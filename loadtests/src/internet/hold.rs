//! The gate between the final dot and the reply. While it is shut, connections that
//! have delivered a whole body wait there, so that a relay can be killed at the worst
//! moment on purpose.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// What is held, and for how long at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Only connections from this address; `None` holds all.
    pub client: Option<IpAddr>,
    /// No reply is held longer than this, released or not.
    pub longest: Duration,
}

/// A connection that waits for the reply to its final dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The client's end: tells whose connection it is.
    pub peer: SocketAddr,
    /// The server's end.
    pub local: SocketAddr,
    /// The provider's name in the counters.
    pub provider: String,
    /// The recipients of the message.
    pub recipients: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Gate {
    hold: watch::Sender<Option<Hold>>,
    held: Mutex<BTreeMap<u64, Held>>,
    count: watch::Sender<usize>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            hold: watch::Sender::new(None),
            held: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    pub(super) fn shut(&self, hold: Hold) {
        self.hold.send_replace(Some(hold));
    }

    pub(super) fn open(&self) {
        self.hold.send_replace(None);
    }

    pub(super) fn held(&self) -> Vec<Held> {
        self.lock().values().cloned().collect()
    }

    /// Waits until `n` connections are held, or the time is up. Returns those that are.
    pub(super) async fn wait_held(&self, n: usize, patience: Duration) -> Vec<Held> {
        let mut count = self.count.subscribe();
        let enough = count.wait_for(|held| *held >= n);
        let _in_time = tokio::time::timeout(patience, enough).await.is_ok();
        self.held()
    }

    /// Whether a connection from this address has to wait now.
    pub(super) fn holds(&self, client: IpAddr) -> Option<Hold> {
        self.hold.borrow().filter(|hold| hold.client.is_none_or(|c| c == client))
    }

    /// Writes a connection into the list of those that wait, until the guard is dropped.
    pub(super) fn enter(&self, serial: u64, held: Held) -> Waiting<'_> {
        let count = {
            let mut all = self.lock();
            all.insert(serial, held);
            all.len()
        };
        self.count.send_replace(count);
        Waiting { gate: self, serial, until: None }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place at the gate.
pub(super) struct Waiting<'a> {
    gate: &'a Gate,
    serial: u64,
    until: Option<Instant>,
}

impl Waiting<'_> {
    /// Ends when the gate opens for this client or the longest time is over.
    pub(super) async fn released(&mut self, hold: Hold) {
        let until = *self.until.get_or_insert_with(|| Instant::now() + hold.longest);
        let mut gate = self.gate.hold.subscribe();
        let opened = gate.wait_for(|now| *now != Some(hold));
        let _in_time = timeout_at(until, opened).await.is_ok();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let count = {
            let mut all = self.gate.lock();
            all.remove(&self.serial);
            all.len()
        };
        self.gate.count.send_replace(count);
    }
}
