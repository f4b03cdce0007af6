//! Messages that a budget lets a relay take: so many a second, spent as they are asked for.

use std::time::Duration;

use crate::share::{Demand, divided, parts};

/// What is not spent is saved up for so long, and one message more.
const SAVED: Duration = Duration::from_millis(400);
/// The urgent ones may spend what comes within this: until then the others wait for them.
const AHEAD: Duration = Duration::from_secs(1);

/// Whether a class is spared: the first one, for which a campaign has to ask.
#[must_use]
pub fn is_urgent(priority: u8) -> bool {
    priority == 0
}

/// What may be taken now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Purse {
    /// Below 0: the urgent ones have spent what is still to come.
    left: f64,
    at: Option<Duration>,
}

impl Purse {
    /// Takes up to `wanted` messages at `rate` a second. One that asks gets half of what there is,
    /// so that others who ask after it find something; the urgent ones get all, and what is still
    /// to come.
    pub fn take(&mut self, now: Duration, rate: f64, wanted: u32, urgent: bool) -> u32 {
        self.fill(now, rate);
        let there = match urgent {
            true => self.left + rate * AHEAD.as_secs_f64(),
            false if self.left < 1.0 => 0.0,
            false => (self.left / 2.0).max(1.0),
        };
        // A hair is added, for what came in ten parts is a hair less than one.
        let taken = wanted.min((there + 1e-9).max(0.0) as u32);
        self.left -= f64::from(taken);
        taken
    }

    /// What was taken and could not be used.
    pub fn give_back(&mut self, unused: u32) {
        self.left += f64::from(unused);
    }

    fn fill(&mut self, now: Duration, rate: f64) {
        let most = rate * SAVED.as_secs_f64() + 1.0;
        let Some(at) = self.at else {
            (self.at, self.left) = (Some(now), most);
            return;
        };
        self.at = Some(now);
        let came = rate * now.saturating_sub(at).as_secs_f64();
        self.left = (self.left + came).min(most);
    }
}

/// What waits of each flow as far as it may go: `urgent` messages of the first class and `others`
/// of the rest, a class before the next, flows of a class by weight.
#[must_use]
pub fn within(flows: &[Demand], urgent: u32, others: u32) -> Vec<Demand> {
    let mut classes: Vec<u8> = flows.iter().map(|flow| flow.priority).collect();
    classes.sort_unstable();
    classes.dedup();
    let mut left = others;
    let mut within = Vec::with_capacity(flows.len());
    for class in classes {
        let class_flows: Vec<&Demand> = flows.iter().filter(|f| f.priority == class).collect();
        let weights: Vec<_> = class_flows.iter().map(|flow| flow.weight).collect();
        let wants = divided(&weights).into_iter().zip(class_flows.iter().map(|f| f.waiting));
        let room = if is_urgent(class) { urgent } else { left };
        let parts = parts(room, &wants.collect::<Vec<_>>());
        if !is_urgent(class) {
            left -= parts.iter().sum::<u32>();
        }
        let of_class = class_flows.into_iter().zip(parts);
        within.extend(of_class.map(|(flow, part)| Demand { waiting: part, ..*flow }));
    }
    within.retain(|flow| flow.waiting > 0);
    within
}
