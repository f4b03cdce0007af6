//! Counters that only grow, and by how much they grew within the last seconds.

use std::collections::VecDeque;
use std::time::Duration;

/// Readings that are kept: more come only when somebody looks too often.
const READINGS_MAX: usize = 256;

pub(super) struct Window<T> {
    span: Duration,
    seen: VecDeque<(Duration, T)>,
}

impl<T: Copy> Window<T> {
    pub(super) fn of(span: Duration) -> Self {
        Self { span, seen: VecDeque::new() }
    }

    /// Adds a reading; answers the one from before the window, or the oldest, and how long ago
    /// that was. A clock that went back makes it begin anew.
    pub(super) fn push(&mut self, now: Duration, value: T) -> Option<(Duration, T)> {
        if self.seen.back().is_some_and(|(at, _)| *at > now) {
            self.seen.clear();
        }
        self.seen.push_back((now, value));
        let is_old = |entry: Option<&(Duration, T)>| entry.is_some_and(|e| now - e.0 >= self.span);
        while is_old(self.seen.get(1)) || self.seen.len() > READINGS_MAX {
            self.seen.pop_front();
        }
        let (at, first) = *self.seen.front()?;
        (at < now).then_some((now - at, first))
    }

    /// Nothing is known any more.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_compares_with_what_was_before_the_window_and_no_further_back() {
        let mut window = Window::of(Duration::from_secs(3));
        let at = |s| Duration::from_secs(s);
        assert_eq!(window.push(at(1), 10), None);
        assert_eq!(window.push(at(2), 20), Some((at(1), 10)));
        assert_eq!(window.push(at(9), 90), Some((at(7), 20)));
        assert_eq!(window.push(at(10), 100), Some((at(8), 20)));
        assert_eq!(window.push(at(12), 120), Some((at(3), 90)));
        assert_eq!(window.push(at(4), 1), None, "a clock that went back");
        assert_eq!(window.push(at(5), 2), Some((at(1), 1)));
    }
}
