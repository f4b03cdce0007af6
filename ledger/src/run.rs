//! The ledger at work: read what is new in every shard, store it, trim it, compare
//! the accounts. A store or a disk that fails is waited for; the mail goes on.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mail::{CampaignId, ShardId};
use store::{CampaignRecord, Position, Store, StoreError, chain};
use tokio_util::sync::CancellationToken;

use crate::Ledger;
use crate::balance::{self, Balance};
use crate::campaigns::Facts;
use crate::error::LedgerError;
use crate::writer::{ShardFrames, Stored, Writer};

/// Frames read from a shard at a time: some hundred events and 2 KB each.
const FRAMES_A_READ: usize = 32;
/// A transaction holds about this many events: large enough that the fsync costs little,
/// small enough that memory stays in some ten megabytes.
const EVENTS_A_PAGE: usize = 20_000;
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// So much rarer the accounts are compared while there is more to read.
const BEHIND_TIMES: u32 = 12;
/// What the ledger may take to store the rest when it is asked to stop.
const LAST_ROUNDS: Duration = Duration::from_secs(10);

impl Ledger {
    /// Reads the events of every shard into history until `shutdown`, then once more what
    /// is left, so that what stopped before is told.
    ///
    /// # Errors
    /// When the history cannot be opened: another process writes it, a newer program made
    /// it, the folder cannot be used. Later trouble is waited for.
    pub async fn run(&self, store: &Store, shutdown: CancellationToken) -> Result<(), LedgerError> {
        let config = self.config.clone();
        let writer = blocking(move || Writer::open(&config)).await?;
        let mut clerk = Clerk {
            store,
            writer: Arc::new(Mutex::new(writer)),
            first_shard: 0,
            pause: PAUSE.0,
            unread: HashSet::new(),
            untrimmed: HashMap::new(),
            ledger: self,
        };
        let round = Duration::from_millis(self.config.store_every_ms);
        let balance_every = Duration::from_secs(self.config.balance_every_s);
        let mut balanced = Instant::now();
        clerk.owe_trims();
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            let more = clerk.round_or_pause(&shutdown).await;
            // Far behind, reading on comes first: a comparison reads what lies between, too.
            let patience = if more { balance_every * BEHIND_TIMES } else { balance_every };
            if balanced.elapsed() >= patience {
                clerk.compare().await;
                balanced = Instant::now();
            }
            if !more {
                let rest = round.saturating_sub(began.elapsed());
                let _ = tokio::time::timeout(rest, shutdown.cancelled()).await;
            }
        }
        clerk.finish().await;
        Ok(())
    }
}

struct Clerk<'s> {
    store: &'s Store,
    writer: Arc<Mutex<Writer>>,
    /// Which shard is read first, so that a busy one does not keep the others waiting.
    first_shard: u16,
    pause: Duration,
    /// Shards that wait for a newer program, so that it is said once.
    unread: HashSet<ShardId>,
    /// Stored, and perhaps still in the outbox: the end of a run or of Redis came between.
    untrimmed: HashMap<ShardId, Position>,
    ledger: &'s Ledger,
}

impl Clerk<'_> {
    /// What an earlier run stored, it may not have trimmed any more.
    fn owe_trims(&mut self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.store.all_shards().map(|shard| (shard, writer.position(shard)));
        self.untrimmed.extend(stored.filter(|(_, upto)| *upto > Position::default()));
    }

    /// Drops from the outboxes what history has. A shard whose server is away is trimmed later
    /// and keeps no other from it.
    async fn trim(&mut self) -> Result<(), StoreError> {
        let mut trouble = Ok(());
        for (shard, upto) in std::mem::take(&mut self.untrimmed) {
            if let Err(e) = self.store.trim_outbox(shard, upto).await {
                self.untrimmed.insert(shard, upto);
                trouble = Err(e);
            }
        }
        trouble
    }

    /// One round; answers whether there is more to read at once. After a failure it says so
    /// and waits, longer each time.
    async fn round_or_pause(&mut self, shutdown: &CancellationToken) -> bool {
        match self.round().await {
            Ok(more) => {
                if self.pause > PAUSE.0 {
                    tracing::info!("the ledger is at work again");
                }
                self.pause = PAUSE.0;
                metrics::gauge!("malleposte_ledger_stalled").set(0.0);
                self.ledger.pulse().stalled = None;
                more
            }
            Err(e) => {
                metrics::gauge!("malleposte_ledger_stalled").set(1.0);
                let again_in = self.pause.as_secs_f64();
                let chain = chain(&e);
                tracing::error!(again_in, "history waits, mail goes on: {chain}");
                self.ledger.pulse().stalled = Some(chain);
                let _ = tokio::time::timeout(self.pause, shutdown.cancelled()).await;
                self.pause = (self.pause * 2).min(PAUSE.1);
                true
            }
        }
    }

    async fn round(&mut self) -> Result<bool, LedgerError> {
        let (parts, more) = self.gather().await?;
        if parts.is_empty() {
            self.trim().await?;
            metrics::gauge!("malleposte_ledger_lag_seconds").set(0.0);
            return Ok(false);
        }
        let ends: Vec<(ShardId, Position)> =
            parts.iter().filter_map(|p| p.frames.last().map(|f| (p.shard, f.position))).collect();
        let oldest = parts.iter().filter_map(|p| p.frames.first()).map(|f| f.position.millis());
        let lag_ms = oldest.min().map_or(0, |oldest| now_ms().saturating_sub(oldest));
        metrics::gauge!("malleposte_ledger_lag_seconds").set(lag_ms as f64 / 1000.0);
        self.learn(&parts).await;
        tell(self.write(parts).await?);
        self.untrimmed.extend(ends);
        self.trim().await?;
        Ok(more)
    }

    /// What is new, up to a page full; and whether there may be more.
    async fn gather(&mut self) -> Result<(Vec<ShardFrames>, bool), LedgerError> {
        let shards: Vec<ShardId> = self.store.all_shards().collect();
        let (mut parts, mut events, mut more) = (Vec::new(), 0, false);
        let mut trouble = None;
        let count = shards.len().max(1);
        for i in 0..shards.len() {
            if events >= EVENTS_A_PAGE {
                more = true;
                self.first_shard = ((usize::from(self.first_shard) + i) % count) as u16;
                break;
            }
            let shard = shards[(usize::from(self.first_shard) + i) % count];
            let after = self.writer.lock().unwrap_or_else(PoisonError::into_inner).position(shard);
            let mut frames = match self.durable_frames(shard, after).await {
                Ok(frames) => frames,
                // Its server is away, or its replicas are: the other shards go on.
                Err(e) => {
                    trouble = Some(e);
                    continue;
                }
            };
            let full = frames.len() == FRAMES_A_READ;
            more |= self.stop_before_newer(shard, &mut frames) && full;
            events += frames.iter().map(|f| f.events.as_ref().map_or(1, Vec::len)).sum::<usize>();
            if !frames.is_empty() {
                parts.push(ShardFrames { shard, frames });
            }
        }
        match trouble {
            Some(e) if parts.is_empty() => Err(e.into()),
            Some(_) | None => Ok((parts, more)),
        }
    }

    /// What is new in a shard and cannot be lost any more. Where the queue has lost what
    /// history knows, the books go back to where the two part.
    async fn durable_frames(
        &mut self,
        shard: ShardId,
        after: Position,
    ) -> Result<Vec<store::OutboxFrame>, StoreError> {
        let durable = self.store.durable_frames(shard, after, FRAMES_A_READ).await?;
        if durable.from != after {
            tracing::error!(%shard, history = %after, queue = %durable.from,
                "the queue has lost events that history knows: reading on from where it begins anew");
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.go_back(shard, durable.from);
            self.untrimmed.remove(&shard);
        }
        Ok(durable.frames)
    }

    /// A frame of a newer program is left for one: it is whole, and this one cannot read
    /// it. Until then its shard waits, and near the outbox's end sending slows. Answers
    /// whether there was none.
    fn stop_before_newer(&mut self, shard: ShardId, frames: &mut Vec<store::OutboxFrame>) -> bool {
        let newer = |f: &store::OutboxFrame| matches!(f.events, Err(StoreError::Newer { .. }));
        let Some(at) = frames.iter().position(newer) else {
            self.unread.remove(&shard);
            return true;
        };
        if self.unread.insert(shard) {
            let position = frames[at].position;
            tracing::error!(%shard, %position, "events of a newer program wait: upgrade the ledger");
        }
        frames.truncate(at);
        false
    }

    /// Asks the queue whose the campaigns are that history has not met yet. It forgets them sooner.
    /// What cannot be told now is asked again with the next events: no event waits for it.
    async fn learn(&self, parts: &[ShardFrames]) {
        let events =
            parts.iter().flat_map(|part| &part.frames).flat_map(|f| f.events.iter().flatten());
        let all: HashSet<CampaignId> =
            events.filter_map(|settled| settled.event.campaign).collect();
        for campaign in all {
            if self.writer.lock().unwrap_or_else(PoisonError::into_inner).knows(campaign) {
                continue;
            }
            let known = match self.store.campaign(campaign).await {
                Ok(Some(known)) => known,
                Ok(None) => continue,
                Err(e) => {
                    tracing::debug!(%campaign, "whose it is cannot be told now: {}", chain(&e));
                    continue;
                }
            };
            let CampaignRecord { tenant, name, template, .. } = known.record;
            let facts = Facts { tenant, name, sender: template.from_address.folded() };
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.learn(campaign, facts);
        }
    }

    async fn write(&self, parts: Vec<ShardFrames>) -> Result<Stored, LedgerError> {
        let writer = Arc::clone(&self.writer);
        blocking(move || {
            let began = Instant::now();
            for (shard, frame) in parts.iter().flat_map(|p| p.frames.iter().map(|f| (p.shard, f))) {
                if let Err(why) = &frame.events {
                    let position = frame.position;
                    tracing::error!(%shard, %position, "events that do not read are set aside: {why}");
                }
            }
            let stored = writer.lock().unwrap_or_else(PoisonError::into_inner).write(&parts)?;
            metrics::histogram!("malleposte_ledger_store_seconds").record(began.elapsed());
            Ok(stored)
        })
        .await
    }

    async fn compare(&self) {
        let books =
            || Ok(self.writer.lock().unwrap_or_else(PoisonError::into_inner).books().clone());
        let compared = balance::compare(self.store, books).await;
        let whole = compared.as_ref().ok().filter(|balance| balance.uncompared.is_empty());
        let imbalance = whole.map(|balance| balance.imbalance);
        self.ledger.pulse().imbalance = imbalance;
        match compared {
            Ok(balance) => tell_balance(&balance),
            Err(e) => tracing::warn!("the accounts could not be compared: {}", chain(&e)),
        }
    }

    /// What was told before the end, within a time.
    async fn finish(&mut self) {
        let deadline = Instant::now() + LAST_ROUNDS;
        loop {
            match self.round().await {
                Ok(true) if Instant::now() < deadline => {}
                Ok(_) => return self.compare().await,
                Err(e) => {
                    tracing::warn!("the last events stay in the queue: {}", chain(&e));
                    return;
                }
            }
        }
    }
}

fn tell(stored: Stored) {
    metrics::counter!("malleposte_ledger_events_total").increment(stored.events);
    metrics::counter!("malleposte_ledger_frames_set_aside_total").increment(stored.set_aside);
}

fn tell_balance(balance: &Balance) {
    metrics::gauge!("malleposte_imbalance").set(balance.imbalance as f64);
    metrics::gauge!("malleposte_ledger_shards_uncompared").set(balance.uncompared.len() as f64);
    if balance.imbalance > 0 {
        let campaigns: Vec<String> = balance
            .campaigns
            .iter()
            .filter(|(_, c)| c.imbalance > 0)
            .take(10)
            .map(|(id, _)| id.to_string())
            .collect();
        let imbalance = balance.imbalance;
        tracing::error!(imbalance, ?campaigns, "the accounts of queue and history differ");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(LedgerError::Defect(e.to_string())))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
