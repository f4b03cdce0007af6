//! What is wrong with a platform, as its eyes keep it; of what nobody is to be told; and what has not
//! been told yet. One writes the book, anybody reads it.

use std::collections::HashMap;

use mail::Timestamp;
use mail::alarm::{Book, Condition, News, Silence};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::campaigns::{pack, unpack};
use crate::error::StoreError;

const VERSION: u8 = 1;

/// Silences that hold at a time.
const SILENCES_MAX: usize = 200;

/// What is kept of alarms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlarmRecord {
    /// Every alarm.
    pub book: Book,
    /// What has not been told every way, the oldest first.
    pub untold: Vec<Untold>,
    /// When somebody last looked.
    pub looked_at: Timestamp,
}

/// News that somebody has not taken yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Untold {
    /// What is to be told.
    pub news: News,
    /// The ways that have taken it.
    pub told: Vec<String>,
}

impl Store {
    /// What is known of alarms; nothing at first, and nothing where a newer program wrote it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn alarms(&self) -> Result<AlarmRecord, StoreError> {
        let key = self.key("alarms");
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> = redis::cmd("GET").arg(&key).query_async(&mut conn).await?;
        Ok(packed.and_then(|p| unpack(VERSION, "alarms", &p).ok()).unwrap_or_default())
    }

    /// Writes it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_alarms(&self, record: &AlarmRecord) -> Result<(), StoreError> {
        let key = self.key("alarms");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("SET").arg(&key).arg(pack(VERSION, record)).query_async(&mut conn).await?)
    }

    /// Of what nobody is to be told, by number. One that does not read is passed over: to be told too
    /// much is the lesser fault.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn silences(&self, now: Timestamp) -> Result<Vec<Silence>, StoreError> {
        let mut silences = self.every_silence().await?;
        silences.retain(|silence| silence.until > now);
        Ok(silences)
    }

    /// Those whose time is over, too.
    async fn every_silence(&self) -> Result<Vec<Silence>, StoreError> {
        let key = self.key("silences");
        let mut conn = self.conn_for(&key).await?;
        let all: HashMap<u64, Vec<u8>> =
            redis::cmd("HGETALL").arg(&key).query_async(&mut conn).await?;
        let read = |packed: &Vec<u8>| unpack::<Silence>(VERSION, "a silence", packed).ok();
        let mut silences: Vec<Silence> = all.values().filter_map(read).collect();
        silences.sort_by_key(|silence| silence.id);
        Ok(silences)
    }

    /// Silences something, and answers how. Those that have ended make room.
    ///
    /// # Errors
    /// When Redis does not answer, or too many hold already.
    pub async fn silence(
        &self,
        condition: Option<Condition>,
        subject: &str,
        until: Timestamp,
        (by, why): (&str, &str),
        now: Timestamp,
    ) -> Result<Silence, StoreError> {
        let every = self.every_silence().await?;
        let held = every.iter().filter(|silence| silence.until > now).count();
        if held >= SILENCES_MAX {
            return Err(StoreError::Setting(format!(
                "{SILENCES_MAX} silences hold already: lift some, `malleposte alarms` lists them"
            )));
        }
        let silence = Silence {
            id: self.order_number().await?,
            condition,
            subject: subject.to_owned(),
            until,
            by: by.to_owned(),
            why: why.to_owned(),
            at: now,
        };
        let key = self.key("silences");
        let mut conn = self.conn_for(&key).await?;
        let mut pipe = redis::pipe();
        for ended in every.iter().filter(|silence| silence.until <= now) {
            pipe.hdel(&key, ended.id).ignore();
        }
        pipe.hset(&key, silence.id, pack(VERSION, &silence)).ignore();
        let () = pipe.query_async(&mut conn).await?;
        Ok(silence)
    }

    /// Ends a silence. Answers whether there was one.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn lift_silence(&self, id: u64) -> Result<bool, StoreError> {
        let key = self.key("silences");
        let mut conn = self.conn_for(&key).await?;
        Ok(redis::cmd("HDEL").arg(&key).arg(id).query_async(&mut conn).await?)
    }
}
