//! The accounts, compared: the queue's counters with the sums of the events that the
//! queue wrote, at the same place of the outbox, campaign by campaign.

use std::collections::{BTreeMap, HashMap};

use mail::queue::Counters;
use mail::{CampaignId, ShardId};
use serde::Serialize;
use store::{Position, ShardAccounts, Store};

use crate::Ledger;
use crate::error::LedgerError;
use crate::month::Month;
use crate::sums::{book, difference, with_waiting};
use crate::writer::{Book, read_books};

/// A busy ledger may pass the place in question while it is looked at: then again.
const TRIES: usize = 20;
/// Frames between history and the counters that are worth reading for a comparison.
const FRAMES_BETWEEN_MAX: usize = 4_000;
const FRAMES_A_READ: usize = 200;

/// A campaign's accounts, kept twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CampaignBalance {
    /// As the queue counts.
    pub queue: Counters,
    /// As the events add up; `waiting` is what they leave over.
    pub events: Counters,
    /// Recipients by which the two differ, and by which the queue's own equation is off.
    pub imbalance: u64,
}

/// All accounts, compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Balance {
    /// Per campaign, over all shards that could be compared.
    pub campaigns: BTreeMap<CampaignId, CampaignBalance>,
    /// The sum of all differences; 0 when everything is accounted for.
    pub imbalance: u64,
    /// Shards that could not be compared: history is too far behind, or a frame waits for
    /// a newer program.
    pub uncompared: Vec<ShardId>,
}

impl Ledger {
    /// Compares the accounts of queue and history. Exact at any time, whether the ledger
    /// runs in this process, in another one, or not at all.
    ///
    /// # Errors
    /// When the queue does not answer or the history does not read.
    pub async fn balance(&self, store: &Store) -> Result<Balance, LedgerError> {
        compare(store, || self.books()).await
    }

    pub(crate) fn books(&self) -> Result<HashMap<ShardId, Book>, LedgerError> {
        let mut books = HashMap::new();
        for month in Month::list(self.folder())? {
            match read_books(&self.path(month), month, &mut books) {
                Err(e) if e.is_damage() => tracing::warn!("left out: {e}"),
                other => other?,
            }
        }
        Ok(books)
    }
}

pub(crate) async fn compare(
    store: &Store,
    books: impl Fn() -> Result<HashMap<ShardId, Book>, LedgerError>,
) -> Result<Balance, LedgerError> {
    let mut balance = Balance::default();
    let mut shards: Vec<ShardId> = store.all_shards().collect();
    for _ in 0..TRIES {
        let mut counted = Vec::new();
        for shard in shards.drain(..) {
            counted.push((shard, store.accounts(shard).await?));
        }
        // The counters first: history can then only be behind, unless it moved meanwhile.
        let mut known = books()?;
        let mut caught_up = Vec::new();
        for (shard, accounts) in counted {
            let book = known.remove(&shard).unwrap_or_default();
            let from = book.position;
            match catch_up(store, shard, book, accounts.position).await? {
                CaughtUp::There(sums) => caught_up.push((shard, accounts, from, sums)),
                CaughtUp::Passed => shards.push(shard),
                CaughtUp::TooFar => balance.uncompared.push(shard),
            }
        }
        // Where history moved on meanwhile, frames may have been trimmed under our eyes.
        let now = books()?;
        for (shard, accounts, from, sums) in caught_up {
            if now.get(&shard).map_or_else(Position::default, |b| b.position) == from {
                balance.add(&accounts, &sums);
            } else {
                shards.push(shard);
            }
        }
        if shards.is_empty() {
            break;
        }
    }
    balance.uncompared.extend(shards);
    Ok(balance)
}

enum CaughtUp {
    There(HashMap<CampaignId, Counters>),
    Passed,
    TooFar,
}

/// The sums of a shard's events up to exactly `upto`: what history has, and the frames
/// from there on.
async fn catch_up(
    store: &Store,
    shard: ShardId,
    known: Book,
    upto: Position,
) -> Result<CaughtUp, LedgerError> {
    let (mut position, mut sums) = (known.position, known.accounts);
    let mut read = 0;
    while position < upto {
        let frames = store.outbox_frames(shard, position, FRAMES_A_READ).await?;
        read += frames.len();
        if read > FRAMES_BETWEEN_MAX {
            return Ok(CaughtUp::TooFar);
        }
        // Trimmed under our eyes: history has it by now.
        if frames.first().is_none_or(|f| f.position > upto) {
            return Ok(CaughtUp::Passed);
        }
        for frame in frames.into_iter().take_while(|f| f.position <= upto) {
            position = frame.position;
            let Ok(events) = frame.events else { continue };
            for settled in &events {
                if let Some(campaign) = settled.event.campaign {
                    book(sums.entry(campaign).or_default(), &settled.event, settled.judgement);
                }
            }
        }
    }
    Ok(if position == upto { CaughtUp::There(sums) } else { CaughtUp::Passed })
}

impl Balance {
    fn add(&mut self, queue: &ShardAccounts, events: &HashMap<CampaignId, Counters>) {
        let nothing = Counters::default();
        let also = events.keys().filter(|c| !queue.campaigns.contains_key(c));
        for id in queue.campaigns.keys().chain(also) {
            let counted = queue.campaigns.get(id).unwrap_or(&nothing);
            let summed = with_waiting(*events.get(id).unwrap_or(&nothing));
            let off = difference(counted, &summed) + counted.imbalance();
            let campaign = self.campaigns.entry(*id).or_default();
            campaign.queue = campaign.queue.plus(counted);
            campaign.events = campaign.events.plus(&summed);
            campaign.imbalance += off;
            self.imbalance += off;
        }
    }
}
