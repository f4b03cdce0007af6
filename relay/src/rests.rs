//! Which sources rest at which sites because these block them, for whoever asks.

use mail::{Site, Timestamp};
use store::{Store, StoreError};

use crate::insight::{Insight, insights};

/// A source that a site blocks. Only probes go from it there, until one of them passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// The source.
    pub source: String,
    /// The site.
    pub site: Site,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// When probes become more frequent.
    pub until: Timestamp,
}

/// Every source that rests anywhere, ordered by source and site.
///
/// # Errors
/// When the store does not answer.
pub async fn rests(store: &Store) -> Result<Vec<Rest>, StoreError> {
    let rest = |known: Insight| {
        let (source, site, since) = (known.source, known.site, known.pace.hold_since());
        known.pace.hold_until().map(|until| Rest { source, site, since, until })
    };
    Ok(insights(store).await?.into_iter().filter_map(rest).collect())
}
