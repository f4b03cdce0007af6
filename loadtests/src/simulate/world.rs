//! Relays, the record that they share, the queue and the provider, event by event.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use mail::Timestamp;
use mail::quota::{Ask as TakeOf, Quota};
use mail::retry::Hint;
use mail::share::{Ask, Demand, Fair, Weight, connections};
use mail::throttle::Change;

use super::line::{CAMPAIGN, Queue};
use super::policy::Policy;
use super::provider::{Answer, Hidden, Micros, Provider, SECOND, seconds};
use super::record::Record;
use super::relay::{Connection, Relay, TELL_REFUSAL};
use super::scenarios::Known;
use crate::mix::Dice;

/// As in `relay::pace`.
const SLICE: Duration = Duration::from_millis(100);
const UNSPENT_MAX_S: f64 = 0.2;
const ROOM_S: f64 = 2.0;
/// A handshake, in microseconds.
const OPENING: Micros = 80_000;
/// After a connection was refused, as `relay::site::rest` has it.
const REST: Micros = 2 * SECOND;

/// Midnight of a day in UTC.
pub(super) const T0: Timestamp = Timestamp(1_700_006_400_000);

pub(super) fn stamp(now: Micros) -> Timestamp {
    T0 + Duration::from_millis(now / 1000)
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Turn,
    /// The connection goes with its message.
    Go(u32),
    Answered(u32),
}

pub(super) struct World {
    policy: Box<dyn Policy>,
    provider: Provider,
    fair: Fair,
    queue: Queue,
    relays: Vec<Relay>,
    dice: Dice,
    events: BinaryHeap<Reverse<(Micros, u64, usize, What)>>,
    number: u64,
    now: Micros,
    /// Time when there is nothing to send, in microseconds.
    idle: Option<(Micros, Micros)>,
    known: Known,
    quota: Quota,
    pub(super) record: Record,
    pub(super) changes: Vec<(f64, Change)>,
}

impl World {
    pub(super) fn new(
        hidden: Hidden,
        policy: Box<dyn Policy>,
        relays: usize,
        seed: u64,
        idle: Option<(f64, f64)>,
    ) -> Self {
        let names: Vec<String> = (0..relays).map(|n| format!("relay-{n}")).collect();
        let mut world = Self {
            queue: Queue::new(T0, &names),
            policy,
            dice: Dice::new(seed ^ 7),
            provider: Provider::new(hidden, seed),
            fair: Fair::default(),
            relays: names.into_iter().map(Relay::new).collect(),
            events: BinaryHeap::new(),
            number: 0,
            now: 0,
            idle: idle.map(|(from, to)| ((from * 1e6) as Micros, (to * 1e6) as Micros)),
            known: Known::default(),
            quota: Quota::default(),
            record: Record::new(relays),
            changes: Vec::new(),
        };
        for relay in 0..relays {
            // Not all at the same moment.
            world.at(relay as Micros * 7_000, relay, What::Turn);
        }
        world
    }

    /// What the relays know beforehand.
    pub(super) fn know(&mut self, known: Known) {
        self.known = known;
    }

    fn at(&mut self, at: Micros, relay: usize, what: What) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, relay, what)));
    }

    /// Runs for so many seconds of virtual time.
    pub(super) fn run(&mut self, seconds: f64) {
        let end = (seconds * 1e6) as Micros;
        while let Some(Reverse((at, _, relay, what))) = self.events.pop() {
            if at >= end {
                break;
            }
            self.now = at;
            self.record.until(at, &self.provider);
            match what {
                What::Turn => self.turn(relay),
                What::Go(connection) => self.go(relay, connection),
                What::Answered(connection) => self.answered(relay, connection),
            }
        }
        self.record.until(end, &self.provider);
    }

    fn is_idle(&self) -> bool {
        self.idle.is_some_and(|(from, to)| (from..to).contains(&self.now))
    }

    fn turn(&mut self, at: usize) {
        let now = self.now;
        if now < self.relays[at].turn_at {
            return;
        }
        if now >= self.relays[at].renewed_at + SECOND {
            self.queue.renew(stamp(now), &self.relays[at].name);
            self.relays[at].renewed_at = now;
        }
        self.fill(at);
        if now >= self.relays[at].ask_due {
            self.ask(at);
        }
        self.employ(at);
        if self.relays[at].has_news(now) {
            self.tell(at);
        }
        let relay = &mut self.relays[at];
        let mut next = relay.ask_due.max(now + 1_000).min(now + SECOND / 2);
        if relay.refused {
            next = next.min((relay.seen_since + TELL_REFUSAL).max(now + 1_000));
        }
        relay.turn_at = next;
        self.at(next, at, What::Turn);
    }

    /// Leases what it should hold; while nothing is to be sent it holds nothing.
    fn fill(&mut self, at: usize) {
        let relay = &mut self.relays[at];
        let now = stamp(self.now);
        let is_idle = self.idle.is_some_and(|(from, to)| (from..to).contains(&self.now));
        if is_idle || relay.full_until > now {
            for job in std::mem::take(&mut relay.waiting) {
                self.queue.give_back(now, &relay.name, &job);
            }
            return;
        }
        let wanted = ((relay.rate * ROOM_S) as usize).clamp(20, 4000);
        if relay.waiting.len() <= wanted / 2 {
            let more = self.queue.lease(now, &relay.name, wanted - relay.waiting.len());
            relay.waiting.extend(more);
        }
    }

    fn ask(&mut self, at: usize) {
        let now = self.now;
        let rate = self.policy.rate(stamp(now));
        let allowed = self.policy.connections(stamp(now));
        let in_use: usize =
            self.relays.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, r)| r.open()).sum();
        let wants = |(n, r): &(usize, &Relay)| *n != at && r.wants();
        let others = self.relays.iter().enumerate().filter(wants).count() as u32;
        let rank = self.relays.iter().enumerate().take(at).filter(wants).count() as u32;
        let relay = &mut self.relays[at];
        let unspent_max = (relay.rate * UNSPENT_MAX_S).max(2.0);
        if now < relay.asked_at + SECOND && f64::from(relay.tokens) >= unspent_max {
            relay.ask_due = now + SLICE.as_micros() as Micros;
            return;
        }
        relay.asked_at = now;
        relay.sharing = others + 1;
        relay.allowed = connections(allowed, in_use as u32, others + 1, rank, stamp(now));
        let mut waiting = (relay.waiting.len() as u32).saturating_sub(relay.tokens);
        if relay.allowed == 0 {
            waiting = 0;
        }
        if self.known.is_any() {
            waiting = self.allow(at, waiting);
        }
        let relay = &mut self.relays[at];
        let demand = Demand { campaign: CAMPAIGN, weight: Weight::default(), priority: 1, waiting };
        let ask = Ask { relay: &relay.name, flows: &[demand], rate, slice: SLICE };
        let slice = self.fair.slice(stamp(now), &ask);
        let granted: u32 = slice.granted.iter().map(|(_, n)| n).sum();
        relay.held = relay.held.saturating_sub(granted);
        relay.learn_rate(rate);
        while relay.open() > relay.allowed as usize && relay.idle.pop().is_some() {
            self.provider.close();
        }
        if now > relay.granted_at + 3 * SLICE.as_micros() as Micros {
            relay.forgotten += std::mem::take(&mut relay.tokens);
        }
        if granted > 0 {
            relay.granted_at = now;
            relay.tokens += granted;
        }
        let wait = match granted >= waiting {
            true if waiting > 0 => SLICE / 2,
            true if relay.allowed == 0 => SLICE,
            true => Duration::from_secs(1),
            false => slice.wait.max(SLICE).min(Duration::from_secs(1)),
        };
        // The way to Redis and back, and a busy runtime.
        relay.ask_due = now + wait.as_micros() as Micros + self.dice.below(4_000);
    }

    /// What hours and days leave of what waits, as `relay::site::allowance` takes it.
    fn allow(&mut self, at: usize, waiting: u32) -> u32 {
        let now = stamp(self.now);
        let relay = &mut self.relays[at];
        let part = relay.rate / f64::from(relay.sharing.max(1));
        let ahead = part.ceil().max(1.0) as u32;
        let missing = waiting.min(ahead).saturating_sub(relay.held);
        if missing > 0 {
            let ask = TakeOf {
                wanted: u64::from(missing),
                back: u64::from(std::mem::take(&mut relay.forgotten)),
                bad: u64::from(std::mem::take(&mut relay.objections)),
                ceilings: self.known.ceilings,
                follows: self.known.follows.as_ref(),
            };
            let answer = self.quota.take(now, &ask);
            relay.held += answer.granted as u32;
            let is_full = relay.held == 0;
            relay.full_until = answer.until.filter(|_| is_full).unwrap_or(Timestamp(0));
        }
        waiting.min(relay.held)
    }

    /// Sets connections to what was granted.
    fn employ(&mut self, at: usize) {
        if self.is_idle() {
            return;
        }
        loop {
            let now = self.now;
            let relay = &mut self.relays[at];
            if relay.waiting.is_empty() {
                return;
            }
            if relay.tokens == 0 || relay.busy() >= relay.allowed as usize {
                relay.starved = true;
                return;
            }
            let per_connection = self.policy.per_connection();
            while relay.idle.last().is_some_and(|c| c.carried >= per_connection) {
                relay.idle.pop();
                self.provider.close();
            }
            let mut ready = now;
            let mut connection = match relay.idle.pop() {
                Some(connection) => connection,
                None if now < relay.rests_until => return,
                None if self.provider.open() => {
                    ready += OPENING;
                    Connection { carried: 0, job: None, answer: Answer::Taken, epoch: 0 }
                }
                None => {
                    relay.seen.connection_refusals += 1;
                    relay.refused = true;
                    relay.rests_until = now + REST;
                    return;
                }
            };
            relay.tokens -= 1;
            connection.epoch = relay.epoch;
            connection.job = relay.waiting.pop_front();
            let spread = (1e6 / relay.rate.max(0.001)).min(SECOND as f64 / 10.0) as Micros;
            relay.spread_at = relay.spread_at.max(now.saturating_sub(SECOND / 10)) + spread;
            let go = ready.max(relay.spread_at);
            let slot = relay.put(connection);
            self.at(go, at, What::Go(slot));
        }
    }

    fn go(&mut self, at: usize, slot: u32) {
        let now = self.now;
        let relay = &mut self.relays[at];
        let Some(connection) = relay.busy[slot as usize].as_mut() else { return };
        let attempt = connection.job.as_ref().map_or(0, |job| job.attempts);
        connection.answer = self.provider.take(now, connection.carried, attempt);
        self.record.sent(now, at, connection.answer);
        let latency = self.provider.latency();
        self.at(now + latency, at, What::Answered(slot));
    }

    fn answered(&mut self, at: usize, slot: u32) {
        let now = self.now;
        let relay = &mut self.relays[at];
        let Some(mut connection) = relay.busy[slot as usize].take() else { return };
        let Some(job) = connection.job.take() else { return };
        connection.carried += 1;
        let (stamp, name) = (stamp(now), &relay.name);
        let is_late = connection.epoch != relay.epoch;
        match connection.answer {
            Answer::Taken => {
                relay.seen.passed += 1;
                relay.seen.late_passed += u32::from(is_late);
                self.queue.deliver(stamp, name, &job);
            }
            Answer::Greylisted => {
                relay.seen.passed += 1;
                relay.seen.late_passed += u32::from(is_late);
                self.queue.defer(stamp, name, &job, Hint::Greylisted);
            }
            Answer::TooFast => {
                if is_late {
                    relay.seen.late_refusals += 1;
                } else {
                    relay.seen.rate_refusals += 1;
                }
                relay.refused = true;
                relay.objections += 1;
                self.queue.defer(stamp, name, &job, Hint::None);
            }
            Answer::Blocked => {
                relay.objections += 1;
                relay.seen.blocks += 1;
                relay.refused = true;
                self.queue.defer(stamp, name, &job, Hint::None);
            }
            Answer::ConnectionFull => {
                relay.seen.per_connection_refusals += 1;
                let carried = connection.carried - 1;
                let least = relay.seen.carried_min.map_or(carried, |c| c.min(carried));
                relay.seen.carried_min = Some(least);
                relay.refused = true;
                relay.waiting.push_front(job);
            }
        }
        if connection.answer == Answer::ConnectionFull || relay.open() >= relay.allowed as usize {
            self.provider.close();
        } else {
            relay.idle.push(connection);
        }
        if relay.refused {
            let due = (relay.seen_since + TELL_REFUSAL).max(now + 1_000);
            if due < relay.turn_at {
                relay.turn_at = due;
                self.at(due, at, What::Turn);
            }
        }
        self.employ(at);
    }

    fn tell(&mut self, at: usize) {
        let now = self.now;
        let relay = &mut self.relays[at];
        let mut seen = std::mem::take(&mut relay.seen);
        seen.window = Duration::from_micros(now - relay.seen_since);
        seen.connections = relay.open() as u32;
        seen.demand = std::mem::take(&mut relay.starved);
        seen.sharing = relay.sharing;
        seen.at_rate = relay.rate;
        relay.seen_since = now;
        relay.refused = false;
        let changes = self.policy.observe(stamp(now), &seen);
        let at_s = seconds(now);
        self.changes.extend(changes.into_iter().map(|change| (at_s, change)));
        let rate = self.policy.rate(stamp(now));
        self.relays[at].learn_rate(rate);
    }
}
