//! What can go wrong with returned mail. Bad input is no error: it gets a reply.

use std::net::SocketAddr;
use std::path::PathBuf;

use store::StoreError;

/// Our own trouble.
#[derive(Debug, thiserror::Error)]
pub enum BounceError {
    /// A setting is out of range.
    #[error("{0}")]
    Setting(String),
    /// The port cannot be had.
    #[error("bounces.listen: cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
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
    /// The queue does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
