//! What can go wrong with the history.

use std::path::{Path, PathBuf};

use store::StoreError;

/// Our own trouble with the history.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A setting is out of range.
    #[error("{0}")]
    Setting(String),
    /// The folder cannot be used.
    #[error("ledger folder {folder:?}: {source}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process writes this history.
    #[error("ledger folder {0:?} is written by another process; one ledger a platform")]
    Busy(PathBuf),
    /// A file does not read or cannot be written.
    #[error("ledger file {file:?}: {source}")]
    File {
        /// Which.
        file: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// A file of a program newer than this one.
    #[error("ledger file {file:?} is of version {version}, newer than this program: upgrade it")]
    Newer {
        /// Which.
        file: PathBuf,
        /// Its version.
        version: i64,
    },
    /// The queue does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A cursor that no answer of ours contained.
    #[error("{0:?} is not a cursor of this history: leave it out to begin at the newest")]
    Cursor(String),
    /// A task of the ledger ended in a panic.
    #[error("a defect in the program: {0}")]
    Defect(String),
}

impl LedgerError {
    pub(crate) fn folder(folder: &Path, source: std::io::Error) -> Self {
        Self::Folder { folder: folder.to_owned(), source }
    }

    pub(crate) fn file(file: &Path) -> impl Fn(rusqlite::Error) -> Self + '_ {
        |source| Self::File { file: file.to_owned(), source }
    }

    /// Whether a file is damaged, rather than the disk full or the program at fault.
    pub(crate) fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let Self::File { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
    }
}
