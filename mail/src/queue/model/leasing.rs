//! Leases: taken, handed back, taken away; and what is delayed until it is due.

use std::collections::VecDeque;

use super::{Model, Open};
use crate::queue::{
    BatchId, CampaignState, Lane, Leased, PROMOTE_GROUPS_MAX, REAP_LEASES_MAX, Standing, State,
    Token,
};
use crate::time::Timestamp;

impl Model {
    pub(super) fn reap(&mut self, now: Timestamp) {
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

    pub(super) fn promote(&mut self, now: Timestamp) {
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

    pub(super) fn promote_group(&mut self, key: &(u64, String)) {
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
}
