//! A provider with hidden limits, in virtual time. It tells nothing but its answers.

use std::f64::consts::TAU;

use crate::mix::{Dice, share};

/// Microseconds of virtual time since the run began.
pub(super) type Micros = u64;

pub(super) const SECOND: Micros = 1_000_000;
pub(super) const HOUR_S: f64 = 3600.0;

/// How the hidden rate moves.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// It does not.
    Constant(f64),
    /// From one rate to another at a time, in seconds.
    Step(f64, f64, f64),
    /// From one rate to another and back, evenly, in so many seconds each way.
    Ramp(f64, f64, f64),
    /// Rises evenly from one rate to another and falls at once, again after so many seconds.
    Sawtooth(f64, f64, f64),
    /// By day from 7 to 19 hours, and by night.
    DayNight(f64, f64),
}

impl Shape {
    /// Messages a second at a time in seconds.
    pub(super) fn at(&self, s: f64) -> f64 {
        match *self {
            Self::Constant(rate) => rate,
            Self::Step(before, after, at) => {
                if s < at {
                    before
                } else {
                    after
                }
            }
            Self::Ramp(from, to, period) => {
                let phase = (s / period) % 2.0;
                from + (to - from) * if phase < 1.0 { phase } else { 2.0 - phase }
            }
            Self::Sawtooth(from, to, period) => from + (to - from) * ((s / period) % 1.0),
            Self::DayNight(day, night) => {
                let hour = (s / HOUR_S) % 24.0;
                if (7.0..19.0).contains(&hour) { day } else { night }
            }
        }
    }

    /// The times at which it jumps.
    pub(super) fn jumps(&self, seconds: f64) -> Vec<f64> {
        let every = |first: f64, period: f64| {
            let n = ((seconds - first) / period).ceil().max(0.0) as u32;
            (0..n).map(|i| first + f64::from(i) * period).collect()
        };
        match *self {
            Self::Step(_, _, at) => vec![at],
            Self::Sawtooth(_, _, period) => every(period, period),
            Self::DayNight(..) => every(7.0 * HOUR_S, 12.0 * HOUR_S),
            Self::Constant(_) | Self::Ramp(..) => Vec::new(),
        }
    }
}

/// How the provider counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    /// A bucket that holds what so many seconds bring.
    Bucket(f64),
    /// Afresh at the beginning of each window of so many seconds.
    Windows(f64),
}

impl Count {
    /// Seconds over which it counts.
    pub(super) fn period(self) -> f64 {
        match self {
            Self::Bucket(s) | Self::Windows(s) => s,
        }
    }
}

/// What is hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Hidden {
    /// The rate.
    pub shape: Shape,
    /// How it is counted.
    pub count: Count,
    /// The share by which the rate wavers, from second to second.
    pub wavers: f64,
    /// Of a thousand messages, so many are refused as too fast for no reason.
    pub false_alarms: u32,
    /// Connections at one time.
    pub connections: u32,
    /// Messages over one connection.
    pub per_connection: u32,
    /// Messages in so many seconds, counted afresh at the beginning of each such time.
    pub cap: Option<(u32, f64)>,
    /// How many times as much it takes in each such time than in the one before.
    pub cap_grows: f64,
    /// Each recipient is put off once.
    pub greylists: bool,
    /// After so many refusals in a minute the source is blocked for so many seconds.
    pub blocks: Option<(u32, f64)>,
    /// Each refusal takes this share of the rate, which comes back in about ten minutes.
    pub grudge: f64,
}

impl Hidden {
    /// A plain provider: counts with a bucket of a second, takes 30 connections.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            count: Count::Bucket(1.0),
            wavers: 0.0,
            false_alarms: 0,
            connections: 40,
            per_connection: 100_000,
            cap: None,
            cap_grows: 1.0,
            greylists: false,
            blocks: None,
            grudge: 0.0,
        }
    }
}

impl Hidden {
    /// What its cap allows in each of its times within so many seconds, and how long these are.
    pub(super) fn caps(&self, seconds: f64) -> Option<(Vec<f64>, usize)> {
        let (_, period) = self.cap?;
        let times = 0..(seconds / period).ceil() as u64;
        Some((times.map(|n| f64::from(self.cap_of(n))).collect(), period as usize))
    }

    /// What its cap allows in one of its times, counted from 0.
    fn cap_of(&self, number: u64) -> u32 {
        let (most, _) = self.cap.unwrap_or((u32::MAX, 0.0));
        (f64::from(most) * self.cap_grows.powi(number as i32)) as u32
    }
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    TooFast,
    ConnectionFull,
    Greylisted,
    Blocked,
}

pub(super) struct Provider {
    hidden: Hidden,
    dice: Dice,
    tokens: f64,
    at: Micros,
    window: u64,
    /// The number of the time that a cap counts by, and what was taken in it.
    taken: (u64, u32),
    open: u32,
    standing: f64,
    refusals: (u64, u32),
    blocked_until: Micros,
    waver: f64,
}

impl Provider {
    pub(super) fn new(hidden: Hidden, seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            tokens: 1.0,
            at: 0,
            window: 0,
            taken: (0, 0),
            open: 0,
            standing: 1.0,
            refusals: (0, 0),
            blocked_until: 0,
            waver: 1.0,
            hidden,
        }
    }

    /// Messages a second that it takes at this moment, its grudge and its cap included.
    pub(super) fn limit(&self, now: Micros) -> f64 {
        let is_full = self.room(now) == 0;
        if is_full { 0.0 } else { self.hidden.shape.at(seconds(now)) * self.standing }
    }

    /// What its cap leaves.
    fn room(&self, now: Micros) -> u32 {
        let Some((_, period)) = self.hidden.cap else { return u32::MAX };
        let number = (seconds(now) / period) as u64;
        let taken = if self.taken.0 == number { self.taken.1 } else { 0 };
        self.hidden.cap_of(number).saturating_sub(taken)
    }

    /// Whether one more connection is taken.
    pub(super) fn open(&mut self) -> bool {
        let is_room = self.open < self.hidden.connections;
        self.open += u32::from(is_room);
        is_room
    }

    pub(super) fn close(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// A message comes over a connection that has carried `carried`, for the `attempt`th time.
    pub(super) fn take(&mut self, now: Micros, carried: u32, attempt: u8) -> Answer {
        self.pass_time(now);
        if now < self.blocked_until {
            return Answer::Blocked;
        }
        if carried >= self.hidden.per_connection {
            return Answer::ConnectionFull;
        }
        let is_alarm = share(self.dice.roll()) * 1000.0 < f64::from(self.hidden.false_alarms);
        if self.tokens < 1.0 || self.room(now) == 0 {
            self.bear_a_grudge(now);
            return Answer::TooFast;
        }
        if is_alarm {
            return Answer::TooFast;
        }
        self.tokens -= 1.0;
        self.count(now);
        if self.hidden.greylists && attempt == 0 { Answer::Greylisted } else { Answer::Taken }
    }

    fn pass_time(&mut self, now: Micros) {
        let passed = seconds(now.saturating_sub(self.at));
        if now / SECOND != self.at / SECOND {
            self.waver = 1.0 + self.hidden.wavers * (2.0 * share(self.dice.roll()) - 1.0);
        }
        self.at = now;
        self.standing = (self.standing + passed / 600.0).min(1.0);
        let limit = self.hidden.shape.at(seconds(now)) * self.standing * self.waver;
        match self.hidden.count {
            Count::Bucket(depth) => {
                let most = (limit * depth).max(1.0);
                self.tokens = (self.tokens + passed * limit).min(most);
            }
            Count::Windows(length) => {
                let window = (seconds(now) / length) as u64 + 1;
                if window != self.window {
                    self.window = window;
                    self.tokens = (limit * length).max(1.0);
                }
            }
        }
    }

    fn count(&mut self, now: Micros) {
        let Some((_, period)) = self.hidden.cap else { return };
        let number = (seconds(now) / period) as u64;
        if self.taken.0 != number {
            self.taken = (number, 0);
        }
        self.taken.1 += 1;
    }

    fn bear_a_grudge(&mut self, now: Micros) {
        self.standing = (self.standing - self.hidden.grudge).max(0.1);
        let minute = now / (60 * SECOND);
        if self.refusals.0 != minute {
            self.refusals = (minute, 0);
        }
        self.refusals.1 += 1;
        if let Some((most, block_s)) = self.hidden.blocks
            && self.refusals.1 > most
        {
            self.blocked_until = now + (block_s * SECOND as f64) as Micros;
            self.refusals.1 = 0;
        }
    }

    /// From asking to answering, in microseconds.
    pub(super) fn latency(&mut self) -> Micros {
        // Log-normal about 40 ms, by Box and Muller.
        let (u, v) = (share(self.dice.roll()).max(1e-12), share(self.dice.roll()));
        let normal = (-2.0 * u.ln()).sqrt() * (TAU * v).cos();
        (40_000.0 * (0.3 * normal).exp()) as Micros
    }
}

pub(super) fn seconds(at: Micros) -> f64 {
    at as f64 / SECOND as f64
}
