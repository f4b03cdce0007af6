//! Sealing: private keys lie in Redis encrypted, so that a copy of Redis is not a
//! copy of every customer's signature. AES-256-GCM; the platform's keys come from
//! outside and have one-letter names, the first seals, all open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::error::StoreError;

/// The keys that secrets in the store are sealed with.
#[derive(Clone)]
pub struct SealKeys(Vec<(char, [u8; 32])>);

impl SealKeys {
    /// Keys by name; the first one seals.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn new(keys: Vec<(char, [u8; 32])>) -> Self {
        assert!(!keys.is_empty(), "a platform has at least one key");
        Self(keys)
    }

    /// `plain` sealed; `what` must be given again to open it.
    #[must_use]
    pub fn seal(&self, what: &str, plain: &[u8]) -> Vec<u8> {
        let (name, key) = &self.0[0];
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).expect("the system has randomness");
        let mut body = plain.to_vec();
        cipher(key)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(what.as_bytes()),
                &mut body,
            )
            .expect("a secret is short");
        let mut sealed = vec![*name as u8];
        sealed.extend_from_slice(&nonce);
        sealed.extend(body);
        sealed
    }

    /// Opens what was sealed under the same `what`.
    ///
    /// # Errors
    /// When no key of that name is here, or the record was changed.
    pub fn open(&self, what: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let refused = || StoreError::Sealed(what.to_owned());
        let (name, rest) = sealed.split_first().ok_or_else(refused)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let (_, key) = self.0.iter().find(|(n, _)| *n as u8 == *name).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut body = body.to_vec();
        let plain = cipher(key)
            .open_in_place(nonce, Aad::from(what.as_bytes()), &mut body)
            .map_err(|_| refused())?;
        Ok(plain.to_vec())
    }
}

impl std::fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKeys(…)")
    }
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 octets fit AES-256"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_name_only() {
        let old = SealKeys::new(vec![('a', [1; 32])]);
        let both = SealKeys::new(vec![('b', [2; 32]), ('a', [1; 32])]);
        let sealed = old.seal("dkim example.org", b"key");
        assert_eq!(both.open("dkim example.org", &sealed).unwrap(), b"key");
        assert!(old.open("dkim example.com", &sealed).is_err());
        assert!(old.open("dkim example.org", &both.seal("dkim example.org", b"key")).is_err());
        assert!(old.open("dkim example.org", &sealed[..5]).is_err());
    }
}
