//! The shard in memory: what the Redis scripts must do, said once in Rust. Slow
//! and obvious on purpose. The outbox and the blobs are not modelled: they carry
//! no decision.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{
    BatchId, CampaignState, Counters, End, Enqueue, Enqueued, Judgement, LEASE_PERIOD, Lane,
    Leased, Outcome, PROMOTE_GROUPS_MAX, REAP_LEASES_MAX, SLOTS_MAX, Settle, Standing, State,
    Token,
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

    fn reap(&mut self, now: Timestamp) {
        if now < self.grace {
            return;
        }
        let mut budget = REAP_LEASES_MAX;
        let mut dead: Vec<(Timestamp, String)> = self
            .deadlines
            .iter()
            .filter(|(_, d)| **d < now)
            .map(|(r, d)| (*d, r.clone()))
            .collect();
        dead.sort_unstable();
        for (_, relay) in dead {
            let held = self.relays.entry(relay.clone()).or_default().leases.clone();
            for (token, (batch, slot)) in held {
                if budget == 0 {
                    return;
                }
                budget -= 1;
                self.give_back(&relay, token, batch, slot);
            }
            self.relays.remove(&relay);
            self.deadlines.remove(&relay);
        }
    }

    fn give_back(&mut self, relay: &str, token: Token, batch: BatchId, slot: u8) {
        if let Some(r) = self.relays.get_mut(relay) {
            r.leases.remove(&token);
        }
        let Some(open) = self.open.get_mut(&batch) else { return };
        if open.slots.get(&slot).is_none_or(|(t, _)| *t != token) {
            return;
        }
        open.slots.remove(&slot);
        let indices = open.turn(State::Leased(slot), State::Retry);
        let lane = open.lane.clone();
        if !indices.is_empty() {
            self.retry.entry(lane.clone()).or_default().push_back((batch, indices));
            self.make_ready(&lane);
        }
    }

    fn promote(&mut self, now: Timestamp) {
        let due: Vec<(u64, String)> = self
            .delayed
            .keys()
            .take_while(|(due, _)| *due <= now.0)
            .take(PROMOTE_GROUPS_MAX)
            .cloned()
            .collect();
        for key in due {
            self.promote_group(&key);
        }
    }

    fn promote_group(&mut self, key: &(u64, String)) {
        let Some((batch, group)) = self.delayed.remove(key) else { return };
        let Some(open) = self.open.get_mut(&batch) else { return };
        let mut indices: Vec<u16> =
            group.into_iter().filter(|i| open.state[usize::from(*i)] == State::Delayed).collect();
        indices.sort_unstable();
        indices.dedup();
        for i in &indices {
            open.state[usize::from(*i)] = State::Retry;
        }
        let lane = open.lane.clone();
        if !indices.is_empty() {
            self.retry.entry(lane.clone()).or_default().push_back((batch, indices));
            self.make_ready(&lane);
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

    /// Leases up to `want` recipients from each lane; `None` when the relay is lost.
    pub fn lease(
        &mut self,
        now: Timestamp,
        relay: &str,
        wants: &[(Lane, u16)],
    ) -> Option<Vec<Leased>> {
        let now = self.tick(now);
        if self.standing(now, relay) == Standing::Lost {
            return None;
        }
        let mut leases = Vec::new();
        for (lane, want) in wants {
            let state = self.campaigns.get(&lane.campaign).map(|c| c.state);
            let Some(state) = state.filter(|s| s.is_leasable()) else {
                self.ready.remove(lane);
                continue;
            };
            let cancelling = state == CampaignState::Cancelling;
            let mut want = usize::from(*want);
            self.lease_retries(relay, lane, &mut want, cancelling, &mut leases);
            self.lease_fresh(relay, lane, &mut want, cancelling, &mut leases);
            if !self.has_work(lane) {
                self.ready.remove(lane);
            }
        }
        Some(leases)
    }

    fn lease_retries(
        &mut self,
        relay: &str,
        lane: &Lane,
        want: &mut usize,
        cancelling: bool,
        out: &mut Vec<Leased>,
    ) {
        while *want > 0 {
            let Some((batch, entry)) = self.retry.get_mut(lane).and_then(VecDeque::pop_front)
            else {
                return;
            };
            let Some(open) = self.open.get(&batch) else { continue };
            let mut live: Vec<u16> =
                entry.into_iter().filter(|i| open.state[usize::from(*i)] == State::Retry).collect();
            let rest = live.split_off(live.len().min(*want));
            let free = open.free_slot();
            if live.is_empty() {
                continue;
            }
            if free.is_none() {
                live.extend(rest);
                self.retry.entry(lane.clone()).or_default().push_front((batch, live));
                return;
            }
            if !rest.is_empty() {
                self.retry.entry(lane.clone()).or_default().push_front((batch, rest));
            }
            *want -= live.len();
            out.push(self.hold(relay, batch, &live, cancelling));
        }
    }

    fn lease_fresh(
        &mut self,
        relay: &str,
        lane: &Lane,
        want: &mut usize,
        cancelling: bool,
        out: &mut Vec<Leased>,
    ) {
        while *want > 0 {
            let Some((batch, count)) = self.fresh.get(lane).and_then(VecDeque::front).copied()
            else {
                return;
            };
            let open = self.open.entry(batch).or_insert_with(|| Open::new(lane.clone(), count));
            if open.free_slot().is_none() {
                return;
            }
            let mut taken = Vec::new();
            while open.cursor < open.state.len() && taken.len() < *want {
                if open.state[open.cursor] == State::Fresh {
                    taken.push(open.cursor as u16);
                }
                open.cursor += 1;
            }
            if open.cursor == open.state.len()
                && let Some(list) = self.fresh.get_mut(lane)
            {
                list.pop_front();
            }
            *want -= taken.len();
            if !taken.is_empty() {
                out.push(self.hold(relay, batch, &taken, cancelling));
            }
        }
    }

    fn hold(&mut self, relay: &str, batch: BatchId, indices: &[u16], cancelling: bool) -> Leased {
        self.last_token = (self.last_token + 1).max(self.clock.0 * 1000);
        let token = Token(self.last_token);
        let open = self.open.get_mut(&batch).expect("callers looked it up");
        let slot = open.free_slot().expect("callers asked for it");
        for i in indices {
            open.state[usize::from(*i)] = State::Leased(slot);
        }
        open.slots.insert(slot, (token, indices.len()));
        self.relays.entry(relay.to_owned()).or_default().leases.insert(token, (batch, slot));
        let items = indices.iter().map(|i| (*i, open.attempts[usize::from(*i)])).collect();
        let count = open.state.len() as u16;
        Leased { token, slot, batch, lane: open.lane.clone(), count, cancelling, items }
    }

    /// Gives back every lease of the relay that it does not know of.
    pub fn reconcile(&mut self, now: Timestamp, relay: &str, known: &[Token]) {
        self.tick(now);
        let held = self.relays.get(relay).map(|r| r.leases.clone()).unwrap_or_default();
        for (token, (batch, slot)) in held {
            if !known.contains(&token) {
                self.give_back(relay, token, batch, slot);
            }
        }
    }

    /// Judges outcomes; `number` counts the settles of this relay in this shard,
    /// and the last one's answer is given again.
    pub fn settle(
        &mut self,
        now: Timestamp,
        relay: &str,
        number: u64,
        groups: &[Settle],
    ) -> Vec<Judgement> {
        let now = self.tick(now);
        if let Some((last, answer)) = self.last_settle.get(relay)
            && *last == number
        {
            return answer.clone();
        }
        let mut answer = Vec::new();
        for group in groups {
            self.settle_group(now, relay, group, &mut answer);
        }
        self.last_settle.insert(relay.to_owned(), (number, answer.clone()));
        answer
    }

    fn settle_group(
        &mut self,
        now: Timestamp,
        relay: &str,
        group: &Settle,
        answer: &mut Vec<Judgement>,
    ) {
        let campaign_id = group.lane.campaign;
        let Some(mut open) = self.open_for_settle(group) else {
            let judged = group.outcomes.iter().map(|(_, o)| judge_at_rest(*o));
            let duplicates = judged.clone().filter(|j| *j == Judgement::Twice).count() as u64;
            answer.extend(judged);
            self.count(campaign_id, &Counters { duplicates, ..Counters::default() }, 0);
            return;
        };
        let mut counters = Counters::default();
        let mut back = Vec::new();
        let cancelling =
            self.campaigns.get(&campaign_id).is_some_and(|c| c.state == CampaignState::Cancelling);
        let mut ended = 0;
        let alive = open.slots.get(&group.slot).is_some_and(|(t, _)| *t == group.token);
        for (i, outcome) in &group.outcomes {
            let at = usize::from(*i);
            let was = open.state[at];
            let judgement = judge(was, alive.then_some(group.slot), *outcome);
            answer.push(judgement);
            if judgement == Judgement::Twice {
                counters.duplicates += 1;
            }
            if !matches!(judgement, Judgement::Applied | Judgement::Late) {
                continue;
            }
            if let State::Leased(slot) = was
                && let Some((_, left)) = open.slots.get_mut(&slot)
            {
                *left -= 1;
            }
            match outcome {
                Outcome::End(end) => {
                    open.state[at] = State::Done(*end);
                    ended += 1;
                    *counters.end_mut(*end) += 1;
                    if *end == End::SetAside {
                        open.keep = true;
                        self.aside.entry(group.batch).or_default().push(*i);
                    }
                    counters.late += u64::from(judgement == Judgement::Late);
                }
                Outcome::Deferred { due } | Outcome::Waits { due } => {
                    let due = if cancelling { now } else { *due };
                    open.state[at] = State::Delayed;
                    if matches!(outcome, Outcome::Deferred { .. }) {
                        open.attempts[at] = open.attempts[at].saturating_add(1);
                        counters.deferrals += 1;
                    }
                    let key = (due.0, format!("{}:{}", group.batch.0, due.0));
                    self.delayed.entry(key).or_insert_with(|| (group.batch, Vec::new())).1.push(*i);
                }
                Outcome::Back => {
                    open.state[at] = State::Retry;
                    back.push(*i);
                }
            }
        }
        open.left -= ended;
        self.close_slots(relay, &mut open);
        let lane = open.lane.clone();
        if open.left > 0 {
            self.open.insert(group.batch, open);
        } else {
            self.batches.remove(&group.batch);
            if open.keep {
                self.kept.insert(group.batch, open);
            }
            if let Some(list) = self.fresh.get_mut(&lane) {
                list.retain(|(batch, _)| *batch != group.batch);
            }
            if !self.has_work(&lane) {
                self.ready.remove(&lane);
            }
        }
        if !back.is_empty() {
            self.retry.entry(lane.clone()).or_default().push_front((group.batch, back));
            self.make_ready(&lane);
        }
        self.count(campaign_id, &counters, ended);
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

    /// A slot whose last recipient left it is free again, whoever held it.
    fn close_slots(&mut self, _relay: &str, open: &mut Open) {
        let empty: Vec<(u8, Token)> = open
            .slots
            .iter()
            .filter(|(_, (_, left))| *left == 0)
            .map(|(s, (t, _))| (*s, *t))
            .collect();
        for (slot, token) in empty {
            open.slots.remove(&slot);
            for relay in self.relays.values_mut() {
                relay.leases.remove(&token);
            }
        }
    }

    fn count(&mut self, id: CampaignId, delta: &Counters, ended: usize) {
        let campaign = self.campaigns.entry(id).or_default();
        campaign.counters = campaign.counters.plus(delta);
        campaign.counters.waiting -= ended as u64;
    }

    /// The open state that a settle works on: taken out, put back by the caller. A
    /// batch that exists without one was leased in a memory that Redis has lost.
    fn open_for_settle(&mut self, group: &Settle) -> Option<Open> {
        let known = self.batches.contains(&group.batch);
        let made = || known.then(|| Open::new(group.lane.clone(), group.count));
        self.open.remove(&group.batch).or_else(made)
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

fn judge_at_rest(outcome: Outcome) -> Judgement {
    match outcome {
        Outcome::End(End::Delivered) => Judgement::Twice,
        Outcome::End(_) | Outcome::Deferred { .. } | Outcome::Waits { .. } | Outcome::Back => {
            Judgement::Refused
        }
    }
}

/// The table of docs/QUEUE.md: `mine` is the slot of the settling lease while it lives.
fn judge(now: State, mine: Option<u8>, outcome: Outcome) -> Judgement {
    use Judgement::{Applied, Late, Refused};
    match (now, outcome) {
        (State::Leased(slot), _) if mine == Some(slot) => Applied,
        (State::Leased(_), Outcome::End(End::Delivered)) => Late,
        (State::Leased(_), _) => Refused,
        (State::Done(_), outcome) => judge_at_rest(outcome),
        (_, Outcome::End(_)) => Applied,
        (State::Retry, Outcome::Deferred { .. }) => Applied,
        (_, Outcome::Deferred { .. } | Outcome::Waits { .. } | Outcome::Back) => Refused,
    }
}
