//! What is watched during a run: how many connections each relay has, and how long it takes
//! until what a dead, sleeping or cut-off relay held is free for the others.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mail::queue::Token;
use mail::{CampaignId, ShardId};
use store::StoreError;

use super::platform::Platform;

/// Connections of a relay at its end: as many as it ever had in this long before.
const CONNECTIONS_OVER: Duration = Duration::from_secs(3);

/// A relay by its own words and by the system's count.
#[derive(Default)]
struct Seen {
    id: String,
    unsettled_max: u32,
    connections: Vec<(Instant, u64)>,
    /// The most that it ever had.
    ever: u64,
}

impl Seen {
    fn note(&mut self, now: Instant, connections: u64) {
        self.connections.retain(|(at, _)| now.duration_since(*at) < CONNECTIONS_OVER);
        self.connections.push((now, connections));
        self.ever = self.ever.max(connections);
    }

    fn most(&self) -> u64 {
        self.connections.iter().map(|(_, n)| *n).max().unwrap_or(0)
    }
}

/// The first term of the bound: what a relay's end can double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) connections: u64,
    pub(super) unsettled_max: u64,
}

/// What is to be taken over: the leases of then, for one that comes back takes others.
struct Gone {
    since: Instant,
    /// As they were at the first look.
    held: Option<HashSet<(ShardId, Token)>>,
}

#[derive(Default)]
pub(super) struct Watch {
    /// By process.
    seen: HashMap<u32, Seen>,
    /// Relays that cannot renew, by their names in the queue, while something of what they held
    /// then is theirs.
    gone: HashMap<String, Gone>,
    /// A relay that is cut off goes on for a while, and may open more connections.
    cut_off: Option<(usize, u32)>,
    pub(super) ended: Vec<Ended>,
    pub(super) takeovers: Vec<Duration>,
}

/// Where the campaigns stand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) accepted: u64,
    pub(super) waiting: u64,
}

impl Watch {
    /// Looks at everything once. `None` while Redis does not answer.
    pub(super) async fn look(
        &mut self,
        platform: &Platform,
        campaigns: &[CampaignId],
    ) -> Result<Option<Progress>> {
        match self.ask(platform, campaigns).await {
            Ok(progress) => Ok(Some(progress)),
            Err(error) if error.is_passing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn ask(
        &mut self,
        platform: &Platform,
        campaigns: &[CampaignId],
    ) -> Result<Progress, StoreError> {
        let now = Instant::now();
        for (id, record) in platform.store.relays().await? {
            let seen = self.seen.entry(record.pid).or_default();
            seen.id = id;
            seen.unsettled_max = record.unsettled_max;
            seen.note(now, u64::from(record.connections));
        }
        if let Some((which, pid)) = self.cut_off
            && let Some(seen) = self.seen.get_mut(&pid)
        {
            seen.note(now, established(platform.relays[which].address));
        }
        for id in self.gone.keys().cloned().collect::<Vec<_>>() {
            let holds = platform.store.leases_of(&id).await?;
            let Some(gone) = self.gone.get_mut(&id) else { continue };
            let held = gone.held.get_or_insert_with(|| holds.iter().copied().collect());
            if !holds.iter().any(|lease| held.contains(lease)) {
                self.takeovers.push(gone.since.elapsed());
                self.gone.remove(&id);
            }
        }
        let mut progress = Progress::default();
        for campaign in campaigns {
            let counters = platform.store.campaign_counters(*campaign).await?;
            progress.accepted += counters.accepted;
            progress.waiting += counters.waiting;
        }
        Ok(progress)
    }

    /// Whether the relay holds anything that could be taken over.
    pub(super) async fn holds(&self, platform: &Platform, pid: u32) -> Result<bool> {
        match self.seen.get(&pid) {
            Some(seen) => Ok(!platform.store.leases_of(&seen.id).await?.is_empty()),
            None => Ok(false),
        }
    }

    /// A relay dies, sleeps or is cut off now: so many of its messages may be sent twice.
    /// Connections count by its own words or as the system knows them, the greater.
    pub(super) fn bury(&mut self, pid: u32, open: u64) -> Result<()> {
        let seen = self.seen.get(&pid).context("a relay that never was in the register")?;
        self.gone.insert(seen.id.clone(), Gone { since: Instant::now(), held: None });
        self.ended.push(Ended {
            connections: open.max(seen.most()),
            unsettled_max: u64::from(seen.unsettled_max),
        });
        Ok(())
    }

    /// See `bury`; counting goes on until [`rejoin`](Self::rejoin).
    pub(super) fn cut_off(&mut self, platform: &Platform, which: usize, pid: u32) -> Result<()> {
        self.bury(pid, established(platform.relays[which].address))?;
        self.cut_off = Some((which, pid));
        Ok(())
    }

    pub(super) fn rejoin(&mut self) {
        let Some((_, pid)) = self.cut_off.take() else { return };
        let most = self.seen.get(&pid).map_or(0, Seen::most);
        if let Some(ended) = self.ended.last_mut() {
            ended.connections = ended.connections.max(most);
        }
    }

    /// A relay lost its leases without having been struck: the machine was too slow for it.
    /// That is one more that slept for longer than a lease, nobody knows when.
    pub(super) fn overslept(&mut self, pid: u32, times: u64) {
        let Some(seen) = self.seen.get(&pid) else { return };
        let (connections, unsettled_max) = (seen.ever, u64::from(seen.unsettled_max));
        self.ended.extend((0..times).map(|_| Ended { connections, unsettled_max }));
    }

    /// Whether everything has been taken over.
    pub(super) fn is_calm(&self) -> bool {
        self.gone.is_empty()
    }
}

/// TCP connections from this address that are open, as the system counts them.
pub(super) fn established(from: Ipv4Addr) -> u64 {
    const ESTABLISHED: &str = "01";
    let local = format!("{:08X}:", u32::from_le_bytes(from.octets()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_open = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next().is_some_and(|c| c.starts_with(&local))
            && columns.nth(1).is_some_and(|state| state == ESTABLISHED)
    };
    table.lines().skip(1).filter(is_open).count() as u64
}
