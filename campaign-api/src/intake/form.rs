//! What a recipient must look like, and what is said of a line that does not.

use mail::ShardId;

mail::words! {
    /// Why a line was refused.
    Reason {
        /// Not a JSON object.
        MalformedJson = "malformed-json",
        /// Longer than a line may be.
        TooLong = "too-long",
        /// No `email`.
        NoAddress = "no-address",
        /// `email` is no address.
        BadAddress = "bad-address",
        /// A key that a recipient does not have, or twice.
        UnknownKey = "unknown-key",
        /// A merge field that the campaign does not have.
        UnknownField = "unknown-field",
        /// No value for a field that has no default.
        MissingField = "missing-field",
        /// `timezone` is not in the IANA database.
        BadTimezone = "bad-timezone",
        /// A value of the wrong type, or with a control character.
        BadValue = "bad-value",
        /// The address came on an earlier line.
        Duplicate = "duplicate",
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In one word.
    pub reason: Reason,
    /// In a sentence.
    pub detail: String,
}

impl Fault {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    pub(super) fn duplicate(first: u64) -> Self {
        Self::new(Reason::Duplicate, format!("the same address as on line {first}"))
    }

    pub(super) fn too_long(max: usize) -> Self {
        Self::new(Reason::TooLong, format!("the line is longer than {max} octets"))
    }
}

/// What a campaign's recipients must look like.
#[derive(Debug, Clone)]
pub struct Form {
    /// The merge fields, in the order of a batch's columns.
    pub fields: Vec<String>,
    /// A value for those who bring none, per field.
    pub defaults: Vec<Option<String>>,
    /// Whether the campaign has a send window: then time zones are kept.
    pub zones: bool,
    /// Whether the campaign has files: then relays that know none leave its batches alone.
    pub files: bool,
    /// Longest line, in octets.
    pub line_max: usize,
    /// Shards of the store.
    pub shards: u16,
}

impl Form {
    pub(super) fn shard_of(&self, domain: &str) -> ShardId {
        ShardId::of_domain(domain, self.shards)
    }

    pub(super) fn known(&self) -> String {
        if self.fields.is_empty() { "none".into() } else { self.fields.join(", ") }
    }
}
