//! What relays do at a site now, as they last said: read for people, never decided from.

use std::collections::HashMap;
use std::fmt;

use mail::{CampaignId, Site, Timestamp};
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::error::StoreError;
use crate::{PaceRecord, Store};

/// The field of the claims that holds the tags of fair share, as `pace_slice.lua` has it.
const TAGS: &str = "=";

/// Relays ask ten times a second; what they were granted reaches to about now when they ask again.
const LATE_MS: f64 = 20.0;

/// What a relay last said of a source at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The relay.
    pub relay: String,
    /// Connections that it has open.
    pub in_use: u32,
    /// Recipients that wait there, by campaign.
    pub waiting: Vec<(CampaignId, u64)>,
}

impl Claim {
    /// Recipients of all campaigns.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.iter().map(|(_, n)| n).sum()
    }
}

/// The record of a source at a site, and who shares it.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceNow {
    /// The record; version 0 and no state when there is none.
    pub record: PaceRecord,
    /// Relays that asked within the last seconds, by name.
    pub claims: Vec<Claim>,
    /// How far the rate is granted ahead of now, in milliseconds; negative when it lies behind.
    pub ahead_ms: f64,
}

impl PaceNow {
    /// Whether all that the rate brings was granted.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.ahead_ms > -LATE_MS
    }

    /// Recipients that wait in all relays together.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.claims.iter().map(Claim::waiting).sum()
    }

    /// Connections that all have open.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.claims.iter().map(|claim| claim.in_use).sum()
    }
}

impl Store {
    /// What is known of a source at a site, and what relays do there.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn pace_now(&self, source: &str, site: &Site) -> Result<PaceNow, StoreError> {
        type Fields = (Option<u64>, Option<Vec<u8>>, Option<f64>);
        let key = self.pace_key(source, site);
        let claims = format!("{}claims", key.trim_end_matches("pace"));
        let mut conn = self.conn_for(&key).await?;
        let answer: (Fields, HashMap<String, Vec<u8>>, (u64, u64)) = redis::pipe()
            .cmd("HMGET")
            .arg(&key)
            .arg(&["version", "state", "tat"])
            .cmd("HGETALL")
            .arg(&claims)
            .cmd("TIME")
            .query_async(&mut conn)
            .await?;
        let ((version, state, tat), claims, (seconds, micros)) = answer;
        let now = Timestamp(seconds * 1000 + micros / 1000);
        let mut claims: Vec<Claim> =
            claims.into_iter().filter_map(|(relay, packed)| live(relay, &packed, now)).collect();
        claims.sort_by(|a, b| a.relay.cmp(&b.relay));
        let record = PaceRecord { version: version.unwrap_or(0), state: state.unwrap_or_default() };
        // `tat` counts tenths of microseconds.
        let ahead_ms = tat.map_or(f64::NEG_INFINITY, |tat| tat / 1e4 - now.0 as f64);
        Ok(PaceNow { record, claims, ahead_ms })
    }
}

fn live(relay: String, packed: &[u8], now: Timestamp) -> Option<Claim> {
    if relay == TAGS {
        return None;
    }
    let Packed { expires, in_use, waiting } = rmp_serde::from_slice(packed).ok()?;
    let pairs = waiting.chunks_exact(2).map(|pair| (CampaignId(pair[0] as u64), pair[1] as u64));
    (expires >= now.0 as f64).then(|| Claim {
        relay,
        in_use: in_use as u32,
        waiting: pairs.collect(),
    })
}

/// A claim as the script packs it: when it expires, until when it is waited for, connections,
/// campaign and recipients in turn. What comes after that is for later programs.
struct Packed {
    expires: f64,
    in_use: f64,
    waiting: Vec<f64>,
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Packed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a claim")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Packed, A::Error> {
                let expires = seq.next_element()?.unwrap_or_default();
                let _waited_for: Option<f64> = seq.next_element()?;
                let in_use = seq.next_element()?.unwrap_or_default();
                let waiting = seq.next_element()?.unwrap_or_default();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Packed { expires, in_use, waiting })
            }
        }
        deserializer.deserialize_seq(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_by_its_first_fields_whatever_follows() {
        let claim = |packed: &[u8]| live("r1".into(), packed, Timestamp(1000));
        let known = rmp_serde::to_vec(&(1000u64, 700.5, 2u8, [7u64, 40, 9, 1])).expect("packed");
        let waiting = vec![(CampaignId(7), 40), (CampaignId(9), 1)];
        let expected = Claim { relay: "r1".into(), in_use: 2, waiting };
        assert_eq!(expected.waiting(), 41);
        assert_eq!(claim(&known), Some(expected.clone()));
        let longer =
            rmp_serde::to_vec(&(1000u64, 0, 2u8, [7u64, 40, 9, 1], "more")).expect("packed");
        assert_eq!(claim(&longer), Some(expected));
        let expired = rmp_serde::to_vec(&(999u64, 0, 2u8, [0u64; 0])).expect("packed");
        assert_eq!((claim(&expired), claim(b"\xc1")), (None, None));
        assert_eq!(live(TAGS.into(), &known, Timestamp(0)), None);
    }
}
