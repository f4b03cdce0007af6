//! The keeper of the gates: looks at what was counted of campaigns that run, and pauses those whose
//! list is bad, early, once, and with the reason. What is bad is `mail::gate`'s to say. Any number
//! of instances may look at the same time: one step of the store decides who pauses.

use std::collections::HashMap;

use mail::event::EventKind;
use mail::gate::{Config, Counts, Gates, Level, Memory, Note, Step};
use mail::{CampaignId, Event};
use store::{CampaignStatus, GateMemory, Store, StoreError};

use crate::{clock, lifecycle};

/// Who did it, in events.
const SELF: &str = "gate";

pub(crate) struct Keeper {
    /// None when they do not hold together, which was refused at the start.
    gates: Option<Gates>,
    /// What was found and is not told everywhere yet.
    owed: HashMap<CampaignId, Event>,
}

impl Keeper {
    pub(crate) fn new(config: &Config) -> Self {
        Self { gates: Gates::new(config).ok(), owed: HashMap::new() }
    }

    /// Makes the shards know, and history, what could not be told before.
    pub(crate) async fn tell(&mut self, store: &Store) -> Result<(), StoreError> {
        let owed: Vec<CampaignId> = self.owed.keys().copied().collect();
        for id in owed {
            lifecycle::tell_shards(store, id).await?;
            if let Some(event) = self.owed.get(&id) {
                store.emit(lifecycle::home(store, id), std::slice::from_ref(event)).await?;
            }
            self.owed.remove(&id);
        }
        Ok(())
    }

    /// Looks at a campaign that runs.
    pub(crate) async fn judge(
        &mut self,
        store: &Store,
        id: CampaignId,
        counts: &Counts,
    ) -> Result<(), StoreError> {
        let Some(gates) = &self.gates else { return Ok(()) };
        // Nothing speaks against it, and nothing ever did: nearly always.
        if counts.dead + counts.returned_dead + counts.complained == 0 {
            return Ok(());
        }
        let before = match store.gate_memory(id).await {
            Ok(before) => before,
            Err(error) if error.is_passing() => return Err(error),
            // A newer program's, and its to judge.
            Err(_) => return Ok(()),
        };
        match before.memory.step(gates, counts, clock::now()) {
            Step::Nothing => Ok(()),
            Step::Resumed(memory) => {
                store.put_gate_memory(id, &before, &memory, clock::now()).await.map(|_| ())
            }
            Step::Warn(memory, note) | Step::Pause(memory, note) => {
                self.found(store, id, &before, &memory, &note).await
            }
        }
    }

    async fn found(
        &mut self,
        store: &Store,
        id: CampaignId,
        before: &GateMemory,
        memory: &Memory,
        note: &Note,
    ) -> Result<(), StoreError> {
        let Some(campaign) = store.campaign(id).await? else { return Ok(()) };
        if !campaign.record.gates || campaign.status != CampaignStatus::Running {
            return Ok(());
        }
        if !store.put_gate_memory(id, before, memory, note.at).await? {
            return Ok(());
        }
        let (gate, level) = (note.gate.as_str(), note.level.as_str());
        metrics::counter!("malleposte_api_gates_total", "gate" => gate, "did" => level)
            .increment(1);
        let reason = note.reason.as_str();
        let told = match note.level {
            Level::Warn => {
                tracing::warn!(campaign = %id, gate, reason, "a campaign's list looks bad");
                format!("warned of by {SELF} {gate}: {reason}")
            }
            Level::Pause => {
                tracing::warn!(campaign = %id, gate, reason, "campaign paused: its list is bad");
                format!("running to paused by {SELF} {gate}: {reason}")
            }
        };
        let event = Event {
            campaign: Some(id),
            service: "api".into(),
            note: told,
            ..Event::new(EventKind::CampaignChanged, note.at)
        };
        self.owed.insert(id, event);
        self.tell(store).await
    }
}
