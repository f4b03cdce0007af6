//! What a server's certificates are worth by the TLSA records of its DNS (RFC 7672, 3; RFC 7671):
//! the certificate itself, whatever its names and dates, or an authority in its chain, which must
//! then have given it to one of the names that are looked for.

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use dns::Tlsa;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{Error, RootCertStore};

use super::words::Flaw;

const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;

/// What is looked for in a server's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaneWish {
    /// The usable records; see [`usable`].
    pub tlsa: Vec<Tlsa>,
    /// Names that an authority may have given the certificate to: the server's, what that is an
    /// alias of, and the domain's (RFC 7672, 3.2.2).
    pub names: Vec<String>,
}

/// Why a chain is not what the records say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoMatch {
    /// No record is about any of the certificates.
    Nothing,
    /// A record names an authority of the chain, and this is wrong with what it gave.
    Chain(Flaw),
}

impl NoMatch {
    /// As reports have it.
    pub(super) fn flaw(self) -> Flaw {
        let why = self.to_string();
        match self {
            Self::Nothing => Flaw::other(why),
            Self::Chain(Flaw { result, .. }) => Flaw { result, why },
        }
    }
}

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("its certificate is not the one that its DNS names"),
            Self::Chain(why) => write!(f, "its DNS names an authority in its chain, but {why}"),
        }
    }
}

/// The records that mail has a use for: those of usage 2 and 3, with a selector and a matching
/// type that are known here, and a digest of the length that it should have. Of a set without any
/// nothing follows but that TLS is spoken there (RFC 7672, 3.1.3 and 2.2).
#[must_use]
pub fn usable(tlsa: &[Tlsa]) -> Vec<Tlsa> {
    let is_usable = |record: &&Tlsa| {
        let has_length = match record.matching {
            0 => !record.data.is_empty(),
            1 => record.data.len() == 32,
            2 => record.data.len() == 64,
            _ => false,
        };
        has_length && matches!(record.usage, DANE_TA | DANE_EE) && record.selector <= 1
    };
    tlsa.iter().filter(is_usable).cloned().collect()
}

/// Whether a chain, the server's own certificate first, is what the records say, at this time.
///
/// # Errors
/// Why it is not.
pub fn judge(
    wish: &DaneWish,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), NoMatch> {
    let Some((leaf, others)) = chain.split_first() else { return Err(NoMatch::Nothing) };
    let of = |usage: u8| wish.tlsa.iter().filter(move |record| record.usage == usage);
    // Neither names nor dates: the key is the server's, and DNS says until when (RFC 7671, 5.1).
    if of(DANE_EE).any(|record| is_about(record, leaf)) {
        return Ok(());
    }
    let mut verdict = NoMatch::Nothing;
    for anchor in of(DANE_TA).filter_map(|record| anchor(record, chain)) {
        match is_given_by(anchor, leaf, others, wish, now, algorithms) {
            Ok(()) => return Ok(()),
            Err(error) => verdict = NoMatch::Chain(Flaw::of(&error)),
        }
    }
    Err(verdict)
}

/// The authority that a record is about: one that the server shows, or the record itself, where it
/// holds a whole certificate (RFC 7671, 5.2.2: servers should show it, and may not).
fn anchor<'a>(record: &'a Tlsa, chain: &'a [CertificateDer<'_>]) -> Option<CertificateDer<'a>> {
    if let Some(shown) = chain.iter().find(|certificate| is_about(record, certificate)) {
        return Some(CertificateDer::from(shown.as_ref()));
    }
    let is_whole = record.selector == 0 && record.matching == 0;
    is_whole.then(|| CertificateDer::from(record.data.as_slice()))
}

fn is_given_by(
    anchor: CertificateDer<'_>,
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    wish: &DaneWish,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(anchor)?;
    let parsed = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, others, now, algorithms.all)?;
    let mut last = Error::General("no name is looked for".to_owned());
    for name in wish.names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok()) {
        match verify_server_name(&parsed, &name) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn is_about(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => certificate.as_ref().to_vec(),
        1 => match ParsedCertificate::try_from(certificate) {
            Ok(parsed) => parsed.subject_public_key_info().as_ref().to_vec(),
            Err(_) => return false,
        },
        _ => return false,
    };
    match record.matching {
        0 => selected == record.data,
        1 => digest(&SHA256, &selected).as_ref() == record.data,
        2 => digest(&SHA512, &selected).as_ref() == record.data,
        _ => false,
    }
}

#[cfg(test)]
#[path = "dane_tests.rs"]
mod tests;
