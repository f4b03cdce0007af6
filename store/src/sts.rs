//! MTA-STS policies as they were fetched (RFC 8461): one fetch serves all relays, and a policy
//! outlives them, as it must to be worth anything against somebody who can suppress the next one.

use mail::sts::Policy;
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::error::StoreError;
use crate::queue::{one, parse};

const VERSION: u8 = 1;

/// A domain's policy and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StsRecord {
    /// The `id` of the TXT record when it was fetched.
    pub id: String,
    /// What it says.
    pub policy: Policy,
    /// When it was fetched.
    pub fetched_at: Timestamp,
}

impl StsRecord {
    /// When it holds no more.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.fetched_at + std::time::Duration::from_secs(self.policy.max_age_s.into())
    }
}

impl Store {
    fn sts_key(&self, domain: &str) -> String {
        self.shard_key(self.shard_of(domain), &format!("sts:{domain}"))
    }

    /// The policies of domains, where one was fetched and has not run out: one round trip a
    /// server. An error is that of its domain: Redis does not answer, or the record is of a newer
    /// program.
    pub async fn sts_policies(
        &self,
        domains: &[Domain],
    ) -> Vec<Result<Option<StsRecord>, StoreError>> {
        let keys: Vec<String> = domains.iter().map(|d| self.sts_key(d.as_str())).collect();
        let told = self.spread(&keys, |at| one("GET", &keys[at])).await;
        let read = |packed: Vec<u8>| unpack(VERSION, "an MTA-STS policy", &packed);
        told.into_iter().map(|packed| parse::<Option<_>>(packed?)?.map(read).transpose()).collect()
    }

    /// Keeps a policy until it runs out. Nothing waits for replicas: what is lost is fetched again.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_sts_policy(&self, domain: &str, record: &StsRecord) -> Result<(), StoreError> {
        let key = self.sts_key(domain);
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("SET")
            .arg(&key)
            .arg(pack(VERSION, record))
            .arg("PXAT")
            .arg(record.expires_at().0.max(record.fetched_at.0 + 1000))
            .query_async(&mut conn)
            .await?)
    }
}
