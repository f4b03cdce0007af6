//! Identities: what names a campaign, a shard and one delivery for as long as
//! anybody may ask about it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A shard of the queue, from 0 up to the number chosen when the store was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard of a domain. Stable for ever: FNV-1a over the lower-case name,
    /// folded onto the number of shards.
    #[must_use]
    pub fn of_domain(domain: &str, shards: u16) -> Self {
        Self((domain_hash(domain) % u64::from(shards.max(1))) as u16)
    }
}

/// FNV-1a (64 bits): not against an adversary, only to spread domains evenly.
#[must_use]
pub fn domain_hash(domain: &str) -> u64 {
    domain.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that should have been an identity and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct IdError {
    text: String,
    what: &'static str,
}

/// A campaign, counted from 1 by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CampaignId(pub u64);

impl fmt::Display for CampaignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl FromStr for CampaignId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix('c')
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| IdError { text: text.chars().take(40).collect(), what: "a campaign" })
    }
}

/// One message to one recipient, whatever the number of attempts. It is the
/// `seq`-th recipient that its shard ever accepted, and survives repacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeliveryId {
    /// The shard that the recipient's domain belongs to.
    pub shard: ShardId,
    /// Counted from 1 in that shard; below 2^48.
    pub seq: u64,
}

impl DeliveryId {
    /// The identity as one number: shard in the top 16 bits.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        (u64::from(self.shard.0) << 48) | self.seq
    }

    /// The inverse of [`to_u64`](Self::to_u64).
    #[must_use]
    pub fn from_u64(number: u64) -> Self {
        Self { shard: ShardId((number >> 48) as u16), seq: number & ((1 << 48) - 1) }
    }
}

/// Written as `3-1f40`: shard in decimal, sequence in hexadecimal.
impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.shard.0, self.seq)
    }
}

impl FromStr for DeliveryId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (shard, seq) = text.split_once('-')?;
            let seq = u64::from_str_radix(seq, 16).ok().filter(|s| *s < 1 << 48)?;
            Some(Self { shard: ShardId(shard.parse().ok()?), seq })
        };
        parse().ok_or_else(|| IdError { text: text.chars().take(40).collect(), what: "a delivery" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_back_what_they_print() {
        let id = DeliveryId { shard: ShardId(31), seq: 0xabc_def0 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(DeliveryId::from_u64(id.to_u64()), id);
        assert_eq!("c17".parse(), Ok(CampaignId(17)));
        assert!("17".parse::<CampaignId>().is_err());
        assert!("1-1000000000000".parse::<DeliveryId>().is_err());
    }
}
