//! Copying a history out while it is written, and into an empty folder.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Ledger;
use crate::error::LedgerError;
use crate::month::Month;
use crate::schema;

impl Ledger {
    /// The months there are, newest first: the order in which they must be copied. A shard's
    /// position stands in the newest month that it has reached. Were an older month copied
    /// first, and events of it told afterwards, the newer copy could be ahead of them; this
    /// way round whatever a position speaks of is in a file that is copied later.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn months(&self) -> Result<Vec<String>, LedgerError> {
        let mut months = Month::list(&self.config.folder)?;
        months.reverse();
        Ok(months.into_iter().map(|m| m.to_string()).collect())
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
        crate::writer::lock(&self.config.folder)
    }

    /// Whether nothing is here yet.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn is_empty(&self) -> Result<bool, LedgerError> {
        Ok(Month::list(&self.config.folder)?.is_empty())
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
