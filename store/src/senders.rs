//! Sender domains: whose they are, with which keys their mail is signed, and whether
//! DNS has shown that the owner agrees.

use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

use crate::campaigns::{pack, unpack};
use crate::error::StoreError;
use crate::{SealKeys, Store};

const VERSION: u8 = 1;

/// A key of a sender domain under its selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// The DKIM selector (RFC 6376, 3.1).
    pub name: String,
    /// `rsa` or `ed25519`.
    pub algorithm: String,
    /// The TXT record that must stand at `name._domainkey.domain`.
    pub record: String,
    /// The PKCS #8 private key, sealed.
    sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A private key ready to sign with.
#[derive(Clone)]
pub struct SigningKey {
    /// Its selector.
    pub selector: String,
    /// `rsa` or `ed25519`.
    pub algorithm: String,
    /// PKCS #8, DER.
    pub pkcs8: Vec<u8>,
}

/// A sender domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderRecord {
    /// Whose it is.
    pub tenant: String,
    /// Its keys; the first one signs.
    pub selectors: Vec<Selector>,
    /// When DNS last showed the signing key; `None`: never.
    pub proved_at: Option<Timestamp>,
}

impl Selector {
    /// A new key, sealed for the store.
    #[must_use]
    pub fn new(
        seal: &SealKeys,
        domain: &Domain,
        key: &SigningKey,
        record: String,
        created_at: Timestamp,
    ) -> Self {
        Self {
            name: key.selector.clone(),
            algorithm: key.algorithm.clone(),
            record,
            sealed: seal.seal(&label(domain, &key.selector), &key.pkcs8),
            created_at,
        }
    }

    /// The private key.
    ///
    /// # Errors
    /// When it was sealed with a platform key that is not here.
    pub fn open(&self, seal: &SealKeys, domain: &Domain) -> Result<SigningKey, StoreError> {
        Ok(SigningKey {
            selector: self.name.clone(),
            algorithm: self.algorithm.clone(),
            pkcs8: seal.open(&label(domain, &self.name), &self.sealed)?,
        })
    }
}

fn label(domain: &Domain, selector: &str) -> String {
    format!("the DKIM key {selector}._domainkey.{domain}")
}

impl Store {
    /// A sender domain; `None` when nobody added it.
    ///
    /// # Errors
    /// When Redis does not answer or the record does not read.
    pub async fn sender(&self, domain: &Domain) -> Result<Option<SenderRecord>, StoreError> {
        let key = self.key("senders");
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(domain.as_str()).query_async(&mut conn).await?;
        packed.map(|p| unpack(VERSION, &format!("sender domain {domain}"), &p)).transpose()
    }

    /// Writes a sender domain.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_sender(
        &self,
        domain: &Domain,
        record: &SenderRecord,
    ) -> Result<(), StoreError> {
        let key = self.key("senders");
        let mut conn = self.conn_for(&key).await?;
        let _: () = redis::cmd("HSET")
            .arg(&key)
            .arg(domain.as_str())
            .arg(pack(VERSION, record))
            .query_async(&mut conn)
            .await?;
        self.confirm(&mut conn).await
    }

    /// Every sender domain.
    ///
    /// # Errors
    /// When Redis does not answer or a record does not read.
    pub async fn senders(&self) -> Result<Vec<(Domain, SenderRecord)>, StoreError> {
        let key = self.key("senders");
        let mut conn = self.conn_for(&key).await?;
        let all: Vec<(String, Vec<u8>)> =
            redis::cmd("HGETALL").arg(&key).query_async(&mut conn).await?;
        let mut senders = all
            .into_iter()
            .map(|(name, packed)| {
                let domain =
                    name.parse().map_err(|e| StoreError::corrupt("the sender domains", e))?;
                Ok((domain, unpack(VERSION, &format!("sender domain {name}"), &packed)?))
            })
            .collect::<Result<Vec<(Domain, SenderRecord)>, StoreError>>()?;
        senders.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(senders)
    }
}
