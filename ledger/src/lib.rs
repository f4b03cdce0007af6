//! History: the event stream into SQLite, and what can be asked of it. Nothing here
//! decides anything about mail; what happened was decided elsewhere and is only told.
//!
//! **Files.** One SQLite file per month of the queue's clock (`2026-11.db`), complete in
//! itself: events, the words and addresses that they speak of, sums, and how far each
//! shard had been read. A frame of events belongs to the month of its position, so it
//! lies in one file with the position that says so, in one transaction: reading it again
//! changes nothing. Retention deletes whole files; a damaged one is set aside and the
//! rest serves; an address is one row of each.

mod backup;
mod balance;
mod campaigns;
mod chain;
mod config;
mod dictionary;
mod entry;
mod error;
mod month;
mod paces;
mod questions;
mod run;
mod schema;
mod service;
mod speed;
mod stats;
mod story;
mod sums;
mod trace;
mod wish;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use backup::MonthsToCopy;
pub use balance::{Balance, CampaignBalance};
pub use campaigns::Facts;
pub use config::Config;
pub use entry::{Cursor, Entry};
pub use error::LedgerError;
pub use paces::PaceChange;
pub use questions::{Questions, Unanswered};
pub use speed::{SPEED_BOUNDS_S, Speeds};
pub use stats::{GroupBy, Measures, Sort, StatsAnswer, StatsQuestion, StatsRow};
pub use story::{Chapter, Story, render_story};
pub use sums::Tally;
pub use trace::{CampaignSummary, TraceFilter, TracePage};
pub use wish::{BadWish, StatsWish, TraceWish};
pub use writer::{ShardFrames, Stored, Writer};

/// How [`Ledger::run`] fares.
#[derive(Debug, Default)]
struct Pulse {
    imbalance: Option<u64>,
    stalled: Option<String>,
}

/// The history of one platform. Any number of processes may ask, one may [`run`](Self::run).
///
/// Questions are answered from disk in the caller's thread: in async code they belong
/// on a blocking one.
#[derive(Debug, Clone)]
pub struct Ledger {
    config: Config,
    pulse: Arc<Mutex<Pulse>>,
}

impl Ledger {
    /// The history in the configuration's folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder can be neither made nor read.
    pub fn open(config: &Config) -> Result<Self, LedgerError> {
        config.check()?;
        let folder = &config.folder;
        std::fs::create_dir_all(folder).map_err(|e| LedgerError::folder(folder, e))?;
        Ok(Self::of(config))
    }

    /// The history in the configuration's folder, if there is one: whoever only asks makes none.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn existing(config: &Config) -> Result<Option<Self>, LedgerError> {
        config.check()?;
        Ok(config.folder.is_dir().then(|| Self::of(config)))
    }

    fn of(config: &Config) -> Self {
        Self { config: config.clone(), pulse: Arc::default() }
    }

    /// By how many recipients queue and history disagreed when [`run`](Self::run) last compared them;
    /// `None` where it does not run on this handle, or could not compare all of them.
    #[must_use]
    pub fn imbalance(&self) -> Option<u64> {
        self.pulse().imbalance
    }

    /// Why nothing is written into history at the moment, as [`run`](Self::run) met it; `None` where all
    /// is well, or it does not run on this handle.
    #[must_use]
    pub fn stalled(&self) -> Option<String> {
        self.pulse().stalled.clone()
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever writes it; there is one at a time.
    ///
    /// # Errors
    /// When another process writes it, a newer program made it, or the folder cannot be used.
    pub fn writer(&self) -> Result<Writer, LedgerError> {
        Writer::open(&self.config)
    }

    /// The folder that holds the history.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.config.folder
    }

    fn path(&self, month: month::Month) -> PathBuf {
        self.config.folder.join(month.file_name())
    }
}
