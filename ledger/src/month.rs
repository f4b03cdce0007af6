//! Months: which file a moment belongs to, and which files there are.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use mail::Timestamp;

use crate::error::LedgerError;

/// A month, UTC. Ordered as time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Month(u32);

impl Month {
    pub(crate) fn of(at: Timestamp) -> Self {
        let civil = at.civil();
        Self(u32::try_from(civil.year * 12 + civil.month - 1).unwrap_or(u32::MAX))
    }

    pub(crate) fn file_name(self) -> String {
        format!("{self}.db")
    }

    /// The month after.
    pub(crate) fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// So many months before.
    pub(crate) fn before(self, months: u32) -> Self {
        Self(self.0.saturating_sub(months))
    }

    /// The months in a folder, oldest first.
    pub(crate) fn list(folder: &Path) -> Result<Vec<Self>, LedgerError> {
        let wrong = |e| LedgerError::folder(folder, e);
        let mut months = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name();
            let month = name.to_str().and_then(|n| n.strip_suffix(".db"));
            months.extend(month.and_then(|m| m.parse::<Self>().ok()));
        }
        months.sort_unstable();
        Ok(months)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0 / 12, self.0 % 12 + 1)
    }
}

impl FromStr for Month {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let parse = || {
            let (year, month) = text.split_once('-')?;
            let whole = year.len() == 4 && month.len() == 2;
            let (year, month): (u32, u32) = (year.parse().ok()?, month.parse().ok()?);
            (whole && (1..=12).contains(&month)).then(|| Self(year * 12 + month - 1))
        };
        parse().ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_reads_back_what_it_prints() {
        let november = Month::of(Timestamp(1_795_000_000_000));
        assert_eq!(november.to_string(), "2026-11");
        assert_eq!("2026-11".parse(), Ok(november));
        assert_eq!(november.before(11).to_string(), "2025-12");
        for wrong in ["2026-13", "2026-00", "26-11", "2026-1", "ledger", "+026-11x"] {
            assert!(wrong.parse::<Month>().is_err(), "{wrong:?}");
        }
    }
}
