//! What gates remember of a campaign, so that each of them speaks once, and so that who lets it
//! go on is not contradicted by what he knew.

use serde::{Deserialize, Serialize};

use super::{Counts, Finding, Gate, Gates, Level};
use crate::time::Timestamp;

/// Findings remembered; a campaign that was paused more often is no accident.
const FOUND_MAX: usize = 16;

/// A finding as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Of what.
    pub gate: Gate,
    /// What was done about it.
    pub level: Level,
    /// When.
    pub at: Timestamp,
    /// The evidence, in a sentence.
    pub reason: String,
}

/// What is kept with a campaign.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What had been counted when somebody let it go on: only what came since is judged.
    pub base: Counts,
    /// What was found, oldest first.
    pub found: Vec<Note>,
    /// It was paused by the last of them, and nobody has let it go on.
    pub paused: bool,
    /// When somebody last did.
    pub resumed_at: Option<Timestamp>,
}

/// What is to be done about a campaign that runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Somebody has let it go on: remember what was counted until now.
    Resumed(Memory),
    /// Tell it, and remember that it was told.
    Warn(Memory, Note),
    /// Stop it.
    Pause(Memory, Note),
}

impl Memory {
    /// The finding by which it is paused, if it is.
    #[must_use]
    pub fn pause(&self) -> Option<&Note> {
        self.found.last().filter(|_| self.paused)
    }

    /// What is to be done about a campaign that runs and of which this was counted.
    #[must_use]
    pub fn step(&self, gates: &Gates, counts: &Counts, now: Timestamp) -> Step {
        if self.paused {
            // It runs: a person wanted it so, whatever was known by then.
            let resumed_at = Some(now);
            return Step::Resumed(Self {
                base: *counts,
                paused: false,
                resumed_at,
                ..self.clone()
            });
        }
        let Some(finding) = gates.judge(&counts.since(&self.base)) else { return Step::Nothing };
        let note = self.note(&finding, now);
        match finding.level {
            Level::Pause => Step::Pause(self.with(&note), note),
            Level::Warn if self.found.iter().any(|n| n.gate == finding.gate) => Step::Nothing,
            Level::Warn => Step::Warn(self.with(&note), note),
        }
    }

    fn note(&self, finding: &Finding, at: Timestamp) -> Note {
        let since = if self.resumed_at.is_some() { " since it was resumed" } else { "" };
        let reason = format!("{finding}{since}");
        Note { gate: finding.gate, level: finding.level, at, reason }
    }

    fn with(&self, note: &Note) -> Self {
        let mut with = self.clone();
        with.found.push(note.clone());
        let surplus = with.found.len().saturating_sub(FOUND_MAX);
        with.found.drain(..surplus);
        with.paused = note.level == Level::Pause;
        with
    }
}
