//! What one egress source may send to one provider in any hour and any day: ceilings that are
//! known beforehand, from the provider, from the operator or from a warm-up plan. The state is
//! shared by all relays and changed by one script of the store, which does what stands here,
//! operation for operation; here it is for the simulator, and for the test that compares the two.

mod spans;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::warmup::{Per, Plan, Progress, Turned};
use spans::Spans;

/// Messages that may go; none: as many as the pace finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ceilings {
    /// In any hour.
    pub hour: Option<u64>,
    /// In any day.
    pub day: Option<u64>,
}

impl Ceilings {
    /// Whether there is any.
    #[must_use]
    pub fn are_any(self) -> bool {
        self.hour.is_some() || self.day.is_some()
    }

    /// The lower of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let lower = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self { hour: lower(self.hour, other.hour), day: lower(self.day, other.day) }
    }
}

/// A plan that a source follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follows {
    /// The plan's name: under another one the source begins anew.
    pub name: String,
    /// The plan.
    pub plan: Plan,
}

/// What a relay asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// Messages that it could send.
    pub wanted: u64,
    /// Of those granted before, messages that it did not send.
    pub back: u64,
    /// Answers since it last asked that say that the provider has had enough of the source: it is too
    /// fast, it is blocked, somebody complained.
    pub bad: u64,
    /// Ceilings that hold whatever the plan says.
    pub ceilings: Ceilings,
    /// The plan that the source follows.
    pub follows: Option<&'a Follows>,
}

/// What it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    /// Messages that it may send.
    pub granted: u64,
    /// When there is more, if it was granted less than it wanted.
    pub until: Option<Timestamp>,
    /// The ceilings of now, those of the plan among them.
    pub ceilings: Ceilings,
    /// The day of the plan, from 1; none: there is no plan, or it is over.
    pub day: Option<u32>,
    /// A day of the plan ended just now, and this follows.
    pub turned: Option<Turned>,
}

/// What was sent within the last hour and the last day, and how far the source is with its plan. Kept
/// as the store's script packs it: lists, and no names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Quota {
    hour: Spans,
    day: Spans,
    #[serde(default)]
    progress: Option<Progress>,
}

/// Minutes of an hour, and quarters of an hour of a day: so much longer than an hour or a day it
/// takes until what was sent at once may be sent at once again.
const HOUR: (Duration, u64) = (Duration::from_secs(60), 60);
const DAY: (Duration, u64) = (Duration::from_secs(900), 96);

impl Quota {
    /// Takes messages out of what is left.
    pub fn take(&mut self, now: Timestamp, ask: &Ask<'_>) -> Answer {
        let turned = self.turn(now, ask);
        let ceilings = self.ceilings(ask);
        self.hour.advance(HOUR, now);
        self.day.advance(DAY, now);
        self.hour.take_back(ask.back);
        self.day.take_back(ask.back);
        let left = |spans: &Spans, most: Option<u64>| {
            most.map_or(u64::MAX, |most| most.saturating_sub(spans.sum()))
        };
        let granted = ask.wanted.min(left(&self.hour, ceilings.hour));
        let granted = granted.min(left(&self.day, ceilings.day));
        self.hour.count(HOUR, now, granted);
        self.day.count(DAY, now, granted);
        if let Some(progress) = &mut self.progress {
            progress.count(now, granted, ask.back);
        }
        let hour = ceilings.hour.and_then(|most| self.hour.room_at(HOUR, most));
        let day = ceilings.day.and_then(|most| self.day.room_at(DAY, most));
        let until = hour.max(day).filter(|_| granted < ask.wanted);
        Answer { granted, until, ceilings, day: self.day_of(ask), turned }
    }

    fn turn(&mut self, now: Timestamp, ask: &Ask<'_>) -> Option<Turned> {
        let follows = ask.follows?;
        let days = follows.plan.ceilings.len() as u32;
        match &mut self.progress {
            Some(progress) if progress.plan == follows.name => {
                progress.bad += ask.bad;
                progress.turn(now, days)
            }
            _ => {
                self.progress = Some(Progress::new(&follows.name, now));
                Some(Turned::Began)
            }
        }
    }

    fn ceilings(&self, ask: &Ask<'_>) -> Ceilings {
        let of_plan = self.progress.as_ref().zip(ask.follows).and_then(|(progress, follows)| {
            let most = follows.plan.ceilings.get(progress.day as usize)?;
            Some(match follows.plan.per {
                Per::Hour => Ceilings { hour: Some(*most), day: None },
                Per::Day => Ceilings { hour: None, day: Some(*most) },
            })
        });
        ask.ceilings.and(of_plan.unwrap_or_default())
    }

    fn day_of(&self, ask: &Ask<'_>) -> Option<u32> {
        let (progress, follows) = self.progress.as_ref().zip(ask.follows)?;
        ((progress.day as usize) < follows.plan.ceilings.len()).then_some(progress.day + 1)
    }

    /// Messages let go within the last hour and the last day.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> (u64, u64) {
        let (mut hour, mut day) = (self.hour.clone(), self.day.clone());
        hour.advance(HOUR, now);
        day.advance(DAY, now);
        (hour.sum(), day.sum())
    }

    /// When there is more, if nothing is left now. A plan that was never begun bounds nothing yet.
    #[must_use]
    pub fn full_until(&self, now: Timestamp, ask: &Ask<'_>) -> Option<Timestamp> {
        let follows = ask.follows.filter(|_| self.progress.is_some());
        let ask = Ask { wanted: 1, back: 0, bad: 0, ceilings: ask.ceilings, follows };
        self.clone().take(now, &ask).until
    }

    /// How far the source is with its plan, if it follows one.
    #[must_use]
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }
}
