//! The shard in memory: what the Redis scripts must do, said once in Rust. Slow
//! and obvious on purpose. The outbox and the blobs are not modelled: they carry
//! no decision.

mod leasing;
mod settling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{
    BatchId, CampaignState, Counters, End, Enqueue, Enqueued, Judgement, LEASE_PERIOD, Lane,
    SLOTS_MAX, Standing, State, Token,
};
use crate::id::CampaignId;
use crate::time::Timestamp;

/// A batch of which something was leased, or that holds suppressed recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    lane: Lane,
    state: Vec<State>,
    attempts: Vec<u8>,
    /// Everything before it has been leased once.
    cursor: usize,
    /// Not at rest.
    left: usize,
    slots: BTreeMap<u8, (Token, usize)>,
    /// Some of it was set aside: kept when the rest is at rest.
    keep: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Campaign {
    state: CampaignState,
    priority: u8,
    next_chunk: u64,
    counters: Counters,
    lanes: BTreeSet<Lane>,
}

impl Default for Campaign {
    fn default() -> Self {
        Self {
            state: CampaignState::Held,
            priority: 1,
            next_chunk: 0,
            counters: Counters::default(),
            lanes: BTreeSet::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Relay {
    leases: BTreeMap<Token, (BatchId, u8)>,
}

/// One shard of the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    clock: Timestamp,
    grace: Timestamp,
    last_token: u64,
    batches: BTreeSet<BatchId>,
    open: BTreeMap<BatchId, Open>,
    fresh: BTreeMap<Lane, VecDeque<(BatchId, u16)>>,
    retry: BTreeMap<Lane, VecDeque<(BatchId, Vec<u16>)>>,
    /// By due time and then by name, which is how Redis orders equal scores.
    delayed: BTreeMap<(u64, String), (BatchId, Vec<u16>)>,
    ready: BTreeSet<Lane>,
    campaigns: BTreeMap<CampaignId, Campaign>,
    deadlines: BTreeMap<String, Timestamp>,
    relays: BTreeMap<String, Relay>,
    last_settle: BTreeMap<String, (u64, Vec<Judgement>)>,
    /// Recipients set aside, and batches of which nothing else is left.
    aside: BTreeMap<BatchId, Vec<u16>>,
    kept: BTreeMap<BatchId, Open>,
}

impl Model {
    /// The clock as the last command left it. Time never goes backwards here; a
    /// long silence means that nobody could renew, and opens a grace.
    fn tick(&mut self, now: Timestamp) -> Timestamp {
        let now = now.max(self.clock);
        if self.clock != Timestamp(0) && now.since(self.clock) > LEASE_PERIOD / 2 {
            self.grace = now + LEASE_PERIOD;
        }
        self.clock = now;
        now
    }

    /// Stores a chunk.
    pub fn enqueue(&mut self, now: Timestamp, e: &Enqueue) -> Enqueued {
        self.tick(now);
        let campaign = self.campaigns.entry(e.lane.campaign).or_default();
        if e.chunk < campaign.next_chunk {
            return Enqueued::Already;
        }
        if e.chunk > campaign.next_chunk {
            return Enqueued::Gap;
        }
        campaign.next_chunk += 1;
        campaign.priority = e.priority;
        let (n, skip) = (u64::from(e.count), e.suppressed.len() as u64);
        campaign.counters.accepted += n;
        campaign.counters.suppressed += skip;
        campaign.counters.waiting += n - skip;
        if n == skip {
            return Enqueued::Stored;
        }
        campaign.lanes.insert(e.lane.clone());
        self.batches.insert(e.batch);
        if skip > 0 {
            let mut open = Open::new(e.lane.clone(), e.count);
            for i in &e.suppressed {
                open.state[usize::from(*i)] = State::Done(End::Suppressed);
            }
            open.left -= e.suppressed.len();
            self.open.insert(e.batch, open);
        }
        self.fresh.entry(e.lane.clone()).or_default().push_back((e.batch, e.count));
        self.make_ready(&e.lane);
        Enqueued::Stored
    }

    /// Sets a campaign's state; its lanes enter or leave the ready index.
    pub fn set_campaign(
        &mut self,
        now: Timestamp,
        id: CampaignId,
        state: CampaignState,
        priority: u8,
    ) {
        self.tick(now);
        let campaign = self.campaigns.entry(id).or_default();
        campaign.state = state;
        campaign.priority = priority;
        for lane in campaign.lanes.clone() {
            self.ready.remove(&lane);
            if self.has_work(&lane) {
                self.make_ready(&lane);
            }
        }
    }

    /// Registers a relay (`fresh`) or renews it, reaps the dead and promotes what is due.
    pub fn renew(&mut self, now: Timestamp, relay: &str, fresh: bool) -> Standing {
        let now = self.tick(now);
        if fresh || self.standing(now, relay) == Standing::Known {
            self.deadlines.insert(relay.to_owned(), now + LEASE_PERIOD);
            self.reap(now);
            self.promote(now);
            Standing::Known
        } else {
            self.reap(now);
            self.promote(now);
            Standing::Lost
        }
    }

    fn standing(&self, now: Timestamp, relay: &str) -> Standing {
        match self.deadlines.get(relay) {
            Some(deadline) if *deadline >= now || now < self.grace => Standing::Known,
            _ => Standing::Lost,
        }
    }

    /// Makes what is delayed of a campaign due now.
    pub fn expedite(&mut self, now: Timestamp, id: CampaignId) {
        self.tick(now);
        let is_its_own = |b: &BatchId| self.open.get(b).is_some_and(|o| o.lane.campaign == id);
        let keys: Vec<(u64, String)> = self
            .delayed
            .iter()
            .filter(|(_, (b, _))| is_its_own(b))
            .map(|(k, _)| k.clone())
            .collect();
        for key in keys {
            self.promote_group(&key);
        }
    }

    /// What was set aside of a batch waits again; answers how many recipients.
    pub fn restore(&mut self, now: Timestamp, batch: BatchId) -> usize {
        self.tick(now);
        let Some(listed) = self.aside.get(&batch) else { return 0 };
        let Some(mut open) = self.open.remove(&batch).or_else(|| self.kept.remove(&batch)) else {
            return 0;
        };
        let is_aside = |i: &u16| open.state[usize::from(*i)] == State::Done(End::SetAside);
        let mut live: Vec<u16> = listed.iter().copied().filter(is_aside).collect();
        live.sort_unstable();
        for i in &live {
            open.state[usize::from(*i)] = State::Retry;
        }
        open.left += live.len();
        open.keep = false;
        let (lane, count) = (open.lane.clone(), live.len());
        self.aside.remove(&batch);
        self.batches.insert(batch);
        self.open.insert(batch, open);
        let campaign = self.campaigns.entry(lane.campaign).or_default();
        campaign.counters.set_aside -= count as u64;
        campaign.counters.waiting += count as u64;
        campaign.lanes.insert(lane.clone());
        self.retry.entry(lane.clone()).or_default().push_back((batch, live));
        self.make_ready(&lane);
        count
    }

    /// How many recipients of each batch are set aside.
    #[must_use]
    pub fn asides(&self) -> Vec<(BatchId, usize)> {
        self.aside.iter().map(|(batch, listed)| (*batch, listed.len())).collect()
    }

    fn count(&mut self, id: CampaignId, delta: &Counters, ended: usize) {
        let campaign = self.campaigns.entry(id).or_default();
        campaign.counters = campaign.counters.plus(delta);
        campaign.counters.waiting -= ended as u64;
    }

    fn has_work(&self, lane: &Lane) -> bool {
        let some = |n: Option<usize>| n.unwrap_or(0) > 0;
        some(self.fresh.get(lane).map(VecDeque::len))
            || some(self.retry.get(lane).map(VecDeque::len))
    }

    fn make_ready(&mut self, lane: &Lane) {
        if self.campaigns.get(&lane.campaign).is_some_and(|c| c.state.is_leasable()) {
            self.ready.insert(lane.clone());
        }
    }

    /// A campaign's part of the accounts.
    #[must_use]
    pub fn counters(&self, id: CampaignId) -> Counters {
        self.campaigns.get(&id).map(|c| c.counters).unwrap_or_default()
    }

    /// Campaigns known here.
    #[must_use]
    pub fn campaigns(&self) -> Vec<CampaignId> {
        self.campaigns.keys().copied().collect()
    }

    /// Lanes with something to lease.
    #[must_use]
    pub fn ready(&self) -> Vec<Lane> {
        self.ready.iter().cloned().collect()
    }

    /// The state and attempts bytes of each open batch: the truth, for comparing.
    #[must_use]
    pub fn open_batches(&self) -> Vec<(BatchId, Vec<u8>, Vec<u8>)> {
        let bytes = |o: &Open| o.state.iter().map(|s| s.to_byte()).collect();
        self.open.iter().map(|(b, o)| (*b, bytes(o), o.attempts.clone())).collect()
    }

    /// Waiting recipients of a campaign by counting states instead of by the counter.
    #[must_use]
    pub fn audit_waiting(&self, id: CampaignId) -> u64 {
        let not_done =
            |o: &Open| o.state.iter().filter(|s| !matches!(s, State::Done(_))).count() as u64;
        let open: u64 = self.open.values().filter(|o| o.lane.campaign == id).map(not_done).sum();
        let unopened: u64 = self
            .fresh
            .iter()
            .filter(|(lane, _)| lane.campaign == id)
            .flat_map(|(_, list)| list)
            .filter(|(batch, _)| !self.open.contains_key(batch))
            .map(|(_, count)| u64::from(*count))
            .sum();
        open + unopened
    }

    /// How long until something delayed is due, if anything is.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Duration> {
        self.delayed.keys().next().map(|(due, _)| Timestamp(*due).since(now))
    }
}

impl Open {
    fn new(lane: Lane, count: u16) -> Self {
        let n = usize::from(count);
        Self {
            lane,
            state: vec![State::Fresh; n],
            attempts: vec![0; n],
            cursor: 0,
            left: n,
            slots: BTreeMap::new(),
            keep: false,
        }
    }

    fn free_slot(&self) -> Option<u8> {
        (1..=SLOTS_MAX).find(|slot| !self.slots.contains_key(slot))
    }

    fn turn(&mut self, from: State, to: State) -> Vec<u16> {
        let mut turned = Vec::new();
        for (i, state) in self.state.iter_mut().enumerate() {
            if *state == from {
                *state = to;
                turned.push(i as u16);
            }
        }
        turned
    }
}
