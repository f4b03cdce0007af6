//! An open session, and the places for what it has sent and not settled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::demand::HostTls;
use crate::smtp::Session;

/// An open session and the places for what it has sent and not settled.
pub(crate) struct Wire {
    pub(crate) session: Session,
    /// The exchanger's name.
    pub(crate) host: String,
    /// Name and address, as events tell it.
    pub(crate) mx: String,
    /// How it was secured.
    pub(crate) tls: HostTls,
    pub(super) unsettled: Arc<Semaphore>,
    pub(super) open: Arc<OwnedSemaphorePermit>,
}

/// The place of one unsettled message. The connection counts as open until the last of
/// its messages is settled, closed or not: so connections times places is what a kill can double.
#[derive(Debug)]
pub(crate) struct Place {
    _unsettled: OwnedSemaphorePermit,
    _open: Arc<OwnedSemaphorePermit>,
}

impl Wire {
    /// Waits until another message may be unsettled.
    pub(crate) async fn place(&self) -> Option<Place> {
        let unsettled = self.unsettled.clone().acquire_owned().await.ok()?;
        Some(Place { _unsettled: unsettled, _open: self.open.clone() })
    }
}
