//! What this relay is told to leave, to fail or to send otherwise: the states of campaigns
//! and the orders of operators, learnt with every heartbeat. What an order means is
//! `mail::orders`'s to say; here it meets the recipients in hand.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mail::event::EventKind;
use mail::orders::{Order, Orders, Subject};
use mail::queue::{CampaignState, End, Lane, Outcome};
use mail::throttle::Fixed;
use mail::{CampaignId, Domain, Phase, Timestamp};
use store::StoreError;

use crate::delivery::Destination;
use crate::job::{Job, Settlement};
use crate::relay::{Relay, lock};
use crate::shares::Flow;
use crate::site::SiteKey;

/// What is held back by an order is looked at again after this; an order that is undone
/// makes it due at once.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The same for what a site has wait: who ends that by hand shall not have to wait for hours
/// because a relay had not heard of it yet.
const HELD_LOOK_AGAIN: Duration = Duration::from_secs(120);
/// Moments are rounded up to this, so that many recipients share one.
const GRID_MS: u64 = 10_000;
/// Tenants of campaigns that are remembered; a few octets each.
const TENANTS_MAX: usize = 10_000;

/// What is known at this moment.
#[derive(Default)]
pub(crate) struct Rulings {
    /// `None`: not known. Then nothing is leased: an order must not be passed over.
    orders: RwLock<Option<Arc<Orders>>>,
    /// Campaigns in hand that do not run.
    stopped: RwLock<HashMap<CampaignId, CampaignState>>,
    seen_campaigns: Mutex<HashMap<CampaignId, ()>>,
    tenants: Mutex<HashMap<CampaignId, Arc<str>>>,
    /// Grows with each change of what is above.
    changes: AtomicU64,
}

/// Why a recipient in hand does not go.
pub(crate) enum Stop {
    /// Its campaign does not run.
    Campaign(CampaignState),
    /// An operator holds it back.
    Suspended,
    /// An operator fails it.
    Bounced(Box<Order>),
    /// The site has its sender, its campaign or its links wait until then.
    Held(Timestamp),
}

impl Rulings {
    fn orders(&self) -> Option<Arc<Orders>> {
        self.orders.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A number that is another one after each change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn change_orders(&self, to: Option<Arc<Orders>>) {
        let mut orders = self.orders.write().unwrap_or_else(PoisonError::into_inner);
        if *orders != to {
            *orders = to;
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    fn change_stopped(&self, to: HashMap<CampaignId, CampaignState>) {
        let mut stopped = self.stopped.write().unwrap_or_else(PoisonError::into_inner);
        if *stopped != to {
            *stopped = to;
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Something else changed that holds recipients back.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// A campaign came into the relay's hands.
    pub(crate) fn saw_campaign(&self, id: CampaignId) {
        lock(&self.seen_campaigns).insert(id, ());
    }

    /// Whose a campaign is.
    pub(crate) fn saw_tenant(&self, id: CampaignId, tenant: &str) {
        let mut tenants = lock(&self.tenants);
        if tenants.get(&id).is_some_and(|known| **known == *tenant) {
            return;
        }
        if tenants.len() >= TENANTS_MAX {
            tenants.clear();
        }
        tenants.insert(id, tenant.into());
    }

    pub(crate) fn stopped(&self, id: CampaignId) -> Option<CampaignState> {
        self.stopped.read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }
}

impl Relay {
    /// Learns which campaigns of those in hand stopped, and which orders hold.
    pub(crate) async fn learn_rulings(&self) -> Result<(), StoreError> {
        let ids: Vec<CampaignId> = lock(&self.rulings.seen_campaigns).keys().copied().collect();
        let states = self.store.campaign_states(&ids).await?;
        let stopped = ids
            .into_iter()
            .zip(states)
            .filter_map(|(id, state)| Some((id, state?)))
            .filter(|(_, state)| *state != CampaignState::Running)
            .collect();
        self.rulings.change_stopped(stopped);
        if self.is_idle() {
            lock(&self.rulings.seen_campaigns).clear();
        }
        self.learn_orders().await
    }

    async fn learn_orders(&self) -> Result<(), StoreError> {
        let before = self.rulings.orders();
        let orders = match self.store.orders(self.now()).await {
            Ok(orders) => Some(Arc::new(orders)),
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                if before.is_some() {
                    tracing::error!(%error, "orders do not read: nothing is leased until they do");
                }
                None
            }
        };
        if let (Some(before), Some(now)) = (&before, &orders) {
            for order in now.retries_after(before.newest()) {
                self.wake_sites(order);
            }
        }
        self.rulings.change_orders(orders);
        self.fix_paces();
        Ok(())
    }

    /// What is fixed of the pace of a source at a site.
    pub(crate) fn fixed(&self, key: &SiteKey) -> Fixed {
        let orders = self.rulings.orders();
        orders.map(|orders| orders.fixed(&key.source, key.site.as_str())).unwrap_or_default()
    }

    /// The order by which this relay leases nothing more, or that orders are not known.
    pub(crate) fn is_drained(&self) -> bool {
        self.rulings.orders().is_none_or(|orders| {
            let (id, name) = (self.heart.relay(), self.name.as_str());
            orders.drains(name).or_else(|| orders.drains(id)).is_some()
        })
    }

    /// Whether nothing of a lane may be leased now, as far as a lane tells.
    pub(crate) fn refuses_lane(&self, lane: &Lane, flow: &Flow) -> bool {
        let Some(orders) = self.rulings.orders() else { return true };
        if orders.is_empty() && !self.holds.are_any() {
            return false;
        }
        let tenant = lock(&self.rulings.tenants).get(&lane.campaign).cloned();
        let known = |domain: &Domain| self.known_destination(domain, flow);
        let destination = lane.domain.as_ref().and_then(known);
        let subject = Subject {
            campaign: Some(lane.campaign),
            tenant: tenant.as_deref().unwrap_or_default(),
            domain: lane.domain.as_ref().map(|d| d.as_str()).unwrap_or_default(),
            site: destination.as_ref().map(|d| d.site.as_str()).unwrap_or_default(),
            source: "",
        };
        let site = destination.as_ref().map(|d| &d.site);
        let holds = |site| self.holds.refuses(&flow.mail(lane.campaign), site, self.now());
        // A campaign that is cancelled is emptied all the same.
        let is_emptied = self.rulings.stopped(lane.campaign) == Some(CampaignState::Cancelling);
        let is_held = !is_emptied && site.is_some_and(holds);
        // What is to fail is leased in order to fail it.
        (is_held || orders.suspends(&subject).is_some())
            && orders.bounces(&subject, Timestamp(0)).is_none()
    }

    /// Whether the job does not go (any more), and why.
    pub(crate) fn stopped(&self, job: &Job) -> Option<Stop> {
        self.stopped_from(job, None)
    }

    /// The same, for a job that is about to go from this source.
    pub(crate) fn stopped_from(&self, job: &Job, source: Option<&str>) -> Option<Stop> {
        if let Some(state) = self.rulings.stopped(job.lease.lane.campaign) {
            return Some(Stop::Campaign(state));
        }
        self.ordered(job, source).or_else(|| self.held(job).map(Stop::Held))
    }

    fn ordered(&self, job: &Job, source: Option<&str>) -> Option<Stop> {
        let orders = self.rulings.orders().filter(|orders| !orders.is_empty())?;
        self.with_subject(job, source, |subject| {
            if let Some(order) = orders.bounces(subject, job.content.batch.accepted_at()) {
                return Some(Stop::Bounced(Box::new(order.clone())));
            }
            orders.suspends(subject).map(|_| Stop::Suspended)
        })
    }

    /// Until when the job's site has it wait, if so and if the site is known.
    fn held(&self, job: &Job) -> Option<Timestamp> {
        if !self.holds.are_any() {
            return None;
        }
        let destination = self.known_destination(&job.domain()?, &job.content.sending.flow)?;
        self.holds.until(job, &destination.site, self.now())
    }

    /// The pool that a job goes from to where it goes: its own, or that of an order.
    pub(crate) fn pool_of<'a>(&self, job: &'a Job, to: &'a Destination) -> Cow<'a, str> {
        let own = Cow::Borrowed(to.pool(&job.content.sending.flow));
        let Some(orders) = self.rulings.orders().filter(|orders| !orders.is_empty()) else {
            return own;
        };
        let ordered =
            self.with_subject(job, None, |subject| orders.pool(subject).map(str::to_owned));
        ordered.map_or(own, Cow::Owned)
    }

    /// What is known of a job. The source is that of its own pool unless another is given: a
    /// reroute of a source is about what would have gone from there.
    fn with_subject<T>(
        &self,
        job: &Job,
        source: Option<&str>,
        weigh: impl FnOnce(&Subject<'_>) -> T,
    ) -> T {
        let domain = job.domain();
        let sending = &job.content.sending;
        let known = |domain: &Domain| self.known_destination(domain, &sending.flow);
        let destination = domain.as_ref().and_then(known);
        let pool = domain.as_ref().map_or("", |domain| self.pool_at(domain, &sending.flow));
        let site = destination.as_ref().map(|d| &d.site);
        let own = || self.source_at(pool, site, job.address(), false).map(|e| e.name());
        weigh(&Subject {
            campaign: Some(sending.id),
            tenant: &sending.tenant,
            domain: domain.as_ref().map(|d| d.as_str()).unwrap_or_default(),
            site: destination.as_ref().map(|d| d.site.as_str()).unwrap_or_default(),
            source: source.or_else(own).unwrap_or_default(),
        })
    }

    /// A job that does not go: cancelled, failed by order, or back to wait.
    pub(crate) async fn settle_stopped(&self, job: Job, stop: Stop) {
        let settlement = match stop {
            Stop::Campaign(CampaignState::Cancelling) => {
                let event = self.event(EventKind::Cancelled, &job);
                Settlement::told(job, Outcome::End(End::Cancelled), event)
            }
            Stop::Suspended => Settlement::silent(job, Outcome::Waits { due: self.later() }),
            Stop::Held(until) => {
                let due = on_grid(until.min(self.now() + HELD_LOOK_AGAIN));
                Settlement::silent(job, Outcome::Waits { due })
            }
            Stop::Bounced(order) => self.bounced(job, &order),
            Stop::Campaign(_) => Settlement::silent(job, Outcome::Back),
        };
        self.settle(settlement).await;
    }

    fn bounced(&self, job: Job, order: &Order) -> Settlement {
        let mut event = self.event(EventKind::Failed, &job);
        event.phase = Some(Phase::Local);
        event.rule = format!("order {}", order.id);
        event.note = format!("failed by order of {}: {}", order.by, order.reason);
        Settlement::told(job, Outcome::End(End::Failed), event)
    }

    /// The moment at which what is held back is looked at again.
    fn later(&self) -> Timestamp {
        on_grid(self.now() + LOOK_AGAIN)
    }
}

fn on_grid(at: Timestamp) -> Timestamp {
    Timestamp(at.0.div_ceil(GRID_MS) * GRID_MS)
}
