//! What gates found of a campaign, kept with it, and the pause that follows in the same step.

use mail::gate::Memory;
use mail::{CampaignId, Timestamp};
use serde::Serialize;

use crate::campaigns::{pack, unpack};
use crate::error::StoreError;
use crate::queue::parse;
use crate::{Store, scripts};

const VERSION: u8 = 1;
/// The field of a campaign that holds it.
pub(crate) const GATE: &str = "gate";

pub(crate) fn unpack_gate(id: CampaignId, packed: &[u8]) -> Result<Memory, StoreError> {
    unpack(VERSION, &format!("what gates found of campaign {id}"), packed)
}

/// What gates remember of a campaign, as it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GateMemory {
    /// What they remember.
    pub memory: Memory,
    packed: Vec<u8>,
}

impl Store {
    /// What gates remember of a campaign.
    ///
    /// # Errors
    /// When Redis does not answer, or a newer program wrote it.
    pub async fn gate_memory(&self, id: CampaignId) -> Result<GateMemory, StoreError> {
        let key = self.campaign_key(id);
        let mut conn = self.conn_for(&key).await?;
        let packed: Option<Vec<u8>> =
            redis::cmd("HGET").arg(&key).arg(GATE).query_async(&mut conn).await?;
        let Some(packed) = packed else { return Ok(GateMemory::default()) };
        Ok(GateMemory { memory: unpack_gate(id, &packed)?, packed })
    }

    /// Writes what gates remember of a campaign that runs, if it is still what was read, and
    /// pauses it where the new memory says so. False where somebody was faster, or it does not run.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_gate_memory(
        &self,
        id: CampaignId,
        before: &GateMemory,
        memory: &Memory,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        #[derive(Serialize)]
        struct Change {
            now: u64,
            pause: bool,
            at: u64,
        }
        let change = Change { now: 1, pause: memory.paused, at: at.0 };
        let key = self.campaign_key(id);
        let mut conn = self.conn_for(&key).await?;
        let blobs: [&[u8]; 2] = [&before.packed, &pack(VERSION, memory)];
        let value = scripts::GATE.call(&mut conn, &key, &change, &blobs).await?;
        self.confirm(&mut conn).await?;
        Ok(parse::<u8>(value)? == 1)
    }
}
