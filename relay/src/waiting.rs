//! The recipients that wait for one site in this relay: a line for each flow, and what
//! each was granted. Who was granted goes first; what was granted to a flow that has
//! nothing left goes to another.

use std::collections::{BTreeMap, VecDeque};

use mail::CampaignId;
use mail::share::{Demand, FLOWS_MAX, Weight, divided};

use crate::job::Job;
use crate::shares::Flow;

/// Class and campaign.
type FlowKey = (u8, CampaignId);

/// Recipients that a flow may have here however many flows there are.
const PART_MIN: f64 = 8.0;

#[derive(Default)]
pub(crate) struct Waiting {
    lines: BTreeMap<FlowKey, Line>,
    len: usize,
    /// Whoever comes after this one in its class is next.
    last: Option<CampaignId>,
    /// Where the list of demands begins when it cannot hold all.
    page: usize,
    /// The lane was forgotten: nobody would serve who comes now.
    closed: bool,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    weight: Weight,
    /// Granted and not yet spent.
    credit: u32,
    /// Leased and on their way here.
    expected: usize,
}

/// A flow's weight and what of it this relay holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) priority: u8,
    pub(crate) campaign: CampaignId,
    pub(crate) weight: Weight,
    pub(crate) held: usize,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Lets nobody in any more, if nobody waits.
    pub(crate) fn close(&mut self) -> bool {
        self.closed |= self.len == 0;
        self.closed
    }

    /// Another recipient, behind those of its flow or before them. Whether its flow is new here; or
    /// it is handed back, if the line is closed.
    pub(crate) fn push(&mut self, job: Job, first: bool) -> Result<bool, Job> {
        if self.closed {
            return Err(job);
        }
        let sending = &job.content.sending;
        let key = (sending.priority, sending.id);
        let line = self.line(key, &sending.flow);
        let is_new = line.jobs.is_empty();
        if first {
            line.jobs.push_front(job);
        } else {
            line.jobs.push_back(job);
        }
        self.len += 1;
        Ok(is_new)
    }

    fn line(&mut self, key: FlowKey, flow: &Flow) -> &mut Line {
        let new = || Line { weight: flow.weight, ..Line::default() };
        self.lines.entry(key).or_insert_with(new)
    }

    /// The next to go: of the most urgent class, among those that were granted, in turn.
    pub(crate) fn pop(&mut self) -> Option<Job> {
        let key = self.next(|line| line.credit > 0).or_else(|| self.next(|_| true))?;
        let line = self.lines.get_mut(&key)?;
        line.credit = line.credit.saturating_sub(1);
        let job = line.jobs.pop_front()?;
        self.last = Some(key.1);
        self.len -= 1;
        self.drop_if_empty(key);
        Some(job)
    }

    fn next(&self, may: impl Fn(&Line) -> bool) -> Option<FlowKey> {
        let waits = self.lines.iter().filter(|(_, line)| !line.jobs.is_empty() && may(line));
        let last = self.last;
        waits.map(|(key, _)| *key).min_by_key(|key| (key.0, Some(key.1) <= last, key.1))
    }

    fn drop_if_empty(&mut self, key: FlowKey) {
        let is_empty = |line: &Line| line.jobs.is_empty() && line.expected == 0;
        if self.lines.get(&key).is_some_and(is_empty) {
            self.lines.remove(&key);
        }
    }

    /// What waits and was not granted yet.
    pub(crate) fn demands(&mut self) -> Vec<Demand> {
        let demand = |(key, line): (&FlowKey, &Line)| Demand {
            campaign: key.1,
            weight: line.weight,
            priority: key.0,
            waiting: (line.jobs.len() as u32).saturating_sub(line.credit),
        };
        let mut demands: Vec<Demand> =
            self.lines.iter().map(demand).filter(|d| d.waiting > 0).collect();
        if demands.len() > FLOWS_MAX {
            // The most urgent class first, each class from another place each time.
            self.page = self.page.wrapping_add(FLOWS_MAX);
            let from = self.page % demands.len();
            demands.rotate_left(from);
            demands.sort_by_key(|d| d.priority);
            demands.truncate(FLOWS_MAX);
        }
        demands
    }

    /// What a slice brought. What slices before brought stays, unless it is `stale`.
    pub(crate) fn credit(&mut self, granted: &[(CampaignId, u32)], stale: bool) {
        if stale {
            self.lines.values_mut().for_each(|line| line.credit = 0);
        }
        let granted: BTreeMap<CampaignId, u32> = granted.iter().copied().collect();
        for ((_, campaign), line) in &mut self.lines {
            line.credit += granted.get(campaign).copied().unwrap_or(0);
        }
    }

    /// A lease is on its way, or has arrived.
    pub(crate) fn expect(&mut self, key: FlowKey, flow: &Flow, count: usize) {
        self.line(key, flow).expected += count;
    }

    pub(crate) fn arrived(&mut self, key: FlowKey, count: usize) {
        if let Some(line) = self.lines.get_mut(&key) {
            line.expected = line.expected.saturating_sub(count);
        }
        self.drop_if_empty(key);
    }

    pub(crate) fn held(&self) -> Vec<Held> {
        let held = |(key, line): (&FlowKey, &Line)| Held {
            priority: key.0,
            campaign: key.1,
            weight: line.weight,
            held: line.jobs.len() + line.expected,
        };
        self.lines.iter().map(held).collect()
    }

    /// Whether the room is full of those that go before another one of this flow or beside it, and
    /// the flow has its part of it: then how many messages go to the site until half of what the
    /// flow has here is gone, which is when more of it may come. A flow that has less than its
    /// part never waits for those that have more.
    pub(crate) fn crowd(&self, key: FlowKey, weight: Weight, room: usize) -> Option<usize> {
        let before = || self.lines.iter().take_while(|((priority, _), _)| *priority <= key.0);
        let ahead: usize = before().map(|(_, line)| line.jobs.len()).sum();
        if ahead < room {
            return None;
        }
        let shares =
            |(at, line): &(&FlowKey, &Line)| at.0 == key.0 && **at != key && !line.jobs.is_empty();
        let others = before().filter(shares).map(|(_, line)| line.weight);
        let weights = divided(&std::iter::once(weight).chain(others).collect::<Vec<_>>());
        let part = weights[0] / weights.iter().sum::<f64>();
        let own = self.lines.get(&key).map_or(0, |line| line.jobs.len());
        if (own as f64) < (room as f64 * part).max(PART_MIN) {
            return None;
        }
        let more_urgent = before().filter(|(at, _)| at.0 < key.0);
        let urgent: usize = more_urgent.map(|(_, line)| line.jobs.len()).sum();
        Some((urgent + (own as f64 / part / 2.0) as usize).min(ahead))
    }

    /// Takes out the recipients that `is_wanted` names.
    pub(crate) fn take(&mut self, is_wanted: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        for line in self.lines.values_mut() {
            if line.jobs.iter().any(&is_wanted) {
                let (wanted, rest) = line.jobs.drain(..).partition(&is_wanted);
                line.jobs = rest;
                taken.extend::<VecDeque<Job>>(wanted);
            }
        }
        self.len -= taken.len();
        self.lines.retain(|_, line| !line.jobs.is_empty() || line.expected > 0);
        taken
    }

    /// The last of the least urgent, if more than one waits or this one, too, is wanted.
    pub(crate) fn pop_last(&mut self, even_the_last: bool) -> Option<Job> {
        if self.len <= usize::from(!even_the_last) {
            return None;
        }
        let key = *self.lines.iter().rev().find(|(_, line)| !line.jobs.is_empty())?.0;
        let job = self.lines.get_mut(&key)?.jobs.pop_back()?;
        self.len -= 1;
        self.drop_if_empty(key);
        Some(job)
    }
}
