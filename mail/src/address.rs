//! `Address` and `Domain`: parsed once, at the door. Past it nobody checks again,
//! so neither can hold a control character, a space or an angle bracket: what is
//! written into `RCPT TO:<…>` or a header cannot break out of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// RFC 5321, 4.5.3.1.1.
pub const LOCAL_PART_OCTETS_MAX: usize = 64;
/// RFC 5321, 4.5.3.1.2 (255), less the room that DNS itself needs.
pub const DOMAIN_OCTETS_MAX: usize = 253;
/// RFC 5321, 4.5.3.1.3: a path is 256 octets including its angle brackets.
pub const ADDRESS_OCTETS_MAX: usize = 254;

/// Why a text is not an address or a domain. The text itself is for the caller to quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@` at all.
    #[error("has no @")]
    NoAt,
    /// Nothing before the last `@`.
    #[error("has nothing before the @")]
    EmptyLocal,
    /// More octets before the `@` than RFC 5321 allows.
    #[error("has more than 64 octets before the @")]
    LongLocal,
    /// A character that an unquoted local part cannot hold (RFC 5321, 4.1.2; RFC 6531, 3.3).
    #[error("has a character before the @ that an address cannot hold")]
    BadLocal,
    /// Leading, trailing or doubled dot before the `@`.
    #[error("has a misplaced dot before the @")]
    BadDot,
    /// Not a domain name by IDNA and RFC 1123.
    #[error("has no valid domain after the @")]
    BadDomain,
    /// A name without a dot, which no public mail system has.
    #[error("has a domain without a dot")]
    BareDomain,
    /// Longer than a path may be.
    #[error("is longer than 254 octets")]
    Long,
}

/// A domain in lower-case ASCII (A-labels), without the final dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Box<str>);

impl Domain {
    /// The name, lower-case ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `parent` or lies below it.
    #[must_use]
    pub fn is_within(&self, parent: &Domain) -> bool {
        self.0.strip_suffix(&*parent.0).is_some_and(|head| head.is_empty() || head.ends_with('.'))
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if is_plain_ldh(text) {
            return Ok(Self(text.into()));
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| AddressError::BadDomain)?;
        if ascii.len() > DOMAIN_OCTETS_MAX || ascii.is_empty() {
            return Err(AddressError::BadDomain);
        }
        if !ascii.contains('.') {
            return Err(AddressError::BareDomain);
        }
        if !is_plain_ldh(&ascii) {
            return Err(AddressError::BadDomain);
        }
        Ok(Self(ascii.into()))
    }
}

/// The common case, decided without IDNA: lower-case letters, digits and inner
/// hyphens, at least two labels, a last label that is not a number, no A-label.
fn is_plain_ldh(text: &str) -> bool {
    if text.len() > DOMAIN_OCTETS_MAX {
        return false;
    }
    let mut labels = 0;
    let mut last = "";
    for label in text.split('.') {
        let bytes = label.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        if bytes.is_empty() || bytes.len() > 63 || !bytes.iter().all(inner) {
            return false;
        }
        if bytes[0] == b'-' || bytes[bytes.len() - 1] == b'-' {
            return false;
        }
        labels += 1;
        last = label;
    }
    labels >= 2 && !last.bytes().all(|b| b.is_ascii_digit())
}

impl TryFrom<String> for Domain {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> String {
        domain.0.into()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mailbox `local@domain`. The local part keeps its case (RFC 5321, 2.4), the
/// domain is lower-case ASCII. Quoted local parts are refused: no mailing list
/// has a living one, and every list has mistyped ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    text: Box<str>,
    at: u8,
}

impl Address {
    /// `local@domain` as it is written on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`, its case kept.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The part after the `@`: lower-case ASCII.
    #[must_use]
    pub fn domain_str(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// The part after the `@` as a value of its own.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain(self.domain_str().into())
    }

    /// The form by which lists compare: everything in lower case. No provider
    /// gives `Ann@` and `ann@` to two people.
    #[must_use]
    pub fn folded(&self) -> String {
        self.text.to_lowercase()
    }

    /// Whether the local part needs SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        check_local(local)?;
        let domain: Domain = domain.parse()?;
        if local.len() + 1 + domain.0.len() > ADDRESS_OCTETS_MAX {
            return Err(AddressError::Long);
        }
        let mut whole = String::with_capacity(local.len() + 1 + domain.0.len());
        whole.push_str(local);
        whole.push('@');
        whole.push_str(&domain.0);
        Ok(Self {
            text: whole.into(),
            at: u8::try_from(local.len()).map_err(|_| AddressError::LongLocal)?,
        })
    }
}

fn check_local(local: &str) -> Result<(), AddressError> {
    if local.is_empty() {
        return Err(AddressError::EmptyLocal);
    }
    if local.len() > LOCAL_PART_OCTETS_MAX {
        return Err(AddressError::LongLocal);
    }
    if !local.chars().all(is_local_char) {
        return Err(AddressError::BadLocal);
    }
    // RFC 5321 forbids these dots, yet Japanese carriers gave out such mailboxes
    // until 2009 and deliver to them still: only a leading one is a sure mistake.
    if local.starts_with('.') {
        return Err(AddressError::BadDot);
    }
    Ok(())
}

/// `atext` and the dot (RFC 5322, 3.2.3), and beyond ASCII whatever RFC 6531 lets
/// in, except what is invisible or turns text around.
fn is_local_char(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '.' | '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^'
        | '_' | '`' | '{' | '|' | '}' | '~' => true,
        _ => c > '\u{9f}' && c.is_alphanumeric(),
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.text.into()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_or_refused_with_a_reason() {
        let cases: &[(&str, Result<&str, AddressError>)] = &[
            ("ann@example.org", Ok("ann@example.org")),
            ("Ann.B+tag@EXAMPLE.org.", Ok("Ann.B+tag@example.org")),
            ("jürgen@bücher.example", Ok("jürgen@xn--bcher-kva.example")),
            ("a..b@docomo.example", Ok("a..b@docomo.example")),
            ("ann", Err(AddressError::NoAt)),
            ("@example.org", Err(AddressError::EmptyLocal)),
            ("ana@@example.org", Err(AddressError::BadLocal)),
            ("a b@example.org", Err(AddressError::BadLocal)),
            ("a\r\nRCPT@example.org", Err(AddressError::BadLocal)),
            ("a\u{202e}b@example.org", Err(AddressError::BadLocal)),
            (".ann@example.org", Err(AddressError::BadDot)),
            ("ann@localhost", Err(AddressError::BareDomain)),
            ("ann@-x.org", Err(AddressError::BadDomain)),
            ("ann@exa mple.org", Err(AddressError::BadDomain)),
            ("ann@example..org", Err(AddressError::BadDomain)),
            ("ann@[127.0.0.1]", Err(AddressError::BadDomain)),
            ("ann@example.org>", Err(AddressError::BadDomain)),
        ];
        for (text, expected) in cases {
            let got = text.parse::<Address>();
            assert_eq!(got.as_ref().map(Address::as_str), expected.as_ref().copied(), "{text:?}");
        }
    }

    #[test]
    fn a_local_part_of_64_octets_is_the_longest() {
        let at = |n: usize| format!("{}@example.org", "x".repeat(n)).parse::<Address>();
        assert!(at(64).is_ok());
        assert_eq!(at(65), Err(AddressError::LongLocal));
    }

    #[test]
    fn a_domain_lies_within_its_parents_only() {
        let d = |s: &str| s.parse::<Domain>().expect("a domain");
        assert!(d("mx1.example.org").is_within(&d("example.org")));
        assert!(d("example.org").is_within(&d("example.org")));
        assert!(!d("badexample.org").is_within(&d("example.org")));
    }
}
