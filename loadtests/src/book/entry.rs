//! One recipient's page in the book.

use std::net::Ipv4Addr;

use mail::{Category, Phase, Report};
use serde::Serialize;

use super::Summary;

/// Replies kept per recipient: the first ones; more are only counted.
const GIVEN_MAX: usize = 12;

/// The client's side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its address: tells the relays of one machine apart.
    pub ip: Ipv4Addr,
    /// Its port.
    pub port: u16,
}

impl Default for Peer {
    fn default() -> Self {
        Self { ip: Ipv4Addr::UNSPECIFIED, port: 0 }
    }
}

/// A reply that a recipient was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Given {
    /// Since the start of the pretend internet.
    pub at_ms: u32,
    /// At which step.
    pub phase: Phase,
    /// The code.
    pub code: u16,
    /// What it was meant to say; `None` for a positive reply.
    pub meant: Option<Category>,
    /// To whom.
    pub peer: Peer,
}

/// What happened to one recipient.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The address as it was written on the wire.
    pub address: Box<str>,
    /// RCPT commands that named it.
    pub attempts: u16,
    /// Whole bodies received for it, whatever was replied.
    pub dots: u16,
    /// Messages put into its mailbox, whether or not the client got to hear of it.
    pub taken: u16,
    /// Positive replies to a final dot, written while the client was there.
    pub accepted: u16,
    /// The first and the last attempt, since the start.
    pub first_ms: u32,
    /// See `first_ms`.
    pub last_ms: u32,
    /// The connection of the last attempt.
    pub peer: Peer,
    /// The return path of the attempts.
    pub return_path: Seen,
    /// The Message-ID of the bodies.
    pub message_id: Seen,
    /// The last reply given.
    pub last: Option<Given>,
    /// The first replies given, in order (kept in full records only).
    pub given: Vec<Given>,
    /// The reports about it that the bounce processor took.
    pub reports: Vec<Report>,
}

/// Something that should not change between attempts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seen {
    /// The first value (kept in full records only).
    pub first: Option<Box<str>>,
    /// How often the value differed from the one before.
    pub changes: u16,
    #[serde(skip)]
    hash: u64,
}

impl Seen {
    pub(super) fn see(&mut self, value: &str, keep: bool) {
        // 1 is added so that even the empty text differs from "nothing seen".
        let hash = mail::id::domain_hash(value) | 1;
        if self.hash == 0 {
            self.first = keep.then(|| value.into());
        } else if self.hash != hash {
            self.changes = self.changes.saturating_add(1);
        }
        self.hash = hash;
    }
}

impl Entry {
    pub(super) fn new(address: &str, now_ms: u32) -> Self {
        Self {
            address: address.into(),
            attempts: 0,
            dots: 0,
            taken: 0,
            accepted: 0,
            first_ms: now_ms,
            last_ms: now_ms,
            peer: Peer::default(),
            return_path: Seen::default(),
            message_id: Seen::default(),
            last: None,
            given: Vec::new(),
            reports: Vec::new(),
        }
    }

    pub(super) fn give(&mut self, given: Given, keep: bool) {
        self.last = Some(given);
        if keep && self.given.len() < GIVEN_MAX {
            self.given.push(given);
        }
    }

    /// Why the last reply refused it; `None` when it was positive or there was none.
    #[must_use]
    pub fn refused_as(&self) -> Option<Category> {
        self.last.and_then(|given| given.meant)
    }

    pub(super) fn add_to(&self, sum: &mut Summary) {
        sum.recipients += 1;
        sum.attempts += u64::from(self.attempts);
        sum.dots += u64::from(self.dots);
        sum.replied += u64::from(self.accepted);
        sum.duplicates += u64::from(self.taken.saturating_sub(1));
        sum.unheard += u64::from(self.taken.saturating_sub(self.accepted));
        sum.unstable += u64::from(self.return_path.changes + self.message_id.changes > 0);
        match self.last {
            _ if self.taken > 0 => sum.delivered += 1,
            Some(given) if given.code >= 500 => sum.refused += 1,
            _ => sum.deferred += 1,
        }
    }
}
