//! The book of what truly happened to each recipient, kept by the sink for itself.
//! No relay's account enters here; the demo and the tests compare theirs with it.

pub(crate) mod counters;
mod entry;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mail::{Category, Phase, Report};
use serde::Serialize;

pub use counters::{Counters, Live};
pub use entry::{Entry, Given, Peer};

use crate::scenario::Keep;

/// Shards of the book, so that connections rarely wait for one another.
const SHARDS: usize = 64;

/// Recipients in one shard. With all shards it is more than a machine of today has
/// memory for; beyond it an address is served and not written down.
const ENTRIES_MAX: usize = 1 << 20;

/// Violations kept as text; the rest is only counted.
const SAMPLES_MAX: usize = 10;

/// The book.
#[derive(Debug)]
pub struct Book {
    started: Instant,
    keep: Keep,
    shards: Vec<Mutex<Shard>>,
    violations: Mutex<BTreeMap<&'static str, Violation>>,
    counters: Vec<Counters>,
    names: Vec<String>,
}

type Shard = HashMap<u64, Entry, BuildHasherDefault<Known>>;

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Known(u64);

impl Hasher for Known {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A rule of good mail that was broken, how often, and the first few cases.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Violation {
    /// How often.
    pub count: u64,
    /// The first few cases, in words.
    pub samples: Vec<String>,
}

/// The book in one page. Recipients are those that a RCPT named.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// Recipients that a RCPT named.
    pub recipients: u64,
    /// RCPT commands.
    pub attempts: u64,
    /// Recipients with at least one message taken.
    pub delivered: u64,
    /// Recipients whose last reply was a refusal for good and who have no message.
    pub refused: u64,
    /// Recipients whose last reply was a refusal for now and who have no message.
    pub deferred: u64,
    /// Messages taken beyond the first, over all recipients.
    pub duplicates: u64,
    /// Whole bodies received, whatever was replied.
    pub dots: u64,
    /// Positive replies to a final dot that were written to a living connection.
    pub replied: u64,
    /// Messages taken whose positive reply did not reach a living client: what a relay
    /// cannot know of, and may send again.
    pub unheard: u64,
    /// Recipients whose return path or Message-ID changed between attempts.
    pub unstable: u64,
    /// Reports of all kinds that the bounce processor took.
    pub reports: u64,
    /// Reports given up or still waiting.
    pub reports_waiting: u64,
    /// Broken rules.
    pub violations: u64,
    /// Live counters by provider.
    pub providers: BTreeMap<String, Live>,
}

impl Book {
    pub(crate) fn new(keep: Keep, names: Vec<String>, started: Instant) -> Self {
        Self {
            started,
            keep,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            violations: Mutex::default(),
            counters: names.iter().map(|_| Counters::default()).collect(),
            names,
        }
    }

    /// What happened to an address as it was written on the wire; `None` when no RCPT
    /// named it.
    #[must_use]
    pub fn recipient(&self, address: &str) -> Option<Entry> {
        let key = key_of(address);
        self.shard(key).get(&key).cloned()
    }

    /// Every recipient, in no order. The book stays open meanwhile, so that a running
    /// delivery may or may not show.
    pub fn for_each(&self, mut visit: impl FnMut(&Entry)) {
        for shard in &self.shards {
            lock(shard).values().for_each(&mut visit);
        }
    }

    /// Recipients whose mailbox holds more than one copy, with the number of copies.
    #[must_use]
    pub fn duplicates(&self) -> Vec<(String, u16)> {
        let mut twice = Vec::new();
        self.for_each(|e| {
            if e.taken > 1 {
                twice.push((e.address.to_string(), e.taken));
            }
        });
        twice
    }

    /// The book in one page; walks over all recipients.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut sum = Summary::default();
        self.for_each(|e| e.add_to(&mut sum));
        sum.violations = lock(&self.violations).values().map(|v| v.count).sum();
        sum.providers = self.live();
        sum.reports = self.counters.iter().map(Counters::reports_sent).sum();
        sum.reports_waiting = self.counters.iter().map(Counters::reports_waiting).sum();
        sum
    }

    /// Live counters by provider; cheap.
    #[must_use]
    pub fn live(&self) -> BTreeMap<String, Live> {
        self.names.iter().cloned().zip(self.counters.iter().map(Counters::read)).collect()
    }

    /// Messages delivered so far, of all providers.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.counters.iter().map(|counters| counters.read().delivered).sum()
    }

    /// Broken rules by name.
    #[must_use]
    pub fn violations(&self) -> BTreeMap<&'static str, Violation> {
        lock(&self.violations).clone()
    }

    pub(crate) fn counters(&self, counter: usize) -> &Counters {
        &self.counters[counter]
    }

    pub(crate) fn violation(&self, rule: &'static str, case: impl FnOnce() -> String) {
        let mut all = lock(&self.violations);
        let violation = all.entry(rule).or_default();
        violation.count += 1;
        if violation.samples.len() < SAMPLES_MAX {
            violation.samples.push(case());
        }
    }

    /// A RCPT names an address: the attempt is counted. Returns how many attempts there
    /// have been with this one, and how long ago the first was, in milliseconds.
    pub(crate) fn attempt(&self, to: &str, from: &str, peer: Peer) -> (u16, u32) {
        let now = self.now_ms();
        let key = key_of(to);
        let mut shard = self.shard(key);
        if shard.len() >= ENTRIES_MAX && !shard.contains_key(&key) {
            return (1, 0);
        }
        let entry = shard.entry(key).or_insert_with(|| Entry::new(to, now));
        entry.attempts = entry.attempts.saturating_add(1);
        entry.peer = peer;
        entry.last_ms = now;
        entry.return_path.see(from, self.keep == Keep::Full);
        (entry.attempts, now - entry.first_ms)
    }

    pub(crate) fn given(&self, to: &str, phase: Phase, line: &str, meant: Option<Category>) {
        let at_ms = self.now_ms();
        let code = line.get(..3).and_then(|c| c.parse().ok()).unwrap_or(0);
        let keep = self.keep == Keep::Full;
        self.with(to, |e| e.give(Given { at_ms, phase, code, meant, peer: e.peer }, keep));
    }

    /// A whole body has arrived.
    pub(crate) fn dot(&self, to: &str, message_id: &str) {
        let keep = self.keep == Keep::Full;
        self.with(to, |e| {
            e.dots = e.dots.saturating_add(1);
            e.message_id.see(message_id, keep);
        });
    }

    /// The message is in the mailbox, whether or not the client gets to hear of it.
    pub(crate) fn taken(&self, to: &str) {
        self.with(to, |e| e.taken = e.taken.saturating_add(1));
    }

    /// The client, still there, has been told so.
    pub(crate) fn replied(&self, to: &str) {
        let given = Given {
            at_ms: self.now_ms(),
            phase: Phase::Dot,
            code: 250,
            meant: None,
            peer: Peer::default(),
        };
        let keep = self.keep == Keep::Full;
        self.with(to, |e| {
            e.accepted = e.accepted.saturating_add(1);
            e.give(Given { peer: e.peer, ..given }, keep);
        });
    }

    pub(crate) fn reported(&self, to: &str, report: Report) {
        self.with(to, |e| e.reports.push(report));
    }

    fn with(&self, to: &str, change: impl FnOnce(&mut Entry)) {
        let key = key_of(to);
        if let Some(entry) = self.shard(key).get_mut(&key) {
            change(entry);
        }
    }

    /// Milliseconds since the start: what entries are stamped with.
    pub(crate) fn now_ms(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(key >> 58) as usize])
    }
}

/// 64 bits are enough: among a million recipients the chance that two meet is 3 in 10^8.
fn key_of(address: &str) -> u64 {
    crate::mix::of_text(0, 30, address)
}

/// The book is plain data: a panic elsewhere leaves nothing half-written that matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        match address.ip() {
            std::net::IpAddr::V4(ip) => Self { ip, port: address.port() },
            std::net::IpAddr::V6(_) => Self::default(),
        }
    }
}
