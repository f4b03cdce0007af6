//! Messages kept as they came, for whoever wants to look at them or send them again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its return path.
    pub from: String,
    /// What MAIL said besides.
    pub parameters: String,
    /// Its recipient.
    pub to: String,
    /// What came between DATA and the final dot, dots doubled as they were on the wire; or after
    /// BDAT, where none are.
    pub wire: Vec<u8>,
}

/// The first ones, as many as are wanted.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    room: AtomicUsize,
    kept: Mutex<Vec<Kept>>,
}

impl Keeper {
    pub(super) fn want(&self, messages: usize) {
        self.room.store(messages, Ordering::Relaxed);
    }

    /// Keeps one while there is room; it costs nothing where none is wanted.
    pub(super) fn see(&self, message: impl FnOnce() -> Kept) {
        let less = |room: usize| room.checked_sub(1);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(message());
        }
    }

    pub(super) fn take(&self) -> Vec<Kept> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
