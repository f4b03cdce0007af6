//! What nobody could send: listed with its reason, kept whole, and put back by an
//! operator who has mended the cause, or by a relay that is new enough to read it.

use mail::event::EventKind;
use mail::queue::{Aside, BatchId};
use mail::{Event, ShardId, Timestamp};
use serde::Serialize;

use crate::error::StoreError;
use crate::queue::parse;
use crate::{Frame, Store, scripts};

impl Store {
    /// What is set aside in a shard, by batch.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn asides(&self, shard: ShardId) -> Result<Vec<Aside>, StoreError> {
        #[derive(Serialize)]
        struct Nothing {}
        type Row = (u64, String, String, u8, u64, u32);
        let args = self.args(None, Nothing {});
        let rows: Vec<Row> = parse(self.queue_call(&scripts::ASIDES, shard, &args, &[]).await?)?;
        let aside = |(batch, lane, reason, newer, at, count)| Aside {
            batch: BatchId(batch),
            lane,
            reason,
            newer,
            at: Timestamp(at),
            count,
        };
        let mut asides: Vec<Aside> = rows.into_iter().map(aside).collect();
        asides.sort_by_key(|aside| aside.batch);
        Ok(asides)
    }

    /// Makes what is set aside of a batch wait again, and tells of it. Answers how many
    /// recipients: 0 when there is nothing of it any more.
    ///
    /// # Errors
    /// When Redis does not answer; doing it again is harmless.
    pub async fn restore_aside(
        &self,
        shard: ShardId,
        aside: &Aside,
        note: &str,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        self.restore_aside_at(None, shard, aside, note, now).await
    }

    /// `restore_aside` by a clock that is handed in; for the conformance suite.
    #[doc(hidden)]
    pub async fn restore_aside_at(
        &self,
        clock: Option<Timestamp>,
        shard: ShardId,
        aside: &Aside,
        note: &str,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        #[derive(Serialize)]
        struct Which {
            batch: u64,
            count: u32,
        }
        let campaign = aside.lane.split_once('/').and_then(|(id, _)| id.parse().ok());
        let event = Event {
            campaign,
            count: aside.count,
            note: note.to_owned(),
            ..Event::new(EventKind::Restored, now)
        };
        let args = self.args(clock, Which { batch: aside.batch.0, count: aside.count });
        let frame = Frame::encode(&[event]);
        let key = self.shard_key(shard, "meta");
        let mut conn = self.conn_for(&key).await?;
        let there: u32 = parse(scripts::RESTORE.call(&mut conn, &key, &args, &[&frame]).await?)?;
        self.confirm(&mut conn).await?;
        // Another count: it changed since it was listed, and nothing was done.
        Ok(if there == aside.count { there } else { 0 })
    }
}
