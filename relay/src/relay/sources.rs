//! Which egress source of its pool a recipient goes from, and where to when its own one rests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mail::classify::Own;
use mail::egress::{Standing, chosen};
use mail::{Phase, Site, Timestamp};

use super::{Relay, lock};
use crate::delivery::{Destination, Refusal};
use crate::egress::{Egress, ranked_for};
use crate::job::Job;
use crate::site::{SiteKey, SiteLane};

/// What became of a recipient that wanted into a line.
pub(crate) enum Lined {
    /// It is there.
    Up,
    /// There are too many before it; again then.
    Crowded(Job, Timestamp),
    /// There is none.
    Nowhere(Job, Refusal),
}

/// Pools asked for and not there that are remembered, so that each is told once.
const MISSING_MAX: usize = 1000;

impl Relay {
    /// The source of a pool that a recipient goes from; `None`: this relay has no such pool.
    /// Without a site it is the recipient's own one.
    pub(crate) fn source_at(
        &self,
        pool: &str,
        site: Option<&Site>,
        recipient: &str,
        may_probe: bool,
    ) -> Option<&Arc<Egress>> {
        let sources = self.pools.get(pool)?;
        if let [only] = sources {
            return Some(only);
        }
        let standing = |place: usize| match site {
            Some(site) => self.standing(&sources[place], site),
            None => Standing::Fit,
        };
        chosen(&ranked_for(sources, recipient), standing, may_probe).map(|place| &sources[place])
    }

    /// How a source stands with a site, as far as this relay knows.
    fn standing(&self, egress: &Egress, site: &Site) -> Standing {
        let key = SiteKey { source: egress.name().to_owned(), site: site.clone() };
        let lane = self.lock_sites().get(&key).cloned();
        match lane {
            Some(lane) => lane.standing(self.now()),
            None if egress.rests(self.now()) => Standing::Unfit,
            None => Standing::Fit,
        }
    }

    /// The lane of a recipient's source and site; made when it is the first.
    pub(crate) fn site_for(
        self: &Arc<Self>,
        destination: &Destination,
        job: &Job,
    ) -> Result<Arc<SiteLane>, Refusal> {
        let pool = self.pool_of(job, destination);
        let may_probe = job.attempts == 0;
        match self.source_at(&pool, Some(&destination.site), job.address(), may_probe) {
            Some(egress) => Ok(self.site(destination, egress)),
            None => Err(self.no_pool(&pool)),
        }
    }

    /// Puts a recipient into the line of its source and site. A lane may be forgotten between its
    /// being found and the recipient's coming: then there is another.
    pub(crate) fn line_up(self: &Arc<Self>, destination: &Destination, mut job: Job) -> Lined {
        loop {
            let site = match self.site_for(destination, &job) {
                Ok(site) => site,
                Err(refusal) => return Lined::Nowhere(job, refusal),
            };
            if let Some(due) = self.crowded_until(&site, &job) {
                return Lined::Crowded(job, due);
            }
            match site.push(job) {
                Ok(()) => return Lined::Up,
                Err(back) => job = back,
            }
        }
    }

    /// Puts a recipient whose source rests or cannot go into the line of another of its pool, and
    /// hands it back if there is none.
    pub(crate) fn push_beside(self: &Arc<Self>, site: &SiteLane, mut job: Job) -> Option<Job> {
        loop {
            let Some((destination, egress)) = self.source_beside(site, &job) else {
                return Some(job);
            };
            match self.site(&destination, egress).push(job) {
                Ok(()) => return None,
                Err(back) => job = back,
            }
        }
    }

    /// The next source of a recipient's pool that can go where this lane goes.
    pub(crate) fn source_beside(
        &self,
        site: &SiteLane,
        job: &Job,
    ) -> Option<(Arc<Destination>, &Arc<Egress>)> {
        let destination = self.known_destination(&job.domain()?, &job.content.sending.flow)?;
        if destination.site != site.key.site {
            return None;
        }
        let sources = self.pools.get(&self.pool_of(job, &destination))?;
        let is_fit = |egress: &&Arc<Egress>| {
            egress.name() != site.key.source
                && self.standing(egress, &destination.site) == Standing::Fit
        };
        let mut ranked = ranked_for(sources, job.address()).into_iter().map(|n| &sources[n]);
        let egress = ranked.find(is_fit)?;
        Some((destination, egress))
    }

    /// Whether any source beside that of a lane could send what waits there.
    pub(crate) fn is_replaceable(&self, key: &SiteKey) -> bool {
        let mut others = self.pools.beside(&key.source);
        others.any(|egress| self.standing(egress, &key.site) == Standing::Fit)
    }

    /// Whether this relay has a pool.
    pub(crate) fn has_pool(&self, pool: &str) -> bool {
        self.pools.get(pool).is_some()
    }

    /// Whether another relay that lives says that it has a pool.
    pub(crate) fn is_pool_elsewhere(&self, pool: &str) -> bool {
        lock(&self.pools_elsewhere).contains(pool)
    }

    /// Learns which pools the other relays have.
    pub(super) async fn learn_pools(&self) {
        let (now, own) = (self.now(), self.heart.relay());
        // A record of a newer relay does not read: then what was known holds on.
        let Ok(relays) = self.store.relays().await else { return };
        let relays = relays.into_iter();
        let others = relays.filter(|(id, r)| id != own && r.lives(now) && !r.draining);
        *lock(&self.pools_elsewhere) = others.flat_map(|(_, r)| r.pools).collect();
    }

    /// Put off in words that tell an operator what to do.
    fn no_pool(&self, pool: &str) -> Refusal {
        let mut told = lock(&self.pools_missing);
        if told.len() < MISSING_MAX && told.insert(pool.to_owned()) {
            tracing::error!(pool, "mail waits for an egress pool that no relay has");
        }
        let text = format!("no relay has the egress pool {pool:?}: add it to relay.pools");
        Refusal { phase: Phase::Local, own: Own::NoPool, text }
    }

    /// What was told of a missing pool is told again when the relay has had nothing to do.
    pub(super) fn forget_missing(&self) {
        if self.in_hand.load(Ordering::Relaxed) == 0 {
            lock(&self.pools_missing).clear();
        }
    }
}
