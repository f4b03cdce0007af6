//! One number out of many: the part of what it could take that a relay takes.

use std::time::Duration;

use super::{Cause, Config, Sample};

/// How fast the budget falls, in a second, when no figure says that work is late: a few seconds of
/// pressure are needed before much is gone, and one wrong figure changes little.
const FALL: f64 = 0.25;
/// A leading pressure from this on makes the budget fall at once; a milder one is met smoothly, so
/// that a relay that slows itself down does not swing around the place where it is well.
const AT_ONCE: f64 = 0.25;
/// How fast it rises in a second, below the level from which it last fell and near it. Figures are
/// seconds old: who climbs faster finds out too late that it was too high again.
const RISE: f64 = 0.15;
const RISE_NEAR: f64 = 0.05;
/// Near is between these parts of that level: what is well above it was a pressure of its own.
const NEAR: std::ops::Range<f64> = 0.8..1.1;
/// It rises when there is so much room …
const HYSTERESIS: f64 = 0.05;
/// … and has been for so long.
const HOLD: Duration = Duration::from_secs(1);
/// A clock that jumps ahead, or a host that slept, counts as so much at most.
const STEP_MAX: Duration = Duration::from_secs(1);

/// The budget of a relay.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    config: Config,
    level: f64,
    causes: Vec<Cause>,
    at: Option<Duration>,
    /// How long there has been room to rise.
    calm: Duration,
    going: Going,
    /// Where it last began to fall.
    crest: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Going {
    Nowhere,
    Down,
    Up,
}

impl Budget {
    /// A whole budget. `config` has been checked.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            level: 1.0,
            causes: Vec::new(),
            at: None,
            calm: Duration::ZERO,
            going: Going::Nowhere,
            crest: 1.0,
        }
    }

    /// The part of what it could take that the relay shall take, from the floor to 1.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.level
    }

    /// What was too high when it was last looked at, the strongest first.
    #[must_use]
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// Takes in what was measured at `now`, by any clock that goes on; answers the level.
    pub fn observe(&mut self, now: Duration, sample: &Sample) -> f64 {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_sub(at)).min(STEP_MAX);
        self.at = Some(now);
        self.causes = sample.causes(&self.config);
        let left = |pressure: f64| 1.0 - (1.0 - self.config.floor) * pressure;
        let target = left(self.causes.first().map_or(0.0, |cause| cause.pressure));
        let leading = self.causes.iter().find(|cause| cause.signal.leads());
        let pressing = leading.filter(|cause| cause.pressure >= AT_ONCE);
        let at_once = left(pressing.map_or(0.0, |cause| cause.pressure));
        if target < self.level {
            self.fall(since, target, at_once);
        } else if self.level < target {
            self.rise(since, target);
        } else {
            self.rest();
        }
        self.level
    }

    fn fall(&mut self, since: Duration, target: f64, at_once: f64) {
        if self.going != Going::Down {
            self.crest = self.level;
            self.going = Going::Down;
        }
        self.calm = Duration::ZERO;
        let smoothly = (self.level - FALL * since.as_secs_f64()).max(target);
        self.level = smoothly.min(at_once);
    }

    fn rise(&mut self, since: Duration, target: f64) {
        let has_room = target >= 1.0 || target >= self.level + HYSTERESIS;
        if self.going != Going::Up && !has_room {
            self.calm = Duration::ZERO;
            return;
        }
        self.calm += since;
        if self.calm < HOLD {
            return;
        }
        self.going = Going::Up;
        let is_near = NEAR.contains(&(self.level / self.crest));
        let step = if is_near { RISE_NEAR } else { RISE };
        self.level = (self.level + step * since.as_secs_f64()).min(target);
    }

    fn rest(&mut self) {
        self.calm = Duration::ZERO;
        if self.going == Going::Up {
            self.going = Going::Nowhere;
        }
    }
}
