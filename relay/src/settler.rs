//! Outcomes on their way into the queue: many at a time, one settle per shard in
//! flight, repeated under the same number until the store has answered. What waits
//! here is bounded, because every message sent holds a place of its connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mail::queue::{Judgement, Outcome, Settle, Token};
use mail::{Event, ShardId};
use store::{Frame, Store};
use tokio::sync::mpsc;

use crate::job::{Lease, Settlement};
use crate::meters;
use crate::register::Register;

/// Outcomes that may wait for the store. Connections stop when there is no more room.
pub(crate) const WAITING_MAX: usize = 4096;
/// Outcomes settled together at most, over all shards.
const TOGETHER_MAX: usize = 1024;
/// How long the first outcome waits for company: a settle of ten costs little more than one of one.
const LINGER: Duration = Duration::from_millis(4);
/// Between two tries when the store does not answer.
const AGAIN: Duration = Duration::from_millis(200);

pub(crate) struct Settler {
    store: Store,
    relay: String,
    register: Arc<Register>,
    numbers: HashMap<ShardId, u64>,
}

/// One shard's settle, kept until it is answered.
struct Pending {
    shard: ShardId,
    number: u64,
    groups: Vec<Settle>,
    frame: Vec<u8>,
    members: Vec<Settlement>,
}

impl Settler {
    pub(crate) fn new(store: Store, relay: String, register: Arc<Register>) -> Self {
        Self { store, relay, register, numbers: HashMap::new() }
    }

    /// Settles what comes until nobody can send any more.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Settlement>) {
        let mut batch = Vec::with_capacity(TOGETHER_MAX);
        while inbox.recv_many(&mut batch, TOGETHER_MAX).await > 0 {
            if batch.len() < TOGETHER_MAX / 4 {
                tokio::time::sleep(LINGER).await;
                while batch.len() < TOGETHER_MAX {
                    match inbox.try_recv() {
                        Ok(more) => batch.push(more),
                        Err(_) => break,
                    }
                }
            }
            meters::unsettled(batch.len() + inbox.len());
            let pending = self.by_shard(std::mem::take(&mut batch));
            let store = &self.store;
            let relay = self.relay.as_str();
            let all = pending.into_iter().map(|p| settle(store, relay, &self.register, p));
            futures_util::future::join_all(all).await;
        }
    }

    fn by_shard(&mut self, batch: Vec<Settlement>) -> Vec<Pending> {
        let mut shards: BTreeMap<ShardId, Vec<Settlement>> = BTreeMap::new();
        for settlement in batch {
            shards.entry(settlement.lease.shard).or_default().push(settlement);
        }
        shards.into_iter().map(|(shard, members)| self.pending(shard, members)).collect()
    }

    /// Groups by lease, indices ascending, events in the same order.
    fn pending(&mut self, shard: ShardId, mut members: Vec<Settlement>) -> Pending {
        members.sort_by_key(|m| (m.lease.token, m.index));
        let number = self.numbers.entry(shard).or_insert(0);
        *number += 1;
        let mut groups: Vec<Settle> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for member in &mut members {
            match groups.last_mut() {
                Some(group) if group.token == member.lease.token => {
                    group.outcomes.push((member.index, member.outcome));
                }
                _ => groups.push(group_of(&member.lease, member.index, member.outcome)),
            }
            if member.outcome.is_told() {
                events.extend(member.event.take().map(|e| *e));
            }
        }
        let frame = if events.is_empty() { Vec::new() } else { Frame::encode(&events) };
        Pending { shard, number: *number, groups, frame, members }
    }
}

fn group_of(lease: &Lease, index: u16, outcome: Outcome) -> Settle {
    Settle {
        token: lease.token,
        slot: lease.slot,
        batch: lease.batch,
        lane: lease.lane.clone(),
        count: lease.count,
        outcomes: vec![(index, outcome)],
    }
}

async fn settle(store: &Store, relay: &str, register: &Register, pending: Pending) {
    let mut tries = 0u32;
    let judgements = loop {
        let answer =
            store.settle(pending.shard, relay, pending.number, &pending.groups, &pending.frame);
        match answer.await {
            Ok(judgements) => break judgements,
            Err(error) => {
                if tries.is_multiple_of(25) {
                    tracing::warn!(shard = pending.shard.0, waiting = pending.members.len(), %error,
                        "cannot settle; keeping the outcomes and trying again");
                }
                tries += 1;
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    for (member, judgement) in pending.members.iter().zip(&judgements) {
        meters::settled(member.outcome, *judgement);
        if *judgement == Judgement::Late || *judgement == Judgement::Twice {
            tracing::warn!(
                shard = pending.shard.0,
                ?judgement,
                "a delivery was settled after its lease was lost"
            );
        }
    }
    let tokens: Vec<(Token, usize)> =
        pending.groups.iter().map(|g| (g.token, g.outcomes.len())).collect();
    register.settled(pending.shard, &tokens);
}
