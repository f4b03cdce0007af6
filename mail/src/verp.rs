//! Return paths that name their delivery, and signed tokens for links. Both carry
//! a delivery, a campaign and a tag that only we can make; a report that arrives
//! with a wrong tag never touches a list. A return path also carries a fingerprint of
//! its recipient, so that a report that names somebody else does not touch the list
//! either. Which domain follows the `@` is not known here.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};

use crate::address::Address;
use crate::id::{CampaignId, DeliveryId};

/// What every return path begins with, so that other mailboxes may live in the same domain.
pub const RETURN_PATH_PREFIX: &str = "b-";

/// Digits and letters that nobody mistakes for one another, all one case: relays on
/// the way back may change the case of a local part, and people read it over the telephone.
const ALPHABET: &[u8; 32] = b"23456789abcdefghijkmnpqrstuvwxyz";

/// Delivery (8) and campaign (8).
const IDENTITY_OCTETS: usize = 16;
/// A wrong recipient is taken for the right one once in 2^32 reports.
const FINGERPRINT_OCTETS: usize = 4;

/// A link's token: 9 octets of tag, 2^71 guesses on average, each one a request to us.
/// 25 octets are exactly 40 characters of five bits: no padding, one spelling each.
const TOKEN_OCTETS: usize = IDENTITY_OCTETS + 9;
/// A return path: 10 octets of tag make 30, which are exactly 48 characters.
const RETURN_PATH_OCTETS: usize = IDENTITY_OCTETS + FINGERPRINT_OCTETS + 10;

/// Characters of a return path's local part after [`RETURN_PATH_PREFIX`]: the key's
/// identity and the sealed part.
pub const RETURN_PATH_TOKEN_CHARS: usize = 1 + RETURN_PATH_OCTETS * 8 / 5;
/// Characters of a link's token.
pub(crate) const TOKEN_CHARS: usize = 1 + TOKEN_OCTETS * 8 / 5;

/// What a tag was made for stands in the tag: a link's token is no return path.
const RETURN_PATH_LABEL: &str = "return-path";
const FINGERPRINT_LABEL: &str = "recipient";

/// Why a local part or a token is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerpError {
    /// It does not look like one: another mailbox of the same domain, perhaps.
    #[error("does not have the form of a return path or token made here")]
    Foreign,
    /// It begins like one and has another length: cut off on its way.
    #[error("has {0} characters: cut off or added to on its way")]
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
pub struct ReturnPathKeys(Vec<(char, Arc<hmac::Key>)>);

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
        let keyed =
            |(id, key): (char, [u8; 32])| (id, Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key)));
        Ok(Self(keys.into_iter().map(keyed).collect()))
    }

    /// The local part of the return path of one message to one recipient: 51 octets.
    #[must_use]
    pub fn encode(
        &self,
        delivery: DeliveryId,
        campaign: CampaignId,
        recipient: &Address,
    ) -> String {
        let mut payload = [0; IDENTITY_OCTETS + FINGERPRINT_OCTETS];
        payload[..IDENTITY_OCTETS].copy_from_slice(&identity(delivery, campaign));
        let fingerprint = fingerprint(self.signer().1, delivery, campaign, recipient);
        payload[IDENTITY_OCTETS..].copy_from_slice(&fingerprint);
        let mut local = String::with_capacity(RETURN_PATH_PREFIX.len() + RETURN_PATH_TOKEN_CHARS);
        local.push_str(RETURN_PATH_PREFIX);
        self.seal_octets::<RETURN_PATH_OCTETS>(RETURN_PATH_LABEL, &payload, b"", &mut local);
        local
    }

    /// Whose return path this local part is, whatever its case.
    pub fn decode(&self, local_part: &str) -> Result<ReturnPath, VerpError> {
        let prefix = local_part.get(..RETURN_PATH_PREFIX.len()).ok_or(VerpError::Foreign)?;
        if !prefix.eq_ignore_ascii_case(RETURN_PATH_PREFIX) {
            return Err(VerpError::Foreign);
        }
        let token = &local_part[RETURN_PATH_PREFIX.len()..];
        let payload = IDENTITY_OCTETS + FINGERPRINT_OCTETS;
        let (sealed, key) =
            self.open_octets::<RETURN_PATH_OCTETS>(RETURN_PATH_LABEL, token, payload, b"")?;
        let (delivery, campaign) = named(&sealed);
        let mut fingerprint = [0; FINGERPRINT_OCTETS];
        fingerprint.copy_from_slice(&sealed[IDENTITY_OCTETS..payload]);
        Ok(ReturnPath { delivery, campaign, fingerprint, key: Arc::clone(key) })
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
        self.seal_octets::<TOKEN_OCTETS>(label, &identity(delivery, campaign), beside, into);
    }

    /// Reads a token that was sealed with the same `beside`.
    pub(crate) fn open(
        &self,
        label: &str,
        token: &str,
        beside: &[u8],
    ) -> Result<(DeliveryId, CampaignId), VerpError> {
        let (sealed, _) =
            self.open_octets::<TOKEN_OCTETS>(label, token, IDENTITY_OCTETS, beside)?;
        Ok(named(&sealed))
    }

    /// `new` refuses an empty list; the first key signs.
    fn signer(&self) -> (char, &hmac::Key) {
        (self.0[0].0, &self.0[0].1)
    }

    /// `OCTETS` is the payload and, after it, as much of the tag as there is room for.
    fn seal_octets<const OCTETS: usize>(
        &self,
        label: &str,
        payload: &[u8],
        beside: &[u8],
        into: &mut String,
    ) {
        let (id, key) = self.signer();
        let mut sealed = [0; OCTETS];
        sealed[..payload.len()].copy_from_slice(payload);
        let tag = tag(key, label, payload, beside);
        sealed[payload.len()..].copy_from_slice(&tag.as_ref()[..OCTETS - payload.len()]);
        into.push(id);
        to_base32(&sealed, into);
    }

    fn open_octets<const OCTETS: usize>(
        &self,
        label: &str,
        token: &str,
        payload_octets: usize,
        beside: &[u8],
    ) -> Result<([u8; OCTETS], &Arc<hmac::Key>), VerpError> {
        let mut chars = token.chars();
        let id = chars.next().ok_or(VerpError::Truncated(0))?.to_ascii_lowercase();
        if !id.is_ascii_alphanumeric() {
            return Err(VerpError::Foreign);
        }
        let digits = chars.as_str().as_bytes();
        if digits.iter().any(|b| five_bits(*b).is_none()) {
            return Err(VerpError::Foreign);
        }
        if digits.len() != OCTETS * 8 / 5 {
            return Err(VerpError::Truncated(token.len()));
        }
        let sealed = from_base32::<OCTETS>(digits).ok_or(VerpError::Foreign)?;
        let (_, key) =
            self.0.iter().find(|(known, _)| *known == id).ok_or(VerpError::UnknownKey(id))?;
        let (payload, claimed) = sealed.split_at(payload_octets);
        let tag = tag(key, label, payload, beside);
        constant_time::verify_slices_are_equal(&tag.as_ref()[..claimed.len()], claimed)
            .map_err(|_| VerpError::Forged)?;
        Ok((sealed, key))
    }
}

/// A return path that was made here, opened.
#[derive(Clone)]
pub struct ReturnPath {
    /// The message that went out under it.
    pub delivery: DeliveryId,
    /// Its campaign.
    pub campaign: CampaignId,
    fingerprint: [u8; FINGERPRINT_OCTETS],
    key: Arc<hmac::Key>,
}

impl ReturnPath {
    /// Whether the message went to this address, whatever its case.
    #[must_use]
    pub fn matches(&self, address: &Address) -> bool {
        let fingerprint = fingerprint(&self.key, self.delivery, self.campaign, address);
        constant_time::verify_slices_are_equal(&fingerprint, &self.fingerprint).is_ok()
    }
}

impl fmt::Debug for ReturnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReturnPath({} of {})", self.delivery, self.campaign)
    }
}

fn identity(delivery: DeliveryId, campaign: CampaignId) -> [u8; IDENTITY_OCTETS] {
    let mut octets = [0; IDENTITY_OCTETS];
    octets[..8].copy_from_slice(&delivery.to_u64().to_be_bytes());
    octets[8..].copy_from_slice(&campaign.0.to_be_bytes());
    octets
}

fn named(octets: &[u8]) -> (DeliveryId, CampaignId) {
    let number = |octets: &[u8]| octets.iter().fold(0, |n, b| (n << 8) | u64::from(*b));
    (DeliveryId::from_u64(number(&octets[..8])), CampaignId(number(&octets[8..IDENTITY_OCTETS])))
}

/// Bound to the delivery, so that two return paths of one person show nothing in common.
fn fingerprint(
    key: &hmac::Key,
    delivery: DeliveryId,
    campaign: CampaignId,
    recipient: &Address,
) -> [u8; FINGERPRINT_OCTETS] {
    let folded = recipient.folded();
    let whole = tag(key, FINGERPRINT_LABEL, &identity(delivery, campaign), folded.as_bytes());
    let mut cut = [0; FINGERPRINT_OCTETS];
    cut.copy_from_slice(&whole.as_ref()[..FINGERPRINT_OCTETS]);
    cut
}

fn tag(key: &hmac::Key, label: &str, payload: &[u8], beside: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(label.as_bytes());
    // No label holds a NUL, so no two pairs of label and payload run together alike.
    context.update(&[0]);
    context.update(payload);
    // A label's payload has one length: what follows it cannot be taken for a part of it.
    context.update(beside);
    context.sign()
}

fn to_base32(octets: &[u8], into: &mut String) {
    for five in octets.chunks_exact(5) {
        let bits = five.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
        for i in (0..8).rev() {
            into.push(char::from(ALPHABET[(bits >> (5 * i)) as usize & 31]));
        }
    }
}

fn from_base32<const OCTETS: usize>(digits: &[u8]) -> Option<[u8; OCTETS]> {
    let mut octets = [0; OCTETS];
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

    fn ann() -> Address {
        "Ann@example.net".parse().expect("an address")
    }

    fn opened(keys: &ReturnPathKeys, local: &str) -> Result<(DeliveryId, CampaignId), VerpError> {
        keys.decode(local).map(|path| (path.delivery, path.campaign))
    }

    fn refused(keys: &ReturnPathKeys, local: &str) -> Option<VerpError> {
        keys.decode(local).err()
    }

    #[test]
    fn a_return_path_fits_and_survives_a_change_of_case() {
        let local = keys("a").encode(DELIVERY, CAMPAIGN, &ann());
        assert_eq!(local.len(), 51);
        assert!(format!("{local}@bounces.example.org").parse::<crate::Address>().is_ok());
        assert_eq!(opened(&keys("a"), &local), Ok((DELIVERY, CAMPAIGN)));
        assert_eq!(opened(&keys("a"), &local.to_uppercase()), Ok((DELIVERY, CAMPAIGN)));
    }

    #[test]
    fn the_first_key_signs_and_all_keys_verify() {
        let old = keys("a").encode(DELIVERY, CAMPAIGN, &ann());
        let rotated = keys("ba");
        assert!(rotated.encode(DELIVERY, CAMPAIGN, &ann()).starts_with("b-b"));
        assert_eq!(opened(&rotated, &old), Ok((DELIVERY, CAMPAIGN)));
        assert_eq!(refused(&keys("b"), &old), Some(VerpError::UnknownKey('a')));
    }

    #[test]
    fn forged_truncated_and_foreign_are_told_apart() {
        let keys = keys("a");
        let local = keys.encode(DELIVERY, CAMPAIGN, &ann());
        let stranger = ReturnPathKeys::new(vec![('a', [9; 32])]).expect("keys");
        assert_eq!(refused(&stranger, &local), Some(VerpError::Forged));
        assert_eq!(refused(&keys, &local[..30]), Some(VerpError::Truncated(28)));
        assert_eq!(refused(&keys, &format!("{local}x")), Some(VerpError::Truncated(50)));
        for foreign in ["", "b", "é", "postmaster", "b-a.b", "b-ébc", "b-a0l1o"] {
            assert_eq!(refused(&keys, foreign), Some(VerpError::Foreign), "{foreign:?}");
        }
    }

    #[test]
    fn a_token_opens_for_its_own_purpose_only() {
        let keys = keys("a");
        let token = keys.encode_token("unsubscribe", DELIVERY, CAMPAIGN);
        assert_eq!(keys.decode_token("unsubscribe", &token), Ok((DELIVERY, CAMPAIGN)));
        assert_eq!(keys.decode_token("open", &token), Err(VerpError::Forged));
        // A token is too short for a return path, and a return path too long for a token.
        assert_eq!(refused(&keys, &format!("b-{token}")), Some(VerpError::Truncated(41)));
    }

    #[test]
    fn a_return_path_knows_its_recipient_and_nobody_else() {
        let path = keys("a").decode(&keys("ab").encode(DELIVERY, CAMPAIGN, &ann())).expect("ours");
        for (address, is_it) in [
            ("Ann@example.net", true),
            ("ann@EXAMPLE.net", true),
            ("anna@example.net", false),
            ("ann@example.org", false),
        ] {
            assert_eq!(path.matches(&address.parse().expect("an address")), is_it, "{address}");
        }
        let other = DeliveryId { seq: DELIVERY.seq + 1, ..DELIVERY };
        let other = keys("a").decode(&keys("a").encode(other, CAMPAIGN, &ann())).expect("ours");
        assert!(other.matches(&ann()));
        assert_ne!(path.fingerprint, other.fingerprint);
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
            let local = keys.encode(delivery, campaign, &ann());
            prop_assert_eq!(opened(&keys, &local), Ok((delivery, campaign)));
        }

        #[test]
        fn one_changed_character_is_never_accepted(delivery: u64, at in 3usize..51, to in 0usize..32) {
            let keys = keys("a");
            let local = keys.encode(DeliveryId::from_u64(delivery), CAMPAIGN, &ann());
            let mut changed = local.clone().into_bytes();
            changed[at] = ALPHABET[to];
            let changed = String::from_utf8(changed).expect("ascii");
            prop_assume!(changed != local);
            prop_assert_eq!(refused(&keys, &changed), Some(VerpError::Forged));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,80}") {
            let _ = keys("a").decode(&text);
            let _ = keys("a").decode(&format!("b-{text}"));
        }
    }
}
