//! What went wrong at an address of late, and is not tried again for a while: an exchanger that
//! did not answer comes after all others, and where TLS or CHUNKING failed a session does without
//! (without TLS only an opportunistic one). So trouble costs one wait, and not one for each connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an address that did not answer is tried last.
const SILENT_FOR: Duration = Duration::from_secs(300);
/// How long a server whose TLS, or CHUNKING, is broken is spoken to without.
const BROKEN_FOR: Duration = Duration::from_secs(3600);
/// Addresses that are remembered of each kind.
const ADDRESSES_MAX: usize = 10_000;

pub(crate) struct Reach {
    /// Did not answer, or refused the connection.
    pub(crate) silent: Lately,
    /// Offered TLS, and the handshake failed.
    pub(crate) broken_tls: Lately,
    /// Offered CHUNKING, and did not know it.
    pub(crate) broken_chunking: Lately,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            silent: Lately::new(SILENT_FOR),
            broken_tls: Lately::new(BROKEN_FOR),
            broken_chunking: Lately::new(BROKEN_FOR),
        }
    }
}

/// The addresses that something happened to not long ago.
pub(crate) struct Lately {
    lasts: Duration,
    seen: Mutex<HashMap<IpAddr, Instant>>,
}

impl Lately {
    fn new(lasts: Duration) -> Self {
        Self { lasts, seen: Mutex::default() }
    }

    pub(crate) fn holds(&self, ip: IpAddr, now: Instant) -> bool {
        self.lock().get(&ip).is_some_and(|at| now.duration_since(*at) < self.lasts)
    }

    /// It happens now. When too many are remembered, the older half of the time is forgotten, and
    /// where that is not enough nothing more is noted.
    pub(crate) fn note(&self, ip: IpAddr, now: Instant) {
        let mut seen = self.lock();
        if seen.len() >= ADDRESSES_MAX {
            seen.retain(|_, at| now.duration_since(*at) < self.lasts / 2);
        }
        if seen.len() < ADDRESSES_MAX {
            seen.insert(ip, now);
        }
    }

    /// It does not happen any more.
    pub(crate) fn forget(&self, ip: IpAddr) {
        self.lock().remove(&ip);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn what_happened_is_known_for_a_while_or_until_it_is_over() {
        let (lately, now) = (Lately::new(SILENT_FOR), Instant::now());
        assert!(!lately.holds(ip(1), now));
        lately.note(ip(1), now);
        lately.note(ip(2), now);
        lately.forget(ip(2));
        assert!(lately.holds(ip(1), now) && !lately.holds(ip(2), now));
        assert!(!lately.holds(ip(1), now + SILENT_FOR));
    }

    #[test]
    fn a_whole_network_of_trouble_is_bounded() {
        let (lately, start) = (Lately::new(SILENT_FOR), Instant::now());
        let at = |n: u32| start + Duration::from_millis(20) * n;
        for n in 0..30_000 {
            lately.note(ip(n), at(n));
        }
        assert!(lately.lock().len() <= ADDRESSES_MAX);
        assert!(lately.holds(ip(29_999), at(30_000)));
    }
}
