//! The TLS sessions of this relay, counted in memory by day and domain, and told to the store now
//! and then. Whether a domain wants reports at all is found out when they are told and not when
//! they are counted: no delivery waits for it, and what nobody wants is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dns::{Resolver, Txt};
use futures_util::{StreamExt, stream};
use mail::tlsrpt::{Counts, Day, Failure, Policy, PolicyKind, ResultType, destinations};
use mail::{Domain, Timestamp};
use store::{Store, TlsCounted};

use super::judged::{Tried, judged, refused};
use crate::demand::Demand;
use crate::meters;
use crate::relay::{clock, lock};
use crate::smtp::{Flaw, Session, SessionError};

/// Whether a domain wants reports is asked again after this.
const ASKED_AGAIN: Duration = Duration::from_secs(3600);
/// Domains of which that is remembered.
const ASKED_MAX: usize = 50_000;
/// Domains that are counted for between two times of telling: some hundred octets each, and with
/// the failures that there may be at most some hundred megabytes. Beyond it sessions go uncounted.
const DOMAINS_MAX: usize = 50_000;
/// Domains that are asked for at one time.
const ASKED_TOGETHER: usize = 32;
/// Domains that are told in one round trip.
const TOLD_TOGETHER: usize = 500;

/// Counts, or does nothing where reports are off.
pub(crate) struct Tally(Option<Counting>);

struct Counting {
    submitter: Domain,
    store: Store,
    resolver: Arc<Resolver>,
    counted: Mutex<HashMap<(Day, Domain), Counts>>,
    /// Which domains want reports, and since when that is known.
    wishes: Mutex<HashMap<Domain, (bool, Instant)>>,
}

impl Tally {
    /// In the name of a submitter; off without one.
    pub(crate) fn new(submitter: Option<Domain>, store: Store, resolver: Arc<Resolver>) -> Self {
        let (counted, wishes) = (Mutex::default(), Mutex::default());
        Self(submitter.map(|submitter| Counting { submitter, store, resolver, counted, wishes }))
    }

    /// A session was opened for a domain's mail, or could not be.
    pub(crate) fn session(
        &self,
        demand: &Demand,
        tried: &Tried<'_>,
        result: Result<&Session, &SessionError>,
    ) {
        self.count(&demand.domain, || judged(demand, tried, result));
    }

    /// None was tried with an exchanger, for this reason.
    pub(crate) fn refused(&self, demand: &Demand, host: &str, flaw: &Flaw) {
        self.count(&demand.domain, || Some(refused(demand, host, flaw)));
    }

    /// A domain's MTA-STS policy could not be had. Counted once for each time that it was tried.
    pub(crate) fn unfetched(&self, domain: &Domain, result: ResultType, why: &str) {
        let failure = Failure::bare(result).because(why);
        self.count(domain, || Some((Policy::bare(PolicyKind::Sts), Some(failure))));
    }

    fn count(&self, domain: &Domain, judged: impl FnOnce() -> Option<(Policy, Option<Failure>)>) {
        let Some(counting) = &self.0 else { return };
        if counting.wish(domain) == Some(false) {
            return;
        }
        let Some((policy, failure)) = judged() else { return };
        let mut counted = lock(&counting.counted);
        let key = (Day::of(clock()), domain.clone());
        if counted.len() >= DOMAINS_MAX && !counted.contains_key(&key) {
            return meters::tls_uncounted();
        }
        counted.entry(key).or_default().count(policy, failure);
    }

    /// Finds out which of the domains that were counted want reports. May be cut off: what is not
    /// known then is told another time.
    pub(crate) async fn learn(&self) {
        if let Some(counting) = &self.0 {
            counting.learn().await;
        }
    }

    /// Tells the store what was counted of those domains that are known to want reports.
    pub(crate) async fn tell(&self, now: Timestamp) {
        if let Some(counting) = &self.0 {
            counting.tell(now).await;
        }
    }
}

impl Counting {
    /// Whether a domain wants reports, as far as that is known.
    fn wish(&self, domain: &Domain) -> Option<bool> {
        let wishes = lock(&self.wishes);
        let (wish, since) = wishes.get(domain)?;
        (since.elapsed() < ASKED_AGAIN).then_some(*wish)
    }

    async fn learn(&self) {
        let domains: Vec<Domain> = {
            let counted = lock(&self.counted);
            counted.keys().map(|(_, domain)| domain.clone()).collect()
        };
        let unknown = domains.iter().filter(|domain| self.wish(domain).is_none());
        stream::iter(unknown).for_each_concurrent(ASKED_TOGETHER, |domain| self.ask(domain)).await;
    }

    async fn tell(&self, now: Timestamp) {
        let counted = std::mem::take(&mut *lock(&self.counted));
        let mut wanted = Vec::new();
        for ((day, domain), counts) in counted {
            match self.wish(&domain) {
                Some(true) => wanted.push((day, domain, counts)),
                Some(false) => {}
                // Nobody knows now. Days later nobody would read it any more.
                None if Day::of(now) <= Day(day.0 + 1) => self.put_back(day, domain, counts),
                None => {}
            }
        }
        let mut rest = wanted.into_iter().peekable();
        while rest.peek().is_some() {
            self.tell_some(rest.by_ref().take(TOLD_TOGETHER).collect()).await;
        }
    }

    async fn tell_some(&self, some: Vec<(Day, Domain, Counts)>) {
        let told: Vec<TlsCounted<'_>> = some
            .iter()
            .map(|(day, domain, counts)| {
                let due = day.due(domain, &self.submitter);
                TlsCounted { day: *day, domain, counts, due }
            })
            .collect();
        let answers = self.store.count_tls(&told).await;
        drop(told);
        for ((day, domain, counts), answer) in some.into_iter().zip(answers) {
            match answer {
                Ok(true) => {}
                Ok(false) => meters::tls_uncounted(),
                Err(error) => {
                    tracing::debug!(%error, "TLS counts wait for redis");
                    self.put_back(day, domain, counts);
                }
            }
        }
    }

    fn put_back(&self, day: Day, domain: Domain, counts: Counts) {
        let mut counted = lock(&self.counted);
        if counted.len() < DOMAINS_MAX {
            counted.entry((day, domain)).or_default().merge(counts);
        }
    }

    /// Asks a domain's DNS, and remembers what it says.
    async fn ask(&self, domain: &Domain) {
        let wish = match self.resolver.txt(&format!("_smtp._tls.{domain}")).await {
            Txt::Found(texts) => !destinations(&texts).is_empty(),
            Txt::NotFound => false,
            Txt::Temporary { .. } => return,
        };
        let mut wishes = lock(&self.wishes);
        if wishes.len() >= ASKED_MAX {
            wishes.clear();
        }
        wishes.insert(domain.clone(), (wish, Instant::now()));
    }
}
