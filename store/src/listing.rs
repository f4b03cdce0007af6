//! Suppression lists as people work on them: orders about an address, and pages of a list.

use std::fmt;

use mail::event::EventKind;
use mail::{Event, ShardId, Timestamp};

use crate::Store;
use crate::campaigns::unpack;
use crate::error::StoreError;
use crate::suppression::{
    AddressChange, PLATFORM, Suppression, SuppressionRecord, VERSION, unpack_listing,
};

/// Somebody else may change the same address at the same time, an import in many rows at once; not
/// for ever.
const ORDER_TRIES: usize = 100;

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
    /// Writes a suppression, or with `None` lifts it and forgets what was held against the address;
    /// and tells. `stays` looks at what stands there: where it says so, that stays. Answers whether
    /// anything was written.
    ///
    /// What was looked at is written over and nothing else: it is compared as it lies, the address's
    /// history and its row in the list, and looked at again if somebody else was quicker.
    ///
    /// # Errors
    /// When Redis does not answer, or the address keeps changing.
    pub async fn change_listing(
        &self,
        (list, address): (&str, &str),
        record: Option<&SuppressionRecord>,
        events: &[Event],
        stays: impl Fn(Option<&SuppressionRecord>) -> bool,
    ) -> Result<bool, StoreError> {
        for _ in 0..ORDER_TRIES {
            let (history, packed) = self.standing(list, address).await?;
            if stays(unpack_listing(packed.as_deref())?.as_ref()) {
                return Ok(false);
            }
            let change = AddressChange {
                tenant: Some(list),
                address,
                history_before: &history,
                history_after: if record.is_some() { &history } else { &[] },
                listing_before: Some(packed.as_deref().unwrap_or_default()),
                suppression: Some(record),
                events,
            };
            if self.change_address(&change).await? {
                return Ok(true);
            }
        }
        Err(StoreError::Busy)
    }

    /// An address's history with a list's owner, empty where there is none; and its row in the list.
    async fn standing(
        &self,
        list: &str,
        address: &str,
    ) -> Result<(Vec<u8>, Option<Vec<u8>>), StoreError> {
        let shard = self.shard_of_address(address);
        let [history, listed] = ["hist", "sup"].map(|of| self.list_key(shard, of, list));
        let mut pipe = redis::pipe();
        pipe.hget(&history, address).hget(&listed, address);
        let mut conn = self.conn_for(&history).await?;
        let (history, listed): (Option<Vec<u8>>, _) = pipe.query_async(&mut conn).await?;
        Ok((history.unwrap_or_default(), listed))
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
        let stays = |known: Option<&SuppressionRecord>| match (known, record) {
            (Some(known), Some(record)) => known.outlasts(record),
            (known, None) => known.is_none(),
            (None, Some(_)) => false,
        };
        let written = self.change_listing((list, address), record, &event, stays).await?;
        Ok(match (written, record) {
            (true, _) => Listed::Done,
            (false, Some(_)) => Listed::Outlasted,
            (false, None) => Listed::Absent,
        })
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
