//! What happened, second by second, and how it is judged.

use serde::Serialize;

use super::provider::{Answer, Micros, Provider, SECOND, seconds};

/// One second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Second {
    /// Messages that the provider would have taken.
    pub(crate) allowed: f64,
    pub(crate) sent: u32,
    pub(crate) passed: u32,
    pub(crate) refused: u32,
}

pub(super) struct Record {
    pub(super) seconds: Vec<Second>,
    pub(super) by_relay: Vec<u64>,
    at: Micros,
}

impl Record {
    pub(super) fn new(relays: usize) -> Self {
        Self { seconds: Vec::new(), by_relay: vec![0; relays], at: 0 }
    }

    /// Counts what the provider allows until `now`.
    pub(super) fn until(&mut self, now: Micros, provider: &Provider) {
        while self.at < now {
            let index = (self.at / SECOND) as usize;
            let end = ((index as Micros + 1) * SECOND).min(now);
            if self.seconds.len() <= index {
                self.seconds.resize(index + 1, Second::default());
            }
            let took_s = seconds(end - self.at);
            self.seconds[index].allowed += provider.limit(self.at) * took_s;
            self.at = end;
        }
    }

    pub(super) fn sent(&mut self, now: Micros, relay: usize, answer: Answer) {
        let index = (now / SECOND) as usize;
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        let second = &mut self.seconds[index];
        match answer {
            Answer::ConnectionFull => return,
            Answer::Taken | Answer::Greylisted => {
                second.passed += 1;
                self.by_relay[relay] += 1;
            }
            Answer::TooFast | Answer::Blocked => second.refused += 1,
        }
        second.sent += 1;
    }
}

/// How one run went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Of what the provider would have taken, once converged; of all if it never was.
    pub utilisation: f64,
    /// Of the attempts, in the same time.
    pub refused: f64,
    /// Seconds until windows of a hundred messages are used to nine tenths, for good or until the
    /// limit next jumps.
    pub converged_s: Option<f64>,
    /// The longest time until that is so again after a jump.
    pub settled_s: Option<f64>,
    /// The most that was sent in a window of five seconds, or of a hundred messages if these
    /// take longer, over what would have been taken; once converged.
    pub overshoot: f64,
    /// How evenly the relays shared (Jain's index).
    pub jain: f64,
}

/// A window of at least a hundred messages counts as used from here.
const USED: f64 = 0.9;
/// Seconds that a run must go on after it has converged.
const TELLING_S: usize = 120;
/// And so much of it may be refused.
const REFUSED: f64 = 0.03;

/// Judges what happened second by second; `by_relay`: what passed of each; `jumps`: when the limit
/// jumped, in seconds; `period`: seconds over which the provider counts.
pub(crate) fn judge(all: &[Second], by_relay: &[u64], jumps: &[f64], period: f64) -> Score {
    let mean = all.iter().map(|s| s.allowed).sum::<f64>() / all.len().max(1) as f64;
    let window = (100.0 / mean.max(0.01)).ceil().max(5.0).max(period) as usize;
    let first_jump = jumps.first().map_or(all.len(), |at| *at as usize);
    // What comes about in the last minutes is no convergence.
    let before_jump = &all[..first_jump.min(all.len())];
    let converged = settled(before_jump, window).filter(|at| at + TELLING_S <= before_jump.len());
    let mut settled_s: Option<f64> = None;
    let mut unsettled = Vec::new();
    for (n, jump) in jumps.iter().enumerate() {
        let end = jumps.get(n + 1).map_or(all.len(), |next| *next as usize).min(all.len());
        let took = settled(&all[*jump as usize..end], window);
        unsettled.push((*jump as usize, took.map_or(end, |s| *jump as usize + s + 5)));
        let took = took.map_or(f64::INFINITY, |s| s as f64);
        settled_s = Some(settled_s.unwrap_or(0.0).max(took));
    }
    let counted = &all[converged.unwrap_or(0)..];
    let calm = |second: usize| !unsettled.iter().any(|(from, to)| (*from..*to).contains(&second));
    let from = converged.unwrap_or(0);
    let calm: Vec<Second> =
        (from..all.len()).filter(|second| calm(*second)).map(|second| all[second]).collect();
    let (mut allowed, mut sent, mut passed, mut refused) = (0.0, 0u64, 0u64, 0u64);
    for second in counted {
        allowed += second.allowed;
        sent += u64::from(second.sent);
        passed += u64::from(second.passed);
        refused += u64::from(second.refused);
    }
    Score {
        utilisation: passed as f64 / allowed.max(1.0),
        refused: refused as f64 / sent.max(1) as f64,
        converged_s: converged.map(|s| s as f64),
        settled_s,
        overshoot: overshoot(&calm, window),
        jain: jain(by_relay),
    }
}

/// Judges a run at a provider that counts by hours or days: `caps` are what it takes in each of
/// them, `period` seconds long. What is refused counts from the start.
pub(super) fn judge_capped(all: &[Second], by_relay: &[u64], caps: &[f64], period: usize) -> Score {
    let in_each: Vec<f64> = all
        .chunks(period)
        .map(|period| f64::from(period.iter().map(|s| s.passed).sum::<u32>()))
        .collect();
    let (passed, refused) = all.iter().fold((0u64, 0u64), |(passed, refused), second| {
        (passed + u64::from(second.passed), refused + u64::from(second.refused))
    });
    Score {
        utilisation: in_each.iter().sum::<f64>() / caps.iter().sum::<f64>().max(1.0),
        refused: refused as f64 / (passed + refused).max(1) as f64,
        converged_s: Some(0.0),
        settled_s: None,
        overshoot: in_each.iter().zip(caps).map(|(n, cap)| n / cap).fold(0.0, f64::max),
        jain: jain(by_relay),
    }
}

/// From which second on every window for the next two minutes is used.
fn settled(seconds: &[Second], window: usize) -> Option<usize> {
    let is_used = |from: usize| {
        let window = &seconds[from..from + window];
        let allowed: f64 = window.iter().map(|s| s.allowed).sum();
        let passed: u32 = window.iter().map(|s| s.passed).sum();
        let refused: u32 = window.iter().map(|s| s.refused).sum();
        f64::from(passed) >= USED * allowed
            && f64::from(refused) <= REFUSED * f64::from(passed + refused)
    };
    let last = seconds.len().checked_sub(window)?;
    let used: Vec<bool> = (0..=last).map(is_used).collect();
    (0..=last).find(|from| used[*from..(from + 60).min(used.len())].iter().all(|used| *used))
}

fn overshoot(seconds: &[Second], window: usize) -> f64 {
    let over = |window: &[Second]| {
        let allowed: f64 = window.iter().map(|s| s.allowed).sum();
        let sent: u32 = window.iter().map(|s| s.sent).sum();
        f64::from(sent) / allowed.max(1.0)
    };
    seconds.windows(window).map(over).fold(0.0, f64::max)
}

fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|s| *s as f64).sum();
    let squares: f64 = shares.iter().map(|s| (*s as f64).powi(2)).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}
