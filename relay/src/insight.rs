//! Paces as operators see them, and what operators do to them: records read with what relays do there
//! now, a block lifted, a change undone. Relays hear of it within a second, as of one another's.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use mail::event::EventKind;
use mail::provider::{Provider, Providers};
use mail::quota::Ask;
use mail::throttle::{Binding, Change, Facts, Fixed, Limits, NotUndone, Pace, Signed};
use mail::{Event, ShardId, Site, Timestamp};
use store::{PaceNow, Store, StoreError};

use crate::config::{Config, Plans};
use crate::pace::record::{decode, put};
use crate::providers;

/// Records that are read at the same time: half of the store's connections.
const READ_TOGETHER: usize = 8;
/// Rounds against relays that write at the same time; each reads what was written before.
const ROUNDS_MAX: usize = 32;

/// What is known of a source at a site.
#[derive(Debug, Clone)]
pub struct Insight {
    /// The source.
    pub source: String,
    /// The site.
    pub site: Site,
    /// The pace that was found.
    pub pace: Pace,
    /// What relays do there now.
    pub now: PaceNow,
    /// Until when the ceiling of an hour or a day leaves nothing; known when it was looked at.
    pub full_until: Option<Timestamp>,
}

impl Insight {
    /// What keeps more from going, while this is fixed.
    #[must_use]
    pub fn binding(&self, fixed: &Fixed, at: Timestamp) -> Binding {
        let facts = Facts {
            hold_until: self.pace.hold_until(),
            full_until: self.full_until,
            waiting: self.now.waiting(),
            is_used_up: self.now.is_used_up(),
            connections_in_use: self.now.in_use(),
            connections: fixed.connections_of(&self.pace, at),
        };
        facts.binding()
    }
}

/// Looks whether the hour or the day is used up, by the ceilings of this configuration.
///
/// # Errors
/// When the store does not answer.
pub async fn look_at_ceilings(
    found: &mut [Insight],
    store: &Store,
    config: &Config,
    known: &Providers,
    at: Timestamp,
) -> Result<(), StoreError> {
    let plans = config
        .sources
        .iter()
        .filter_map(|source| Some((source.name.as_str(), Plans::of(config, source).ok()?)));
    let plans: HashMap<&str, Plans> = plans.collect();
    let look = async |insight: &mut Insight| {
        let (limits, provider) = limits_at(config, known, &insight.site);
        let provider = provider.map(|provider| provider.name.as_str());
        let plans = plans.get(insight.source.as_str());
        let follows = plans.and_then(|plans| plans.at(provider)).map(AsRef::as_ref);
        let ask = Ask { ceilings: limits.ceilings(), follows, ..Ask::default() };
        if ask.ceilings.are_any() || follows.is_some() {
            let group = provider.unwrap_or(insight.site.as_str());
            let quota = store.quota(&insight.source, group).await?;
            insight.full_until = quota.and_then(|quota| quota.full_until(at, &ask));
        }
        Ok(())
    };
    stream::iter(found).map(look).buffer_unordered(READ_TOGETHER).try_collect().await
}

/// Every source at every site that has a record, ordered by source and site.
///
/// # Errors
/// When the store does not answer.
pub async fn insights(store: &Store) -> Result<Vec<Insight>, StoreError> {
    insights_of(store, store.paces().await?).await
}

/// Those of these that have a record, in their order.
///
/// # Errors
/// When the store does not answer.
pub async fn insights_of(
    store: &Store,
    paces: Vec<(String, Site)>,
) -> Result<Vec<Insight>, StoreError> {
    let read = stream::iter(paces);
    let read = read.map(async |(source, site)| insight(store, &source, &site).await);
    read.buffered(READ_TOGETHER).try_filter_map(async |known| Ok(known)).try_collect().await
}

/// What is known of a site, of one source or of all.
///
/// # Errors
/// When the store does not answer.
pub async fn insights_at(
    store: &Store,
    site: &Site,
    source: Option<&str>,
) -> Result<Vec<Insight>, StoreError> {
    let is_asked =
        |(name, of): &(String, Site)| of == site && source.is_none_or(|source| source == name);
    insights_of(store, store.paces().await?.into_iter().filter(is_asked).collect()).await
}

/// What is known of a source at a site; `None` when there is no record, or none that reads.
///
/// # Errors
/// When the store does not answer.
pub async fn insight(
    store: &Store,
    source: &str,
    site: &Site,
) -> Result<Option<Insight>, StoreError> {
    let now = store.pace_now(source, site).await?;
    let pace = decode(&now.record.state);
    let (source, site) = (source.to_owned(), site.clone());
    Ok(pace.map(|pace| Insight { source, site, pace, now, full_until: None }))
}

/// The bounds of the pace at a site as this configuration and its providers have them, and the
/// provider whose site it is. The site's name tells its exchangers.
#[must_use]
pub fn limits_at<'a>(
    config: &Config,
    known: &'a Providers,
    site: &Site,
) -> (Limits, Option<&'a Provider>) {
    let provider = known.of_hosts(&site.hosts()).map(AsRef::as_ref);
    (providers::limits(config, site.as_str(), provider), provider)
}

/// What an operator does to a pace.
#[derive(Debug, Clone, Copy)]
pub enum Deed<'a> {
    /// Ends a block.
    Release,
    /// Puts a dimension back to what it was before a change.
    Undo(&'a Change),
}

/// Who does it, and why.
#[derive(Debug, Clone, Copy)]
pub struct Hand<'a> {
    /// Who.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// Why an operator's deed was not done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// There is no record to be changed.
    #[error("nothing is known of source {0:?} there")]
    Unknown(String),
    /// The record is of a newer program.
    #[error("its record was written by a newer program")]
    Newer,
    /// Nothing to release.
    #[error("the site does not block the source")]
    NotHeld,
    /// It cannot be undone.
    #[error(transparent)]
    NotUndone(#[from] NotUndone),
    /// Relays wrote faster all the time.
    #[error("relays change it all the time: try again")]
    Busy,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Does it, if nobody is faster, and tells of it; answers the changes.
///
/// # Errors
/// When it cannot be done, or the store does not answer.
pub async fn by_hand(
    store: &Store,
    (source, site): (&str, &Site),
    deed: Deed<'_>,
    limits: &Limits,
    hand: Hand<'_>,
    now: Timestamp,
) -> Result<Vec<Change>, NotDone> {
    for _ in 0..ROUNDS_MAX {
        let record = store.pace(source, site).await?;
        let unknown = || NotDone::Unknown(source.to_owned());
        let mut pace = decode(&record.state).ok_or_else(unknown)?;
        if pace.is_newer() {
            return Err(NotDone::Newer);
        }
        let changes = match deed {
            Deed::Release => pace.release(limits, now),
            Deed::Undo(change) => pace.undo(change, limits, now)?,
        };
        if changes.is_empty() {
            return Err(NotDone::NotHeld);
        }
        let put = put(store, (source, site), record.version, &pace, limits, now).await?;
        if put.is_some() {
            tell(store, source, site, &changes, hand, now).await?;
            return Ok(changes);
        }
    }
    Err(NotDone::Busy)
}

async fn tell(
    store: &Store,
    source: &str,
    site: &Site,
    changes: &[Change],
    hand: Hand<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let events: Vec<Event> = changes
        .iter()
        .map(|change| {
            let (by, reason) = (Some(hand.by.to_owned()), hand.reason.to_owned());
            let note = Signed { change: *change, by, reason }.to_string();
            let (source, site) = (source.to_owned(), site.as_str().to_owned());
            Event { source, site, note, ..Event::new(EventKind::PaceChanged, now) }
        })
        .collect();
    store.emit(ShardId::of_domain(site.as_str(), store.shards()), &events).await
}
