//! One budget shared by flows on several relays: the model of `pace_slice.lua`, operation
//! for operation, so that both give the same numbers (`store/tests/fair.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::water::{Claim, deal, fill, order};
use super::{Demand, Weight, divided};
use crate::id::CampaignId;
use crate::time::Timestamp;

/// Flows that a relay names in one request: more wait their turn here. It bounds what a
/// request costs Redis.
pub const FLOWS_MAX: usize = 128;
/// A relay that is late by so many slices is not waited for.
const LATE_SLICES: f64 = 2.5;
/// So many slices of the budget a flow may be behind: what its relay did not fetch for longer
/// is gone, or others would stand still when it comes back.
const BEHIND_SLICES: f64 = 10.0;
/// A flow that nobody has named for this long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// What a relay asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Who.
    pub relay: &'a str,
    /// What waits there.
    pub flows: &'a [Demand],
    /// Messages a second of all together.
    pub rate: f64,
    /// How long a slice is.
    pub slice: Duration,
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slice {
    /// Messages by flow.
    pub granted: Vec<(CampaignId, u32)>,
    /// How long until there is more; zero after a grant.
    pub wait: Duration,
}

#[derive(Debug, Clone)]
struct Tag {
    finish: f64,
    weight: Weight,
    priority: u8,
    seen: Timestamp,
}

#[derive(Debug, Clone)]
struct Registered {
    until: f64,
    waiting: BTreeMap<CampaignId, u32>,
}

/// A flow while a grant is made.
struct Contender {
    campaign: CampaignId,
    start: f64,
    weight: f64,
    /// What waits at all relays, and of it at the one that asks.
    all: u32,
    here: u32,
}

/// The budget of one (egress source, site).
#[derive(Debug, Clone, Default)]
pub struct Fair {
    /// When the last message that was granted is due, in tenths of microseconds (GCRA).
    due: f64,
    tags: BTreeMap<CampaignId, Tag>,
    /// Virtual time by class: the start tag of what was served last.
    virtual_time: BTreeMap<u8, f64>,
    relays: BTreeMap<String, Registered>,
}

impl Fair {
    /// Grants a relay its part of what may go now.
    pub fn slice(&mut self, now: Timestamp, ask: &Ask<'_>) -> Slice {
        let now_ms = now.0 as f64;
        let (window, clock) = (ask.slice.as_millis() as f64 * 1e4, now_ms * 1e4);
        let interval = 1e7 / ask.rate;
        let due = self.due.max(clock - window);
        let mut room = ((clock + window - due) / interval).floor();
        if room < 1.0 && due <= clock {
            room = 1.0;
        }
        let mut slice = Slice::default();
        let waiting: u64 = ask.flows.iter().map(|f| u64::from(f.waiting)).sum();
        if waiting > 0 {
            slice.granted = self.grant(now, ask, window / interval, room.max(0.0));
            let sum: u32 = slice.granted.iter().map(|(_, n)| n).sum();
            self.due = (due + f64::from(sum) * interval).round_ties_even();
            if sum == 0 {
                let wait = ((due.min(due + interval - window) - clock) / 1e4).ceil();
                slice.wait = Duration::from_millis(wait.max(0.0) as u64);
            }
        }
        let late = ask.slice.as_millis() as f64 * LATE_SLICES;
        let until = now_ms + slice.wait.as_millis() as f64 + late;
        let waiting = ask.flows.iter().filter(|f| f.waiting > 0);
        let waiting = waiting.map(|f| (f.campaign, f.waiting)).collect();
        self.relays.insert(ask.relay.to_owned(), Registered { until, waiting });
        slice
    }

    /// `brings`: messages that one slice of time brings; `room`: those that may go now.
    fn grant(
        &mut self,
        now: Timestamp,
        ask: &Ask<'_>,
        brings: f64,
        room: f64,
    ) -> Vec<(CampaignId, u32)> {
        self.learn(now, ask);
        let classes = self.contenders(now, ask, brings);
        let amount = self.part(&classes, brings, room);
        let mut left = amount;
        let mut granted = Vec::new();
        for (priority, flows) in &classes {
            let mine: Vec<&Contender> = flows.iter().filter(|f| f.here > 0).collect();
            let claims: Vec<Claim> = mine
                .iter()
                .map(|f| Claim { start: f.start, weight: f.weight, most: f.here })
                .collect();
            for (flow, given) in mine.iter().zip(deal(&claims, left)) {
                if given > 0 {
                    left -= given;
                    self.serve(*priority, flow, given);
                    granted.push((flow.campaign, given));
                }
            }
        }
        self.forget(now);
        granted
    }

    fn serve(&mut self, priority: u8, flow: &Contender, given: u32) {
        let finish = flow.start + f64::from(given) / flow.weight;
        if let Some(tag) = self.tags.get_mut(&flow.campaign) {
            tag.finish = finish;
        }
        let time = self.virtual_time.entry(priority).or_insert(0.0);
        *time = time.max(finish - 1.0 / flow.weight);
    }

    /// Who waits anywhere: its relay is expected to come and fetch its part.
    fn backlogged(&self, now: Timestamp, but: Option<&str>) -> BTreeMap<CampaignId, u32> {
        let mut sum = BTreeMap::new();
        for (relay, registered) in &self.relays {
            if registered.until >= now.0 as f64 && but != Some(relay.as_str()) {
                for (campaign, waiting) in &registered.waiting {
                    *sum.entry(*campaign).or_insert(0) += waiting;
                }
            }
        }
        sum
    }

    /// The flows named: those that were idle start at the virtual time, not behind it.
    fn learn(&mut self, now: Timestamp, ask: &Ask<'_>) {
        let before = self.backlogged(now, None);
        for flow in ask.flows.iter().filter(|f| f.waiting > 0) {
            let time = self.virtual_time.get(&flow.priority).copied().unwrap_or(0.0);
            let known = self.tags.get(&flow.campaign).filter(|t| t.priority == flow.priority);
            let finish = match known {
                Some(tag) if before.contains_key(&flow.campaign) => tag.finish,
                Some(tag) => tag.finish.max(time),
                None => time,
            };
            let Demand { campaign, weight, priority, waiting: _ } = *flow;
            self.tags.insert(campaign, Tag { finish, weight, priority, seen: now });
        }
    }

    /// All that wait, by class, in the order of their names; a tenant's weight is divided.
    fn contenders(
        &mut self,
        now: Timestamp,
        ask: &Ask<'_>,
        brings: f64,
    ) -> BTreeMap<u8, Vec<Contender>> {
        let here: BTreeMap<CampaignId, u32> =
            ask.flows.iter().filter(|f| f.waiting > 0).map(|f| (f.campaign, f.waiting)).collect();
        let mut all = self.backlogged(now, Some(ask.relay));
        for (campaign, waiting) in &here {
            *all.entry(*campaign).or_insert(0) += waiting;
        }
        let mut classes: BTreeMap<u8, Vec<Contender>> = BTreeMap::new();
        let mut own: BTreeMap<u8, Vec<Weight>> = BTreeMap::new();
        for (campaign, all) in all {
            let Some(tag) = self.tags.get_mut(&campaign) else { continue };
            tag.seen = now;
            let here = here.get(&campaign).copied().unwrap_or(0);
            let flow = Contender { campaign, start: tag.finish, weight: 0.0, all, here };
            classes.entry(tag.priority).or_default().push(flow);
            own.entry(tag.priority).or_default().push(tag.weight);
        }
        for (priority, flows) in &mut classes {
            let weights = divided(&own[priority]);
            flows.iter_mut().zip(weights).for_each(|(flow, weight)| flow.weight = weight);
            let time = self.virtual_time.get(priority).copied().unwrap_or(0.0);
            let weights: f64 = flows.iter().map(|f| f.weight).sum();
            let lowest = time - BEHIND_SLICES * brings.max(1.0) / weights;
            flows.iter_mut().for_each(|f| f.start = f.start.max(lowest));
        }
        classes
    }

    /// How many messages are this relay's: its flows' part of what a slice brings, and what
    /// others have not fetched of what slices before brought.
    fn part(&self, classes: &BTreeMap<u8, Vec<Contender>>, brings: f64, room: f64) -> u32 {
        let here: f64 = classes.values().flatten().map(|f| f64::from(f.here)).sum();
        let alone = classes.values().flatten().all(|f| f.all == f.here);
        if alone {
            return room.min(here) as u32;
        }
        let brings = brings.max(1.0);
        let (mut left, mut part, mut first) = (brings, 0.0, true);
        for flows in classes.values() {
            let claims: Vec<Claim> = flows
                .iter()
                .map(|f| Claim { start: f.start, weight: f.weight, most: f.all })
                .collect();
            for (flow, got) in flows.iter().zip(fill(&claims, left)) {
                left -= got;
                part += got * f64::from(flow.here) / f64::from(flow.all);
            }
            // Slower than one a slice it is whoever holds the first, or it is nobody.
            let lowest = order(&claims, &vec![0; claims.len()])[0];
            if std::mem::replace(&mut first, false) && flows[lowest].here > 0 {
                part = part.max(1.0);
            }
            left = left.max(0.0);
        }
        let unfetched = (room - brings.ceil()).max(0.0);
        // Rounded up, or slices that bring no whole number would be used in part only; whose
        // flows are ahead for it has the less the next time. A hair less, as in `deal`.
        ((part - 1e-9).ceil().max(0.0) + unfetched).min(room).min(here) as u32
    }

    /// Drops the tags that say no more than the virtual time does.
    fn forget(&mut self, now: Timestamp) {
        let waiting: BTreeSet<CampaignId> = self.backlogged(now, None).into_keys().collect();
        let times = &self.virtual_time;
        self.tags.retain(|campaign, tag| {
            let time = times.get(&tag.priority).copied().unwrap_or(0.0);
            tag.seen == now
                || waiting.contains(campaign)
                || (tag.finish > time && now.since(tag.seen) < FORGOTTEN_AFTER)
        });
    }
}
