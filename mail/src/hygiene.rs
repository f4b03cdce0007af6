//! What becomes of an address: kept, counted, or never written to again. The
//! record is a set of evidence, and the verdict is computed from the set, so that
//! events may arrive twice and in any order. Storing records is for `store`.

use std::cmp::Reverse;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::category::{Category, Hygiene, words};
use crate::classify::Finding;
use crate::id::DeliveryId;
use crate::time::Timestamp;

/// Failures remembered of one address. The newest stay: two a day for a month, which no policy asks
/// more than, and a record stays below two kilobytes.
const FAILURES_MAX: usize = 64;
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

/// When an address that fails is not written to any more. Each default protects good recipients
/// first. Relays and bounce processors must have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Soft failures needed, 2 to 8: one full mailbox in a holiday must not end a subscription.
    pub soft_failures: u32,
    /// Days from the first to the last of them, 0 to 30: ten campaigns in a day count as a day.
    pub soft_days: u32,
    /// Signs of a dead domain or a disabled mailbox needed, 1 to 8: DNS can lie, accounts are
    /// reopened.
    pub dead_failures: u32,
    /// Hours from the first to the last of them, 0 to 720: longer than an outage of name servers. 0
    /// where one sign is enough.
    pub dead_hours: u32,
    /// Days after which a failure is forgotten, 1 to 3650 and more than both: one in spring and two in
    /// autumn are chance.
    pub memory_days: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { soft_failures: 3, soft_days: 7, dead_failures: 2, dead_hours: 24, memory_days: 90 }
    }
}

impl Policy {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The first that does not, with what would.
    pub fn check(&self) -> Result<(), String> {
        for (key, given, range) in [
            ("soft_failures", self.soft_failures, 2..=8),
            ("soft_days", self.soft_days, 0..=30),
            ("dead_failures", self.dead_failures, 1..=8),
            ("dead_hours", self.dead_hours, 0..=720),
            ("memory_days", self.memory_days, 1..=3650),
        ] {
            if !range.contains(&given) {
                return Err(format!("{key} is {given}: {} to {}", range.start(), range.end()));
            }
        }
        let (memory, hours) = (self.memory_days, self.dead_hours);
        if memory <= self.soft_days || memory * 24 <= hours {
            return Err(format!(
                "memory_days is {memory}: failures are forgotten before they last for soft_days ({}) or dead_hours ({hours}); make it longer",
                self.soft_days
            ));
        }
        if self.dead_failures == 1 && hours > 0 {
            return Err(format!(
                "dead_failures is 1 and dead_hours {hours}: one failure lasts no time; set dead_hours = 0"
            ));
        }
        Ok(())
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
mod tests;
