//! The egress sources of this relay, by pool, and how each is by itself: a source whose address
//! or proxy fails rests at all sites, while the others of its pool send.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mail::Timestamp;
use mail::egress::ranked;
use mail::quota::Follows;

use crate::config::{Config, Plans, Source};
use crate::smtp::Via;

/// A source that fails by itself rests this long, doubling to the maximum.
const REST: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(60);

/// A source, and how it is.
pub(crate) struct Egress {
    pub(crate) source: Source,
    /// The proxy that has its address, if this host does not.
    pub(crate) via: Option<Via>,
    plans: Plans,
    /// Failures in a row, and until when it rests for them.
    failures: AtomicU32,
    rest_until: AtomicU64,
}

impl Egress {
    fn new(source: Source, plans: Plans) -> Result<Self, String> {
        let via = source.via()?;
        let (failures, rest_until) = (AtomicU32::new(0), AtomicU64::new(0));
        Ok(Self { source, via, plans, failures, rest_until })
    }

    /// The warm-up plan that it follows at a provider, or at a site that is nobody's.
    pub(crate) fn follows(&self, provider: Option<&str>) -> Option<&Arc<Follows>> {
        self.plans.at(provider)
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
    /// Those of a configuration that was checked.
    pub(crate) fn new(config: &Config, host: &str) -> Result<Self, String> {
        let mut known: BTreeMap<String, Arc<Egress>> = BTreeMap::new();
        let mut one = |source: Source| match known.get(&source.name) {
            Some(egress) => Ok(egress.clone()),
            None => {
                let plans = Plans::of(config, &source)?;
                let egress = Arc::new(Egress::new(source, plans)?);
                known.insert(egress.name().to_owned(), egress.clone());
                Ok(egress)
            }
        };
        let pools = config.resolved_pools(host).into_iter().map(|(name, all)| {
            let all: Result<Vec<_>, String> = all.into_iter().map(&mut one).collect();
            all.map(|all| (name, all))
        });
        pools.collect::<Result<_, _>>().map(Self)
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
        let egress = Egress::new(Source::named("out1"), Plans::default()).expect("good");
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
        let pools = Pools::new(&config, "relay.example").expect("good");
        let (one, two) = (pools.get("one").expect("one"), pools.get("two").expect("two"));
        assert!(Arc::ptr_eq(&one[1], &two[0]));
        assert!(pools.get("three").is_none());
        let mut beside: Vec<&str> = pools.beside("b").map(|e| e.name()).collect();
        beside.sort_unstable();
        beside.dedup();
        assert_eq!(beside, ["a", "c"], "those of `default` too");
    }

    #[test]
    fn what_is_wrong_with_a_sources_proxy_is_said_by_its_name() {
        let of = |more: &str| {
            let text = format!("name = 'out1'\nehlo = 'out1.example.org'\n{more}");
            toml::from_str::<Source>(&text).expect(&text).via()
        };
        let login = "via_user = 'a'\nvia_secret_file = '/s'";
        assert_eq!(of(""), Ok(None));
        let via = of(&format!("via = 'socks5://p:1080'\n{login}")).expect("good").expect("one");
        assert_eq!(via.login.map(|(user, _)| user), Some("a".into()));
        assert!(of("via = 'haproxy://p:5000'\naddress = '203.0.113.9'").is_ok());
        for (more, told) in [
            ("via = 'p:1080'".to_owned(), "via: \"p:1080\" is neither"),
            ("via = 'haproxy://p:5000'".to_owned(), "an address is needed"),
            (format!("via = 'haproxy://p:5000'\n{login}"), "only socks5:// knows users"),
            ("via = 'socks5://p:1080'\nvia_user = 'a'".to_owned(), "go together"),
            (
                "via = 'socks5://p:1080'\nvia_user = 'a'\nvia_secret_file = 's'".to_owned(),
                "go together",
            ),
            (login.to_owned(), "via is not"),
        ] {
            let error = of(&more).expect_err(&more);
            assert!(error.starts_with("relay.sources: \"out1\": "), "{error}");
            assert!(error.contains(told), "{error}");
        }
    }
}
