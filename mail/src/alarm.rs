//! Alarms: what is wrong with a platform, since when, and whom to tell. A reading must be bad for a
//! while before an alarm is raised, and good for a while before it is cleared; between the two bounds
//! nothing changes. What is silenced is kept in the book all the same, and told to nobody.
//!
//! Names, bounds and times are those of `ops/alerts/malleposte.yml`, as far as one who looks every few
//! seconds can judge them, so that each has its page in docs/ALERTS.md.

mod condition;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use condition::{Condition, Rule};

use crate::time::Timestamp;

/// One look at one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What it is about.
    pub condition: Condition,
    /// Which one: a campaign, a relay, a site; empty where there is one only.
    pub subject: String,
    /// What was measured.
    pub value: f64,
    /// The same for people: the evidence.
    pub says: String,
}

/// Where an alarm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Bad, not for long enough.
    Rising,
    /// Raised.
    Raised,
    /// Raised, and good, not for long enough.
    Falling,
}

/// One alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// What is wrong.
    pub condition: Condition,
    /// With which one.
    pub subject: String,
    /// Where it stands.
    pub standing: Standing,
    /// Since when it stands so.
    pub since: Timestamp,
    /// When it was raised.
    pub raised_at: Option<Timestamp>,
    /// When people were last told.
    pub told_at: Option<Timestamp>,
    /// What was measured last.
    pub value: f64,
    /// The evidence.
    pub says: String,
}

impl Alarm {
    /// Whether it is raised, falling or not.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        matches!(self.standing, Standing::Raised | Standing::Falling)
    }
}

crate::category::words! {
    /// What is told of an alarm.
    What {
        /// It is raised.
        Raised = "raised",
        /// It is still raised.
        Reminded = "reminded",
        /// It is over.
        Cleared = "cleared",
    }
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// What happened.
    pub what: What,
    /// The alarm as it is.
    pub alarm: Alarm,
    /// When.
    pub at: Timestamp,
}

impl News {
    /// The same for the same news, however often it is told.
    #[must_use]
    pub fn id(&self) -> String {
        let Self { what, alarm, at } = self;
        let subject: String = (alarm.subject.chars())
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
            .take(80)
            .collect();
        format!("{}-{subject}-{what}-{}", alarm.condition, at.secs())
    }
}

/// Of what nobody is to be told for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// This condition; `None`: all of them.
    pub condition: Option<Condition>,
    /// This subject; empty: all of them.
    pub subject: String,
    /// When it ends.
    pub until: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

impl Silence {
    /// Whether it is about this alarm, now.
    #[must_use]
    pub fn covers(&self, alarm: &Alarm, now: Timestamp) -> bool {
        self.until > now
            && self.condition.is_none_or(|condition| condition == alarm.condition)
            && (self.subject.is_empty() || self.subject == alarm.subject)
    }
}

/// All alarms of a platform.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    alarms: Vec<Alarm>,
}

/// Alarms kept; a platform in which more is wrong has one trouble.
pub const ALARMS_MAX: usize = 500;

impl Book {
    /// The alarms, those that are raised first, critical ones before others.
    #[must_use]
    pub fn alarms(&self) -> Vec<&Alarm> {
        let mut alarms: Vec<&Alarm> = self.alarms.iter().collect();
        alarms.sort_by_key(|alarm| {
            (!alarm.is_raised(), !alarm.condition.rule().is_critical, alarm.since)
        });
        alarms
    }

    /// Nobody looked for a while: how it was meanwhile is not known, and what was about to be raised or
    /// cleared begins anew.
    pub fn begin_anew(&mut self, now: Timestamp) {
        for alarm in self.alarms.iter_mut().filter(|alarm| alarm.standing != Standing::Raised) {
            alarm.since = now;
        }
    }

    /// Takes a look into account, and answers what is to be told. Of a condition that was looked at, what
    /// there is no reading of is well, because it is gone; alarms of others stay as they are.
    pub fn look(
        &mut self,
        readings: &[Reading],
        looked_at: &[Condition],
        silences: &[Silence],
        remind_after: Duration,
        now: Timestamp,
    ) -> Vec<News> {
        let key = |reading: &Reading| (reading.condition, reading.subject.clone());
        let mut seen: BTreeMap<(Condition, String), &Reading> =
            readings.iter().map(|reading| (key(reading), reading)).collect();
        let mut news = Vec::new();
        let mut kept = Vec::new();
        for mut alarm in std::mem::take(&mut self.alarms) {
            let reading = seen.remove(&(alarm.condition, alarm.subject.clone()));
            alarm.was_not_yet(now);
            if reading.is_none() && !looked_at.contains(&alarm.condition) {
                kept.push(alarm);
                continue;
            }
            let is_silent = silences.iter().any(|silence| silence.covers(&alarm, now));
            let (stays, what) = alarm.step(reading, is_silent, remind_after, now);
            if let Some(what) = what {
                news.push(News { what, alarm: alarm.clone(), at: now });
            }
            kept.extend(stays.then_some(alarm));
        }
        self.alarms = kept;
        for reading in seen.into_values() {
            if self.alarms.len() < ALARMS_MAX && is_bad(reading) {
                self.alarms.push(Alarm {
                    condition: reading.condition,
                    subject: reading.subject.clone(),
                    standing: Standing::Rising,
                    since: now,
                    raised_at: None,
                    told_at: None,
                    value: reading.value,
                    says: reading.says.clone(),
                });
            }
        }
        news
    }
}

impl Alarm {
    /// One step on: whether it stays in the book, and what is to be told of it.
    fn step(
        &mut self,
        reading: Option<&Reading>,
        is_silent: bool,
        remind_after: Duration,
        now: Timestamp,
    ) -> (bool, Option<What>) {
        if let Some(reading) = reading {
            self.value = reading.value;
            self.says.clone_from(&reading.says);
        }
        let (is_bad, is_good) = (reading.is_some_and(is_bad), reading.is_none_or(is_good));
        let rule = self.condition.rule();
        let has_lasted = |since: Timestamp, time: Duration| now.since(since) >= time;
        match self.standing {
            Standing::Rising if is_good => (false, None),
            Standing::Rising if is_bad && has_lasted(self.since, rule.raise_after) => {
                self.stand(Standing::Raised, now);
                self.raised_at = Some(now);
                (true, self.tell(What::Raised, is_silent, now))
            }
            Standing::Raised if is_good => {
                self.stand(Standing::Falling, now);
                (true, None)
            }
            Standing::Falling if is_bad => {
                self.stand(Standing::Raised, now);
                (true, None)
            }
            // Who was told that it began is told that it is over, silence or not; nobody else is.
            Standing::Falling if is_good && has_lasted(self.since, rule.clear_after) => {
                (false, self.told_at.map(|_| What::Cleared))
            }
            Standing::Raised => {
                // A silence is over, or it has been long.
                let what = match self.told_at {
                    None => Some(What::Raised),
                    Some(at) if has_lasted(at, remind_after) => Some(What::Reminded),
                    Some(_) => None,
                };
                (true, what.and_then(|what| self.tell(what, is_silent, now)))
            }
            Standing::Rising | Standing::Falling => (true, None),
        }
    }

    /// A clock that was set back does not keep an alarm waiting for what it said before.
    fn was_not_yet(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        self.told_at = self.told_at.map(|at| at.min(now));
    }

    fn stand(&mut self, standing: Standing, now: Timestamp) {
        self.standing = standing;
        self.since = now;
    }

    fn tell(&mut self, what: What, is_silent: bool, now: Timestamp) -> Option<What> {
        if is_silent {
            return None;
        }
        self.told_at = Some(now);
        Some(what)
    }
}

fn is_bad(reading: &Reading) -> bool {
    let rule = reading.condition.rule();
    match rule.is_high_bad {
        true => reading.value > rule.raise,
        false => reading.value < rule.raise,
    }
}

fn is_good(reading: &Reading) -> bool {
    let rule = reading.condition.rule();
    match rule.is_high_bad {
        true => reading.value <= rule.clear,
        false => reading.value >= rule.clear,
    }
}

#[cfg(test)]
mod tests;
