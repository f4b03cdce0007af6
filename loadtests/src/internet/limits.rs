//! The hidden limits of one host: how much it takes from each client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::scenario::Limits;

/// Client addresses remembered per host; all of them are on this machine.
const SOURCES_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    sources: Mutex<HashMap<IpAddr, Source>>,
}

#[derive(Debug)]
struct Source {
    tokens: f64,
    at: Instant,
    open: u32,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, sources: Mutex::default() }
    }

    /// A connection comes; `false` when it is one too many. Each `true` needs a
    /// [`Meter::close`].
    pub(super) fn open(&self, client: IpAddr) -> bool {
        if self.limits.connections == 0 {
            return true;
        }
        let mut sources = self.sources();
        let source = self.source(&mut sources, client, Duration::ZERO);
        let room = source.open < self.limits.connections;
        source.open += u32::from(room);
        room
    }

    pub(super) fn close(&self, client: IpAddr) {
        if self.limits.connections > 0
            && let Some(source) = self.sources().get_mut(&self.key(client))
        {
            source.open = source.open.saturating_sub(1);
        }
    }

    /// A recipient comes, `since_start` after the start of the pretend internet; `false`
    /// when it is too early for it.
    pub(super) fn take(&self, client: IpAddr, since_start: Duration) -> bool {
        let rate = self.rate(since_start);
        if rate <= 0.0 {
            return true;
        }
        let burst = self.burst(rate);
        let mut sources = self.sources();
        let source = self.source(&mut sources, client, since_start);
        let now = Instant::now();
        let gained = now.duration_since(source.at).as_secs_f64() * rate;
        source.tokens = (source.tokens + gained).min(burst);
        source.at = now;
        let may = source.tokens >= 1.0;
        if may || self.limits.refusals_count {
            // A client that hammers on is kept out for two seconds at most.
            source.tokens = (source.tokens - 1.0).max(-2.0 * rate);
        }
        may
    }

    fn rate(&self, since_start: Duration) -> f64 {
        let reached = |m: &&crate::scenario::Move| Duration::from_millis(m.after_ms) <= since_start;
        let moved = self.limits.moves.iter().rfind(reached);
        moved.map_or(self.limits.rate_per_s, |m| m.rate_per_s)
    }

    fn burst(&self, rate: f64) -> f64 {
        if self.limits.burst > 0.0 { self.limits.burst } else { rate.max(1.0) }
    }

    fn source<'a>(
        &self,
        sources: &'a mut HashMap<IpAddr, Source>,
        client: IpAddr,
        since_start: Duration,
    ) -> &'a mut Source {
        if sources.len() >= SOURCES_MAX {
            sources.retain(|_, source| source.open > 0);
        }
        let tokens = self.burst(self.rate(since_start));
        sources.entry(self.key(client)).or_insert_with(|| Source {
            tokens,
            at: Instant::now(),
            open: 0,
        })
    }

    fn key(&self, client: IpAddr) -> IpAddr {
        if self.limits.shared { Ipv4Addr::UNSPECIFIED.into() } else { client }
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 2));

    #[test]
    fn each_client_has_its_own_burst() {
        let meter = Meter::new(Limits { rate_per_s: 5.0, ..Limits::default() });
        let taken = |client| (0..20).filter(|_| meter.take(client, Duration::ZERO)).count();
        assert_eq!(taken(A), 5);
        assert_eq!(taken(B), 5);
    }

    #[test]
    fn a_shared_limit_is_one_for_all() {
        let meter = Meter::new(Limits { rate_per_s: 5.0, shared: true, ..Limits::default() });
        let taken = |client| (0..20).filter(|_| meter.take(client, Duration::ZERO)).count();
        assert_eq!(taken(A) + taken(B), 5);
    }

    #[test]
    fn the_limit_moves_with_time() {
        let moves = vec![crate::scenario::Move { after_ms: 1_000, rate_per_s: 0.0 }];
        let meter = Meter::new(Limits { rate_per_s: 1.0, moves, ..Limits::default() });
        assert!(meter.take(A, Duration::ZERO));
        assert!(!meter.take(A, Duration::ZERO));
        assert!((0..100).all(|_| meter.take(A, Duration::from_secs(1))));
    }

    #[test]
    fn a_closed_connection_makes_room() {
        let meter = Meter::new(Limits { connections: 2, ..Limits::default() });
        assert!(meter.open(A) && meter.open(A) && !meter.open(A) && meter.open(B));
        meter.close(A);
        assert!(meter.open(A));
    }
}
