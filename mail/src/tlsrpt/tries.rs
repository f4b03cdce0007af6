//! When a report that did not arrive is tried again.

use std::time::Duration;

use crate::Timestamp;

/// The pause after the first try; each that follows is twice as long, up to the longest.
const FIRST: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(4 * 3600);
/// A report that has not arrived by then is dropped (RFC 8460, 5.5).
const GIVEN_UP: Duration = Duration::from_secs(24 * 3600);

/// When to try again after so many tries, the first of which was at `first`; none when it is over.
#[must_use]
pub fn next_try(first: Timestamp, tries: u16, now: Timestamp) -> Option<Timestamp> {
    let doublings = u32::from(tries.saturating_sub(1)).min(10);
    let next = now + (FIRST * 2_u32.pow(doublings)).min(LONGEST);
    (next <= first + GIVEN_UP).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_after_a_day_it_is_over() {
        let first = Timestamp(1_000_000);
        let (mut now, mut tries, mut pauses) = (first, 1, Vec::new());
        while let Some(next) = next_try(first, tries, now) {
            pauses.push(next.since(now).as_secs() / 60);
            (now, tries) = (next, tries + 1);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 240, 240, 240, 240]);
        assert!(now.since(first) <= GIVEN_UP);
        assert!(next_try(first, u16::MAX, first).is_some());
    }
}
