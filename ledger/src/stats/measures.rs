//! The numbers of a statistic: the accounts, and what they do not tell.

use mail::event::EventKind;
use mail::queue::{Counters, Judgement};
use serde_json::{Value, json};

use super::Sort;
use crate::speed::{SPEED_BOUNDS_S, Speeds};
use crate::sums::book_all;

/// What happened to recipients, and to messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measures {
    /// Their accounts. `waiting` is nobody's: a period has no end state.
    pub accounts: Counters,
    /// Asked for no more.
    pub unsubscribed: u64,
    /// Any other mail that came back.
    pub reported: u64,
    /// Octets of delivered messages.
    pub bytes: u64,
    /// Seconds from acceptance to delivery, of all deliveries together.
    pub seconds_to_delivery: u64,
    /// Deliveries by the time that they took.
    pub speeds: Speeds,
}

/// Events of one kind.
pub(super) struct Cell {
    pub(super) kind: EventKind,
    pub(super) judgement: Judgement,
    pub(super) speeds: Speeds,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) age_s: u64,
}

impl Measures {
    pub(super) fn book(&mut self, cell: &Cell) {
        book_all(&mut self.accounts, cell.kind, cell.events, cell.judgement);
        if matches!(cell.judgement, Judgement::Refused | Judgement::Twice) {
            return;
        }
        match cell.kind {
            EventKind::Delivered | EventKind::LateDelivered => {
                self.bytes += cell.bytes;
                self.seconds_to_delivery += cell.age_s;
                self.speeds.add(&cell.speeds);
            }
            EventKind::Unsubscribed => self.unsubscribed += cell.events,
            EventKind::Reported => self.reported += cell.events,
            _ => {}
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.accounts = self.accounts.plus(&other.accounts);
        self.unsubscribed += other.unsubscribed;
        self.reported += other.reported;
        self.bytes += other.bytes;
        self.seconds_to_delivery += other.seconds_to_delivery;
        self.speeds.add(&other.speeds);
    }

    /// Recipients whose delivery came to an end, well or not.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.accounts.delivered + self.accounts.failed + self.accounts.expired
    }

    /// Attempts that came to an answer.
    #[must_use]
    pub const fn attempts(&self) -> u64 {
        self.accounts.delivered + self.accounts.failed + self.accounts.deferrals
    }

    pub(super) const fn size(&self, sort: Sort) -> u64 {
        let accounts = &self.accounts;
        match sort {
            Sort::Attempts => self.attempts(),
            Sort::Delivered => accounts.delivered,
            Sort::Deferred => accounts.deferrals,
            Sort::Failed => accounts.failed + accounts.expired,
            Sort::Returned => accounts.returned,
            Sort::Complained => accounts.complained,
            Sort::Bytes => self.bytes,
        }
    }

    /// As programs read it: the numbers by their names, and `delivery_seconds`: the mean time from
    /// acceptance to delivery, bounds within which a half, nine tenths and all but a hundredth were
    /// delivered, and how many took how long. A bound that there is none of is null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let within = |share| self.speeds.within(share).filter(|bound| bound.is_finite());
        let accounts = &self.accounts;
        json!({
            "accepted": accounts.accepted,
            "delivered": accounts.delivered,
            "deferred": accounts.deferrals,
            "failed": accounts.failed,
            "expired": accounts.expired,
            "suppressed": accounts.suppressed,
            "cancelled": accounts.cancelled,
            "set_aside": accounts.set_aside,
            "returned": accounts.returned,
            "complained": accounts.complained,
            "unsubscribed": self.unsubscribed,
            "reported": self.reported,
            "duplicates": accounts.duplicates,
            "bytes": self.bytes,
            "delivery_seconds": {
                "mean": self.mean_seconds(),
                "p50": within(0.5),
                "p90": within(0.9),
                "p99": within(0.99),
                "bounds": SPEED_BOUNDS_S,
                "deliveries": self.speeds,
            },
        })
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Seconds from acceptance to delivery, on average.
    #[must_use]
    pub fn mean_seconds(&self) -> Option<f64> {
        let deliveries = self.accounts.delivered;
        (deliveries > 0).then(|| self.seconds_to_delivery as f64 / deliveries as f64)
    }
}
