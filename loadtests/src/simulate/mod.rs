//! The simulator: the controller, the dispatch and the queue of the product in virtual time,
//! against providers with hidden limits, beside what others do.

mod line;
mod picture;
mod policy;
mod provider;
mod record;
mod relay;
mod scenarios;
#[cfg(test)]
mod tests;
mod world;

pub use picture::picture;
pub use policy::Which;
pub use provider::{Count, Hidden, Shape};
pub use record::Score;
use record::judge_capped;
pub(crate) use record::{Second, judge};
pub use scenarios::{Scenario, scenarios};

use mail::throttle::Change;
use world::World;

/// A run: its score, and what it looked like.
#[derive(Debug)]
pub struct Run {
    /// How it went.
    pub score: Score,
    /// Second by second: what the provider would have taken, what was sent, what was refused.
    pub seconds: Vec<(f64, u32, u32)>,
    /// What the controller changed, and when, in seconds.
    pub changes: Vec<(f64, Change)>,
}

/// Runs one policy through one scenario.
#[must_use]
pub fn run(scenario: &Scenario, which: Which, relays: usize, seed: u64) -> Run {
    let (lowest, highest) = scenario.extremes();
    let policy = which.policy(lowest, highest);
    let mut world = World::new(scenario.hidden.clone(), policy, relays, seed, scenario.idle);
    if which == Which::Ours {
        world.know(scenario.known.clone());
    }
    world.run(scenario.seconds);
    let jumps = scenario.hidden.shape.jumps(scenario.seconds);
    let (all, by_relay) = (&world.record.seconds, &world.record.by_relay);
    let score = match scenario.hidden.caps(scenario.seconds) {
        Some((caps, period)) => judge_capped(all, by_relay, &caps, period),
        None => judge(all, by_relay, &jumps, scenario.hidden.count.period()),
    };
    let seconds = world.record.seconds.iter().map(|s| (s.allowed, s.sent, s.refused)).collect();
    Run { score, seconds, changes: world.changes }
}
