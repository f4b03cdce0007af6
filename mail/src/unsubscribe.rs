//! The link of a one-click unsubscription (RFC 8058): a path that names delivery,
//! campaign and address, and that only we can make. The relay writes it, the API
//! reads it. Which scheme and host stand in front of it is not known here. The same
//! token is the local part of an address that takes unsubscriptions by mail (RFC 2369, 3.2).

use crate::id::{CampaignId, DeliveryId};
use crate::verp::{ReturnPathKeys, TOKEN_CHARS, VerpError};

/// What every path begins with.
pub const PREFIX: &str = "/u/";

/// What the local part begins with of an address that takes unsubscriptions by mail.
pub const MAILTO_PREFIX: &str = "u-";

/// The subject that its link proposes begins with this; the encoded address follows.
const SUBJECT: &str = "unsubscribe";

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

/// The address that takes this unsubscription by mail, with the subject that its link proposes, as
/// they stand in a `mailto:` (RFC 6068): made of the path of [`unsubscribe_path`]. The subject names
/// the address, because people answer from another one than they were written to.
#[must_use]
pub fn unsubscribe_mailto(path: &str, domain: &str) -> String {
    let (token, encoded) = link_parts(path).unwrap_or_default();
    format!("{MAILTO_PREFIX}{token}@{domain}?subject={SUBJECT}%20{encoded}")
}

/// Token and encoded address of the first link or `mailto:` of ours in a text.
#[must_use]
pub fn link_parts(text: &str) -> Option<(&str, &str)> {
    let by_path = |(at, prefix): (usize, &str)| {
        let (token, rest) = token(&text[at + prefix.len()..])?;
        Some((token, word(rest.strip_prefix('/')?)))
    };
    let by_mail = |(at, prefix): (usize, &str)| {
        let (token, rest) = token(&text[at + prefix.len()..])?;
        let (_, rest) = rest.strip_prefix('@')?.split_once("?subject=")?;
        Some((token, word(rest.strip_prefix(SUBJECT)?.strip_prefix("%20")?)))
    };
    let found = text.match_indices(PREFIX).find_map(by_path);
    found.or_else(|| text.match_indices("mailto:u-").find_map(by_mail))
}

/// The digits that a text begins with.
fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_digit(c)).unwrap_or(text.len())]
}

/// A token, and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let token = word(text);
    (token.len() == TOKEN_CHARS).then(|| (token, &text[token.len()..]))
}

fn is_digit(c: char) -> bool {
    u8::try_from(c).is_ok_and(|b| DIGITS.contains(&b))
}

/// Whose unsubscription it is that came by mail to this local part: by the address that its subject
/// names, or else by one of those that it may have been written from.
///
/// # Errors
/// When the local part was not made here, or for none of these addresses.
pub fn verify_mail<'a>(
    keys: &ReturnPathKeys,
    local: &str,
    subject: &'a str,
    from: impl Iterator<Item = &'a str>,
) -> Result<Unsubscription, VerpError> {
    let prefix = local.get(..MAILTO_PREFIX.len()).filter(|p| p.eq_ignore_ascii_case(MAILTO_PREFIX));
    let token = prefix.map(|_| &local[MAILTO_PREFIX.len()..]).ok_or(VerpError::Foreign)?;
    let named = subject.split_whitespace().filter_map(from_base64url);
    let mut refused = VerpError::Forged;
    for address in named.chain(from.map(str::to_owned)) {
        // The address was sealed as it was written to; people change its case.
        for address in [address.to_lowercase(), address] {
            match keys.open(LABEL, token, address.as_bytes()) {
                Ok((delivery, campaign)) => {
                    return Ok(Unsubscription { delivery, campaign, address });
                }
                Err(e) => refused = e,
            }
        }
    }
    Err(refused)
}

/// Whether a local part has the form of those that take unsubscriptions by mail.
#[must_use]
pub fn is_mailto(local: &str) -> bool {
    let prefix = local.get(..MAILTO_PREFIX.len());
    prefix.is_some_and(|p| p.eq_ignore_ascii_case(MAILTO_PREFIX))
        && local.len() == MAILTO_PREFIX.len() + TOKEN_CHARS
        && local[MAILTO_PREFIX.len()..].bytes().all(|b| b.is_ascii_alphanumeric())
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

    #[test]
    fn a_mail_unsubscribes_whom_its_subject_names_or_who_wrote_it() {
        let keys = keys();
        let path = unsubscribe_path(&keys, DELIVERY, CAMPAIGN, "ann@example.org");
        let mailto = unsubscribe_mailto(&path, "bounces.example.com");
        let (local, rest) = mailto.split_once('@').expect("an address");
        assert!(is_mailto(local) && is_mailto(&local.to_uppercase()), "{local}");
        let subject = rest.strip_prefix("bounces.example.com?subject=").expect("a subject");
        let subject = subject.replace("%20", " ");
        let read = |local: &str, subject: &str, from: &str| {
            verify_mail(&keys, local, subject, [from].into_iter()).map(|link| link.address)
        };
        let ann = Ok("ann@example.org".to_owned());
        assert_eq!(read(local, &subject, "other@example.net"), ann);
        assert_eq!(read(&local.to_uppercase(), &format!("Re: {subject}"), "x@example.net"), ann);
        assert_eq!(read(local, "no more", "Ann@Example.org"), ann);
        assert_eq!(read(local, "no more", "bob@example.org"), Err(VerpError::Forged));
        assert_eq!(read("b-234", &subject, ""), Err(VerpError::Foreign));
        for local in ["u-", "u-234", "postmaster", "é-234"] {
            assert!(!is_mailto(local), "{local}");
        }
    }

    #[test]
    fn links_are_found_in_what_is_quoted() {
        let path = unsubscribe_path(&keys(), DELIVERY, CAMPAIGN, "ann@example.org");
        let whole = parts(&path);
        let mailto = unsubscribe_mailto(&path, "b.example");
        assert_eq!(
            link_parts(&format!("<https://example.org/x{path}>, <mailto:x@y>")),
            Some(whole)
        );
        assert_eq!(link_parts(&format!("<mailto:{mailto}>")), Some(whole));
        for text in ["", "/u/", "/u/abc", "mailto:u-abc@", "mailto:u-abc@x?subject=unsubscribe"] {
            assert_eq!(link_parts(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_mail_is_answered(local in ".{0,60}", subject in ".{0,200}", from in ".{0,60}") {
            let _ = verify_mail(&keys(), &local, &subject, [from.as_str()].into_iter());
            let _ = (is_mailto(&local), link_parts(&subject).is_some());
        }

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
