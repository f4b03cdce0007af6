//! A count of the last hour or day, in short spans of the clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The length of a span, and how many are an hour or a day.
type Shape = (Duration, u64);

/// Numbers of spans since 1970 and what was counted in each, the oldest first, none empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<u64>", into = "Vec<u64>")]
pub(super) struct Spans(Vec<(u64, u64)>);

/// In turn, as the store's script has them.
impl From<Vec<u64>> for Spans {
    fn from(flat: Vec<u64>) -> Self {
        Self(flat.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }
}

impl From<Spans> for Vec<u64> {
    fn from(spans: Spans) -> Self {
        spans.0.into_iter().flat_map(|(span, count)| [span, count]).collect()
    }
}

fn number((length, _): Shape, now: Timestamp) -> u64 {
    now.0 / length.as_millis() as u64
}

impl Spans {
    /// Forgets what is too long ago to count. A span still counts while any moment of it lies within
    /// an hour or a day from now. After a clock that went back far nothing that was counted is true.
    pub(super) fn advance(&mut self, shape: Shape, now: Timestamp) {
        let at = number(shape, now);
        self.0.retain(|(span, _)| span + shape.1 >= at && *span <= at + shape.1);
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Takes out of the youngest spans what was counted and not sent.
    pub(super) fn take_back(&mut self, mut back: u64) {
        for (_, count) in self.0.iter_mut().rev() {
            let of_it = back.min(*count);
            *count -= of_it;
            back -= of_it;
        }
        self.0.retain(|(_, count)| *count > 0);
    }

    /// Counts in the span of now, or in the youngest where the clock went back.
    pub(super) fn count(&mut self, shape: Shape, now: Timestamp, count: u64) {
        if count == 0 {
            return;
        }
        let at = number(shape, now);
        match self.0.last_mut() {
            Some((span, counted)) if *span >= at => *counted += count,
            _ => self.0.push((at, count)),
        }
    }

    /// When the sum falls below a ceiling; none if it is below.
    pub(super) fn room_at(&self, shape: Shape, most: u64) -> Option<Timestamp> {
        let mut sum = self.sum();
        if sum < most {
            return None;
        }
        let gone = self.0.iter().find(|(_, count)| {
            sum -= count;
            sum < most
        });
        let (span, _) = gone?;
        let ends = (span + shape.1 + 1) * shape.0.as_millis() as u64;
        Some(Timestamp(ends))
    }
}
