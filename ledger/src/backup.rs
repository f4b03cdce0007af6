//! Copying a history out while it is written, and into an empty folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Ledger;
use crate::error::LedgerError;
use crate::month::Month;
use crate::schema;

/// The months of a history, in the order in which they must be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthsToCopy {
    /// Those that are written to, newest first. A shard's position stands in the newest month
    /// that it has reached: were an older month copied first, and events of it stored
    /// afterwards, the newer copy could be ahead of them.
    pub written: Vec<String>,
    /// Those that nobody writes to any more; at any time.
    pub at_rest: Vec<String>,
}

impl Ledger {
    /// The months there are.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn months_to_copy(&self) -> Result<MonthsToCopy, LedgerError> {
        let months = Month::list(self.folder())?;
        let mut homes: BTreeSet<Month> = self.books()?.values().filter_map(|b| b.home).collect();
        homes.extend(months.last());
        let (written, at_rest): (Vec<Month>, Vec<Month>) =
            months.iter().rev().partition(|month| homes.contains(month));
        let names = |months: Vec<Month>| months.iter().map(ToString::to_string).collect();
        Ok(MonthsToCopy { written: names(written), at_rest: names(at_rest) })
    }

    /// Copies a month at one moment into a new file, while the ledger goes on writing. The
    /// copy has no journal and no gaps.
    ///
    /// # Errors
    /// When the month cannot be read or the copy cannot be written.
    pub fn copy_month(&self, month: &str, into: &Path) -> Result<(), LedgerError> {
        let file = self.month_file(month)?;
        let conn = schema::readable(&file)?;
        let target = into.to_string_lossy();
        conn.execute("VACUUM INTO ?1", [&*target]).map_err(LedgerError::file(&file))?;
        Ok(())
    }

    /// Keeps every ledger away from the folder for as long as the file lives.
    ///
    /// # Errors
    /// When one writes there.
    pub fn lock(&self) -> Result<File, LedgerError> {
        crate::writer::lock(self.folder())
    }

    /// Whether no month is here yet.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn is_empty(&self) -> Result<bool, LedgerError> {
        Ok(Month::list(self.folder())?.is_empty())
    }

    /// Where a copied month belongs.
    ///
    /// # Errors
    /// When that is no month.
    pub fn month_file(&self, month: &str) -> Result<PathBuf, LedgerError> {
        let parsed = month.parse::<Month>();
        let month = parsed.map_err(|()| LedgerError::Setting(format!("{month:?} is no month")))?;
        Ok(self.path(month))
    }
}
