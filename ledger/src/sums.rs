//! Sums over events: the accounts of a campaign, made a second time from what was
//! told; and tallies by kind and category. Finer roll-ups belong here too.

use mail::event::EventKind;
use mail::queue::{Counters, Judgement};
use mail::{Category, Event};
use serde::Serialize;

/// What sums by campaign, relay and source are of; by site, too, where it has several messages a
/// minute, else 0.
pub(crate) const FLOW: &str = "campaign, service, source, site, what";
/// What sums by every site and recipient's domain are of.
pub(crate) const PLACE: &str = "campaign, source, site, domain, what";
/// The tables of sums, and what they are of besides `at`, the number of their minute, hour or day.
pub(crate) const TABLES: [(&str, &str); 5] = [
    ("flow_minute", FLOW),
    ("flow_hour", FLOW),
    ("flow_day", FLOW),
    ("place_hour", PLACE),
    ("place_day", PLACE),
];

/// How often something happened in a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// What.
    pub kind: EventKind,
    /// Whether the queue counted it: `applied`, `late`, `twice` (a duplicate), `refused`.
    pub judgement: String,
    /// Why, where it failed.
    pub category: Option<Category>,
    /// Recipients it happened to.
    pub events: u64,
    /// Octets on the wire.
    pub bytes: u64,
}

/// The kind under which an event goes down in history: what the queue made of it counts.
pub(crate) fn kind_of(event: &Event, judgement: Judgement) -> EventKind {
    match (event.kind, judgement) {
        (EventKind::Delivered, Judgement::Late) => EventKind::LateDelivered,
        (kind, _) => kind,
    }
}

/// Books an event into its campaign's accounts.
pub(crate) fn book(sums: &mut Counters, event: &Event, judgement: Judgement) {
    book_all(sums, event.kind, event.count.into(), judgement);
}

/// Books what happened to `n` recipients, by the rules of the settle script.
pub(crate) fn book_all(sums: &mut Counters, kind: EventKind, n: u64, judgement: Judgement) {
    match judgement {
        Judgement::Refused => return,
        Judgement::Twice => {
            sums.duplicates += n;
            return;
        }
        Judgement::Late => sums.late += n,
        Judgement::Applied => {}
    }
    match kind {
        EventKind::Accepted => sums.accepted += n,
        EventKind::Delivered | EventKind::LateDelivered => sums.delivered += n,
        EventKind::Failed => sums.failed += n,
        EventKind::Suppressed => sums.suppressed += n,
        EventKind::Expired => sums.expired += n,
        EventKind::Cancelled => sums.cancelled += n,
        EventKind::SetAside => sums.set_aside += n,
        EventKind::Restored => sums.set_aside = sums.set_aside.saturating_sub(n),
        EventKind::Deferred => sums.deferrals += n,
        EventKind::Returned => sums.returned += n,
        EventKind::Complained => sums.complained += n,
        EventKind::Reported
        | EventKind::Unsubscribed
        | EventKind::SuppressionAdded
        | EventKind::SuppressionRemoved
        | EventKind::CampaignChanged
        | EventKind::PaceChanged
        | EventKind::Service
        | EventKind::Ordered => {}
    }
}

/// What is left once every end is subtracted; what the events say is waiting.
pub(crate) fn with_waiting(mut sums: Counters) -> Counters {
    let ends = sums.delivered
        + sums.failed
        + sums.suppressed
        + sums.expired
        + sums.cancelled
        + sums.set_aside;
    sums.waiting = sums.accepted.saturating_sub(ends);
    sums
}

/// How far the queue's counters are from the sums of the events that the queue itself wrote.
pub(crate) fn difference(queue: &Counters, events: &Counters) -> u64 {
    [
        (queue.accepted, events.accepted),
        (queue.delivered, events.delivered),
        (queue.failed, events.failed),
        (queue.suppressed, events.suppressed),
        (queue.expired, events.expired),
        (queue.cancelled, events.cancelled),
        (queue.set_aside, events.set_aside),
    ]
    .iter()
    .map(|(queue, events)| queue.abs_diff(*events))
    .sum()
}

#[cfg(test)]
mod tests {
    use mail::Timestamp;

    use super::*;

    #[test]
    fn what_the_queue_refused_moves_no_account() {
        let event = Event::new(EventKind::Delivered, Timestamp(1));
        let mut sums = Counters::default();
        book(&mut sums, &event, Judgement::Refused);
        assert_eq!(sums, Counters::default());
        book(&mut sums, &event, Judgement::Twice);
        assert_eq!(sums, Counters { duplicates: 1, ..Counters::default() });
        book(&mut sums, &event, Judgement::Late);
        assert_eq!((sums.delivered, sums.late), (1, 1));
        assert_eq!(kind_of(&event, Judgement::Late), EventKind::LateDelivered);
    }
}
