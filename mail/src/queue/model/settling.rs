//! Outcomes: judged, counted, and what they leave.

use super::{Model, Open};
use crate::queue::{CampaignState, Counters, End, Judgement, Outcome, Settle, State, Token};
use crate::time::Timestamp;

impl Model {
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

    /// The open state that a settle works on: taken out, put back by the caller. A
    /// batch that exists without one was leased in a memory that Redis has lost.
    fn open_for_settle(&mut self, group: &Settle) -> Option<Open> {
        let known = self.batches.contains(&group.batch);
        let made = || known.then(|| Open::new(group.lane.clone(), group.count));
        self.open.remove(&group.batch).or_else(made)
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
