//! What becomes of an address: kept, counted, or never written to again. The
//! record is a set of evidence, and the verdict is computed from the set, so that
//! events may arrive twice and in any order. Storing records is for `store`.

use std::cmp::Reverse;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::category::{Category, Hygiene, words};
use crate::classify::Finding;
use crate::id::DeliveryId;
use crate::time::Timestamp;

/// Failures remembered of one address. The newest stay: enough for any sensible
/// policy, and a record stays below a kilobyte.
const FAILURES_MAX: usize = 16;
/// Deliveries remembered: the newest decides, an older one when that was returned.
const DELIVERIES_MAX: usize = 4;
/// The version of the record that this program writes.
const VERSION: u16 = 1;

words! {
    /// Why an address is suppressed, weakest first.
    Reason {
        /// Soft failures, often enough for long enough.
        RepeatedFailures = "repeated-failures",
        /// The domain was gone, twice with a day between.
        NoDomain = "no-domain",
        /// The mailbox was switched off, twice with a day between.
        MailboxDisabled = "mailbox-disabled",
        /// The person has moved; the new address is never used by itself.
        Moved = "moved",
        /// There is no such mailbox.
        NoMailbox = "no-mailbox",
        /// The person asked for no more.
        Unsubscribed = "unsubscribed",
        /// The person reported us: stronger than anything else.
        Complaint = "complaint",
    }
}

/// When evidence is enough. Each default protects good recipients first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Soft failures needed: one full mailbox in a holiday must not end a subscription.
    pub soft_failures: u32,
    /// Days from the first to the last of them: ten campaigns in a day count as a day.
    pub soft_days: u32,
    /// Signs of a dead domain or a disabled mailbox needed: DNS can lie, accounts are reopened.
    pub dead_failures: u32,
    /// Hours from the first to the last of them: longer than an outage of name servers.
    pub dead_hours: u32,
    /// Days after which a failure is forgotten: one in spring and two in autumn are chance.
    pub memory_days: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { soft_failures: 3, soft_days: 7, dead_failures: 2, dead_hours: 24, memory_days: 90 }
    }
}

/// Something that happened to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// The delivery that it is about: counted once, however often it is told.
    pub delivery: DeliveryId,
    /// When it happened.
    pub at: Timestamp,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A final failure: refused, expired or returned. Deferrals are no news.
    Failed {
        /// Why.
        category: Category,
        /// What the classifier says about the address.
        hygiene: Hygiene,
    },
    /// The destination took it.
    Delivered,
    /// Reported as spam.
    Complained,
    /// Unsubscribed, by whatever way.
    Unsubscribed,
}

impl What {
    /// A final failure, as the classifier found it.
    #[must_use]
    pub fn failed(finding: &Finding) -> Self {
        Self::Failed { category: finding.category, hygiene: finding.hygiene }
    }
}

/// What to do with the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing speaks against it.
    Keep,
    /// Something does, and not yet enough.
    Count {
        /// Failures that count at this moment.
        failures: u32,
        /// From the first of them to the last.
        over: Duration,
    },
    /// Never write to it again.
    Suppress {
        /// The strongest reason there is.
        reason: Reason,
    },
}

/// One failure that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Failure {
    at: Timestamp,
    delivery: DeliveryId,
    category: Category,
}

/// What is remembered about an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRecord {
    version: u16,
    /// The strongest reason that needs no counting.
    ended: Option<Reason>,
    failures: Vec<Failure>,
    delivered: Vec<(Timestamp, DeliveryId)>,
}

impl Default for AddressRecord {
    fn default() -> Self {
        Self { version: VERSION, ended: None, failures: Vec::new(), delivered: Vec::new() }
    }
}

impl AddressRecord {
    /// Whether a newer program wrote this record: then it is for that one to change.
    #[must_use]
    pub fn is_newer_than_this_program(&self) -> bool {
        self.version > VERSION
    }

    /// Adds what happened. The same news twice, or in another order, make the same record.
    pub fn note(&mut self, news: &News) {
        match news.what {
            What::Complained => self.end(Reason::Complaint),
            What::Unsubscribed => self.end(Reason::Unsubscribed),
            What::Delivered => self.note_delivered(news),
            What::Failed { hygiene: Hygiene::None, .. } => {}
            What::Failed { category: Category::NoMailbox, hygiene: Hygiene::Suppress } => {
                self.end(Reason::NoMailbox);
            }
            What::Failed { category: Category::Moved, hygiene: Hygiene::Suppress } => {
                self.end(Reason::Moved);
            }
            What::Failed { category, hygiene: Hygiene::Suppress | Hygiene::Count } => {
                let failure = Failure { at: news.at, delivery: news.delivery, category };
                self.note_failure(failure);
            }
        }
    }

    /// The verdict at the moment `now`.
    #[must_use]
    pub fn verdict(&self, now: Timestamp, policy: &Policy) -> Decision {
        if let Some(reason) = self.ended {
            return Decision::Suppress { reason };
        }
        let counting = self.counting(now, policy);
        let dead = |f: &&Failure| dead_reason(f.category).is_some();
        let dead: Vec<&Failure> = counting.iter().filter(dead).collect();
        if dead.len() >= policy.dead_failures as usize
            && span(dead.iter().map(|f| f.at)) >= hours(policy.dead_hours)
        {
            let reason = dead.iter().filter_map(|f| dead_reason(f.category)).max();
            return Decision::Suppress { reason: reason.unwrap_or(Reason::RepeatedFailures) };
        }
        let over = span(counting.iter().map(|f| f.at));
        let weight: u32 = counting.iter().map(|f| weight(f.category)).sum();
        let failures = u32::try_from(counting.len()).unwrap_or(u32::MAX);
        if weight >= policy.soft_failures.saturating_mul(FULL)
            && failures > 1
            && over >= hours(policy.soft_days.saturating_mul(24))
        {
            return Decision::Suppress { reason: Reason::RepeatedFailures };
        }
        if failures == 0 { Decision::Keep } else { Decision::Count { failures, over } }
    }

    fn end(&mut self, reason: Reason) {
        self.ended = self.ended.max(Some(reason));
    }

    /// One failure a delivery: the clearer category, then the earlier moment, for a report that is
    /// read again is no later failure.
    fn note_failure(&mut self, new: Failure) {
        let clearer =
            |f: &Failure| (dead_reason(f.category), weight(f.category), Reverse(f.at), f.category);
        match self.failures.iter_mut().find(|f| f.delivery == new.delivery) {
            Some(old) if clearer(&new) > clearer(old) => *old = new,
            Some(_) => {}
            None => self.failures.push(new),
        }
        self.failures.sort_unstable();
        let surplus = self.failures.len().saturating_sub(FAILURES_MAX);
        self.failures.drain(..surplus);
    }

    fn note_delivered(&mut self, news: &News) {
        self.delivered.retain(|(at, delivery)| *delivery != news.delivery || *at > news.at);
        if !self.delivered.iter().any(|(_, delivery)| *delivery == news.delivery) {
            self.delivered.push((news.at, news.delivery));
        }
        self.delivered.sort_unstable();
        let surplus = self.delivered.len().saturating_sub(DELIVERIES_MAX);
        self.delivered.drain(..surplus);
    }

    /// The failures since the last delivery that did not come back, and not yet forgotten.
    fn counting(&self, now: Timestamp, policy: &Policy) -> Vec<Failure> {
        let returned = |delivery| self.failures.iter().any(|f| f.delivery == delivery);
        let forgiven = self.delivered.iter().rev().find(|(_, d)| !returned(*d)).map(|(at, _)| *at);
        let forgotten = now - hours(policy.memory_days.saturating_mul(24));
        let counts = |f: &&Failure| f.at >= forgotten && forgiven.is_none_or(|at| f.at > at);
        self.failures.iter().filter(counts).copied().collect()
    }
}

/// Adds what happened and gives the verdict at the moment `now`.
pub fn decide(
    record: &mut AddressRecord,
    news: &News,
    now: Timestamp,
    policy: &Policy,
) -> Decision {
    record.note(news);
    record.verdict(now, policy)
}

/// What a plain soft failure weighs; an unclear one weighs half.
const FULL: u32 = 2;

/// Whether a failure of this category counts half: it says less about the address than others.
#[must_use]
pub fn counts_half(category: Category) -> bool {
    weight(category) < FULL
}

fn weight(category: Category) -> u32 {
    match category {
        Category::Undetermined | Category::Expired | Category::System => FULL / 2,
        _ => FULL,
    }
}

fn dead_reason(category: Category) -> Option<Reason> {
    match category {
        Category::NoDomain => Some(Reason::NoDomain),
        Category::MailboxDisabled => Some(Reason::MailboxDisabled),
        Category::Moved => Some(Reason::Moved),
        Category::NoMailbox => Some(Reason::NoMailbox),
        _ => None,
    }
}

fn hours(n: u32) -> Duration {
    Duration::from_secs(u64::from(n) * 3600)
}

fn span(moments: impl Iterator<Item = Timestamp> + Clone) -> Duration {
    let first = moments.clone().min().unwrap_or_default();
    moments.max().unwrap_or_default().since(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::ShardId;

    const DAY: u64 = 86_400_000;
    const START: u64 = 1_000 * DAY;

    fn news(seq: u64, day: u64, what: What) -> News {
        let delivery = DeliveryId { shard: ShardId(0), seq };
        News { delivery, at: Timestamp(START + day * DAY), what }
    }

    fn failed(category: Category) -> What {
        let hygiene = match category {
            Category::NoMailbox | Category::Moved => Hygiene::Suppress,
            Category::ReputationBlock => Hygiene::None,
            _ => Hygiene::Count,
        };
        What::Failed { category, hygiene }
    }

    fn after(all: &[News]) -> Decision {
        let mut record = AddressRecord::default();
        for news in all {
            record.note(news);
        }
        let last = all.iter().map(|n| n.at).max().unwrap_or_default();
        record.verdict(last, &Policy::default())
    }

    fn suppressed(reason: Reason) -> Decision {
        Decision::Suppress { reason }
    }

    #[test]
    fn a_missing_mailbox_ends_at_once_and_a_block_never() {
        assert_eq!(
            after(&[news(1, 0, failed(Category::NoMailbox))]),
            suppressed(Reason::NoMailbox)
        );
        let blocked: Vec<News> =
            (0..50).map(|i| news(i, i, failed(Category::ReputationBlock))).collect();
        assert_eq!(after(&blocked), Decision::Keep);
    }

    #[test]
    fn soft_failures_need_number_and_time() {
        let full = |seq, day| news(seq, day, failed(Category::MailboxFull));
        assert!(matches!(after(&[full(1, 0), full(2, 9)]), Decision::Count { failures: 2, .. }));
        assert!(matches!(after(&[full(1, 0), full(2, 1), full(3, 2)]), Decision::Count { .. }));
        let enough = [full(1, 0), full(2, 3), full(3, 7)];
        assert_eq!(after(&enough), suppressed(Reason::RepeatedFailures));
        let unclear = |seq, day| news(seq, day, failed(Category::Undetermined));
        assert!(matches!(
            after(&[unclear(1, 0), unclear(2, 9), unclear(3, 20)]),
            Decision::Count { .. }
        ));
    }

    #[test]
    fn a_report_that_is_read_again_is_no_later_failure() {
        let gone = |seq, day| news(seq, day, failed(Category::NoDomain));
        let again = [gone(1, 0), gone(2, 0), gone(1, 5), gone(2, 9)];
        assert!(matches!(after(&again), Decision::Count { failures: 2, .. }));
        let full = |seq, day| news(seq, day, failed(Category::MailboxFull));
        let again = [full(1, 0), full(2, 0), full(3, 0), full(3, 8)];
        assert!(matches!(after(&again), Decision::Count { failures: 3, .. }));
    }

    #[test]
    fn a_dead_domain_needs_a_day_between() {
        let gone = |seq, day| news(seq, day, failed(Category::NoDomain));
        assert!(matches!(after(&[gone(1, 0), gone(2, 0)]), Decision::Count { .. }));
        assert_eq!(after(&[gone(1, 0), gone(2, 1)]), suppressed(Reason::NoDomain));
    }

    #[test]
    fn a_delivery_forgives_soft_failures_unless_it_came_back() {
        let full = |seq, day| news(seq, day, failed(Category::MailboxFull));
        let all = [full(1, 0), full(2, 3), news(3, 5, What::Delivered), full(4, 7)];
        assert!(matches!(after(&all), Decision::Count { failures: 1, .. }));
        let returned = [full(1, 0), full(2, 3), news(4, 5, What::Delivered), full(4, 7)];
        assert_eq!(after(&returned), suppressed(Reason::RepeatedFailures));
    }

    #[test]
    fn a_complaint_is_stronger_than_a_bounce() {
        let all = [news(1, 0, What::Complained), news(2, 1, failed(Category::NoMailbox))];
        assert_eq!(after(&all), suppressed(Reason::Complaint));
    }

    #[test]
    fn old_failures_are_forgotten() {
        let full = |seq, day| news(seq, day, failed(Category::MailboxFull));
        assert!(matches!(
            after(&[full(1, 0), full(2, 100), full(3, 101)]),
            Decision::Count { failures: 2, .. }
        ));
    }

    #[test]
    fn a_record_survives_its_storage() {
        let mut record = AddressRecord::default();
        record.note(&news(1, 0, failed(Category::MailboxFull)));
        record.note(&news(2, 1, What::Delivered));
        let text = serde_json::to_string(&record).expect("json");
        assert_eq!(serde_json::from_str::<AddressRecord>(&text).expect("a record"), record);
        assert!(!record.is_newer_than_this_program());
    }

    fn any_what() -> impl Strategy<Value = What> {
        prop_oneof![
            Just(What::Delivered),
            Just(What::Unsubscribed),
            Just(failed(Category::MailboxFull)),
            Just(failed(Category::NoDomain)),
            Just(failed(Category::Undetermined)),
            Just(failed(Category::ReputationBlock)),
        ]
    }

    proptest! {
        #[test]
        fn the_verdict_depends_on_neither_order_nor_repetition(
            all in prop::collection::vec((0u64..6, 0u64..30, any_what()), 1..12),
            repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            seed: u64,
        ) {
            let all: Vec<News> = all.iter().map(|(seq, day, what)| news(*seq, *day, *what)).collect();
            let mut shuffled = all.clone();
            shuffled.extend(repeated.iter().map(|i| all[i.index(all.len())]));
            let mut state = seed | 1;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            prop_assert_eq!(after(&all), after(&shuffled));
        }
    }
}
