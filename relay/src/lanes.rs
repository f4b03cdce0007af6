//! What there is to lease, in all shards: the lanes of the ready indexes as they were a
//! moment ago, each with its flow and the site that it goes to. Reading them costs a round
//! trip and deciding among them needs all of them, so they are kept for that moment.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mail::queue::Lane;
use mail::{Domain, ShardId};
use store::{Page, StoreError};

use crate::delivery::Whereto;
use crate::relay::Relay;
use crate::shares::Flow;
use crate::site::SiteLane;

/// Lanes of a shard that are looked at: its first ones, which are the most urgent, and a page
/// of the others, another one each time. Memory and round trips are bounded by it.
const FIRST: usize = 256;
const PAGE: usize = 256;
/// How long they are kept, few and many: reading ten thousand takes some ten milliseconds.
const FRESH: Duration = Duration::from_millis(50);
const FRESH_MANY: Duration = Duration::from_millis(250);
const MANY: usize = 1000;
/// Domains that are looked up for the leaser at the same time.
const LOOKING_UP_MAX: usize = 64;
/// What goes nowhere is asked for again after this.
const NOWHERE_FOR: Duration = Duration::from_secs(30);
const NOWHERE_MAX: usize = 10_000;

/// A lane that may be leased from.
pub(crate) struct Offer {
    pub(crate) shard: ShardId,
    pub(crate) lane: Lane,
    pub(crate) priority: u8,
    pub(crate) flow: Arc<Flow>,
    pub(crate) place: Place,
}

/// Where a lane's recipients go.
pub(crate) enum Place {
    /// All to one site.
    Site(Arc<SiteLane>),
    /// To sites that are known when the lease is opened.
    Many,
    /// Nowhere: leased in order to be refused.
    Nowhere,
}

#[derive(Default)]
pub(crate) struct Lanes {
    offers: Vec<Offer>,
    read_at: Option<Instant>,
    /// Where the next page begins, by shard.
    pages: HashMap<ShardId, usize>,
    routes: Arc<Routes>,
}

/// A smart host by its name, or nothing for the exchangers; and a domain.
type Way = (String, Domain);

#[derive(Default)]
struct Routes {
    asking: Mutex<HashSet<Way>>,
    nowhere: Mutex<HashMap<Way, Instant>>,
}

impl Lanes {
    /// The offers, not older than a moment.
    pub(crate) async fn fresh(&mut self, relay: &Arc<Relay>) -> Result<&[Offer], StoreError> {
        let keep = if self.offers.len() > MANY { FRESH_MANY } else { FRESH };
        if self.read_at.is_none_or(|at| at.elapsed() >= keep) {
            self.read(relay).await?;
        }
        Ok(&self.offers)
    }

    /// These lanes had less than was wanted: they are not asked again until the next reading.
    pub(crate) fn drop_spent(&mut self, spent: &HashSet<(ShardId, Lane)>) {
        self.offers.retain(|offer| !spent.contains(&(offer.shard, offer.lane.clone())));
    }

    async fn read(&mut self, relay: &Arc<Relay>) -> Result<(), StoreError> {
        let shards: Vec<ShardId> = relay.store.all_shards().collect();
        let mut pages = Vec::with_capacity(shards.len() * 2);
        for shard in &shards {
            pages.push(Page { shard: *shard, from: 0, count: FIRST });
            let from = *self.pages.get(shard).unwrap_or(&FIRST);
            pages.push(Page { shard: *shard, from, count: PAGE });
        }
        let answers = relay.store.ready_pages(&pages).await;
        self.read_at = Some(Instant::now());
        self.offers.clear();
        let campaigns = answers.iter().flatten().flatten().map(|(lane, _)| lane.campaign);
        relay.shares.learn(&relay.store, campaigns).await;
        let (mut trouble, mut read) = (None, false);
        for (page, lanes) in pages.iter().zip(answers) {
            let lanes = match lanes {
                Ok(lanes) => lanes,
                // Its server is away; the others' lanes are offered all the same.
                Err(e) => {
                    trouble = Some(e);
                    continue;
                }
            };
            read = true;
            if page.from >= FIRST {
                let next = if lanes.is_empty() { FIRST } else { page.from + PAGE };
                self.pages.insert(page.shard, next);
            }
            for (lane, priority) in lanes {
                let flow = match relay.shares.look_up(&relay.store, lane.campaign).await {
                    Ok(flow) => flow,
                    Err(e) => {
                        trouble = Some(e);
                        continue;
                    }
                };
                if let Some(place) = self.place(relay, &lane, &flow) {
                    self.offers.push(Offer { shard: page.shard, lane, priority, flow, place });
                }
            }
        }
        match trouble {
            Some(e) if !read => Err(e),
            Some(_) | None => Ok(()),
        }
    }

    /// Where a lane goes; `None` while that is being found out.
    fn place(&self, relay: &Arc<Relay>, lane: &Lane, flow: &Arc<Flow>) -> Option<Place> {
        // A relay that has the pool takes it; where none has, it is leased in order to say so.
        let pool = lane.domain.as_ref().map_or(flow.pool.as_str(), |d| relay.pool_at(d, flow));
        if !relay.has_pool(pool) && relay.is_pool_elsewhere(pool) {
            return None;
        }
        let Some(domain) = &lane.domain else { return Some(Place::Many) };
        if let Some(destination) = relay.known_destination(domain, flow) {
            // Which source it will be depends on the recipient; any one of the pool tells the pace.
            let site = Some(&destination.site);
            let source = relay.source_at(pool, site, domain.as_str(), false);
            return Some(
                source.map_or(Place::Nowhere, |s| Place::Site(relay.site(&destination, s))),
            );
        }
        let hop = relay.hop(domain, flow).map_or_else(String::new, |smart| smart.name.clone());
        let way = (hop, domain.clone());
        let nowhere = lock(&self.routes.nowhere).get(&way).copied();
        if nowhere.is_some_and(|at| at.elapsed() < NOWHERE_FOR) {
            return Some(Place::Nowhere);
        }
        self.look_up(relay, way, flow);
        None
    }

    /// Finds out where a domain goes, while others are leased.
    fn look_up(&self, relay: &Arc<Relay>, way: Way, flow: &Arc<Flow>) {
        let mut asking = lock(&self.routes.asking);
        if asking.len() >= LOOKING_UP_MAX || !asking.insert(way.clone()) {
            return;
        }
        let (relay, flow, routes) = (relay.clone(), flow.clone(), self.routes.clone());
        relay.clone().tasks.spawn(async move {
            let whereto = tokio::select! {
                whereto = relay.destination(&way.1, &flow) => Some(whereto),
                () = relay.stopping.cancelled() => None,
            };
            if let Some(Whereto::Nowhere(_)) = whereto {
                let mut nowhere = lock(&routes.nowhere);
                if nowhere.len() >= NOWHERE_MAX {
                    nowhere.clear();
                }
                nowhere.insert(way.clone(), Instant::now());
            }
            lock(&routes.asking).remove(&way);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
