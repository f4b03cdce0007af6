//! Connections of one (egress source, site) among relays: a fair part each; where there are fewer
//! than relays, each in its turn.

use std::time::Duration;

use crate::time::Timestamp;

/// How long a turn lasts: long enough to be worth a handshake, short enough to wait for.
pub const TURN: Duration = Duration::from_secs(5);

/// Connections that a relay may have open. `limit`: of all together; `others`: open elsewhere;
/// `sharing`: relays that have something to send, this one included; `rank`: this one's place among
/// them in the order of their names, from 0.
#[must_use]
pub fn connections(limit: u32, others: u32, sharing: u32, rank: u32, now: Timestamp) -> u32 {
    let sharing = sharing.max(1);
    let free = limit.saturating_sub(others);
    if limit >= sharing {
        return free.min(limit.div_ceil(sharing));
    }
    let turn = (now.0 / TURN.as_millis() as u64 % u64::from(sharing)) as u32;
    let place = (rank + sharing - turn) % sharing;
    if place < limit { free.min(1) } else { 0 }
}
