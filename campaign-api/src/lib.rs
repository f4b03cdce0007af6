//! Campaigns in over HTTP: definitions, recipients, the verbs of a campaign's life,
//! suppressions, unsubscribe links. `intake` tells a recipient's trip. What is absent:
//! sending, and any opinion about pace; services meet in the store only.

mod attachments;
mod auth;
mod body;
mod clock;
mod closing;
mod config;
mod connections;
mod definition;
mod gate;
mod housekeeping;
pub mod intake;
mod lifecycle;
mod problem;
mod proof;
mod request_id;
mod routes;
mod server;
mod staging;
mod view;

use std::sync::Arc;

use mail::verp::ReturnPathKeys;
use store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::Config;
pub use lifecycle::{cancel, pause, possible, resume};
pub use proof::{TxtError, TxtRecords};
pub use server::{Api, ServeError, serve};

use closing::Closings;
use staging::Staging;

/// What the API works with.
pub struct Parts {
    /// The queue and everything kept beside it.
    pub store: Store,
    /// Looks up the DNS records of sender domains.
    pub txt: Arc<dyn TxtRecords>,
    /// The keys that unsubscribe links are signed with; the relays have the same.
    pub links: ReturnPathKeys,
    /// History, if it is on this host.
    pub history: ledger::Questions,
    /// Folder for uploads that are not accepted yet. Whoever takes it over goes on with them;
    /// two API processes must not share one.
    pub staging: std::path::PathBuf,
    /// Pages that are served beside it: the console.
    pub beside: Option<axum::Router>,
}

/// What every request and task shares.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) txt: Arc<dyn TxtRecords>,
    pub(crate) links: ReturnPathKeys,
    pub(crate) history: ledger::Questions,
    pub(crate) staging: Staging,
    pub(crate) closings: Closings,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// The state of the router.
pub(crate) type App = Arc<Shared>;
