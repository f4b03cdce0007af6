//! What can go wrong with returned mail. Bad input is no error: it gets a reply.

use std::path::PathBuf;
use std::sync::Arc;

use store::StoreError;

/// Our own trouble.
#[derive(Debug, thiserror::Error)]
pub enum BounceError {
    /// A setting is out of range.
    #[error("{0}")]
    Setting(String),
    /// The port cannot be had.
    #[error("{setting}: cannot listen on {address}: {source}")]
    Listen {
        /// The setting that names it.
        setting: &'static str,
        /// Where.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The mailbox cannot be used.
    #[error("bounces.mailbox {folder:?}: {source}")]
    Mailbox {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The mailbox holds as much as it may.
    #[error("bounces.mailbox {folder:?} holds {bytes} octets, its limit: read and empty it")]
    MailboxFull {
        /// The folder.
        folder: PathBuf,
        /// What it holds.
        bytes: u64,
    },
    /// A task ended in a panic.
    #[error("a defect in the program: {0}")]
    Defect(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same, to several mails at once.
    #[error(transparent)]
    Books(Arc<StoreError>),
}
