//! Outcomes on their way into the queue: many at a time, all shards in one round trip,
//! repeated under the same number until the store has answered. A shard whose server is
//! away waits alone. What waits here is bounded, because every message sent holds a place
//! of its connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::queue::{End, Judgement, Outcome, Settle, Token};
use mail::{Event, ShardId};
use store::{Frame, ShardSettle, Store};
use tokio::sync::{Semaphore, mpsc};

use crate::job::{Lease, Settlement};
use crate::meters;
use crate::register::Register;

/// Outcomes that may wait for the store. Connections stop when there is no more room.
pub(crate) const WAITING_MAX: usize = 4096;
/// Outcomes settled together at most, over all shards.
const TOGETHER_MAX: usize = 1024;
/// The first outcome waits for company: a settle of ten costs little more than one of one. Step
/// by step, so many steps at most, and no longer than more keep coming. Short steps, for once
/// most places are taken each moment of waiting is one in which connections stand still.
const LINGER_STEP: Duration = Duration::from_millis(2);
const LINGER_STEPS: u32 = 8;
/// After so many steps in which nothing came nothing is waited for.
const QUIET_STEPS: u32 = 2;
/// Between two tries when the store does not answer.
const AGAIN: Duration = Duration::from_millis(200);

pub(crate) struct Settler {
    store: Store,
    relay: String,
    register: Arc<Register>,
    numbers: HashMap<ShardId, u64>,
    places: Places,
    /// Settles that are not answered yet, at most one a shard: the next number is taken when
    /// the queue has answered the last.
    pending: Vec<Pending>,
    /// What came for those shards meanwhile.
    behind: BTreeMap<ShardId, Vec<Settlement>>,
    /// Failed rounds since the last one in which all was answered.
    tries: u32,
}

/// How much the open connections may have sent and not settled.
pub(crate) struct Places {
    /// Connections that may be opened yet.
    pub(crate) closed: Arc<Semaphore>,
    pub(crate) connections_max: usize,
    pub(crate) unsettled_max: usize,
}

impl Places {
    /// With so many outcomes waiting, a connection may soon stand still for want of a place.
    fn nearly_taken(&self) -> usize {
        let open = self.connections_max.saturating_sub(self.closed.available_permits());
        open * self.unsettled_max * 3 / 4
    }
}

/// One shard's settle, kept until it is answered.
struct Pending {
    shard: ShardId,
    number: u64,
    groups: Vec<Settle>,
    frame: Vec<u8>,
    members: Vec<Settlement>,
    /// When it may be said again.
    due: Instant,
}

impl Settler {
    pub(crate) fn new(
        store: Store,
        relay: String,
        register: Arc<Register>,
        places: Places,
    ) -> Self {
        Self {
            store,
            relay,
            register,
            numbers: HashMap::new(),
            places,
            pending: Vec::new(),
            behind: BTreeMap::new(),
            tries: 0,
        }
    }

    /// Settles what comes until nobody can send any more and all is answered.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Settlement>) {
        let mut batch = Vec::with_capacity(TOGETHER_MAX);
        let mut is_open = true;
        while is_open || !self.pending.is_empty() {
            if !is_open {
                tokio::time::sleep(AGAIN).await;
            } else if self.pending.is_empty() {
                is_open = inbox.recv_many(&mut batch, TOGETHER_MAX).await > 0;
            } else {
                let next = inbox.recv_many(&mut batch, TOGETHER_MAX);
                is_open = tokio::time::timeout(AGAIN, next).await != Ok(0);
            }
            if !batch.is_empty() {
                self.await_company(&mut batch, &mut inbox).await;
            }
            for settlement in batch.drain(..) {
                self.behind.entry(settlement.lease.shard).or_default().push(settlement);
            }
            self.take_turns();
            meters::unsettled(self.waiting() + inbox.len());
            self.settle().await;
            // What came for a shard while its settle was unanswered does not wait for more.
            while self.take_turns() {
                self.settle().await;
            }
        }
    }

    fn waiting(&self) -> usize {
        let pending: usize = self.pending.iter().map(|p| p.members.len()).sum();
        pending + self.behind.values().map(Vec::len).sum::<usize>()
    }

    /// Shards without an unanswered settle get their next one; whether there was any.
    fn take_turns(&mut self) -> bool {
        let is_free = |shard: &ShardId| self.pending.iter().all(|p| p.shard != *shard);
        let free: Vec<ShardId> = self.behind.keys().copied().filter(is_free).collect();
        for shard in &free {
            let mut members = self.behind.remove(shard).unwrap_or_default();
            if members.len() > TOGETHER_MAX {
                self.behind.insert(*shard, members.split_off(TOGETHER_MAX));
            }
            let pending = self.pending(*shard, members);
            self.pending.push(pending);
        }
        !free.is_empty()
    }

    /// Says once what is due; what fails stays, under its number.
    async fn settle(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<Pending>, Vec<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|p| p.due <= now);
        self.pending = later;
        let parts: Vec<ShardSettle<'_>> = due.iter().map(Pending::part).collect();
        let answers = self.store.settle_together(&self.relay, &parts).await;
        meters::settled_in(now.elapsed());
        let mut failed = None;
        for (mut part, answer) in due.into_iter().zip(answers) {
            match answer {
                Ok(judgements) => settled(&self.register, &part, &judgements),
                Err(error) => {
                    part.due = Instant::now() + AGAIN;
                    self.pending.push(part);
                    failed = Some(error);
                }
            }
        }
        let Some(error) = failed else {
            self.tries = 0;
            return;
        };
        if self.tries.is_multiple_of(25) {
            let waiting = self.waiting();
            tracing::warn!(waiting, %error,
                "cannot settle; keeping the outcomes and trying again");
        }
        self.tries += 1;
    }

    async fn await_company(
        &self,
        batch: &mut Vec<Settlement>,
        inbox: &mut mpsc::Receiver<Settlement>,
    ) {
        let mut quiet = 0;
        for _ in 0..LINGER_STEPS {
            let before = batch.len();
            if before >= self.places.nearly_taken().min(TOGETHER_MAX / 4) {
                return;
            }
            tokio::time::sleep(LINGER_STEP).await;
            while batch.len() < TOGETHER_MAX {
                match inbox.try_recv() {
                    Ok(more) => batch.push(more),
                    Err(_) => break,
                }
            }
            quiet = if batch.len() == before { quiet + 1 } else { 0 };
            if quiet == QUIET_STEPS {
                return;
            }
        }
    }

    /// Groups by lease, indices ascending, events in the same order.
    fn pending(&mut self, shard: ShardId, mut members: Vec<Settlement>) -> Pending {
        members.sort_by_key(|m| (m.lease.token, m.index));
        let number = self.numbers.entry(shard).or_insert(0);
        *number += 1;
        let mut groups: Vec<Settle> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for member in &mut members {
            match groups.last_mut() {
                Some(group) if group.token == member.lease.token => {
                    group.outcomes.push((member.index, member.outcome));
                }
                _ => groups.push(group_of(&member.lease, member.index, member.outcome)),
            }
            if let (true, Some(group)) = (member.is_dead(), groups.last_mut()) {
                group.dead.push(member.index);
            }
            if member.outcome == Outcome::End(End::SetAside)
                && let (Some(group), Some(event)) = (groups.last_mut(), &member.event)
                && group.reason.is_empty()
            {
                group.reason.clone_from(&event.note);
                group.newer = member.newer;
            }
            if member.outcome.is_told() {
                events.extend(member.event.take().map(|e| *e));
            }
        }
        let frame = if events.is_empty() { Vec::new() } else { Frame::encode(&events) };
        Pending { shard, number: *number, groups, frame, members, due: Instant::now() }
    }
}

impl Pending {
    fn part(&self) -> ShardSettle<'_> {
        let Self { shard, number, groups, frame, members: _, due: _ } = self;
        ShardSettle { shard: *shard, number: *number, groups, frame }
    }
}

fn group_of(lease: &Lease, index: u16, outcome: Outcome) -> Settle {
    Settle {
        token: lease.token,
        slot: lease.slot,
        batch: lease.batch,
        lane: lease.lane.clone(),
        count: lease.count,
        outcomes: vec![(index, outcome)],
        reason: String::new(),
        newer: 0,
        dead: Vec::new(),
    }
}

fn settled(register: &Register, part: &Pending, judgements: &[Judgement]) {
    meters::settled(part.members.iter().map(|m| m.outcome).zip(judgements.iter().copied()));
    for judgement in judgements {
        if *judgement == Judgement::Late || *judgement == Judgement::Twice {
            tracing::warn!(
                shard = part.shard.0,
                ?judgement,
                "a delivery was settled after its lease was lost"
            );
        }
    }
    let tokens: Vec<(Token, usize)> =
        part.groups.iter().map(|g| (g.token, g.outcomes.len())).collect();
    register.settled(part.shard, &tokens);
}

#[cfg(test)]
#[path = "settler_tests.rs"]
mod tests;
