//! The heartbeat: once a second the relay renews its standing in every shard, in one
//! round trip, and knows by its own monotonic clock until when what it holds is its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mail::ShardId;
use mail::queue::{LEASE_PERIOD, Standing};
use store::{Store, StoreError};

use crate::relay::lock;

/// Between two renewals.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// Left of a lease when the final dot may still be written: the time that a reply and
/// a settle usually take, several times over.
const MARGIN: Duration = Duration::from_millis(1500);

/// The relay's standing in each shard.
pub(crate) struct Heart {
    relay: String,
    began: Instant,
    shards: Vec<Pulse>,
    /// Since when a renewal is under way, and how long the last two took.
    asked_at: Mutex<Option<Instant>>,
    took: Mutex<[Option<Duration>; 2]>,
    /// When it was last said that leases were lost: once for all shards, whoever hears it first.
    loss_told: Mutex<Option<Instant>>,
}

struct Pulse {
    /// Milliseconds after `began` until which leases are surely ours.
    valid_until_ms: AtomicU64,
    /// Counts losses: a lease from before a loss is no longer ours.
    epoch: AtomicU64,
    registered: AtomicBool,
}

impl Heart {
    pub(crate) fn new(relay: String, shards: u16) -> Self {
        let pulse = || Pulse {
            valid_until_ms: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            registered: AtomicBool::new(false),
        };
        let shards = (0..shards).map(|_| pulse()).collect();
        Self {
            relay,
            began: Instant::now(),
            shards,
            asked_at: Mutex::default(),
            took: Mutex::default(),
            loss_told: Mutex::new(None),
        }
    }

    /// The relay's name in the queue.
    pub(crate) fn relay(&self) -> &str {
        &self.relay
    }

    /// Renews everywhere; a shard that says `lost` is registered anew, and what was held
    /// there is forgotten. Answers the shards where that happened. Those whose server is away
    /// run out by the clock, and the others stay ours; an error when none could be renewed.
    pub(crate) async fn beat(&self, store: &Store) -> Result<Vec<ShardId>, StoreError> {
        let asked = Instant::now();
        let fresh = |shard| !self.pulse(shard).registered.load(Ordering::Relaxed);
        *lock(&self.asked_at) = Some(asked);
        let renewals = store.renew(&self.relay, fresh).await;
        *lock(&self.asked_at) = None;
        let answered = renewals.iter().any(Result::is_ok).then(|| asked.elapsed());
        lock(&self.took).rotate_right(1);
        lock(&self.took)[0] = answered;
        let (mut lost, mut trouble, mut renewed) = (Vec::new(), None, false);
        for (shard, renewal) in store.all_shards().zip(renewals) {
            let pulse = self.pulse(shard);
            let standing = match renewal {
                Ok(renewal) => renewal.standing,
                Err(e) => {
                    trouble = Some(e);
                    continue;
                }
            };
            renewed = true;
            match standing {
                Standing::Known => {
                    pulse.registered.store(true, Ordering::Relaxed);
                    let until = asked + LEASE_PERIOD - self.began;
                    pulse.valid_until_ms.store(until.as_millis() as u64, Ordering::Release);
                }
                Standing::Lost => {
                    lost.push(shard);
                    self.lost(shard);
                }
            }
        }
        match trouble {
            Some(e) if !renewed => return Err(e),
            Some(e) => tracing::debug!("some shards could not be renewed: {e}"),
            None => {}
        }
        Ok(lost)
    }

    /// Milliseconds until Redis has renewed: the shorter of the last two times, for one that was
    /// long may be a moment's; or how long it is being waited for. Nothing while it is away.
    pub(crate) fn answers_after_ms(&self) -> Option<f64> {
        let under_way = lock(&self.asked_at).map_or(Duration::ZERO, |at| at.elapsed());
        let [last, before] = *lock(&self.took);
        let took = last.map(|last| before.map_or(last, |before| last.min(before)));
        let longest = took.unwrap_or_default().max(under_way);
        (took.is_some() || under_way > BEAT).then_some(longest.as_secs_f64() * 1000.0)
    }

    /// The number to compare a lease's with.
    pub(crate) fn epoch(&self, shard: ShardId) -> u64 {
        self.pulse(shard).epoch.load(Ordering::Acquire)
    }

    /// The queue said that the relay is unknown in this shard.
    pub(crate) fn lost(&self, shard: ShardId) {
        if !self.pulse(shard).lose() {
            return;
        }
        let mut told = lock(&self.loss_told);
        if told.is_none_or(|at| at.elapsed() > LEASE_PERIOD) {
            *told = Some(Instant::now());
            tracing::warn!("leases were lost: this relay could not renew in time; starting anew");
        }
    }

    /// Whether a lease of this epoch was taken back by the queue.
    pub(crate) fn is_gone(&self, shard: ShardId, epoch: u64) -> bool {
        self.epoch(shard) != epoch
    }

    /// Whether a lease of this epoch is ours for long enough to write a final dot.
    pub(crate) fn is_ours(&self, shard: ShardId, epoch: u64) -> bool {
        let pulse = self.pulse(shard);
        let now = (self.began.elapsed() + MARGIN).as_millis() as u64;
        pulse.epoch.load(Ordering::Acquire) == epoch
            && now < pulse.valid_until_ms.load(Ordering::Acquire)
    }

    fn pulse(&self, shard: ShardId) -> &Pulse {
        &self.shards[usize::from(shard.0)]
    }
}

impl Pulse {
    /// Whether there was anything to lose.
    fn lose(&self) -> bool {
        let was_registered = self.registered.swap(false, Ordering::Relaxed);
        if was_registered {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
        was_registered
    }
}
