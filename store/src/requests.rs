//! Idempotency keys: a request that is repeated is answered as it was the first time.

use crate::Store;
use crate::error::StoreError;

/// What an idempotency key answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// First use: go on, and [`Store::finish_request`] with the answer.
    First,
    /// The same request is being answered elsewhere, or was cut off: try again later.
    InProgress,
    /// The same request was answered with this.
    Done(String),
    /// The key was used for another request.
    Other,
}

impl Store {
    fn request_key(&self, tenant: &str, key: &str) -> String {
        self.key(&format!("request:{tenant}:{key}"))
    }

    /// Claims an idempotency key for a request with this fingerprint, for 24 hours.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn begin_request(
        &self,
        tenant: &str,
        key: &str,
        fingerprint: &str,
    ) -> Result<Begun, StoreError> {
        const KEEP_S: u64 = 86_400;
        /// A request cut off before its answer may be tried again after this.
        const CLAIM_S: u64 = 30;
        let name = self.request_key(tenant, key);
        let mut conn = self.conn_for(&name).await?;
        let first: Option<String> = redis::cmd("SET")
            .arg(&name)
            .arg(format!("{fingerprint}\n"))
            .arg("NX")
            .arg("EX")
            .arg(CLAIM_S.min(KEEP_S))
            .query_async(&mut conn)
            .await?;
        if first.is_some() {
            return Ok(Begun::First);
        }
        let kept: Option<String> = redis::cmd("GET").arg(&name).query_async(&mut conn).await?;
        Ok(match kept.as_deref().and_then(|k| k.split_once('\n')) {
            None => Begun::InProgress,
            Some((print, _)) if print != fingerprint => Begun::Other,
            Some((_, "")) => Begun::InProgress,
            Some((_, answer)) => Begun::Done(answer.to_owned()),
        })
    }

    /// Keeps the answer of a request under its idempotency key, for 24 hours; an empty
    /// answer gives the key back.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn finish_request(
        &self,
        tenant: &str,
        key: &str,
        fingerprint: &str,
        answer: &str,
    ) -> Result<(), StoreError> {
        let name = self.request_key(tenant, key);
        let mut conn = self.conn_for(&name).await?;
        if answer.is_empty() {
            return Ok(redis::cmd("DEL").arg(&name).query_async(&mut conn).await?);
        }
        let _: () = redis::cmd("SET")
            .arg(&name)
            .arg(format!("{fingerprint}\n{answer}"))
            .arg("EX")
            .arg(86_400)
            .query_async(&mut conn)
            .await?;
        // Or a repetition after a failover would do it all again.
        self.confirm(&mut conn).await
    }
}
