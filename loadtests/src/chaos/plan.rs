//! What happens in a run, drawn from its seed alone: how many relays, which campaigns, what
//! goes wrong and when. Kinds are dealt in shuffled rounds, so that their numbers are even.

use std::time::Duration;

use crate::link::Weather;
use crate::mix::{self, Dice};

mail::words! {
    /// What goes wrong in a run.
    Fault {
        /// `kill -9` of a relay; a new process comes a little later.
        RelayKilled = "relay_killed",
        /// A relay is stopped for longer than a lease, and then goes on.
        RelayAsleep = "relay_asleep",
        /// `kill -9` of the HTTP API while campaigns come in.
        ApiKilled = "api_killed",
        /// `kill -9` of the bounce processor.
        BouncesKilled = "bounces_killed",
        /// `kill -9` of the ledger.
        LedgerKilled = "ledger_killed",
        /// `kill -9` of Redis, whose keeper starts it again at once.
        RedisKilled = "redis_killed",
        /// `kill -9` of Redis, which stays away for long and comes back from its AOF.
        RedisRestarted = "redis_restarted",
        /// The power fails under Redis: killed, and its AOF cut at the last completed fsync.
        RedisCut = "redis_cut",
        /// The network between a relay and Redis is down for longer than a lease.
        LinkCut = "link_cut",
        /// The network between a relay and Redis is slow and narrow.
        LinkSlow = "link_slow",
        /// For a while every destination takes messages and hangs up without a reply.
        SinkHangsUp = "sink_hangs_up",
        /// The disk under Redis is full for a while.
        RedisDiskFull = "redis_disk_full",
        /// The disk under the ledger is full for a while.
        LedgerDiskFull = "ledger_disk_full",
    }
}

impl Fault {
    /// Whether it needs a disk of its own to be filled, which only root may mount.
    #[must_use]
    pub const fn needs_disk(self) -> bool {
        matches!(self, Self::RedisDiskFull | Self::LedgerDiskFull)
    }
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum When {
    /// So long after the customers have begun.
    Submitting(Duration),
    /// When this part of all recipients is at rest.
    Sending(f64),
}

/// Recipients of a run: at least, and how many more there may be.
const RECIPIENTS: (u64, u64) = (5_000, 1_000);
/// Recipients of its smallest campaign.
const CAMPAIGN_MIN: u64 = 50;
/// The customers take about this long, see `customer`.
const SUBMITTING_MS: u64 = 1_400;

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) fault: Fault,
    pub(super) relays: usize,
    /// Which of them is struck; a bad link is that of the first.
    pub(super) victim: usize,
    /// Recipients of each campaign.
    pub(super) campaigns: Vec<u64>,
    pub(super) when: When,
    /// From the fault until it heals.
    pub(super) lasts: Duration,
    /// Of the victim's link, meanwhile.
    pub(super) weather: Weather,
}

impl Plan {
    /// Draws a run.
    pub(super) fn of(seed: u64) -> Self {
        let fault = Fault::ALL[(seed % Fault::ALL.len() as u64) as usize];
        let mut dice = Dice::new(mix::spread(seed));
        let relays = 2 + dice.below(3) as usize;
        let campaigns = campaigns(&mut dice);
        let when = when(fault, &mut dice);
        let lasts = lasts(fault, &mut dice);
        let weather = weather(fault, &mut dice);
        let victim = match fault {
            Fault::LinkCut | Fault::LinkSlow => 0,
            _ => dice.below(relays as u64) as usize,
        };
        Self { seed, fault, relays, victim, campaigns, when, lasts, weather }
    }

    pub(super) fn recipients(&self) -> u64 {
        self.campaigns.iter().sum()
    }
}

/// Cuts at random places: some campaigns are small and some are not.
fn campaigns(dice: &mut Dice) -> Vec<u64> {
    let count = 2 + dice.below(4);
    let spare = RECIPIENTS.0 + dice.below(RECIPIENTS.1) - count * CAMPAIGN_MIN;
    let mut cuts: Vec<u64> = (1..count).map(|_| dice.below(spare)).chain([0, spare]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| CAMPAIGN_MIN + pair[1] - pair[0]).collect()
}

fn when(fault: Fault, dice: &mut Dice) -> When {
    let submitting = When::Submitting(Duration::from_millis(dice.below(SUBMITTING_MS)));
    let sending = When::Sending(0.03 + 0.57 * mix::share(dice.roll()));
    match fault {
        Fault::ApiKilled => submitting,
        Fault::RelayKilled | Fault::RelayAsleep | Fault::LinkCut | Fault::LinkSlow => sending,
        Fault::SinkHangsUp | Fault::BouncesKilled => sending,
        Fault::LedgerKilled
        | Fault::RedisKilled
        | Fault::RedisRestarted
        | Fault::RedisCut
        | Fault::RedisDiskFull
        | Fault::LedgerDiskFull => {
            if dice.below(3) == 0 {
                submitting
            } else {
                sending
            }
        }
    }
}

fn lasts(fault: Fault, dice: &mut Dice) -> Duration {
    let (from_ms, to_ms) = match fault {
        Fault::RelayKilled | Fault::BouncesKilled | Fault::LedgerKilled => (200, 2_500),
        Fault::ApiKilled => (100, 1_500),
        // Longer than a lease (5 s) and what renewing and reaping add.
        Fault::RelayAsleep | Fault::LinkCut => (7_000, 8_000),
        Fault::RedisKilled => (0, 1),
        // Shorter and longer than half a lease, which opens the queue's grace.
        Fault::RedisRestarted => (1_500, 6_500),
        Fault::RedisCut => (0, 1_000),
        Fault::LinkSlow => (2_000, 5_000),
        Fault::SinkHangsUp => (300, 1_000),
        Fault::RedisDiskFull | Fault::LedgerDiskFull => (1_000, 3_000),
    };
    Duration::from_millis(from_ms + dice.below(to_ms - from_ms))
}

fn weather(fault: Fault, dice: &mut Dice) -> Weather {
    match fault {
        Fault::LinkCut if dice.below(2) == 0 => Weather::Cut,
        Fault::LinkCut => Weather::Silent,
        Fault::LinkSlow => Weather::Slow {
            delay: Duration::from_millis(10 + dice.below(100)),
            octets_per_s: (64 << 10) + dice.below(256 << 10),
        },
        _ => Weather::Fair,
    }
}

/// The seeds of so many runs, drawn from a base. A seed's kind is its remainder by the
/// number of kinds, so that it tells its run without anything else.
pub(super) fn deal(base: u64, runs: usize, may_be: impl Fn(Fault) -> bool) -> Vec<u64> {
    /// Short enough to be typed.
    const SEED_BITS: u32 = 40;
    let kinds = Fault::ALL.len() as u64;
    let all: Vec<u64> = (0..kinds).filter(|kind| may_be(Fault::ALL[*kind as usize])).collect();
    let mut dice = Dice::new(mix::of_number(base, 70, 0));
    let (mut seeds, mut round) = (Vec::with_capacity(runs), Vec::new());
    while seeds.len() < runs {
        if round.is_empty() {
            round.clone_from(&all);
            for i in (1..round.len()).rev() {
                round.swap(i, dice.below(i as u64 + 1) as usize);
            }
        }
        let Some(kind) = round.pop() else { break };
        let seed = (dice.roll() >> (64 - SEED_BITS)) / kinds * kinds + kind;
        seeds.push(seed);
    }
    seeds
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_always_draws_the_same_run() {
        for seed in 0..500 {
            let plan = Plan::of(seed);
            assert_eq!(plan, Plan::of(seed));
            assert!((5_000..6_000).contains(&plan.recipients()), "{plan:?}");
            assert!((2..=4).contains(&plan.relays) && plan.victim < plan.relays, "{plan:?}");
            assert!(plan.campaigns.len() >= 2 && plan.campaigns.iter().all(|n| *n >= 50));
        }
    }

    #[test]
    fn every_kind_comes_ten_times_in_200_runs_and_twice_in_30() {
        for (runs, least) in [(200, 10), (30, 2)] {
            let mut counts: BTreeMap<Fault, usize> = BTreeMap::new();
            for seed in deal(9, runs, |_| true) {
                *counts.entry(Plan::of(seed).fault).or_default() += 1;
            }
            assert_eq!(counts.len(), Fault::ALL.len());
            assert!(counts.values().all(|n| *n >= least), "{counts:?}");
            assert_eq!(counts.values().sum::<usize>(), runs);
        }
        assert_eq!(deal(9, 50, |_| true), deal(9, 50, |_| true));
        assert_ne!(deal(9, 50, |_| true), deal(10, 50, |_| true));
    }

    #[test]
    fn a_kind_that_cannot_be_is_not_dealt() {
        let seeds = deal(1, 40, |fault| !fault.needs_disk());
        assert!(seeds.iter().all(|seed| !Plan::of(*seed).fault.needs_disk()));
    }
}
