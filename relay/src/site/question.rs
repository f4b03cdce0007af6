//! When a site's driver does what it does not do each turn: ask the store for more of the pace, and
//! hold its line against what operators order.

use std::time::{Duration, Instant};

/// Between two looks at who waits when nothing was ruled.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A newcomer does not wait for the next slice, but this long after the last question.
const SOON: Duration = Duration::from_millis(20);

/// When the store is asked for more of the pace.
pub(super) struct Question {
    asked: Instant,
    due: Instant,
    /// The last answer gave all that was asked for: the rate does not bind, and whoever came
    /// since need not wait as if it did.
    gave_all: bool,
}

impl Question {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { asked: now.checked_sub(SOON).unwrap_or(now), due: now, gave_all: false }
    }

    /// Whether it is time; a newcomer brings it forward, and so does a worker without a grant.
    pub(super) fn is_due(&mut self, newcomer: bool, starving: bool) -> bool {
        if newcomer || (starving && self.gave_all) {
            self.due = self.due.min(self.asked + SOON);
        }
        Instant::now() >= self.due
    }

    pub(super) fn answered(&mut self, wait: Duration, gave_all: bool) {
        self.asked = Instant::now();
        self.due = self.asked + wait;
        self.gave_all = gave_all;
    }

    pub(super) fn left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }
}

/// When the recipients of a line were last held against what is known: thousands, so not each turn.
#[derive(Default)]
pub(super) struct Looked {
    at: Option<Instant>,
    changes: u64,
}

impl Looked {
    /// After each change, and once in a while for who came into line beside one.
    pub(super) fn is_due(&mut self, changes: u64) -> bool {
        let is_recent = self.at.is_some_and(|at| at.elapsed() < LOOK_AGAIN);
        if is_recent && self.changes == changes {
            return false;
        }
        *self = Self { at: Some(Instant::now()), changes };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question whose answer said to come back in an hour.
    fn answered(gave_all: bool) -> Question {
        let mut question = Question::new();
        question.answered(Duration::from_secs(3600), gave_all);
        question
    }

    #[test]
    fn who_starves_does_not_wait_where_the_rate_does_not_bind() {
        let mut free = answered(true);
        assert!(!free.is_due(false, true), "not at once");
        std::thread::sleep(SOON);
        assert!(free.is_due(false, true));
        let mut bound = answered(false);
        std::thread::sleep(SOON);
        assert!(!bound.is_due(false, true), "the rate says when");
        assert!(bound.is_due(true, false), "a newcomer may not know it");
    }

    #[test]
    fn a_line_is_looked_at_after_each_change_and_not_each_turn() {
        let mut looked = Looked::default();
        assert!(looked.is_due(0) && !looked.is_due(0) && looked.is_due(1) && !looked.is_due(1));
    }
}
