//! API keys. The key itself is shown once and kept nowhere; what lies here is its
//! SHA-256, which is enough: 256 random bits need no slow hash.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use mail::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::error::StoreError;

const VERSION: u8 = 1;

mail::words! {
    /// What an API key may do.
    Right {
        /// Everything, for every tenant.
        Admin = "admin",
        /// Campaigns of its tenant.
        Campaigns = "campaigns",
        /// Only look, at its tenant's.
        Read = "read",
    }
}

/// What is known of an API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// What its owner calls it.
    pub name: String,
    /// For whom it acts.
    pub tenant: String,
    /// What it may do.
    pub right: Right,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An API key in the clear, to be shown once.
pub struct ApiKey(pub String);

impl ApiKey {
    /// A new one: `mp_` and 256 random bits in hexadecimal.
    #[must_use]
    pub fn generate() -> Self {
        let mut bits = [0; 32];
        SystemRandom::new().fill(&mut bits).expect("the system has randomness");
        Self(format!("mp_{}", hex(&bits)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn fingerprint(key: &str) -> String {
    hex(digest(&SHA256, key.as_bytes()).as_ref())
}

impl Store {
    /// Makes a key known.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_api_key(&self, key: &ApiKey, record: &ApiKeyRecord) -> Result<(), StoreError> {
        let keys = self.key("api-keys");
        let mut conn = self.conn_for(&keys).await?;
        let _: () = redis::cmd("HSET")
            .arg(&keys)
            .arg(fingerprint(&key.0))
            .arg(pack(VERSION, record))
            .query_async(&mut conn)
            .await?;
        self.confirm(&mut conn).await
    }

    /// What a key may do; `None` for a wrong one.
    ///
    /// # Errors
    /// When Redis does not answer or the record does not read.
    pub async fn api_key(&self, key: &str) -> Result<Option<ApiKeyRecord>, StoreError> {
        let keys = self.key("api-keys");
        let mut conn = self.conn_for(&keys).await?;
        let packed: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&keys).arg(fingerprint(key)).query_async(&mut conn).await?;
        packed.map(|p| unpack(VERSION, "an API key", &p)).transpose()
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn api_key_count(&self) -> Result<u64, StoreError> {
        let keys = self.key("api-keys");
        let mut conn = self.conn_for(&keys).await?;
        Ok(redis::cmd("HLEN").arg(&keys).query_async(&mut conn).await?)
    }
}
