//! Return paths that name their delivery, and signed tokens for links. Both carry
//! a delivery, a campaign and a tag that only we can make; a report that arrives
//! with a wrong tag never touches a list. Which domain follows the `@` is not known here.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};

use crate::id::{CampaignId, DeliveryId};

/// What every return path begins with, so that other mailboxes may live in the same domain.
pub const RETURN_PATH_PREFIX: &str = "b-";

/// Digits and letters that nobody mistakes for one another, all one case: relays on
/// the way back may change the case of a local part, and people read it over the telephone.
const ALPHABET: &[u8; 32] = b"23456789abcdefghijkmnpqrstuvwxyz";

/// Delivery (8) and campaign (8).
const PAYLOAD_OCTETS: usize = 16;
/// 72 bits of tag: 2^71 guesses on average, each one a mail to us.
const TAG_OCTETS: usize = 9;
const SEALED_OCTETS: usize = PAYLOAD_OCTETS + TAG_OCTETS;
/// 25 octets are exactly 40 characters of five bits: no padding, one spelling each.
const SEALED_CHARS: usize = SEALED_OCTETS * 8 / 5;
/// The key's identity and the sealed part.
const TOKEN_CHARS: usize = 1 + SEALED_CHARS;

/// What a tag was made for stands in the tag: a link's token is no return path.
const RETURN_PATH_LABEL: &str = "return-path";

/// Why a local part or a token is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerpError {
    /// It does not look like one: another mailbox of the same domain, perhaps.
    #[error("does not have the form of a return path or token made here")]
    Foreign,
    /// It begins like one and has another length: cut off on its way.
    #[error("has {0} characters, not {TOKEN_CHARS}: cut off or added to on its way")]
    Truncated(usize),
    /// Its key is not among ours: too old, or of another platform.
    #[error("was made with key {0:?}, which is not configured")]
    UnknownKey(char),
    /// The tag does not fit.
    #[error("has a tag that was not made here for this purpose")]
    Forged,
}

/// Why a list of keys cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing to sign with.
    #[error("no key: at least one is needed to sign with")]
    NoKey,
    /// An identity that would not survive a change of case.
    #[error("key id {0:?} is not a digit or a lower-case letter")]
    BadId(char),
    /// Two keys of one name.
    #[error("key id {0:?} is used twice")]
    Twice(char),
}

/// The keys of a platform. The first one signs, all of them verify: to rotate, put
/// a new key in front and drop the last one when no mail from its time can come back.
#[derive(Clone)]
pub struct ReturnPathKeys(Vec<(char, hmac::Key)>);

impl fmt::Debug for ReturnPathKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

impl ReturnPathKeys {
    /// Keys in the order of preference, each with an identity of one character
    /// (a digit or a lower-case letter) that shows in what it signs.
    pub fn new(keys: Vec<(char, [u8; 32])>) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::NoKey);
        }
        for (i, (id, _)) in keys.iter().enumerate() {
            if !id.is_ascii_digit() && !id.is_ascii_lowercase() {
                return Err(KeyError::BadId(*id));
            }
            if keys[..i].iter().any(|(other, _)| other == id) {
                return Err(KeyError::Twice(*id));
            }
        }
        let keyed = |(id, key): (char, [u8; 32])| (id, hmac::Key::new(hmac::HMAC_SHA256, &key));
        Ok(Self(keys.into_iter().map(keyed).collect()))
    }

    /// The local part of the return path of one message: 43 octets.
    #[must_use]
    pub fn encode(&self, delivery: DeliveryId, campaign: CampaignId) -> String {
        let mut local = String::with_capacity(RETURN_PATH_PREFIX.len() + TOKEN_CHARS);
        local.push_str(RETURN_PATH_PREFIX);
        self.seal(RETURN_PATH_LABEL, delivery, campaign, b"", &mut local);
        local
    }

    /// Whose return path this local part is, whatever its case.
    pub fn decode(&self, local_part: &str) -> Result<(DeliveryId, CampaignId), VerpError> {
        let prefix = local_part.get(..RETURN_PATH_PREFIX.len()).ok_or(VerpError::Foreign)?;
        if !prefix.eq_ignore_ascii_case(RETURN_PATH_PREFIX) {
            return Err(VerpError::Foreign);
        }
        self.open(RETURN_PATH_LABEL, &local_part[RETURN_PATH_PREFIX.len()..], b"")
    }

    /// A token of 41 octets for the purpose `label`, such as `unsubscribe`; it opens
    /// with the same label only. Safe in a URL's path.
    #[must_use]
    pub fn encode_token(&self, label: &str, delivery: DeliveryId, campaign: CampaignId) -> String {
        let mut token = String::with_capacity(TOKEN_CHARS);
        self.seal(label, delivery, campaign, b"", &mut token);
        token
    }

    /// What [`encode_token`](Self::encode_token) put in for the same label.
    pub fn decode_token(
        &self,
        label: &str,
        token: &str,
    ) -> Result<(DeliveryId, CampaignId), VerpError> {
        self.open(label, token, b"")
    }

    /// Writes a token; its tag covers `beside` too, which the token does not carry.
    pub(crate) fn seal(
        &self,
        label: &str,
        delivery: DeliveryId,
        campaign: CampaignId,
        beside: &[u8],
        into: &mut String,
    ) {
        let mut sealed = [0; SEALED_OCTETS];
        sealed[..8].copy_from_slice(&delivery.to_u64().to_be_bytes());
        sealed[8..PAYLOAD_OCTETS].copy_from_slice(&campaign.0.to_be_bytes());
        // `new` refuses an empty list; the first key signs.
        let (id, key) = &self.0[0];
        let tag = tag(key, label, &sealed[..PAYLOAD_OCTETS], beside);
        sealed[PAYLOAD_OCTETS..].copy_from_slice(&tag);
        into.push(*id);
        to_base32(&sealed, into);
    }

    /// Reads a token that was sealed with the same `beside`.
    pub(crate) fn open(
        &self,
        label: &str,
        token: &str,
        beside: &[u8],
    ) -> Result<(DeliveryId, CampaignId), VerpError> {
        let mut chars = token.chars();
        let id = chars.next().ok_or(VerpError::Truncated(0))?.to_ascii_lowercase();
        if !id.is_ascii_alphanumeric() {
            return Err(VerpError::Foreign);
        }
        let digits = chars.as_str().as_bytes();
        if digits.iter().any(|b| five_bits(*b).is_none()) {
            return Err(VerpError::Foreign);
        }
        if digits.len() != SEALED_CHARS {
            return Err(VerpError::Truncated(token.len()));
        }
        let sealed = from_base32(digits).ok_or(VerpError::Foreign)?;
        let (_, key) =
            self.0.iter().find(|(known, _)| *known == id).ok_or(VerpError::UnknownKey(id))?;
        let (payload, claimed) = sealed.split_at(PAYLOAD_OCTETS);
        constant_time::verify_slices_are_equal(&tag(key, label, payload, beside), claimed)
            .map_err(|_| VerpError::Forged)?;
        let number = |octets: &[u8]| octets.iter().fold(0, |n, b| (n << 8) | u64::from(*b));
        Ok((DeliveryId::from_u64(number(&payload[..8])), CampaignId(number(&payload[8..]))))
    }
}

fn tag(key: &hmac::Key, label: &str, payload: &[u8], beside: &[u8]) -> [u8; TAG_OCTETS] {
    let mut context = hmac::Context::with_key(key);
    context.update(label.as_bytes());
    // No label holds a NUL, so no two pairs of label and payload run together alike.
    context.update(&[0]);
    context.update(payload);
    // The payload has one length: what follows it cannot be taken for a part of it.
    context.update(beside);
    let mut cut = [0; TAG_OCTETS];
    cut.copy_from_slice(&context.sign().as_ref()[..TAG_OCTETS]);
    cut
}

fn to_base32(octets: &[u8; SEALED_OCTETS], into: &mut String) {
    for five in octets.chunks_exact(5) {
        let bits = five.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
        for i in (0..8).rev() {
            into.push(char::from(ALPHABET[(bits >> (5 * i)) as usize & 31]));
        }
    }
}

fn from_base32(digits: &[u8]) -> Option<[u8; SEALED_OCTETS]> {
    let mut octets = [0; SEALED_OCTETS];
    for (five, eight) in octets.chunks_exact_mut(5).zip(digits.chunks_exact(8)) {
        let mut bits = 0u64;
        for digit in eight {
            bits = (bits << 5) | u64::from(five_bits(*digit)?);
        }
        five.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(octets)
}

fn five_bits(digit: u8) -> Option<u8> {
    const VALUES: [u8; 256] = {
        let mut values = [255; 256];
        let mut i = 0;
        while i < 32 {
            values[ALPHABET[i] as usize] = i as u8;
            values[ALPHABET[i].to_ascii_uppercase() as usize] = i as u8;
            i += 1;
        }
        values
    };
    Some(VALUES[usize::from(digit)]).filter(|v| *v < 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::ShardId;

    fn keys(ids: &str) -> ReturnPathKeys {
        ReturnPathKeys::new(ids.chars().map(|c| (c, [c as u8; 32])).collect()).expect("keys")
    }

    const DELIVERY: DeliveryId = DeliveryId { shard: ShardId(7), seq: 0x1f40 };
    const CAMPAIGN: CampaignId = CampaignId(71);

    #[test]
    fn a_return_path_fits_and_survives_a_change_of_case() {
        let local = keys("a").encode(DELIVERY, CAMPAIGN);
        assert_eq!(local.len(), 43);
        assert!(format!("{local}@bounces.example.org").parse::<crate::Address>().is_ok());
        assert_eq!(keys("a").decode(&local), Ok((DELIVERY, CAMPAIGN)));
        assert_eq!(keys("a").decode(&local.to_uppercase()), Ok((DELIVERY, CAMPAIGN)));
    }

    #[test]
    fn the_first_key_signs_and_all_keys_verify() {
        let old = keys("a").encode(DELIVERY, CAMPAIGN);
        let rotated = keys("ba");
        assert!(rotated.encode(DELIVERY, CAMPAIGN).starts_with("b-b"));
        assert_eq!(rotated.decode(&old), Ok((DELIVERY, CAMPAIGN)));
        assert_eq!(keys("b").decode(&old), Err(VerpError::UnknownKey('a')));
    }

    #[test]
    fn forged_truncated_and_foreign_are_told_apart() {
        let keys = keys("a");
        let local = keys.encode(DELIVERY, CAMPAIGN);
        let stranger = ReturnPathKeys::new(vec![('a', [9; 32])]).expect("keys");
        assert_eq!(stranger.decode(&local), Err(VerpError::Forged));
        assert_eq!(keys.decode(&local[..30]), Err(VerpError::Truncated(28)));
        assert_eq!(keys.decode(&format!("{local}x")), Err(VerpError::Truncated(42)));
        for foreign in ["", "b", "é", "postmaster", "b-a.b", "b-ébc", "b-a0l1o"] {
            assert_eq!(keys.decode(foreign), Err(VerpError::Foreign), "{foreign:?}");
        }
    }

    #[test]
    fn a_token_opens_for_its_own_purpose_only() {
        let keys = keys("a");
        let token = keys.encode_token("unsubscribe", DELIVERY, CAMPAIGN);
        assert_eq!(keys.decode_token("unsubscribe", &token), Ok((DELIVERY, CAMPAIGN)));
        assert_eq!(keys.decode_token("open", &token), Err(VerpError::Forged));
        assert_eq!(keys.decode(&format!("b-{token}")), Err(VerpError::Forged));
    }

    #[test]
    fn unusable_keys_are_refused() {
        let of = |ids: &str| {
            ReturnPathKeys::new(ids.chars().map(|c| (c, [0; 32])).collect()).map(|_| ())
        };
        assert_eq!(of(""), Err(KeyError::NoKey));
        assert_eq!(of("A"), Err(KeyError::BadId('A')));
        assert_eq!(of("aba"), Err(KeyError::Twice('a')));
    }

    proptest! {
        #[test]
        fn every_identity_comes_back(delivery: u64, campaign: u64) {
            let keys = keys("a");
            let (delivery, campaign) = (DeliveryId::from_u64(delivery), CampaignId(campaign));
            let local = keys.encode(delivery, campaign);
            prop_assert_eq!(keys.decode(&local), Ok((delivery, campaign)));
        }

        #[test]
        fn one_changed_character_is_never_accepted(delivery: u64, at in 3usize..43, to in 0usize..32) {
            let keys = keys("a");
            let local = keys.encode(DeliveryId::from_u64(delivery), CAMPAIGN);
            let mut changed = local.clone().into_bytes();
            changed[at] = ALPHABET[to];
            let changed = String::from_utf8(changed).expect("ascii");
            prop_assume!(changed != local);
            prop_assert_eq!(keys.decode(&changed), Err(VerpError::Forged));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,80}") {
            let _ = keys("a").decode(&text);
            let _ = keys("a").decode(&format!("b-{text}"));
        }
    }
}
