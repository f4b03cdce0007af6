//! Which sources rest at which sites because these block them, for whoever asks.

use futures_util::{StreamExt, TryStreamExt, stream};
use mail::{Site, Timestamp};
use store::{Store, StoreError};

use crate::pace;

/// Records that are read at the same time: half of the store's connections.
const READ_TOGETHER: usize = 8;

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
    let paces = stream::iter(store.paces().await?);
    let read = paces.map(async |(source, site)| read(store, source, site).await);
    read.buffered(READ_TOGETHER).try_filter_map(async |rest| Ok(rest)).try_collect().await
}

async fn read(store: &Store, source: String, site: Site) -> Result<Option<Rest>, StoreError> {
    let record = store.pace(&source, &site).await?;
    let Some(pace) = pace::decode(&record.state) else { return Ok(None) };
    let (since, until) = (pace.hold_since(), pace.hold_until());
    Ok(until.map(|until| Rest { source, site, since, until }))
}
