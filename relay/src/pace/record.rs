//! The record of a pace, as relays and operators' commands read and write it.

use mail::throttle::{Limits, Pace};
use mail::{Site, Timestamp};
use store::{NewPace, Store, StoreError};

/// Stores a state if the record is still of `version`; answers the version now stored, or `None` when
/// another was faster.
pub(crate) async fn put(
    store: &Store,
    (source, site): (&str, &Site),
    version: u64,
    pace: &Pace,
    limits: &Limits,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let state = encode(pace);
    let new = NewPace {
        state: &state,
        rate: pace.rate(limits, now),
        connections: pace.connections(now),
        is_taught: pace.is_taught(),
        is_held: pace.hold_until().is_some(),
    };
    store.put_pace(source, site, version, new).await
}

/// The controller's state as the store keeps it.
fn encode(pace: &Pace) -> Vec<u8> {
    rmp_serde::to_vec_named(pace).unwrap_or_default()
}

/// The inverse of [`encode`]; `None` for what does not read.
pub(crate) fn decode(state: &[u8]) -> Option<Pace> {
    rmp_serde::from_slice(state).ok()
}
