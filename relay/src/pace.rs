//! The pace of one (egress source, site) as this relay lives it: slices of the common
//! rate taken from the store and spent here, what was seen told back. The decisions
//! are `mail::throttle`'s; the shared record is `store`'s; waiting is done here.

mod bounds;
pub(crate) mod record;
mod seen;

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use mail::quota::Ceilings;
use mail::share::Demand;
use mail::throttle::{Change, Fixed, Limits, Observation, Pace};
use mail::{CampaignId, Site, Timestamp};
use store::{PaceSlice, SliceRequest, Store, StoreError};
use tokio::sync::{Notify, Semaphore};

use crate::meters;

use bounds::{Bounds, in_thousandths};
use record::{decode, put};
use seen::Seen;

/// How far ahead a relay takes its part of the rate. Also the longest burst.
pub(crate) const SLICE: Duration = Duration::from_millis(100);
/// A claim on a share of the rate and the connections lives this long without renewal: a dead
/// relay's part is the others' after that.
const CLAIM: Duration = Duration::from_secs(5);
/// What was seen is told back this often, sooner after a refusal.
const TELL: Duration = Duration::from_millis(1000);
const TELL_REFUSAL: Duration = Duration::from_millis(100);
/// The record is read again, if others have changed it, this often.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// What only went well, without more waiting than could go, teaches nothing; it is told this
/// often, so that the record of a site in use does not grow old.
const TELL_ALL_WELL: Duration = Duration::from_secs(600);
/// Whoever holds so much of what the rate brings, and has not spent it, asks for no more …
const UNSPENT_MAX_S: f64 = 0.2;
/// … but for so long at most: its connections are claimed with the same question.
const SILENT_MAX: Duration = Duration::from_secs(1);

/// Cells a second of the limiter that spreads a slice over its time. A message at rate
/// `r` costs `CELLS / r` of them, so that the rate changes without a new limiter.
const CELLS: u32 = 1_000_000;
/// A hundred milliseconds of the rate, whatever it is.
const BURST_CELLS: u32 = CELLS / 10;

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

pub(crate) struct PaceMeter {
    source: String,
    site: Site,
    bounds: Bounds,
    limiter: Limiter,
    /// Messages granted and not yet spent.
    tokens: Semaphore,
    granted_at: Mutex<Instant>,
    asked_at: Mutex<Option<Instant>>,
    /// The whole rate of this pair, in thousandths of a message a second.
    rate_milli: AtomicU64,
    connections: AtomicU32,
    sharing: AtomicU32,
    per_connection: AtomicU32,
    hold_until: AtomicU64,
    /// The version of the record that is known, and when it was last read for being another.
    version: AtomicU64,
    read_at: Mutex<Option<Instant>>,
    /// Cuts of the rate that this relay has learnt of.
    epoch: AtomicU32,
    /// The record was heard of: it may tell of a long silence, and is told that this is over.
    greeted: AtomicBool,
    /// What was granted before the last of them is gone.
    dropped: AtomicBool,
    starved: AtomicBool,
    /// Messages that were granted and dropped, and answers that object to the source, since whoever
    /// counts them asked.
    forgotten: AtomicU64,
    objections: AtomicU64,
    /// Less was asked for than waits: what did not go says nothing about the pace.
    held_back: AtomicBool,
    seen: Mutex<Seen>,
    /// Something was seen that should be told soon.
    pub(crate) refused: Notify,
}

/// What a question brought.
pub(crate) struct Refill {
    pub(crate) granted: Vec<(CampaignId, u32)>,
    /// What was granted before and not spent is gone.
    pub(crate) stale: bool,
    /// Everything that was asked for was granted: it is not the rate that binds.
    pub(crate) satisfied: bool,
    /// Until the next question.
    pub(crate) wait: Duration,
}

impl PaceMeter {
    pub(crate) fn new(source: &str, site: &Site, limits: Limits) -> Self {
        let cells = NonZeroU32::new(CELLS).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(BURST_CELLS).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(cells).allow_burst(burst);
        Self {
            source: source.to_owned(),
            site: site.clone(),
            limiter: RateLimiter::direct_with_clock(quota, MonotonicClock),
            tokens: Semaphore::new(0),
            granted_at: Mutex::new(Instant::now()),
            asked_at: Mutex::new(None),
            rate_milli: AtomicU64::new(in_thousandths(limits.rate_start)),
            connections: AtomicU32::new(1),
            sharing: AtomicU32::new(1),
            per_connection: AtomicU32::new(limits.messages_per_connection_max),
            hold_until: AtomicU64::new(0),
            version: AtomicU64::new(0),
            read_at: Mutex::new(None),
            epoch: AtomicU32::new(0),
            greeted: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            forgotten: AtomicU64::new(0),
            objections: AtomicU64::new(0),
            held_back: AtomicBool::new(false),
            seen: Mutex::new(Seen {
                observation: Observation::default(),
                since: Instant::now(),
                told_at: Instant::now(),
                refused: false,
                untold: 0,
                hold: None,
                owed: false,
            }),
            refused: Notify::new(),
            bounds: Bounds::new(limits),
        }
    }

    /// Takes one message of what was granted, if there is any.
    pub(crate) fn try_granted(&self) -> bool {
        let token = self.tokens.try_acquire();
        let is_granted = token.is_ok();
        match token {
            Ok(token) => token.forget(),
            Err(_) => self.starved.store(true, Ordering::Relaxed),
        }
        is_granted
    }

    /// Waits until one message was granted. Whoever stops waiting has taken nothing.
    pub(crate) async fn granted(&self) {
        // The semaphore is never closed.
        if let Ok(token) = self.tokens.acquire().await {
            token.forget();
        }
    }

    /// Waits until what was granted may go, so that a slice is spread over its time.
    pub(crate) async fn spread(&self) {
        let rate = self.rate().max(0.001);
        let cost = (f64::from(CELLS) / rate).min(f64::from(BURST_CELLS)) as u32;
        if let Some(cost) = NonZeroU32::new(cost) {
            // A cost within the burst is always possible.
            let _ = self.limiter.until_n_ready(cost).await;
        }
    }

    /// Messages a second of all relays together.
    pub(crate) fn rate(&self) -> f64 {
        self.rate_milli.load(Ordering::Relaxed) as f64 / 1000.0
    }

    /// This relay's even part of the rate.
    pub(crate) fn own_part(&self) -> f64 {
        self.rate() / f64::from(self.sharing.load(Ordering::Relaxed).max(1))
    }

    /// The relay does not ask for all that waits.
    pub(crate) fn hold_back(&self) {
        self.held_back.store(true, Ordering::Relaxed);
    }

    /// Connections that this relay may have open.
    pub(crate) fn connections(&self) -> u32 {
        self.bounds.connections(self.connections.load(Ordering::Relaxed))
    }

    /// Messages that one connection may carry.
    pub(crate) fn per_connection(&self) -> u32 {
        self.bounds.per_connection(self.per_connection.load(Ordering::Relaxed))
    }

    /// Other limits from now on; whether they are others. Connections beyond them end when their
    /// message is through, and the common controller is told soon.
    pub(crate) fn bound(&self, limits: Limits) -> bool {
        let are_others = self.bounds.set(limits);
        if are_others {
            self.owes_news();
        }
        are_others
    }

    /// An operator fixes this of it, and nothing else.
    pub(crate) fn fix(&self, fixed: Fixed) {
        if self.bounds.fix(fixed) {
            self.owes_news();
        }
    }

    /// The common controller is to be told soon, whatever was seen.
    pub(crate) fn owes_news(&self) {
        self.seen().owed = true;
    }

    /// A rule asks for a hold of so long, should the site be found to block the source.
    pub(crate) fn asks_hold(&self, hold: Option<Duration>) {
        let mut seen = self.seen();
        seen.hold = seen.hold.max(hold);
    }

    /// How long the source is blocked at this site yet.
    pub(crate) fn hold(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp(self.hold_until.load(Ordering::Relaxed));
        (until > now).then_some(until)
    }

    /// Whether the source was ever blocked at this site, as far as this relay knows.
    pub(crate) fn was_held(&self) -> bool {
        self.hold_until.load(Ordering::Relaxed) > 0
    }

    /// What was taken and cannot be used goes to whoever waits here.
    pub(crate) fn give_back(&self) {
        self.tokens.add_permits(1);
    }

    /// Takes a slice, to be credited and [released](Self::release). Without an answer the relay
    /// keeps spending what it has, and no more.
    pub(crate) async fn refill(
        &self,
        store: &Store,
        relay: &str,
        flows: &[Demand],
        in_use: u32,
    ) -> Result<Option<Refill>, StoreError> {
        if !self.may_ask() {
            return Ok(None);
        }
        let limits = self.bounds.now();
        let start = (limits.rate_start, limits.connections_start);
        let fixed = self.bounds.fixed();
        let fixed = (fixed.rate, fixed.connections);
        let request =
            SliceRequest { relay, flows, in_use, slice: SLICE, expiry: CLAIM, start, fixed };
        let slice = store.pace_slice(&self.source, &self.site, request).await?;
        self.read_again(store, slice.version).await?;
        let wanted: u64 = flows.iter().map(|f| u64::from(f.waiting)).sum();
        let satisfied = u64::from(slice.sum()) >= wanted;
        let stale = self.take(&slice);
        let wait = slice.wait.max(SLICE);
        meters::permitted(slice.granted.iter().map(|(_, messages)| messages).sum());
        Ok(Some(Refill { granted: slice.granted, stale, satisfied, wait }))
    }

    /// Others have changed the record: what does not come with slices, a block that was lifted and
    /// messages per connection, is read, once a second at most.
    async fn read_again(&self, store: &Store, version: u64) -> Result<(), StoreError> {
        if version == 0 || version == self.version.load(Ordering::Relaxed) {
            return Ok(());
        }
        {
            let mut at = self.read_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if at.is_some_and(|at| at.elapsed() < READ_AGAIN) {
                return Ok(());
            }
            *at = Some(Instant::now());
        }
        let record = store.pace(&self.source, &self.site).await?;
        if let Some(pace) = decode(&record.state).filter(|pace| !pace.is_newer()) {
            self.learn(&pace, record.version);
        }
        Ok(())
    }

    /// Whoever cannot spend what it was granted does not ask: then others do not wait for it.
    fn may_ask(&self) -> bool {
        let unspent = self.tokens.available_permits() as f64;
        let mut asked_at = self.asked_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_long_ago = asked_at.is_none_or(|at| at.elapsed() >= SILENT_MAX);
        let may = is_long_ago || unspent < (self.rate() * UNSPENT_MAX_S).max(2.0);
        if may {
            *asked_at = Some(Instant::now());
        }
        may
    }

    /// Whether what slices before left over is gone: time not used is not saved up for a burst.
    fn take(&self, slice: &PaceSlice) -> bool {
        self.learn_rate(slice.rate);
        if self.bounds.is_above(in_thousandths(slice.rate)) {
            self.owes_news();
        }
        if slice.version > 0 && !self.greeted.swap(true, Ordering::Relaxed) {
            self.seen().refused = true;
        }
        self.connections.store(slice.connections, Ordering::Relaxed);
        self.sharing.store(slice.sharing, Ordering::Relaxed);
        let mut granted_at =
            self.granted_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_dropped = self.dropped.swap(false, Ordering::Relaxed);
        let stale = is_dropped || granted_at.elapsed() > SLICE * 3;
        if stale {
            self.drop_granted();
        }
        if slice.sum() > 0 {
            *granted_at = Instant::now();
        }
        stale
    }

    /// A lower rate begins an epoch: what was granted before is dropped, and answers to what was
    /// let go before say nothing about it.
    fn learn_rate(&self, rate: f64) {
        let milli = (rate * 1000.0) as u64;
        if milli < self.rate_milli.swap(milli, Ordering::Relaxed) {
            self.epoch.fetch_add(1, Ordering::Relaxed);
            self.seen().observation.age();
            self.drop_granted();
            self.dropped.store(true, Ordering::Relaxed);
        }
    }

    fn drop_granted(&self) {
        let dropped = self.tokens.forget_permits(self.tokens.available_permits());
        self.forgotten.fetch_add(dropped as u64, Ordering::Relaxed);
    }

    /// Messages that were granted and not sent, and answers that object to the source, since this
    /// was last asked.
    pub(crate) fn since_counted(&self) -> (u64, u64) {
        let (forgotten, objections) = (&self.forgotten, &self.objections);
        (forgotten.swap(0, Ordering::Relaxed), objections.swap(0, Ordering::Relaxed))
    }

    /// What may go in any hour and any day.
    pub(crate) fn ceilings(&self) -> Ceilings {
        self.bounds.ceilings()
    }

    /// Cuts of the rate that are known; what is let go now is answered for it.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// More waits than all connections can take.
    pub(crate) fn lacks_connections(&self) {
        self.starved.store(true, Ordering::Relaxed);
    }

    /// What a slice brought may be spent. It must have been credited to its flows before, or
    /// whoever is faster spends what is credited after it, and those credits are never spent.
    pub(crate) fn release(&self, refill: &Refill) {
        self.tokens.add_permits(refill.granted.iter().map(|(_, n)| *n as usize).sum());
    }

    /// Tells the common controller what this relay saw; answers what it changed.
    pub(crate) async fn tell(
        &self,
        store: &Store,
        in_use: u32,
        now: Timestamp,
    ) -> Result<Vec<Change>, StoreError> {
        let (observation, hold) = self.collect(in_use);
        let limits = self.bounds.holding(hold);
        let mut last = Ok(Vec::new());
        // Another relay may be faster; a few rounds settle it, and what is lost
        // after that is one window's news.
        for _ in 0..8 {
            let record = store.pace(&self.source, &self.site).await?;
            let mut pace = decode(&record.state).unwrap_or_else(|| Pace::new(&limits));
            if pace.is_newer() {
                return last;
            }
            let fixed = self.bounds.fixed();
            let changes = pace.observe_under(&fixed, &limits, now, &observation);
            let at = (self.source.as_str(), &self.site);
            if let Some(version) = put(store, at, record.version, &pace, &limits, now).await? {
                self.learn(&pace, version);
                self.learn_rate(fixed.rate_of(&pace, &limits, now));
                last = Ok(changes);
                break;
            }
        }
        last
    }

    fn learn(&self, pace: &Pace, version: u64) {
        self.version.store(version, Ordering::Relaxed);
        self.per_connection.store(pace.messages_per_connection(), Ordering::Relaxed);
        let hold = pace.hold_until().unwrap_or(Timestamp(0));
        self.hold_until.store(hold.0, Ordering::Relaxed);
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
