//! Sender domains: whose they are, with which keys their mail is signed, and whether
//! DNS has shown that the owner agrees.

use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

use crate::campaigns::{pack, unpack};
use crate::error::StoreError;
use crate::key_state::KeyState;
use crate::{SealKeys, Store};

/// Keys have states. Records that say nothing a program of version 1 would misread are
/// still written as version 1, so that relays can be upgraded one by one.
const VERSION: u8 = 2;
const STATELESS: u8 = 1;
/// Compare and set: keys are changed by people, proofs are written by every API process.
const REPLACE: &str = include_str!("lua/replace.lua");

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
    /// What it is for.
    #[serde(default = "KeyState::of_old")]
    pub state: KeyState,
    /// Since when; `None`: since it was made.
    #[serde(default)]
    pub changed_at: Option<Timestamp>,
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
    /// Its keys, the active ones first, RSA before Ed25519: a relay of the version before
    /// signs with the first.
    pub selectors: Vec<Selector>,
    /// When DNS last showed the signing keys; `None`: never.
    pub proved_at: Option<Timestamp>,
}

/// Why a key stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// No such key.
    #[error("no key {0:?}; there are: {1}")]
    Unknown(String, String),
    /// The name is taken.
    #[error("a key {0:?} is there already: choose another name")]
    Taken(String),
    /// It does sign already.
    #[error("{0:?} is active already")]
    Active(String),
    /// Nothing would sign any more.
    #[error("{0:?} is the only key that signs: activate another one first")]
    Last(String),
    /// It still signs.
    #[error("{0:?} still signs: retire it or activate another one of its algorithm first")]
    Signs(String),
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
            state: KeyState::Published,
            changed_at: None,
        }
    }

    /// The name that its TXT record must stand at.
    #[must_use]
    pub fn dns_name(&self, domain: &Domain) -> String {
        format!("{}._domainkey.{domain}", self.name)
    }

    /// Since when it is what it is.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.changed_at.unwrap_or(self.created_at)
    }

    fn turn(&mut self, state: KeyState, now: Timestamp) {
        self.state = state;
        self.changed_at = Some(now);
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

impl SenderRecord {
    /// A sender domain without keys.
    #[must_use]
    pub fn new(tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), selectors: Vec::new(), proved_at: None }
    }

    /// The keys that sign, RSA before Ed25519.
    pub fn active(&self) -> impl Iterator<Item = &Selector> {
        self.selectors.iter().filter(|key| key.state == KeyState::Active)
    }

    /// A key by its selector.
    ///
    /// # Errors
    /// When there is none, with the names that there are.
    pub fn key(&self, name: &str) -> Result<&Selector, KeyRefused> {
        Ok(&self.selectors[self.at(name)?])
    }

    fn at(&self, name: &str) -> Result<usize, KeyRefused> {
        self.selectors.iter().position(|key| key.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.selectors.iter().map(|key| key.name.as_str()).collect();
            KeyRefused::Unknown(name.to_owned(), names.join(", "))
        })
    }

    /// Adds a key. The first of a domain sign at once, one for each algorithm: nothing was
    /// sent yet, and nothing will be before DNS shows them.
    ///
    /// # Errors
    /// When its name is taken.
    pub fn add(&mut self, mut key: Selector) -> Result<KeyState, KeyRefused> {
        if self.selectors.iter().any(|other| other.name == key.name) {
            return Err(KeyRefused::Taken(key.name));
        }
        let is_new = self.proved_at.is_none()
            && !self.active().any(|other| other.algorithm == key.algorithm);
        key.state = if is_new { KeyState::Active } else { KeyState::Published };
        let state = key.state;
        self.selectors.push(key);
        self.order();
        Ok(state)
    }

    /// Signs with this key from now on; the one of its algorithm that did retires. Answers
    /// the name of that one.
    ///
    /// # Errors
    /// When there is no such key, or it is active already.
    pub fn activate(&mut self, name: &str, now: Timestamp) -> Result<Option<String>, KeyRefused> {
        let at = self.at(name)?;
        if self.selectors[at].state == KeyState::Active {
            return Err(KeyRefused::Active(name.to_owned()));
        }
        let algorithm = self.selectors[at].algorithm.clone();
        let before = self
            .selectors
            .iter_mut()
            .find(|key| key.state == KeyState::Active && key.algorithm == algorithm);
        let retired = before.map(|key| {
            key.turn(KeyState::Retired, now);
            key.name.clone()
        });
        self.selectors[at].turn(KeyState::Active, now);
        self.order();
        Ok(retired)
    }

    /// Signs with this key no more; another algorithm's must be there.
    ///
    /// # Errors
    /// When there is no such key, or nothing else signs.
    pub fn retire(&mut self, name: &str, now: Timestamp) -> Result<(), KeyRefused> {
        let at = self.at(name)?;
        if self.active().all(|key| key.name == name) {
            return Err(KeyRefused::Last(name.to_owned()));
        }
        self.selectors[at].turn(KeyState::Retired, now);
        self.order();
        Ok(())
    }

    /// Forgets a key that does not sign.
    ///
    /// # Errors
    /// When there is no such key, or it signs.
    pub fn remove(&mut self, name: &str) -> Result<Selector, KeyRefused> {
        let at = self.at(name)?;
        if self.selectors[at].state == KeyState::Active {
            return Err(KeyRefused::Signs(name.to_owned()));
        }
        Ok(self.selectors.remove(at))
    }

    /// Active ones first, RSA before the others, otherwise as they were.
    fn order(&mut self) {
        let place =
            |key: &Selector| (key.state != KeyState::Active, key.algorithm.as_str() != "rsa");
        self.selectors.sort_by_key(place);
    }

    /// A record without states: of each algorithm the first key signs; one made later waits,
    /// one made earlier was used before.
    fn settle(&mut self) {
        for at in 0..self.selectors.len() {
            let (before, rest) = self.selectors.split_at_mut(at);
            let Some(key) = rest.first_mut() else { return };
            let active = before
                .iter()
                .find(|other| other.algorithm == key.algorithm && other.state == KeyState::Active);
            if let Some(active) = active {
                key.state = if key.created_at > active.created_at {
                    KeyState::Published
                } else {
                    KeyState::Retired
                };
            }
        }
    }

    fn unpack(what: &str, packed: &[u8]) -> Result<Self, StoreError> {
        if packed.first() != Some(&STATELESS) {
            return unpack(VERSION, what, packed);
        }
        let mut record: Self = unpack(STATELESS, what, packed)?;
        record.settle();
        Ok(record)
    }

    fn pack(&self) -> Vec<u8> {
        let mut stateless = self.clone();
        stateless.selectors.iter_mut().for_each(|key| key.state = KeyState::of_old());
        stateless.settle();
        let states = |record: &Self| record.selectors.iter().map(|k| k.state).collect::<Vec<_>>();
        let is_rsa = self.selectors.first().is_none_or(|key| key.algorithm == "rsa");
        // The states that version 1 reads into it are the ones it has.
        let reads_the_same = is_rsa && states(&stateless) == states(self);
        pack(if reads_the_same { STATELESS } else { VERSION }, self)
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
        packed.map(|p| SenderRecord::unpack(&format!("sender domain {domain}"), &p)).transpose()
    }

    /// Writes a sender domain that is still as it was read, `before`; `None`: not there.
    /// False when somebody else changed it meanwhile.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn replace_sender(
        &self,
        domain: &Domain,
        before: Option<&SenderRecord>,
        record: &SenderRecord,
    ) -> Result<bool, StoreError> {
        let key = self.key("senders");
        let mut conn = self.conn_for(&key).await?;
        let held: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(domain.as_str()).query_async(&mut conn).await?;
        let what = format!("sender domain {domain}");
        let read = held.as_ref().map(|p| SenderRecord::unpack(&what, p)).transpose()?;
        if read.as_ref() != before {
            return Ok(false);
        }
        let written: i64 = redis::cmd("EVAL")
            .arg(REPLACE)
            .arg(1)
            .arg(&key)
            .arg(domain.as_str())
            .arg(held.unwrap_or_default())
            .arg(record.pack())
            .query_async(&mut conn)
            .await?;
        self.confirm(&mut conn).await?;
        Ok(written == 1)
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
            .arg(record.pack())
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
                Ok((domain, SenderRecord::unpack(&format!("sender domain {name}"), &packed)?))
            })
            .collect::<Result<Vec<(Domain, SenderRecord)>, StoreError>>()?;
        senders.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(senders)
    }
}

#[cfg(test)]
#[path = "senders_tests.rs"]
mod tests;
