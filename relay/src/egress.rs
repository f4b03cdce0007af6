//! The egress sources of this relay, by pool, and how each is by itself: a source whose address
//! or proxy fails rests at all sites, while the others of its pool send.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mail::Timestamp;
use mail::egress::ranked;

use crate::config::{Config, Source};

/// A source that fails by itself rests this long, doubling to the maximum.
const REST: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(60);

/// A source, and how it is.
pub(crate) struct Egress {
    pub(crate) source: Source,
    /// Failures in a row, and until when it rests for them.
    failures: AtomicU32,
    rest_until: AtomicU64,
}

impl Egress {
    fn new(source: Source) -> Self {
        Self { source, failures: AtomicU32::new(0), rest_until: AtomicU64::new(0) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.source.name
    }

    /// Whether it rests because it failed by itself.
    pub(crate) fn rests(&self, now: Timestamp) -> bool {
        self.rest_until.load(Ordering::Relaxed) > now.0
    }

    /// It failed by itself. Many connections fail at the same time: that counts once.
    pub(crate) fn failed(&self, now: Timestamp, why: &str) {
        if self.rests(now) {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(10);
        let rest = (REST * 2u32.pow(failures)).min(REST_MAX);
        self.rest_until.store((now + rest).0, Ordering::Relaxed);
        if failures == 0 {
            tracing::error!(source = self.name(), why, "an egress source fails and rests");
        }
    }

    /// It brought a connection about.
    pub(crate) fn works(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.rest_until.store(0, Ordering::Relaxed);
            tracing::info!(source = self.name(), "an egress source works again");
        }
    }
}

/// The pools of this relay. A source that is in several is one.
pub(crate) struct Pools(BTreeMap<String, Vec<Arc<Egress>>>);

impl Pools {
    pub(crate) fn new(config: &Config, host: &str) -> Self {
        let mut known: BTreeMap<String, Arc<Egress>> = BTreeMap::new();
        let mut one = |source: Source| {
            let egress = known.entry(source.name.clone());
            egress.or_insert_with(|| Arc::new(Egress::new(source))).clone()
        };
        let pools = config.resolved_pools(host).into_iter();
        Self(pools.map(|(name, all)| (name, all.into_iter().map(&mut one).collect())).collect())
    }

    /// The sources of a pool, never none, if this relay has it.
    pub(crate) fn get(&self, pool: &str) -> Option<&[Arc<Egress>]> {
        self.0.get(pool).map(Vec::as_slice).filter(|sources| !sources.is_empty())
    }

    /// The names of the pools.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Every source, those of several pools more than once.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Egress>> {
        self.0.values().flatten()
    }

    /// The others of every pool that a source is in.
    pub(crate) fn beside<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Arc<Egress>> {
        let pools = self.0.values().filter(move |pool| pool.iter().any(|e| e.name() == source));
        pools.flatten().filter(move |egress| egress.name() != source)
    }
}

/// The sources of a pool in the order in which a recipient has them.
pub(crate) fn ranked_for(sources: &[Arc<Egress>], recipient: &str) -> Vec<usize> {
    ranked(sources.iter().map(|e| (e.name(), e.source.weight)), recipient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_fails_rests_longer_each_time_and_until_it_works() {
        let egress = Egress::new(Source::named("out1"));
        let mut now = Timestamp(1_000_000);
        assert!(!egress.rests(now));
        for rest_s in [2, 4, 8, 16, 32, 60, 60] {
            egress.failed(now, "its proxy is down");
            egress.failed(now, "said of the same time");
            let last = Duration::from_secs(rest_s);
            assert!(
                egress.rests(now + last - Duration::from_millis(1)) && !egress.rests(now + last)
            );
            now = now + last;
        }
        egress.failed(now, "again");
        egress.works();
        assert!(!egress.rests(now));
    }

    #[test]
    fn a_source_in_two_pools_is_one() {
        let sources = ["a", "b", "c"].map(Source::named).to_vec();
        let pools = [("one", vec!["a", "b"]), ("two", vec!["b"])];
        let pools =
            pools.map(|(name, all)| (name.into(), all.into_iter().map(String::from).collect()));
        let config = Config { sources, pools: pools.into(), ..Config::default() };
        let pools = Pools::new(&config, "relay.example");
        let (one, two) = (pools.get("one").expect("one"), pools.get("two").expect("two"));
        assert!(Arc::ptr_eq(&one[1], &two[0]));
        assert!(pools.get("three").is_none());
        let mut beside: Vec<&str> = pools.beside("b").map(|e| e.name()).collect();
        beside.sort_unstable();
        beside.dedup();
        assert_eq!(beside, ["a", "c"], "those of `default` too");
    }
}
