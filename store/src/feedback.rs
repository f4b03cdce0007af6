//! Feedback: what returned mail says about the pace. Each record is taken by one
//! relay; a record lost with a relay costs nothing but a little wisdom.

use mail::classify::Signal;
use mail::{CampaignId, Category, Scope};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::error::StoreError;

const VERSION: u8 = 1;
/// More than this many waiting records say nothing new.
const WAITING_MAX: i64 = 10_000;

/// A return or complaint as the pace sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// The recipient's domain.
    pub domain: String,
    /// What it was; `None`: a complaint.
    pub category: Option<Category>,
    /// Who should change behaviour.
    pub scope: Scope,
    /// Which dimension of the pace, or which hold it speaks of; older programs do not say.
    #[serde(default)]
    pub signal: Option<Signal>,
    /// The campaign that it is about; older programs do not say.
    #[serde(default)]
    pub campaign: Option<CampaignId>,
    /// What was said, for the hold that may follow.
    #[serde(default)]
    pub said: String,
}

impl Store {
    /// Leaves a record for the relays.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_feedback(&self, feedback: &Feedback) -> Result<(), StoreError> {
        let key = self.key("feedback");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::pipe()
            .cmd("RPUSH")
            .arg(&key)
            .arg(pack(VERSION, feedback))
            .ignore()
            .cmd("LTRIM")
            .arg(&key)
            .arg(-WAITING_MAX)
            .arg(-1)
            .ignore()
            .query_async(&mut conn)
            .await?)
    }

    /// Records that no relay has taken yet.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn feedback_waiting(&self) -> Result<u64, StoreError> {
        let key = self.key("feedback");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("LLEN").arg(&key).query_async(&mut conn).await?)
    }

    /// Takes up to `count` records.
    /// Takes up to `count` records; what does not read is dropped.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn take_feedback(&self, count: usize) -> Result<Vec<Feedback>, StoreError> {
        let key = self.key("feedback");
        let mut conn = self.conn_for(&key).await?;
        let rows: Option<Vec<Vec<u8>>> =
            redis::cmd("LPOP").arg(&key).arg(count).query_async(&mut conn).await?;
        let read = |row: &Vec<u8>| match unpack(VERSION, "a feedback record", row) {
            Ok(feedback) => Some(feedback),
            Err(error) => {
                tracing::debug!(%error, "dropped");
                None
            }
        };
        Ok(rows.unwrap_or_default().iter().filter_map(read).collect())
    }
}
