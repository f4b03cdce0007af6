//! A change of the pace as text and back, exactly; and what changes add up to. History keeps
//! changes as text: whoever reads all of a record's gets the record's state.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::pace::millionths;
use super::{Change, Dimension, Why};
use crate::time::Timestamp;

const PASSED: &str = "a probe passed: the source is used here again";
const RELEASED: &str = "the block is lifted by hand: the source is used here again";
const BLOCKS: &str = "the site blocks the source (";
const RESTS: &str = " answers): but for probes it rests here for ";
const SIGNED: &str = ", by ";

/// A text that is no change of a pace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no change of a pace")]
pub struct NoChange(String);

impl Change {
    /// To the precision in which rates are kept.
    pub(super) fn round(&mut self) {
        self.from = millionths(self.from);
        self.to = millionths(self.to);
    }
}

/// Numbers are the shortest that read back as the same; with a precision, as in `{:.1}`, rates are
/// rounded for people.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, from, to, why, refusals, attempts, until } = self;
        if *what == Dimension::Hold {
            return match (why, until) {
                (Why::Released, _) => f.write_str(RELEASED),
                (_, None) => f.write_str(PASSED),
                (_, Some(until)) => {
                    write!(f, "{BLOCKS}{refusals} of {attempts}{RESTS}{to:.0} s, until {until}")
                }
            };
        }
        match f.precision() {
            Some(digits) => write!(f, "{what} {from:.digits$} → {to:.digits$}: {why}")?,
            None => write!(f, "{what} {from:?} → {to:?}: {why}")?,
        }
        if *attempts > 0 || *refusals > 0 {
            write!(f, " ({refusals} of {attempts})")?;
        }
        Ok(())
    }
}

impl FromStr for Change {
    type Err = NoChange;
    fn from_str(text: &str) -> Result<Self, NoChange> {
        let read = match text {
            PASSED => Some(hold_ends(Why::ProbePassed)),
            RELEASED => Some(hold_ends(Why::Released)),
            _ => hold_begins(text).or_else(|| moved(text)),
        };
        read.ok_or_else(|| NoChange(text.chars().take(80).collect()))
    }
}

fn hold_ends(why: Why) -> Change {
    let what = Dimension::Hold;
    Change { what, from: 1.0, to: 0.0, why, refusals: 0, attempts: 0, until: None }
}

fn hold_begins(text: &str) -> Option<Change> {
    let (counts, rest) = text.strip_prefix(BLOCKS)?.split_once(RESTS)?;
    let (refusals, attempts) = of(counts)?;
    let (seconds, until) = rest.split_once(" s, until ")?;
    let to = f64::from(seconds.parse::<u32>().ok()?);
    let until = Some(until.parse().ok()?);
    let (what, why) = (Dimension::Hold, Why::Blocked);
    Some(Change { what, from: 0.0, to, why, refusals, attempts, until })
}

fn moved(text: &str) -> Option<Change> {
    let (what, rest) = text.split_once(' ')?;
    let (from, rest) = rest.split_once(" → ")?;
    let (to, why) = rest.split_once(": ")?;
    let (why, counts) = match why.split_once(" (") {
        Some((why, counts)) => (why, of(counts.strip_suffix(')')?)?),
        None => (why, (0, 0)),
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    let what = Dimension::from_word(what).filter(|what| *what != Dimension::Hold)?;
    Some(Change {
        what,
        from: number(from)?,
        to: number(to)?,
        why: Why::from_word(why)?,
        refusals: counts.0,
        attempts: counts.1,
        until: None,
    })
}

fn of(counts: &str) -> Option<(u32, u32)> {
    let (refusals, attempts) = counts.split_once(" of ")?;
    Some((refusals.parse().ok()?, attempts.parse().ok()?))
}

/// A change as it stands in history: an operator's own bears who and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// The change.
    pub change: Change,
    /// Who, where it was no relay.
    pub by: Option<String>,
    /// Why, in the operator's words; otherwise empty.
    pub reason: String,
}

/// `rate 4.0 → 48.0: undone, by ann: their limit was an accident`
impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.change, f)?;
        match &self.by {
            Some(by) => write!(f, "{SIGNED}{by}: {}", self.reason),
            None => Ok(()),
        }
    }
}

impl FromStr for Signed {
    type Err = NoChange;
    fn from_str(text: &str) -> Result<Self, NoChange> {
        let (change, signature) = match text.split_once(SIGNED) {
            Some((change, signature)) => (change, Some(signature)),
            None => (text, None),
        };
        let change = change.parse()?;
        let signature = signature.map(|s| s.split_once(": ").unwrap_or((s, "")));
        let by = signature.map(|(by, _)| by.to_owned());
        let reason = signature.map(|(_, reason)| reason.to_owned()).unwrap_or_default();
        Ok(Self { change, by, reason })
    }
}

/// A pace as far as changes tell of it. What no change told of is where it began.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Told {
    /// Messages a second, as last told: growth is told when it comes to a tenth.
    pub rate: Option<f64>,
    /// Connections.
    pub connections: Option<u32>,
    /// Messages over one connection.
    pub messages_per_connection: Option<u32>,
    /// A hold as it was last told; `Some(None)`: there was one, and it has ended.
    pub hold: Option<Option<Timestamp>>,
}

impl Told {
    /// What is known after one more change.
    pub fn take(&mut self, change: &Change) {
        match change.what {
            Dimension::Rate => self.rate = Some(change.to),
            Dimension::Connections => self.connections = Some(change.to as u32),
            Dimension::MessagesPerConnection => {
                self.messages_per_connection = Some(change.to as u32);
            }
            Dimension::Hold => self.hold = Some(change.until),
        }
    }

    /// The dimensions in which a record is another than was told. What was never told cannot be.
    #[must_use]
    pub fn differs(&self, record: &Self) -> Vec<Dimension> {
        let mut differs = Vec::new();
        let mut hold_together = |what, is_other: bool| {
            if is_other {
                differs.push(what);
            }
        };
        hold_together(Dimension::Rate, self.rate.is_some() && self.rate != record.rate);
        hold_together(
            Dimension::Connections,
            self.connections.is_some() && self.connections != record.connections,
        );
        let per_connection = self.messages_per_connection;
        hold_together(
            Dimension::MessagesPerConnection,
            per_connection.is_some() && per_connection != record.messages_per_connection,
        );
        // That a source rests is always told.
        let hold = self.hold.flatten();
        hold_together(Dimension::Hold, hold != record.hold.flatten());
        differs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(text: &str) -> Change {
        text.parse().expect("a change")
    }

    #[test]
    fn what_history_keeps_reads_back() {
        for text in [
            "rate 48.0 → 43.2: too-fast (3 of 96)",
            "rate 10.0 → 11.267113: demand",
            "connections 4.0 → 7.0: demand (0 of 96)",
            "messages-per-connection 1000.0 → 20.0: enough-messages (2 of 40)",
            "the site blocks the source (4 of 4 answers): but for probes it rests here for 900 s, \
             until 2026-11-27T08:15:00.250Z",
            "a probe passed: the source is used here again",
            "the block is lifted by hand: the source is used here again",
            "rate 4.0 → 48.0: undone, by ann: an accident, by their own account: see ticket 7",
        ] {
            let signed: Signed = text.parse().expect("a change");
            assert_eq!(signed.to_string(), text);
        }
        let signed: Signed =
            "rate 4.0 → 8.0: undone, by ann: ask bob, by noon".parse().expect("read");
        assert_eq!((signed.by.as_deref(), &*signed.reason), (Some("ann"), "ask bob, by noon"));
    }

    #[test]
    fn people_are_spared_the_digits() {
        let text = format!("{:.1}", change("rate 10.134233 → 11.267113: demand (0 of 7)"));
        assert_eq!(text, "rate 10.1 → 11.3: demand (0 of 7)");
    }

    #[test]
    fn what_is_no_change_is_none() {
        for text in [
            "",
            "rate",
            "rate 1 → : demand",
            "rate 1 → NaN: demand",
            "rate 1 → -2: demand",
            "rate 1 → 2: whim",
            "rate 1 → 2: demand (3)",
            "hold 1 → 0: probe-passed",
            "running to paused by gate bounces",
            "budget 62 %: event loop 84 ms late at p99 (over 50)",
        ] {
            assert!(text.parse::<Change>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_change_of_a_number_reads_back(
            from in 0.0..1e6f64,
            to in 0.0..1e6f64,
            (what, why) in (0..3usize, 0..Why::ALL.len()),
            (refusals, attempts) in (any::<u32>(), any::<u32>()),
        ) {
            let (what, why) = (Dimension::ALL[what], Why::ALL[why]);
            let before = Change { what, from, to, why, refusals, attempts, until: None };
            prop_assert_eq!(before.to_string().parse(), Ok(before));
        }
    }
}
