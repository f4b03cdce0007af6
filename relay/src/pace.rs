//! The pace of one (egress source, site) as this relay lives it: slices of the common
//! rate taken from the store and spent here, what was seen told back. The decisions
//! are `mail::throttle`'s; the shared record is `store`'s; waiting is done here.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use mail::classify::Signal;
use mail::throttle::{Change, Limits, Observation, Pace};
use mail::{Site, Timestamp};
use store::{PaceSlice, SliceRequest, Store, StoreError};
use tokio::sync::{Notify, Semaphore};

/// How far ahead a relay takes its part of the rate. Also the longest burst.
pub(crate) const SLICE: Duration = Duration::from_millis(100);
/// A claim on a share of the rate and the connections lives this long without renewal: a dead
/// relay's part is the others' after that.
const CLAIM: Duration = Duration::from_secs(5);
/// What was seen is told back this often, sooner after a refusal.
const TELL: Duration = Duration::from_millis(1000);
const TELL_REFUSAL: Duration = Duration::from_millis(100);

/// Cells a second of the limiter that spreads a slice over its time. A message at rate
/// `r` costs `CELLS / r` of them, so that the rate changes without a new limiter.
const CELLS: u32 = 1_000_000;
/// A hundred milliseconds of the rate, whatever it is.
const BURST_CELLS: u32 = CELLS / 10;

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

pub(crate) struct PaceMeter {
    source: String,
    site: Site,
    limits: Limits,
    limiter: Limiter,
    /// Messages granted and not yet spent.
    tokens: Semaphore,
    granted_at: Mutex<Instant>,
    /// The whole rate of this pair, in thousandths of a message a second.
    rate_milli: AtomicU64,
    connections: AtomicU32,
    sharing: AtomicU32,
    per_connection: AtomicU32,
    hold_until: AtomicU64,
    starved: AtomicBool,
    seen: Mutex<Seen>,
    /// Something was seen that should be told soon.
    pub(crate) refused: Notify,
}

struct Seen {
    observation: Observation,
    since: Instant,
    refused: bool,
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
            rate_milli: AtomicU64::new((limits.rate_start * 1000.0) as u64),
            connections: AtomicU32::new(1),
            sharing: AtomicU32::new(1),
            per_connection: AtomicU32::new(limits.messages_per_connection_max),
            hold_until: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            seen: Mutex::new(Seen {
                observation: Observation::default(),
                since: Instant::now(),
                refused: false,
            }),
            refused: Notify::new(),
            limits,
        }
    }

    /// Waits until one message may go.
    pub(crate) async fn permit(&self) {
        if let Ok(token) = self.tokens.try_acquire() {
            token.forget();
        } else {
            self.starved.store(true, Ordering::Relaxed);
            // The semaphore is never closed.
            if let Ok(token) = self.tokens.acquire().await {
                token.forget();
            }
        }
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

    /// Connections that this relay may have open.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Messages that one connection may carry.
    pub(crate) fn per_connection(&self) -> u32 {
        self.per_connection.load(Ordering::Relaxed)
    }

    /// How long the source is blocked at this site yet.
    pub(crate) fn hold(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp(self.hold_until.load(Ordering::Relaxed));
        (until > now).then_some(until)
    }

    /// Takes a slice. Without an answer the relay keeps spending what it has, and no more.
    pub(crate) async fn refill(
        &self,
        store: &Store,
        relay: &str,
        demand: u32,
        in_use: u32,
        now: Timestamp,
    ) -> Result<Duration, StoreError> {
        let have = self.tokens.available_permits() as u32;
        let want = demand.saturating_sub(have);
        let request = SliceRequest { relay, demand: want, in_use, slice: SLICE, expiry: CLAIM };
        let mut slice = store.pace_slice(&self.source, &self.site, request).await?;
        if slice.version == 0 {
            self.begin(store, now).await?;
            slice = store.pace_slice(&self.source, &self.site, request).await?;
        }
        self.take(slice);
        Ok(slice.wait.max(SLICE))
    }

    fn take(&self, slice: PaceSlice) {
        self.rate_milli.store((slice.rate * 1000.0) as u64, Ordering::Relaxed);
        self.connections.store(slice.connections, Ordering::Relaxed);
        self.sharing.store(slice.sharing, Ordering::Relaxed);
        let mut granted_at =
            self.granted_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What a slice left over is gone: time not used is not saved up for a burst.
        if granted_at.elapsed() > SLICE * 3 {
            self.tokens.forget_permits(self.tokens.available_permits());
        }
        if slice.granted > 0 {
            *granted_at = Instant::now();
            self.tokens.add_permits(slice.granted as usize);
        }
    }

    async fn begin(&self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        let pace = Pace::new(&self.limits);
        self.put(store, 0, &pace, now).await.map(|_| ())
    }

    async fn put(
        &self,
        store: &Store,
        version: u64,
        pace: &Pace,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (rate, connections) = (pace.rate(&self.limits, now), pace.connections(now));
        let state = encode(pace);
        let put =
            store.put_pace(&self.source, &self.site, version, &state, rate, connections).await?;
        Ok(put.is_some())
    }

    /// Notes what an answer says about the pace; `carried`: messages that the connection had carried.
    pub(crate) fn saw(&self, signal: Signal, passed: bool, carried: u32) {
        let mut seen = self.seen();
        let o = &mut seen.observation;
        match signal {
            Signal::Rate => o.rate_refusals += 1,
            Signal::Connections => o.connection_refusals += 1,
            Signal::MessagesPerConnection => {
                o.per_connection_refusals += 1;
                o.carried_min = Some(o.carried_min.map_or(carried, |c| c.min(carried)));
            }
            Signal::Block => o.blocks += 1,
            Signal::SiteTrouble => o.trouble += 1,
            Signal::None
            | Signal::Greylist
            | Signal::RecipientBusy
            | Signal::SenderDomain
            | Signal::Content => o.passed += u32::from(passed),
        }
        let refused = matches!(
            signal,
            Signal::Rate | Signal::Connections | Signal::MessagesPerConnection | Signal::Block
        );
        if refused && !seen.refused {
            seen.refused = true;
            self.refused.notify_one();
        }
    }

    /// Whether it is time to tell what was seen.
    pub(crate) fn has_news(&self) -> bool {
        let seen = self.seen();
        let age = seen.since.elapsed();
        age >= TELL || (seen.refused && age >= TELL_REFUSAL)
    }

    /// Tells the common controller what this relay saw; answers what it changed.
    pub(crate) async fn tell(
        &self,
        store: &Store,
        in_use: u32,
        now: Timestamp,
    ) -> Result<Vec<Change>, StoreError> {
        let observation = self.collect(in_use);
        let mut last = Ok(Vec::new());
        // Another relay may be faster; a few rounds settle it, and what is lost
        // after that is one window's news.
        for _ in 0..8 {
            let record = store.pace(&self.source, &self.site).await?;
            let mut pace = decode(&record.state).unwrap_or_else(|| Pace::new(&self.limits));
            if pace.is_newer() {
                return last;
            }
            let changes = pace.observe(&self.limits, now, &observation);
            if self.put(store, record.version, &pace, now).await? {
                self.learn(&pace);
                last = Ok(changes);
                break;
            }
        }
        last
    }

    fn learn(&self, pace: &Pace) {
        self.per_connection.store(pace.messages_per_connection(), Ordering::Relaxed);
        let hold = pace.hold_until().unwrap_or(Timestamp(0));
        self.hold_until.store(hold.0, Ordering::Relaxed);
    }

    fn collect(&self, in_use: u32) -> Observation {
        let mut seen = self.seen();
        let mut observation = std::mem::take(&mut seen.observation);
        observation.window = seen.since.elapsed();
        observation.connections = in_use;
        observation.demand = self.starved.swap(false, Ordering::Relaxed);
        observation.sharing = self.sharing.load(Ordering::Relaxed);
        seen.since = Instant::now();
        seen.refused = false;
        observation
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The controller's state as the store keeps it.
fn encode(pace: &Pace) -> Vec<u8> {
    rmp_serde::to_vec_named(pace).unwrap_or_default()
}

/// The inverse of [`encode`]; `None` for what does not read.
fn decode(state: &[u8]) -> Option<Pace> {
    rmp_serde::from_slice(state).ok()
}
