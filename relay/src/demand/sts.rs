//! MTA-STS policies by domain: in memory, in the store, and from the domain itself. Whoever asks
//! for one waits a moment at most; a domain that is not known yet is looked up in a task of its
//! own, once however many ask, and a policy that is known goes on holding while a newer is sought.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dns::{Resolver, Txt};
use mail::sts::{POLICY_OCTETS_MAX, Policy, policy_id};
use mail::{Domain, Timestamp};
use store::{Store, StoreError, StsRecord};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::{Https, Question};

use super::unfetched::Unfetched;
use crate::relay::{clock, lock};
use crate::tls_reports::Tally;

/// A domain's record is looked at again after this; a policy that was removed or changed is
/// followed that late.
const RECHECK: Duration = Duration::from_secs(600);
/// A policy that lives shorter than this is not asked for more often.
const RECHECK_MIN: Duration = Duration::from_secs(60);
/// After a fetch that failed (RFC 8461, 3.3: not within five minutes).
const FAILED: Duration = Duration::from_secs(300);
/// The whole of a fetch. RFC 8461, 3.3 suggests a minute; mail of the domain waits so long at its
/// first time, and who has not answered in half of it hardly will.
const FETCH: Duration = Duration::from_secs(30);
/// Fetches under way at one time: slow policy hosts wait for one another, and nobody for them.
const FETCHES_MAX: usize = 64;
/// Domains being looked up at one time; beyond it recipients wait in the queue.
const LOOKED_UP_MAX: usize = 2000;
/// Domains remembered, with a policy or without.
const KNOWN_MAX: usize = 12_000;
/// What somebody who asks waits for an answer; most are there in milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of a domain's policy now.
pub(crate) enum Standing {
    /// It has this one, or none.
    Known(Option<Arc<Policy>>),
    /// None is known, and it tells of one that could not be fetched: as none, but for whom a policy
    /// would help.
    Unfetched,
    /// It is being looked up.
    NotYet,
}

/// Finds and remembers the policies of domains.
pub(crate) struct StsPolicies {
    store: Store,
    resolver: Arc<Resolver>,
    https: Arc<Https>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    tally: Arc<Tally>,
    known: Mutex<HashMap<Domain, Known>>,
    /// Lookups under way; who has the other end waits for their end.
    under_way: Mutex<HashMap<Domain, watch::Receiver<()>>>,
    fetches: Semaphore,
}

/// One lookup; however it ends, those who wait for it wait no longer, and the next may begin.
struct Lookup {
    policies: Arc<StsPolicies>,
    domain: Domain,
    _end: watch::Sender<()>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        lock(&self.policies.under_way).remove(&self.domain);
    }
}

/// A domain as it was when it was last looked at.
#[derive(Clone)]
struct Known {
    record: Option<Arc<(StsRecord, Arc<Policy>)>>,
    recheck_at: Instant,
    /// It tells of a policy that is not this one, and that could not be fetched.
    is_unfetched: bool,
}

impl Known {
    fn policy(&self, now: Timestamp) -> Option<Arc<Policy>> {
        let kept = self.record.as_deref().filter(|(record, _)| record.expires_at() > now)?;
        Some(kept.1.clone())
    }

    fn standing(&self, now: Timestamp) -> Standing {
        match self.policy(now) {
            None if self.is_unfetched => Standing::Unfetched,
            policy => Standing::Known(policy),
        }
    }
}

impl StsPolicies {
    pub(crate) fn new(
        store: Store,
        resolver: Arc<Resolver>,
        https: Arc<Https>,
        tasks: TaskTracker,
        stopping: CancellationToken,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            store,
            resolver,
            https,
            tasks,
            stopping,
            tally,
            known: Mutex::default(),
            under_way: Mutex::default(),
            fetches: Semaphore::new(FETCHES_MAX),
        }
    }

    /// What is known of a domain's policy; asks the domain where nothing is.
    pub(crate) async fn standing(self: &Arc<Self>, domain: &Domain, now: Timestamp) -> Standing {
        let known = lock(&self.known).get(domain).cloned();
        if let Some(known) = known {
            let is_due = known.recheck_at <= Instant::now();
            let has_run_out = known.record.is_some() && known.policy(now).is_none();
            if is_due {
                self.look_up(&[domain]);
            }
            if !(is_due && has_run_out) {
                return known.standing(now);
            }
        }
        self.look_up(&[domain]);
        let ends = lock(&self.under_way).get(domain).cloned();
        // Without one it was found this moment, or too many are being looked up.
        if let Some(mut ends) = ends {
            // The other end is dropped when all is known.
            let _ = tokio::time::timeout(PATIENCE, ends.changed()).await;
        }
        match lock(&self.known).get(domain) {
            Some(known) if known.recheck_at > Instant::now() => known.standing(now),
            _ => Standing::NotYet,
        }
    }

    /// These will be asked for: those that nothing is known of are looked up, with one question
    /// to the store for all of them.
    pub(crate) fn expect<'a>(self: &Arc<Self>, domains: impl Iterator<Item = &'a Domain>) {
        let known = lock(&self.known);
        let unknown: Vec<&Domain> = domains.filter(|domain| !known.contains_key(domain)).collect();
        drop(known);
        self.look_up(&unknown);
    }

    /// Begins to look up those that nobody does yet, unless too many are.
    fn look_up(self: &Arc<Self>, domains: &[&Domain]) {
        let mut under_way = lock(&self.under_way);
        let mut lookups = Vec::with_capacity(domains.len());
        for domain in domains {
            if under_way.len() >= LOOKED_UP_MAX {
                break;
            }
            if !under_way.contains_key(domain) {
                let (end, ends) = watch::channel(());
                let domain = Domain::clone(domain);
                under_way.insert(domain.clone(), ends);
                lookups.push(Lookup { policies: self.clone(), domain, _end: end });
            }
        }
        drop(under_way);
        if !lookups.is_empty() {
            self.tasks.spawn(self.clone().find_all(lookups));
        }
    }

    /// Each in a task of its own: a policy host that is slow keeps only its own domain waiting.
    async fn find_all(self: Arc<Self>, lookups: Vec<Lookup>) {
        let domains: Vec<Domain> = lookups.iter().map(|lookup| lookup.domain.clone()).collect();
        let asked = self.store.sts_policies(&domains);
        let Some(stored) = self.stopping.run_until_cancelled(asked).await else { return };
        for (lookup, stored) in lookups.into_iter().zip(stored) {
            self.tasks.spawn(async move {
                let policies = &lookup.policies;
                let find = policies.find(&lookup.domain, stored);
                if let Some(known) = policies.stopping.run_until_cancelled(find).await {
                    policies.keep(&lookup.domain, known);
                }
            });
        }
    }

    fn keep(&self, domain: &Domain, known: Known) {
        let mut all = lock(&self.known);
        if all.len() >= KNOWN_MAX {
            // What is worth keeping is in the store too.
            all.clear();
        }
        all.insert(domain.clone(), known);
    }

    async fn find(&self, domain: &Domain, stored: Result<Option<StsRecord>, StoreError>) -> Known {
        // A newer program's record is left alone.
        let may_store = !matches!(stored, Err(StoreError::Newer { .. }));
        let remembered = || {
            let known = lock(&self.known).get(domain).and_then(|known| known.record.clone());
            known.map(|kept| kept.0.clone())
        };
        let now = clock();
        let kept = stored.ok().flatten().or_else(remembered);
        let kept = kept.filter(|record| record.expires_at() > now);
        let id = match self.current_id(domain).await {
            Ok(Some(id)) => id,
            Ok(None) => return known(kept, RECHECK),
            Err(_) => return Known { is_unfetched: true, ..known(kept, RECHECK) },
        };
        let is_current = |record: &StsRecord| record.id == id && !runs_out_soon(record, now);
        if kept.as_ref().is_some_and(is_current) {
            return known(kept, RECHECK);
        }
        // Apart: few domains have a policy, and thousands are looked up at a time.
        match Box::pin(self.fetch(domain)).await {
            Ok(policy) => {
                let record = StsRecord { id, policy, fetched_at: clock() };
                if may_store
                    && let Err(error) = self.store.put_sts_policy(domain.as_str(), &record).await
                {
                    tracing::debug!(%error, "an MTA-STS policy was not stored");
                }
                let lives = Duration::from_secs(record.policy.max_age_s.into());
                known(Some(record), lives.clamp(RECHECK_MIN, RECHECK))
            }
            Err(Unfetched { result, why }) => {
                self.tally.unfetched(domain, result, &why);
                metrics::counter!("malleposte_mta_sts_fetches_total", "result" => "failed")
                    .increment(1);
                tracing::debug!(domain = domain.as_str(), why, "no MTA-STS policy");
                Known { is_unfetched: true, ..known(kept, FAILED) }
            }
        }
    }

    /// The id that the domain tells of its policy. Without one it has none that is new: whoever
    /// can make the record vanish shall not make the policy vanish (RFC 8461, 10.2).
    ///
    /// # Errors
    /// Why DNS does not tell now.
    async fn current_id(&self, domain: &Domain) -> Result<Option<String>, String> {
        match self.resolver.txt(&format!("_mta-sts.{domain}")).await {
            Txt::Found(texts) => Ok(policy_id(&texts).map(str::to_owned)),
            Txt::NotFound => Ok(None),
            Txt::Temporary { why } => Err(why),
        }
    }

    async fn fetch(&self, domain: &Domain) -> Result<Policy, Unfetched> {
        let place = tokio::time::timeout(FETCH, self.fetches.acquire()).await;
        let _place = place.map_err(|_| "too many other policies are being fetched".to_owned())?;
        let host = format!("mta-sts.{domain}");
        let question = Question {
            host: &host,
            path: "/.well-known/mta-sts.txt",
            octets_max: POLICY_OCTETS_MAX,
            within: FETCH,
        };
        let answer = self.https.ask(question).await?;
        // Redirects are not followed (RFC 8461, 3.3).
        if answer.status != 200 {
            return Err(format!("{host} answers with status {}", answer.status).into());
        }
        if answer.content_type != "text/plain" {
            let why = format!("the policy is {:?}, not \"text/plain\"", answer.content_type);
            return Err(Unfetched::invalid(why));
        }
        let text = std::str::from_utf8(&answer.body)
            .map_err(|_| Unfetched::invalid("the policy is not UTF-8".to_owned()))?;
        let policy = Policy::parse(text).map_err(|e| Unfetched::invalid(e.to_string()))?;
        metrics::counter!("malleposte_mta_sts_fetches_total", "result" => "fetched").increment(1);
        Ok(policy)
    }
}

fn known(record: Option<StsRecord>, recheck: Duration) -> Known {
    let record = record.map(|record| {
        let policy = Arc::new(record.policy.clone());
        Arc::new((record, policy))
    });
    Known { record, recheck_at: Instant::now() + recheck, is_unfetched: false }
}

/// Little of its time is left: a newer is fetched before it is over (RFC 8461, 3.3).
fn runs_out_soon(record: &StsRecord, now: Timestamp) -> bool {
    let lives = Duration::from_secs(record.policy.max_age_s.into());
    record.expires_at().since(now) < lives / 10
}
