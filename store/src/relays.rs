//! The register of relays: who is there, for operators and for the bound on duplicates.

use std::collections::HashMap;
use std::time::Duration;

use mail::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::error::StoreError;

const VERSION: u8 = 1;

/// What a relay says of itself each second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRecord {
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// When it said this.
    pub seen_at: Timestamp,
    /// SMTP connections open.
    pub connections: u32,
    /// Messages per connection that may be unsettled.
    pub unsettled_max: u32,
    /// Recipients leased.
    pub leased: u32,
    /// Whether it only finishes what it has.
    pub draining: bool,
    /// The newest version of batches that it reads.
    #[serde(default = "first_version")]
    pub reads_batch: u8,
    /// The egress pools that it sends from; relays from before this was said tell none.
    #[serde(default)]
    pub pools: Vec<String>,
    /// The part of what it could take that it takes, in hundredths: 100 while its host is well.
    #[serde(default = "whole")]
    pub budget_percent: u8,
    /// Why it is not 100, the strongest cause first, in words.
    #[serde(default)]
    pub pressed_by: Vec<String>,
}

mail::words! {
    /// How a relay stands.
    RelayState {
        /// It takes mail.
        Live = "live",
        /// It finishes what it has.
        Draining = "draining",
        /// It says nothing any more.
        Silent = "silent",
    }
}

/// A relay that was heard of within this lives.
const LIVES_WITHIN: Duration = Duration::from_secs(10);

impl RelayRecord {
    /// How it stands.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> RelayState {
        match (self.lives(now), self.draining) {
            (false, _) => RelayState::Silent,
            (true, true) => RelayState::Draining,
            (true, false) => RelayState::Live,
        }
    }

    /// Whether it was heard of not long ago.
    #[must_use]
    pub fn lives(&self, now: Timestamp) -> bool {
        now.since(self.seen_at) < LIVES_WITHIN
    }
}

/// Relays from before this was said read the first version only.
fn first_version() -> u8 {
    1
}

/// Relays from before this was said take all that they can.
fn whole() -> u8 {
    100
}

/// The name that a relay was given: its id without process and start, which tell one life of it from
/// the next. Anything else is its own name.
#[must_use]
pub fn relay_name(id: &str) -> &str {
    let mut parts = id.rsplitn(3, '-');
    let (start, process, name) = (parts.next(), parts.next(), parts.next());
    let is_start = start.is_some_and(|s| s.len() >= 6 && s.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_process =
        process.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    name.filter(|_| is_start && is_process).unwrap_or(id)
}

impl Store {
    /// Says what a relay is doing.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_relay(&self, relay: &str, record: &RelayRecord) -> Result<(), StoreError> {
        let key = self.key("relays");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("HSET")
            .arg(&key)
            .arg(relay)
            .arg(pack(VERSION, record))
            .query_async(&mut conn)
            .await?)
    }

    /// A relay has ended in order.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn remove_relay(&self, relay: &str) -> Result<(), StoreError> {
        let key = self.key("relays");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("HDEL").arg(&key).arg(relay).query_async(&mut conn).await?)
    }

    /// Every relay that has not ended in order, the dead ones included.
    ///
    /// # Errors
    /// When Redis does not answer or a record does not read.
    pub async fn relays(&self) -> Result<Vec<(String, RelayRecord)>, StoreError> {
        let key = self.key("relays");
        let mut conn = self.conn_for(&key).await?;
        let all: HashMap<String, Vec<u8>> =
            redis::cmd("HGETALL").arg(&key).query_async(&mut conn).await?;
        let mut relays = all
            .into_iter()
            .map(|(id, packed)| Ok((id.clone(), unpack(VERSION, &format!("relay {id}"), &packed)?)))
            .collect::<Result<Vec<(String, RelayRecord)>, StoreError>>()?;
        relays.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(relays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_has_its_name_whatever_its_life() {
        let cases = [
            ("relay-b-25798-1a21e077bf3", "relay-b"),
            ("relay-1", "relay-1"),
            ("api", "api"),
            ("eu-west-2-71-19ab00ff00", "eu-west-2"),
            ("relay-12-3", "relay-12-3"),
            ("", ""),
        ];
        for (id, name) in cases {
            assert_eq!(relay_name(id), name, "{id}");
        }
    }

    #[test]
    fn a_relay_from_before_budgets_takes_all_that_it_can() {
        #[derive(Serialize)]
        struct Before {
            host: &'static str,
            pid: u32,
            started_at: Timestamp,
            seen_at: Timestamp,
            connections: u32,
            unsettled_max: u32,
            leased: u32,
            draining: bool,
        }
        let (started_at, seen_at) = (Timestamp(1), Timestamp(2));
        let before = Before {
            host: "h",
            pid: 7,
            started_at,
            seen_at,
            connections: 1,
            unsettled_max: 8,
            leased: 3,
            draining: false,
        };
        let read: RelayRecord = unpack(VERSION, "a relay", &pack(VERSION, &before)).expect("read");
        assert_eq!((read.budget_percent, read.pressed_by.len()), (100, 0));
    }
}
