//! Writing history: frames of events into their months' files, each frame in one
//! transaction with the position that it leaves its shard at.

mod books;
mod page;
mod recipients;
mod rollup;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use mail::{CampaignId, ShardId, Timestamp};
use rusqlite::Connection;
use store::{OutboxFrame, Position};

pub(crate) use books::{Book, read_books};

use crate::campaigns::Facts;
use crate::config::Config;
use crate::dictionary::Dictionary;
use crate::error::LedgerError;
use crate::month::Month;
use crate::{Ledger, schema};
use page::Page;
use rollup::Busy;

/// Files held open: this month's, and last month's, which shards that are behind still write to.
const OPEN_MAX: usize = 2;

/// Campaigns remembered; past it each is asked for once more. Some ten megabytes.
const CAMPAIGNS_MAX: usize = 100_000;

/// Frames of one shard, in order.
#[derive(Debug)]
pub struct ShardFrames {
    /// Which.
    pub shard: ShardId,
    /// What it told since it was last read.
    pub frames: Vec<OutboxFrame>,
}

struct MonthFile {
    path: PathBuf,
    conn: Connection,
    dictionary: Dictionary,
    busy: Busy,
    /// The file of the month before.
    earlier: PathBuf,
    /// Campaigns whose facts it has.
    named: HashSet<CampaignId>,
}

/// What was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Events.
    pub events: u64,
    /// Frames that nobody could read.
    pub set_aside: u64,
}

/// The one who may write. Holds the folder's lock for as long as it lives.
pub struct Writer {
    config: Config,
    files: HashMap<Month, MonthFile>,
    books: HashMap<ShardId, Book>,
    /// Whose campaigns are, as far as it was told.
    campaigns: HashMap<CampaignId, Facts>,
    _lock: File,
}

impl Writer {
    /// Takes the folder, sets damaged files aside, and reads how far every shard had come.
    pub(crate) fn open(config: &Config) -> Result<Self, LedgerError> {
        let lock = lock(&config.folder)?;
        let mut writer = Self {
            config: config.clone(),
            files: HashMap::new(),
            books: HashMap::new(),
            campaigns: HashMap::new(),
            _lock: lock,
        };
        for month in Month::list(&config.folder)? {
            let path = writer.path(month);
            match read_books(&path, month, &mut writer.books) {
                Err(e) if e.is_damage() => set_file_aside(&path, &e)?,
                other => other?,
            }
        }
        Ok(writer)
    }

    /// Whether it knows whose a campaign is.
    pub(crate) fn knows(&self, campaign: CampaignId) -> bool {
        self.campaigns.contains_key(&campaign)
    }

    /// Whose a campaign is: kept in every month that has events of it.
    pub fn learn(&mut self, campaign: CampaignId, facts: Facts) {
        if self.campaigns.len() >= CAMPAIGNS_MAX {
            self.campaigns.clear();
        }
        self.campaigns.insert(campaign, facts);
    }

    fn path(&self, month: Month) -> PathBuf {
        Ledger::of(&self.config).path(month)
    }

    pub(crate) fn position(&self, shard: ShardId) -> Position {
        self.books.get(&shard).map_or_else(Position::default, |b| b.position)
    }

    /// Frames from here on are new again, although later ones were stored once.
    pub(crate) fn go_back(&mut self, shard: ShardId, to: Position) {
        if let Some(book) = self.books.get_mut(&shard) {
            book.position = to;
        }
    }

    pub(crate) fn books(&self) -> &HashMap<ShardId, Book> {
        &self.books
    }

    /// Stores frames; all of a month's or none of them. What a failure leaves undone is
    /// done by the same call again.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&mut self, parts: &[ShardFrames]) -> Result<Stored, LedgerError> {
        let mut months: BTreeMap<Month, Vec<(ShardId, &OutboxFrame)>> = BTreeMap::new();
        for part in parts {
            let known = self.position(part.shard);
            for frame in part.frames.iter().filter(|f| f.position > known) {
                let month = Month::of(Timestamp(frame.position.millis()));
                months.entry(month).or_default().push((part.shard, frame));
            }
        }
        let mut stored = Stored::default();
        for (month, frames) in months {
            let part = self.write_month(month, &frames)?;
            stored.events += part.events;
            stored.set_aside += part.set_aside;
        }
        Ok(stored)
    }

    fn write_month(
        &mut self,
        month: Month,
        frames: &[(ShardId, &OutboxFrame)],
    ) -> Result<Stored, LedgerError> {
        self.open_month(month)?;
        let Some(file) = self.files.get_mut(&month) else { return Ok(Stored::default()) };
        let path = file.path.clone();
        let wrong = LedgerError::file(&path);
        let tx = file.conn.transaction().map_err(&wrong)?;
        let memory = (&mut file.dictionary, &mut file.busy);
        let months = (month, file.earlier.as_path());
        let result = Page::draft(&tx, memory, &self.books, months, frames)
            .and_then(|page| page.name(&tx, &mut file.named, &self.campaigns).map(|()| page))
            .and_then(|page| tx.commit().map(|()| page));
        match result {
            Ok(page) => {
                page.turn(&mut self.books, month);
                Ok(page.stored)
            }
            Err(e) => {
                file.dictionary.clear();
                file.named.clear();
                let e = wrong(e);
                if e.is_damage() {
                    self.give_up(month, &e)?;
                }
                Err(e)
            }
        }
    }

    /// A file that turned out to be damaged: the next write begins a new one, and brings
    /// along what the books know.
    fn give_up(&mut self, month: Month, why: &LedgerError) -> Result<(), LedgerError> {
        if let Some(file) = self.files.remove(&month) {
            drop(file.conn);
            set_file_aside(&file.path, why)?;
        }
        for book in self.books.values_mut().filter(|b| b.home == Some(month)) {
            book.home = None;
        }
        Ok(())
    }

    fn open_month(&mut self, month: Month) -> Result<(), LedgerError> {
        if self.files.contains_key(&month) {
            return Ok(());
        }
        let path = self.path(month);
        let is_new = !path.exists();
        let conn = schema::writable(&path)?;
        while self.files.len() >= OPEN_MAX {
            let oldest = self.files.keys().min().copied();
            oldest.and_then(|m| self.files.remove(&m));
        }
        let (dictionary, busy) = (Dictionary::default(), Busy::default());
        let (earlier, named) = (self.path(month.before(1)), HashSet::new());
        self.files.insert(month, MonthFile { path, conn, dictionary, busy, earlier, named });
        if is_new {
            self.retire(month);
        }
        Ok(())
    }

    /// Deletes the months that are too old, and no longer the home of a shard's books.
    fn retire(&self, newest: Month) {
        if self.config.keep_months == 0 {
            return;
        }
        let oldest_kept = newest.before(self.config.keep_months - 1);
        let is_home = |month: &Month| self.books.values().any(|b| b.home == Some(*month));
        let listed = Month::list(&self.config.folder).unwrap_or_default();
        for month in listed.into_iter().filter(|m| *m < oldest_kept && !is_home(m)) {
            let path = self.path(month);
            for suffix in ["-wal", "-shm", ""] {
                let name = beside(&path, suffix);
                match std::fs::remove_file(&name) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        tracing::error!(file = ?name, "an old month cannot be deleted: {e}");
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            tracing::info!(%month, "a month of history is past its keeping and was deleted");
        }
    }
}

pub(crate) fn lock(folder: &Path) -> Result<File, LedgerError> {
    let open = File::create(folder.join("ledger.lock"));
    let file = open.map_err(|e| LedgerError::folder(folder, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LedgerError::Busy(folder.to_owned())),
        Err(std::fs::TryLockError::Error(e)) => Err(LedgerError::folder(folder, e)),
    }
}

/// A damaged file is kept beside the others under another name, and a new one begun. Its
/// journal goes along: SQLite would write it into the new one.
fn set_file_aside(path: &Path, why: &LedgerError) -> Result<(), LedgerError> {
    let mut aside = path.to_owned();
    let mut n = 1;
    while aside.exists() {
        aside = path.with_extension(format!("damaged-{n}"));
        n += 1;
    }
    for suffix in ["-shm", "-wal", ""] {
        match std::fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(|e| LedgerError::folder(path, e))?,
        }
    }
    metrics::counter!("malleposte_ledger_files_set_aside_total").increment(1);
    tracing::error!(kept = ?aside, "a month of history does not read and was set aside: {why}");
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}
