//! The numbers of a statistic, and which events count in which.

use mail::event::EventKind;
use serde::Serialize;
use serde_json::{Value, json};

use super::Sort;
use crate::speed::{SPEED_BOUNDS_S, Speeds};

/// What happened to recipients, and to messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Measures {
    /// Taken into the queue.
    pub accepted: u64,
    /// Taken by the destination.
    pub delivered: u64,
    /// Put off: attempts that are made again.
    pub deferred: u64,
    /// Refused for good.
    pub failed: u64,
    /// Given up at the end of their time.
    pub expired: u64,
    /// Not sent: suppressed.
    pub suppressed: u64,
    /// Not sent: cancelled.
    pub cancelled: u64,
    /// Kept for an operator.
    pub set_aside: u64,
    /// Come back by mail after they were delivered.
    pub returned: u64,
    /// Reported as spam.
    pub complained: u64,
    /// Asked for no more.
    pub unsubscribed: u64,
    /// Any other mail that came back.
    pub reported: u64,
    /// Deliveries of recipients that had the message already.
    pub duplicates: u64,
    /// Octets of delivered messages.
    pub bytes: u64,
    /// Seconds from acceptance to delivery, of all deliveries together.
    #[serde(skip)]
    pub seconds_to_delivery: u64,
    /// Deliveries by the time that they took.
    #[serde(skip)]
    pub speeds: Speeds,
}

/// Events of one kind.
pub(super) struct Cell<'a> {
    pub(super) kind: EventKind,
    pub(super) judgement: &'a str,
    pub(super) speeds: Speeds,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) age_s: u64,
}

impl Measures {
    pub(super) fn book(&mut self, cell: &Cell<'_>) {
        let n = cell.events;
        match cell.judgement {
            "refused" => return,
            "twice" => {
                self.duplicates += n;
                return;
            }
            _ => {}
        }
        match cell.kind {
            EventKind::Accepted => self.accepted += n,
            EventKind::Delivered | EventKind::LateDelivered => {
                self.delivered += n;
                self.bytes += cell.bytes;
                self.seconds_to_delivery += cell.age_s;
                self.speeds.add(&cell.speeds);
            }
            EventKind::Deferred => self.deferred += n,
            EventKind::Failed => self.failed += n,
            EventKind::Expired => self.expired += n,
            EventKind::Suppressed => self.suppressed += n,
            EventKind::Cancelled => self.cancelled += n,
            EventKind::SetAside => self.set_aside += n,
            EventKind::Restored => self.set_aside = self.set_aside.saturating_sub(n),
            EventKind::Returned => self.returned += n,
            EventKind::Complained => self.complained += n,
            EventKind::Unsubscribed => self.unsubscribed += n,
            EventKind::Reported => self.reported += n,
            EventKind::SuppressionAdded
            | EventKind::SuppressionRemoved
            | EventKind::CampaignChanged
            | EventKind::PaceChanged
            | EventKind::Service
            | EventKind::Ordered => {}
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.failed += other.failed;
        self.expired += other.expired;
        self.suppressed += other.suppressed;
        self.cancelled += other.cancelled;
        self.set_aside += other.set_aside;
        self.returned += other.returned;
        self.complained += other.complained;
        self.unsubscribed += other.unsubscribed;
        self.reported += other.reported;
        self.duplicates += other.duplicates;
        self.bytes += other.bytes;
        self.seconds_to_delivery += other.seconds_to_delivery;
        self.speeds.add(&other.speeds);
    }

    /// Attempts that came to an answer.
    #[must_use]
    pub const fn attempts(&self) -> u64 {
        self.delivered + self.failed + self.deferred
    }

    pub(super) const fn size(&self, sort: Sort) -> u64 {
        match sort {
            Sort::Attempts => self.attempts(),
            Sort::Delivered => self.delivered,
            Sort::Deferred => self.deferred,
            Sort::Failed => self.failed + self.expired,
            Sort::Returned => self.returned,
            Sort::Complained => self.complained,
            Sort::Bytes => self.bytes,
        }
    }

    /// As programs read it: the numbers by their names, and `delivery_seconds`: the mean time from
    /// acceptance to delivery, bounds within which a half, nine tenths and all but a hundredth were
    /// delivered, and how many took how long. A bound that there is none of is null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let within = |share| self.speeds.within(share).filter(|bound| bound.is_finite());
        let mut object = json!(self);
        object["delivery_seconds"] = json!({
            "mean": self.mean_seconds(),
            "p50": within(0.5),
            "p90": within(0.9),
            "p99": within(0.99),
            "bounds": SPEED_BOUNDS_S,
            "deliveries": self.speeds,
        });
        object
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Seconds from acceptance to delivery, on average.
    #[must_use]
    pub fn mean_seconds(&self) -> Option<f64> {
        (self.delivered > 0).then(|| self.seconds_to_delivery as f64 / self.delivered as f64)
    }
}
