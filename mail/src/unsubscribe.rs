//! The link of a one-click unsubscription (RFC 8058): a path that names delivery,
//! campaign and address, and that only we can make. The relay writes it, the API
//! reads it. Which scheme and host stand in front of it is not known here.

use crate::id::{CampaignId, DeliveryId};
use crate::verp::{ReturnPathKeys, VerpError};

/// What every path begins with.
pub const PREFIX: &str = "/u/";

/// Stands in the tag, so that no return path opens as a link.
const LABEL: &str = "unsubscribe";

/// No address has more octets (RFC 5321, 4.5.3.1.3).
const ADDRESS_OCTETS_MAX: usize = 254;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Whose link it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscription {
    /// The message that carried the link.
    pub delivery: DeliveryId,
    /// Its campaign.
    pub campaign: CampaignId,
    /// The address that it was sent to.
    pub address: String,
}

/// The path `/u/{token}/{address}` of one message: the token's tag covers the address,
/// which follows in base64url (RFC 4648, 5) because many logs keep paths.
#[must_use]
pub fn unsubscribe_path(
    keys: &ReturnPathKeys,
    delivery: DeliveryId,
    campaign: CampaignId,
    address: &str,
) -> String {
    // 41 octets of token, a slash, four digits for three octets.
    let mut path = String::with_capacity(PREFIX.len() + 42 + address.len().div_ceil(3) * 4);
    path.push_str(PREFIX);
    keys.seal(LABEL, delivery, campaign, address.as_bytes(), &mut path);
    path.push('/');
    to_base64url(address.as_bytes(), &mut path);
    path
}

/// Whose link it is that consists of this token and this encoded address.
///
/// # Errors
/// When the two were not made here, or not for each other.
pub fn verify(
    keys: &ReturnPathKeys,
    token: &str,
    encoded_address: &str,
) -> Result<Unsubscription, VerpError> {
    let address = from_base64url(encoded_address).ok_or(VerpError::Foreign)?;
    let (delivery, campaign) = keys.open(LABEL, token, address.as_bytes())?;
    Ok(Unsubscription { delivery, campaign, address })
}

fn to_base64url(octets: &[u8], into: &mut String) {
    for three in octets.chunks(3) {
        let bits =
            three.iter().fold(0u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..=three.len() {
            into.push(char::from(DIGITS[(bits >> (18 - 6 * i)) as usize & 63]));
        }
    }
}

fn from_base64url(text: &str) -> Option<String> {
    if text.len() > ADDRESS_OCTETS_MAX.div_ceil(3) * 4 {
        return None;
    }
    let mut octets = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for digit in four {
            bits = (bits << 6) | DIGITS.iter().position(|d| d == digit)? as u32;
        }
        bits <<= 6 * (4 - four.len());
        octets.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::ShardId;

    const DELIVERY: DeliveryId = DeliveryId { shard: ShardId(7), seq: 0x1f40 };
    const CAMPAIGN: CampaignId = CampaignId(71);

    fn keys() -> ReturnPathKeys {
        ReturnPathKeys::new(vec![('a', [7; 32])]).expect("keys")
    }

    fn parts(path: &str) -> (&str, &str) {
        path.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')).expect("two parts")
    }

    #[test]
    fn a_link_names_its_address_and_no_other() {
        let keys = keys();
        let ann = unsubscribe_path(&keys, DELIVERY, CAMPAIGN, "ann@example.org");
        let bob = unsubscribe_path(&keys, DELIVERY, CAMPAIGN, "bob@example.org");
        let (token, address) = parts(&ann);
        let read = verify(&keys, token, address).expect("our own");
        assert_eq!((read.delivery, read.campaign), (DELIVERY, CAMPAIGN));
        assert_eq!(read.address, "ann@example.org");
        assert_eq!(verify(&keys, token, parts(&bob).1), Err(VerpError::Forged));
    }

    #[test]
    fn neither_a_token_nor_a_return_path_opens_as_a_link() {
        let keys = keys();
        let address = "YW5uQGV4YW1wbGUub3Jn";
        let token = keys.encode_token(LABEL, DELIVERY, CAMPAIGN);
        assert_eq!(verify(&keys, &token, address), Err(VerpError::Forged));
        let ann = "ann@example.org".parse().expect("an address");
        let local = keys.encode(DELIVERY, CAMPAIGN, &ann);
        assert_eq!(verify(&keys, &local[2..], address), Err(VerpError::Truncated(49)));
    }

    proptest! {
        #[test]
        fn every_address_comes_back(address in "[a-z0-9.é]{1,60}@[a-z]{1,20}\\.org") {
            let path = unsubscribe_path(&keys(), DELIVERY, CAMPAIGN, &address);
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b)));
            let (token, encoded) = parts(&path);
            prop_assert_eq!(verify(&keys(), token, encoded).expect("our own").address, address);
        }

        #[test]
        fn any_text_is_answered(token in ".{0,60}", address in ".{0,400}") {
            let _ = verify(&keys(), &token, &address);
        }
    }
}
