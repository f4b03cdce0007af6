//! A relay of the simulation: what it holds, what it was granted and what it saw.

use std::collections::VecDeque;

use mail::Timestamp;
use mail::throttle::Observation;

use super::line::Job;
use super::provider::{Answer, Micros, SECOND};

/// As in `relay::pace`.
const TELL: Micros = SECOND;
pub(super) const TELL_REFUSAL: Micros = SECOND / 10;

pub(super) struct Connection {
    pub(super) carried: u32,
    pub(super) job: Option<Job>,
    pub(super) answer: Answer,
    /// Cuts of the rate that were known when the message was let go.
    pub(super) epoch: u32,
}

pub(super) struct Relay {
    pub(super) name: String,
    pub(super) waiting: VecDeque<Job>,
    pub(super) tokens: u32,
    /// Messages taken out of an hour or a day and not yet granted; those granted and dropped.
    pub(super) held: u32,
    pub(super) forgotten: u32,
    pub(super) objections: u32,
    pub(super) full_until: Timestamp,
    pub(super) granted_at: Micros,
    pub(super) asked_at: Micros,
    pub(super) ask_due: Micros,
    pub(super) spread_at: Micros,
    pub(super) rate: f64,
    pub(super) epoch: u32,
    pub(super) allowed: u32,
    pub(super) sharing: u32,
    pub(super) idle: Vec<Connection>,
    pub(super) busy: Vec<Option<Connection>>,
    pub(super) rests_until: Micros,
    pub(super) starved: bool,
    pub(super) seen: Observation,
    pub(super) seen_since: Micros,
    pub(super) refused: bool,
    pub(super) turn_at: Micros,
    pub(super) renewed_at: Micros,
}

impl Relay {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            waiting: VecDeque::new(),
            tokens: 0,
            held: 0,
            forgotten: 0,
            objections: 0,
            full_until: Timestamp(0),
            granted_at: 0,
            asked_at: 0,
            ask_due: 0,
            spread_at: 0,
            rate: 1.0,
            epoch: 0,
            allowed: 1,
            sharing: 1,
            idle: Vec::new(),
            busy: Vec::new(),
            rests_until: 0,
            starved: false,
            seen: Observation::default(),
            seen_since: 0,
            refused: false,
            turn_at: 0,
            renewed_at: 0,
        }
    }

    /// A lower rate begins an epoch: what was granted before is dropped, and answers to what was
    /// let go before say nothing about it.
    pub(super) fn learn_rate(&mut self, rate: f64) {
        if rate < self.rate {
            self.epoch += 1;
            self.forgotten += std::mem::take(&mut self.tokens);
            self.seen.age();
        }
        self.rate = rate;
    }

    pub(super) fn busy(&self) -> usize {
        self.busy.iter().flatten().count()
    }

    pub(super) fn open(&self) -> usize {
        self.busy() + self.idle.len()
    }

    pub(super) fn wants(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn put(&mut self, connection: Connection) -> u32 {
        let free = self.busy.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.busy.push(None);
            self.busy.len() - 1
        });
        self.busy[slot] = Some(connection);
        slot as u32
    }

    pub(super) fn has_news(&mut self, now: Micros) -> bool {
        let age = now - self.seen_since;
        if age < TELL {
            return self.refused && age >= TELL_REFUSAL;
        }
        let passed = Observation {
            passed: self.seen.passed,
            late_passed: self.seen.late_passed,
            ..Observation::default()
        };
        if self.seen == passed && !self.starved {
            self.seen = Observation::default();
            self.seen_since = now;
            return false;
        }
        true
    }
}
