//! How late the event loop is: a task that wants to run every few milliseconds, and when it does.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::relay::lock;

/// Between two alarms; the timer itself goes by milliseconds.
const PAUSE: Duration = Duration::from_millis(20);
/// What is looked at. One alarm of it that was late, as when a virtual machine was put to sleep
/// for a moment, is left out.
const SPAN: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Timer(Mutex<VecDeque<(Instant, Duration)>>);

impl Timer {
    pub(super) async fn run(&self, until: &CancellationToken) {
        let mut began = Instant::now();
        while until.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
            let now = Instant::now();
            self.note(now, (now - began).saturating_sub(PAUSE));
            began = now;
        }
    }

    fn note(&self, now: Instant, late: Duration) {
        let mut seen = lock(&self.0);
        while seen.front().is_some_and(|(at, _)| now.duration_since(*at) > SPAN) {
            seen.pop_front();
        }
        seen.push_back((now, late));
    }

    /// Milliseconds that it was late, at the 99th percentile.
    pub(super) fn late_ms(&self) -> Option<f64> {
        let mut late: Vec<Duration> = lock(&self.0).iter().map(|(_, late)| *late).collect();
        late.sort_unstable();
        let place = (late.len() * 99 / 100).min(late.len().checked_sub(1)?);
        Some(late[place].as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_is_held_up_is_late_and_one_hold_up_is_not_enough() {
        let timer = Timer::default();
        let stop = CancellationToken::new();
        let hold_up = async {
            tokio::time::sleep(Duration::from_millis(2500)).await;
            std::thread::sleep(Duration::from_millis(200));
            tokio::time::sleep(Duration::from_millis(100)).await;
            let once = timer.late_ms();
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(120));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
            (once, timer.late_ms())
        };
        let ((), (once, often)) = tokio::join!(timer.run(&stop), hold_up);
        assert!(once.is_some_and(|late| late < 100.0), "{once:?}");
        assert!(often.is_some_and(|late| late > 80.0), "{often:?}");
    }

    #[test]
    fn a_timer_that_never_ran_knows_nothing() {
        assert_eq!(Timer::default().late_ms(), None);
    }
}
