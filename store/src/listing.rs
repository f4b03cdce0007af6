//! Suppression lists as people work on them: orders about an address, and pages of a list. Who
//! else changes the address at the same time is seen by its history, which every change takes along.

use std::fmt;

use mail::event::EventKind;
use mail::{Event, ShardId, Timestamp};

use crate::Store;
use crate::campaigns::unpack;
use crate::error::StoreError;
use crate::suppression::{AddressChange, PLATFORM, Suppression, SuppressionRecord, VERSION};

/// Somebody else may change the same address at the same time; not for ever.
const ORDER_TRIES: usize = 5;

/// Where a page of a list ends and the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListPlace {
    shard: u16,
    at: u64,
}

impl fmt::Display for ListPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shard, self.at)
    }
}

/// What an order about an address in a list came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// It is as ordered.
    Done,
    /// It is suppressed for longer already, and stays so.
    Outlasted,
    /// It was to be lifted and is not on the list.
    Absent,
}

/// What is told of an address that is put on a list, or taken off it.
#[must_use]
pub fn listing_event(
    address: &str,
    is_put: bool,
    service: &str,
    note: String,
    at: Timestamp,
) -> Event {
    let kind = match is_put {
        true => EventKind::SuppressionAdded,
        false => EventKind::SuppressionRemoved,
    };
    Event {
        recipient: address.to_owned(),
        service: service.to_owned(),
        note,
        ..Event::new(kind, at)
    }
}

impl Store {
    /// Writes a suppression by order, or with `None` lifts it and forgets what was held against the
    /// address, whoever changes it at the same time; and tells.
    ///
    /// # Errors
    /// When Redis does not answer, or the address keeps changing.
    pub async fn change_listing(
        &self,
        list: &str,
        address: &str,
        record: Option<&SuppressionRecord>,
        events: &[Event],
    ) -> Result<(), StoreError> {
        for _ in 0..ORDER_TRIES {
            let history = self.address_history(Some(list), address).await?;
            if self.try_listing((list, address, &history), record, events).await? {
                return Ok(());
            }
        }
        Err(StoreError::Busy)
    }

    /// One try; `false`: the history is another one meanwhile.
    async fn try_listing(
        &self,
        (list, address, history): (&str, &str, &[u8]),
        record: Option<&SuppressionRecord>,
        events: &[Event],
    ) -> Result<bool, StoreError> {
        let change = AddressChange {
            tenant: Some(list),
            address,
            history_before: history,
            history_after: if record.is_some() { history } else { &[] },
            suppression: Some(record),
            events,
        };
        self.change_address(&change).await
    }

    /// Suppresses an address by order, or with `None` lifts it; what is suppressed for longer stays so.
    /// `service` and `note` say who ordered it.
    ///
    /// # Errors
    /// When Redis does not answer, or the address keeps changing.
    pub async fn list_by_order(
        &self,
        list: &str,
        address: &str,
        record: Option<&SuppressionRecord>,
        (service, note): (&str, String),
        now: Timestamp,
    ) -> Result<Listed, StoreError> {
        let event = [listing_event(address, record.is_some(), service, note, now)];
        for _ in 0..ORDER_TRIES {
            // The history first: what suppresses the address meanwhile changes it, and is seen.
            let history = self.address_history(Some(list), address).await?;
            match (self.listing(list, address).await?, record) {
                (Some(known), Some(record)) if known.outlasts(record) => {
                    return Ok(Listed::Outlasted);
                }
                (None, None) => return Ok(Listed::Absent),
                _ => {}
            }
            if self.try_listing((list, address, &history), record, &event).await? {
                return Ok(Listed::Done);
            }
        }
        Err(StoreError::Busy)
    }

    /// A place in a list, as it was given out; `None`: it was not given out here.
    #[must_use]
    pub fn list_place(&self, text: &str) -> Option<ListPlace> {
        let (shard, at) = text.split_once(':')?;
        let place = ListPlace { shard: shard.parse().ok()?, at: at.parse().ok()? };
        (place.shard < self.shards()).then_some(place)
    }

    /// A page of a list, shard after shard, from a place on: about as many as asked for, because Redis
    /// hands out whole slices; and where the next page begins.
    ///
    /// # Errors
    /// When Redis does not answer or a record does not read.
    pub async fn suppression_page(
        &self,
        list: &str,
        from: ListPlace,
        wanted: usize,
    ) -> Result<(Vec<Suppression>, Option<ListPlace>), StoreError> {
        let (mut place, mut rows) = (from, Vec::new());
        while rows.len() < wanted && place.shard < self.shards() {
            let shard = ShardId(place.shard);
            let (next, page) = self.suppressions(shard, Some(list), place.at).await?;
            rows.extend(page);
            place = match next {
                0 => ListPlace { shard: place.shard + 1, at: 0 },
                at => ListPlace { at, ..place },
            };
        }
        Ok((rows, (place.shard < self.shards()).then_some(place)))
    }

    /// A page of a tenant's suppressions in one shard; cursor 0 begins and ends.
    ///
    /// # Errors
    /// When Redis does not answer or a record does not read.
    pub async fn suppressions(
        &self,
        shard: ShardId,
        tenant: Option<&str>,
        cursor: u64,
    ) -> Result<(u64, Vec<Suppression>), StoreError> {
        let key = self.list_key(shard, "sup", tenant.unwrap_or(PLATFORM));
        let mut conn = self.conn_for(&key).await?;
        let (next, rows): (u64, Vec<(String, Vec<u8>)>) = redis::cmd("HSCAN")
            .arg(&key)
            .arg(cursor)
            .arg("COUNT")
            .arg(500)
            .query_async(&mut conn)
            .await?;
        let page = rows
            .into_iter()
            .map(|(address, packed)| {
                Ok(Suppression { address, record: unpack(VERSION, "a suppression", &packed)? })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok((next, page))
    }
}
