//! DKIM keys: made, read, and shown as the DNS records that prove them. What they
//! sign, and how, is `sign`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why a key cannot sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor DER of an RSA key.
    #[error("not an RSA private key (PKCS#8 or PKCS#1, PEM or DER): {0}")]
    NotAKey(String),
    /// Neither PEM nor DER of an Ed25519 key.
    #[error("not an Ed25519 private key (PKCS#8, PEM or DER): {0}")]
    NotEd25519(String),
    /// Too short for receivers to accept (RFC 8301, 3.2).
    #[error("an RSA key of {0} bits: receivers want at least 1024, better 2048")]
    Short(usize),
    /// Not a selector by RFC 6376, 3.1.
    #[error("selector {0:?}: letters, digits, hyphens and dots, at most 63 a label")]
    Selector(String),
    /// An algorithm that this program does not know.
    #[error("{0:?} is no DKIM algorithm known here: rsa or ed25519")]
    Algorithm(String),
    /// Nothing to sign with.
    #[error("no key to sign with")]
    None,
    /// The library could not make a key.
    #[error("cannot make a key")]
    Generate,
    /// The library could not sign.
    #[error("cannot sign with the key of selector {0:?}")]
    Sign(String),
}

/// What kind of key a signature is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA with SHA-256: what every receiver verifies.
    Rsa,
    /// Ed25519 with SHA-256 (RFC 8463): a tenth of the work, and not verified everywhere yet.
    Ed25519,
}

impl Algorithm {
    /// As the `k=` tag of a DNS record has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// As the `a=` tag of a signature has it.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        [Self::Rsa, Self::Ed25519]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| KeyError::Algorithm(text.chars().take(40).collect()))
    }
}

/// A private key under its selector.
pub struct Key {
    pair: Pair,
    random: SystemRandom,
    selector: String,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} key {:?}", self.algorithm(), self.selector)
    }
}

impl Key {
    /// A private key in PEM or DER: PKCS#8, or for RSA PKCS#1 as well.
    ///
    /// # Errors
    /// When it is no such key, too short, or the selector is none (RFC 6376, 3.1).
    pub fn read(algorithm: Algorithm, key: &[u8], selector: &str) -> Result<Self, KeyError> {
        check_selector(selector)?;
        let wrong = |why: String| match algorithm {
            Algorithm::Rsa => KeyError::NotAKey(why),
            Algorithm::Ed25519 => KeyError::NotEd25519(why),
        };
        let der = from_pem(key).map_err(wrong)?;
        let der = der.as_deref().unwrap_or(key);
        let pair = match algorithm {
            Algorithm::Rsa => {
                RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).map(Pair::Rsa)
            }
            Algorithm::Ed25519 => Ed25519KeyPair::from_pkcs8(der).map(Pair::Ed25519),
        };
        let pair = pair.map_err(|error| wrong(error.to_string()))?;
        pair.check_strength()?;
        Ok(Self { pair, random: SystemRandom::new(), selector: selector.to_owned() })
    }

    /// What kind of key it is.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.pair {
            Pair::Rsa(_) => Algorithm::Rsa,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The selector.
    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// The TXT record that must stand at `selector._domainkey.domain`.
    #[must_use]
    pub fn record(&self) -> String {
        self.pair.record()
    }

    /// The signature over a canonical header.
    pub(crate) fn seal(&self, canonical: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Sign(self.selector.clone());
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut seal = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, canonical, &mut seal).map_err(failed)?;
                Ok(seal)
            }
            // RFC 8463, 3: Ed25519 signs the hash, not what was hashed.
            Pair::Ed25519(pair) => {
                let hash = digest(&SHA256, canonical);
                Ok(pair.try_sign(hash.as_ref()).map_err(failed)?.as_ref().to_vec())
            }
        }
    }
}

impl Pair {
    fn check_strength(&self) -> Result<(), KeyError> {
        match self {
            Self::Rsa(pair) if pair.public_modulus_len() < 128 => {
                Err(KeyError::Short(pair.public_modulus_len() * 8))
            }
            Self::Rsa(_) | Self::Ed25519(_) => Ok(()),
        }
    }

    fn record(&self) -> String {
        match self {
            Self::Rsa(pair) => match AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()) {
                Ok(der) => record(Algorithm::Rsa, der.as_ref()),
                // A public key that was read can be written; the record of no key revokes.
                Err(_) => record(Algorithm::Rsa, &[]),
            },
            // RFC 8463, 4: the 32 octets alone, without ASN.1.
            Self::Ed25519(pair) => record(Algorithm::Ed25519, pair.public_key().as_ref()),
        }
    }
}

fn check_selector(selector: &str) -> Result<(), KeyError> {
    let label = |l: &str| {
        let ldh = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !l.is_empty() && l.len() <= 63 && l.bytes().all(ldh)
    };
    if selector.split('.').all(label) {
        return Ok(());
    }
    Err(KeyError::Selector(selector.chars().take(80).collect()))
}

fn from_pem(key: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Ok(text) = std::str::from_utf8(key) else { return Ok(None) };
    let mut lines = text.lines().map(str::trim).skip_while(|l| !l.starts_with("-----BEGIN"));
    match lines.next() {
        Some("-----BEGIN PRIVATE KEY-----" | "-----BEGIN RSA PRIVATE KEY-----") => {}
        Some(other) => return Err(other.chars().take(60).collect()),
        None => return Ok(None),
    }
    let base64: String = lines.take_while(|l| !l.starts_with("-----END")).collect();
    STANDARD.decode(base64).map(Some).map_err(|error| error.to_string())
}

fn record(algorithm: Algorithm, public_key: &[u8]) -> String {
    format!("v=DKIM1; k={algorithm}; p={}", STANDARD.encode(public_key))
}

/// A new key, RSA of 2048 bits or Ed25519: its PKCS#8 DER, and the TXT record for its
/// public half.
///
/// # Errors
/// When the library cannot make one.
pub fn generate(algorithm: Algorithm) -> Result<(Vec<u8>, String), KeyError> {
    let failed = |_| KeyError::Generate;
    match algorithm {
        Algorithm::Rsa => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let private: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            let private = private.as_ref().to_vec();
            Ok((private, Pair::Rsa(pair).record()))
        }
        Algorithm::Ed25519 => {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            // Version 1, without the public key: what every other program reads, too.
            let private = pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec();
            Ok((private, Pair::Ed25519(pair).record()))
        }
    }
}

/// A new RSA key of 2048 bits: its PKCS#8 DER, and the TXT record for its public half.
///
/// # Errors
/// When the library cannot make one.
pub fn generate_rsa_2048() -> Result<(Vec<u8>, String), KeyError> {
    generate(Algorithm::Rsa)
}
