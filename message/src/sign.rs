//! DKIM (RFC 6376): keys and signatures. Canonical forms are mail-auth's, RSA is
//! aws-lc's. When a signature is made is the caller's to say, so that the same
//! message signed again is the same octets.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{Domain, Timestamp};
use mail_auth::common::crypto::HashAlgorithm;
use mail_auth::dkim::Canonicalization;

/// What is signed, where it is there. `From` and `Subject` are named once more than
/// they occur, so that nobody adds a second one on the way (RFC 6376, 8.15).
const SIGNED: &[&str] = &[
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
];
const SEALED: &str = "from:subject";

/// Why a key cannot sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor DER of an RSA key.
    #[error("not an RSA private key (PKCS#8 or PKCS#1, PEM or DER): {0}")]
    NotAKey(String),
    /// Too short for receivers to accept (RFC 8301, 3.2).
    #[error("an RSA key of {0} bits: receivers want at least 1024, better 2048")]
    Short(usize),
    /// Not a selector by RFC 6376, 3.1.
    #[error("selector {0:?}: letters, digits, hyphens and dots, at most 63 a label")]
    Selector(String),
    /// The library could not make a key.
    #[error("cannot make an RSA key")]
    Generate,
    /// The library could not sign.
    #[error("cannot sign with the key of selector {0:?}")]
    Sign(String),
}

/// Signs for one domain with one key.
pub struct Signer {
    key: RsaKeyPair,
    random: SystemRandom,
    selector: String,
    /// The signature's tags up to the list of headers.
    tags: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("tags", &self.tags).finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with an RSA private key, PKCS#8 or PKCS#1, in PEM or DER.
    pub fn rsa(key: &[u8], domain: &Domain, selector: &str) -> Result<Self, KeyError> {
        let label = |l: &str| {
            let ldh = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !l.is_empty() && l.len() <= 63 && l.bytes().all(ldh)
        };
        if !selector.split('.').all(label) {
            return Err(KeyError::Selector(selector.chars().take(80).collect()));
        }
        let der = from_pem(key)?;
        let der = der.as_deref().unwrap_or(key);
        let key = RsaKeyPair::from_pkcs8(der)
            .or_else(|_| RsaKeyPair::from_der(der))
            .map_err(|error| KeyError::NotAKey(error.to_string()))?;
        let bits = key.public_modulus_len() * 8;
        if bits < 1024 {
            return Err(KeyError::Short(bits));
        }
        let tags = format!("v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s={selector};");
        Ok(Self { key, random: SystemRandom::new(), selector: selector.to_owned(), tags })
    }

    /// The TXT record that must stand at `selector._domainkey.domain`.
    #[must_use]
    pub fn record(&self) -> String {
        match AsDer::<PublicKeyX509Der<'_>>::as_der(self.key.public_key()) {
            Ok(der) => record(der.as_ref()),
            // A public key that was read can be written; the record of no key revokes.
            Err(_) => "v=DKIM1; k=rsa; p=".to_owned(),
        }
    }

    /// Puts a `DKIM-Signature`, made at `at`, before `message`, which is a whole
    /// message with CRLF line ends.
    pub fn sign(&self, at: Timestamp, message: &mut Vec<u8>) -> Result<(), KeyError> {
        let (signed, body) = signed_fields(message);
        let hash = HashAlgorithm::Sha256.hash(Canonicalization::Relaxed.canonical_body(body, 0));
        let mut signature = self.unsigned(at, &signed, hash.as_ref());
        // Several headers of one name are taken from the bottom (RFC 6376, 5.4.2).
        let mut canonical = Vec::with_capacity(2048);
        let relaxed = Canonicalization::Relaxed;
        relaxed.canonicalize_headers(signed.into_iter().rev(), &mut canonical);
        let own = format!("{signature}\r\n");
        let own = std::iter::once((b"DKIM-Signature".as_slice(), own.as_bytes()));
        relaxed.canonicalize_headers(own, &mut canonical);
        canonical.truncate(canonical.len() - 2);
        signature.insert_str(0, "DKIM-Signature:");
        fold_base64(&mut signature, &self.seal(&canonical)?);
        signature.push_str("\r\n");
        message.splice(0..0, signature.into_bytes());
        Ok(())
    }

    fn unsigned(&self, at: Timestamp, signed: &[Field<'_>], hash: &[u8]) -> String {
        let mut text = String::with_capacity(1024);
        text.push(' ');
        text.push_str(&self.tags);
        text.push_str("\r\n\th=");
        for (name, _) in signed.iter().rev() {
            text.extend(name.iter().map(|b| char::from(b.to_ascii_lowercase())));
            text.push(':');
            if text.len() - text.rfind('\n').unwrap_or(0) > 60 {
                text.push_str("\r\n\t ");
            }
        }
        text.push_str(SEALED);
        text.push_str(&format!("; t={};\r\n\tbh={};\r\n\tb=", at.secs(), STANDARD.encode(hash)));
        text
    }

    fn seal(&self, canonical: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut seal = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &self.random, canonical, &mut seal)
            .map_err(|_| KeyError::Sign(self.selector.clone()))?;
        Ok(seal)
    }
}

/// A header field: name, and value with its line end.
type Field<'a> = (&'a [u8], &'a [u8]);

/// The header fields that are signed, name and value, and the body.
fn signed_fields(message: &[u8]) -> (Vec<Field<'_>>, &[u8]) {
    let mut signed = Vec::with_capacity(SIGNED.len());
    let mut rest = message;
    loop {
        if let Some(body) = rest.strip_prefix(b"\r\n") {
            return (signed, body);
        }
        let (field, after) = rest.split_at(field_end(rest));
        if let Some(colon) = memchr::memchr(b':', field) {
            let (name, value) = (&field[..colon], &field[colon + 1..]);
            if SIGNED.iter().any(|s| name.eq_ignore_ascii_case(s.as_bytes())) {
                signed.push((name, value));
            }
        }
        if after.is_empty() {
            return (signed, after);
        }
        rest = after;
    }
}

/// After the first line end that no blank follows.
fn field_end(octets: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', octets)
        .map(|at| at + 1)
        .find(|end| !matches!(octets.get(*end), Some(b' ' | b'\t')))
        .unwrap_or(octets.len())
}

/// Blanks in `b=` do not count (RFC 6376, 3.5).
fn fold_base64(text: &mut String, octets: &[u8]) {
    for (i, line) in octets.chunks(54).enumerate() {
        if i > 0 {
            text.push_str("\r\n\t");
        }
        STANDARD.encode_string(line, text);
    }
}

fn from_pem(key: &[u8]) -> Result<Option<Vec<u8>>, KeyError> {
    let Ok(text) = std::str::from_utf8(key) else { return Ok(None) };
    let mut lines = text.lines().map(str::trim).skip_while(|l| !l.starts_with("-----BEGIN"));
    match lines.next() {
        Some("-----BEGIN PRIVATE KEY-----" | "-----BEGIN RSA PRIVATE KEY-----") => {}
        Some(other) => return Err(KeyError::NotAKey(other.chars().take(60).collect())),
        None => return Ok(None),
    }
    let base64: String = lines.take_while(|l| !l.starts_with("-----END")).collect();
    STANDARD.decode(base64).map(Some).map_err(|error| KeyError::NotAKey(error.to_string()))
}

fn record(public_key: &[u8]) -> String {
    format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public_key))
}

/// A new RSA key of 2048 bits: its PKCS#8 DER, and the TXT record for its public half.
pub fn generate_rsa_2048() -> Result<(Vec<u8>, String), KeyError> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?;
    let private: Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyError::Generate)?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| KeyError::Generate)?;
    Ok((private.as_ref().to_vec(), record(public.as_ref())))
}
