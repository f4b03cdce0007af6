//! What a relay manages when it is well. The budget is a part of it.

use std::time::Duration;

/// What went is averaged over so long.
const LATELY: Duration = Duration::from_secs(2);
/// What was managed once is believed half as much after this: messages differ, and so do hosts.
const HALVES: Duration = Duration::from_secs(600);
/// From this budget on a relay is well, and what it sends is what it can.
const WELL: f64 = 0.95;
/// From this budget on it may find out that it can more: with as little pressure as that, what it
/// knew may be too little. Below it nothing is tried.
const TRYING: f64 = 0.8;
/// By how much in a second, when it is well and when it is not quite.
const GROWTH_WELL: f64 = 1.5;
const GROWTH: f64 = 1.05;
/// A second look at a clock that jumped counts as so much at most.
const STEP_MAX: Duration = Duration::from_secs(1);

/// Messages a second that a relay is known to manage.
#[derive(Debug, Clone, PartialEq)]
pub struct Ability {
    /// What it is taken to manage before it has shown more.
    start: f64,
    able: f64,
    lately: f64,
    at: Option<Duration>,
}

impl Ability {
    /// Of a relay that has sent nothing yet; `start`: messages a second that any host manages.
    #[must_use]
    pub fn new(start: f64) -> Self {
        Self { start, able: start, lately: 0.0, at: None }
    }

    /// Messages a second that it manages when it is well.
    #[must_use]
    pub fn able(&self) -> f64 {
        self.able
    }

    /// Takes in how many messages went since the last time, under which budget, and whether more
    /// would have gone but for it.
    pub fn observe(&mut self, now: Duration, went: u64, budget: f64, held_back: bool) {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        self.at = Some(now);
        if since.is_zero() {
            return;
        }
        let fresh = (since.as_secs_f64() / LATELY.as_secs_f64()).min(1.0);
        self.lately += (went as f64 / since.as_secs_f64() - self.lately) * fresh;
        let step_s = since.min(STEP_MAX).as_secs_f64();
        let is_well = budget >= WELL;
        if held_back && budget >= TRYING {
            self.able *= if is_well { GROWTH_WELL } else { GROWTH }.powf(step_s);
        } else if is_well {
            let faded = self.able * 0.5_f64.powf(step_s / HALVES.as_secs_f64());
            self.able = faded.max(self.lately).max(self.start);
        }
    }
}
