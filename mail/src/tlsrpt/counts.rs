//! Sessions of one day to one domain, counted: by the policy that was applied and by what failed.
//! Bounded, whatever comes: of more policies or failures than there is room for, those that come
//! first in their order are kept apart and all others joined. Which those are depends on neither
//! order nor place of counting, so that the counts of many relays add up to the same.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::report::ResultType;

/// Policies of one domain that are told apart in a day. A change an hour is a lot; beyond it they
/// are counted by kind.
pub const POLICIES_MAX: usize = 16;
/// Failures under one policy that are told apart: exchangers by addresses by kinds. Beyond it they
/// are counted by kind.
pub const FAILURES_MAX: usize = 100;
/// Octets of a reason that are kept: most come from servers.
const REASON_OCTETS_MAX: usize = 200;
/// Lines of a policy that are kept, and octets of each: a policy may have 64 KiB, and is told with
/// every report.
const LINES_MAX: usize = 64;
const LINE_OCTETS_MAX: usize = 512;

/// What kind of policy was applied (RFC 8460, 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// TLSA records (DANE).
    Tlsa,
    /// An MTA-STS policy.
    Sts,
    /// None: TLS as far as it goes.
    NoPolicyFound,
}

/// The policy that was applied to a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Policy {
    /// Of which kind.
    pub kind: PolicyKind,
    /// Its text: the lines of an MTA-STS policy, or TLSA records.
    pub strings: Vec<String>,
    /// The exchangers that an MTA-STS policy names.
    pub mx: Vec<String>,
}

impl Policy {
    /// One of a kind, of which no more is told.
    #[must_use]
    pub fn bare(kind: PolicyKind) -> Self {
        Self { kind, strings: Vec::new(), mx: Vec::new() }
    }

    /// The domain's MTA-STS policy.
    #[must_use]
    pub fn sts(policy: &crate::sts::Policy) -> Self {
        let kept = |lines: Vec<String>| lines.iter().take(LINES_MAX).map(|l| cut(l)).collect();
        let (strings, mx) = (kept(policy.lines()), kept(policy.mx.clone()));
        Self { kind: PolicyKind::Sts, strings, mx }
    }

    /// These TLSA records, as zone files have them.
    #[must_use]
    pub fn tlsa(records: impl IntoIterator<Item = String>) -> Self {
        let strings = records.into_iter().take(LINES_MAX).map(|line| cut(&line)).collect();
        Self { kind: PolicyKind::Tlsa, strings, mx: Vec::new() }
    }

    fn is_bare(&self) -> bool {
        self.strings.is_empty() && self.mx.is_empty()
    }
}

fn cut(line: &str) -> String {
    line[..line.floor_char_boundary(LINE_OCTETS_MAX)].to_owned()
}

/// What failed in a session (RFC 8460, 4.3), and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// What.
    pub result: ResultType,
    /// The address that we sent from, where one is configured.
    pub sending_ip: Option<IpAddr>,
    /// The exchanger's name; empty where none was asked.
    pub mx: String,
    /// Its address, where one was reached.
    pub receiving_ip: Option<IpAddr>,
    /// In words; empty where the kind tells all.
    pub reason: String,
}

impl Failure {
    /// One of a kind, of which no more is told.
    #[must_use]
    pub fn bare(result: ResultType) -> Self {
        let (sending_ip, receiving_ip) = (None, None);
        Self { result, sending_ip, mx: String::new(), receiving_ip, reason: String::new() }
    }

    /// The same, with why in words: control characters become spaces, and what is too long is cut.
    #[must_use]
    pub fn because(self, reason: &str) -> Self {
        let reason = &reason[..reason.floor_char_boundary(REASON_OCTETS_MAX)];
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Self { reason: reason.chars().map(plain).collect(), ..self }
    }

    fn is_bare(&self) -> bool {
        *self == Self::bare(self.result)
    }
}

/// Sessions under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyCounts {
    /// Sessions that were as the policy wants them.
    pub successes: u64,
    /// Sessions that were not.
    pub failures: BTreeMap<Failure, u64>,
}

impl PolicyCounts {
    /// Sessions that failed, of whatever kind.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn merge(&mut self, other: Self, limits: Limits) {
        self.successes = self.successes.saturating_add(other.successes);
        for (failure, count) in other.failures {
            add(&mut self.failures, failure, count);
        }
        let own = |failure: &Failure| !failure.is_bare();
        for (failure, count) in beyond(&mut self.failures, limits.failures, own) {
            add(&mut self.failures, Failure::bare(failure.result), count);
        }
    }
}

fn add(failures: &mut BTreeMap<Failure, u64>, failure: Failure, count: u64) {
    let sum = failures.entry(failure).or_default();
    *sum = sum.saturating_add(count);
}

/// Takes out what comes after so many of those that have a place of their own. The first of a union
/// are among the first of its parts, so it does not matter when this is done, nor how often.
fn beyond<K: Ord + Clone, V>(
    map: &mut BTreeMap<K, V>,
    max: usize,
    own: impl Fn(&K) -> bool,
) -> Vec<(K, V)> {
    if map.len() <= max {
        return Vec::new();
    }
    let late: Vec<K> = map.keys().filter(|key| own(key)).skip(max).cloned().collect();
    late.into_iter().filter_map(|key| map.remove_entry(&key)).collect()
}

#[derive(Clone, Copy)]
struct Limits {
    policies: usize,
    failures: usize,
}

const LIMITS: Limits = Limits { policies: POLICIES_MAX, failures: FAILURES_MAX };

/// Sessions of one day to one domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts(BTreeMap<Policy, PolicyCounts>);

impl Counts {
    /// One more session under a policy.
    pub fn count(&mut self, policy: Policy, failure: Option<Failure>) {
        let mut counts = PolicyCounts::default();
        match failure {
            Some(failure) => drop(counts.failures.insert(failure, 1)),
            None => counts.successes = 1,
        }
        self.merge(Self(BTreeMap::from([(policy, counts)])));
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.merge_within(other, LIMITS);
    }

    fn merge_within(&mut self, other: Self, limits: Limits) {
        for (policy, counts) in other.0 {
            self.0.entry(policy).or_default().merge(counts, limits);
        }
        let own = |policy: &Policy| !policy.is_bare();
        for (policy, counts) in beyond(&mut self.0, limits.policies, own) {
            self.0.entry(Policy::bare(policy.kind)).or_default().merge(counts, limits);
        }
    }

    /// By policy.
    pub fn policies(&self) -> impl Iterator<Item = (&Policy, &PolicyCounts)> {
        self.0.iter()
    }

    /// Sessions that were as their policy wants them.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.0.values().fold(0, |sum, counts| sum.saturating_add(counts.successes))
    }

    /// Sessions that were not.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0.values().fold(0, |sum, counts| sum.saturating_add(counts.failed()))
    }

    /// Failures by kind.
    #[must_use]
    pub fn by_result(&self) -> BTreeMap<ResultType, u64> {
        let mut sums = BTreeMap::<ResultType, u64>::new();
        for (failure, count) in self.0.values().flat_map(|counts| &counts.failures) {
            let sum = sums.entry(failure.result).or_default();
            *sum = sum.saturating_add(*count);
        }
        sums
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Policy, PolicyCounts)> for Counts {
    fn from_iter<I: IntoIterator<Item = (Policy, PolicyCounts)>>(all: I) -> Self {
        let mut counts = Self::default();
        all.into_iter().for_each(|one| counts.merge(Self(BTreeMap::from([one]))));
        counts
    }
}

#[cfg(test)]
#[path = "counts_tests.rs"]
mod tests;
