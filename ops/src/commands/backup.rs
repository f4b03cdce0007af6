//! `malleposte backup`: queue and history into one file, while everything runs. The order is
//! the point; docs/OPERATIONS.md, "Backup", reasons about it.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use ledger::Ledger;
use mail::{CampaignId, ShardId};
use serde_json::json;
use store::{CampaignStatus, OutboxHold, ShardPart, Store};

use super::Global;
use crate::backup::{Head, PIECE_BYTES, Section, Writer, file_to_make};
use crate::config::Config;
use crate::secrets::Secrets;
use crate::wiring::connect;

/// How long frames are kept when this program dies in the middle.
const HOLD: Duration = Duration::from_secs(60);
/// How often the hold is extended: a Redis that fails over meanwhile has time to come back.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// Copy queue and history into one file, while everything runs
///
/// Runs where the ledger's folder is. While it copies the present month and the queue, the
/// ledger goes on but takes nothing out of the queue's outbox; if that fills up, sending pauses
/// until the copy is done. Uploads that are not accepted yet, the mailbox, and the platform's
/// keys are not in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  malleposte backup /backup                     a new file with the time in its name
  malleposte backup /backup/monday.mpb
  malleposte backup /backup --with-secrets      the platform's keys, too: guard the file like them")]
pub(super) struct Backup {
    /// The folder to make a file in, or the file to make, which must not exist
    to: PathBuf,
    /// Put the platform's keys into the file
    #[arg(long)]
    with_secrets: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        super::block_on(async move {
            let file = file_to_make(&self.to, super::now());
            let mut writer = Writer::create(&file)?;
            let store = connect(&config).await?;
            let token = format!("{}-{}", std::process::id(), super::now().0);
            let hold = store.hold_outbox(&token, HOLD).await?;
            let begun = Instant::now();
            let copied = copy(&store, &hold, &config, &mut writer).await;
            // Released whatever happened: what was stored is to leave the outbox again.
            let released = store.release_outbox(hold).await;
            let mut copied = copied?;
            released?;
            copied.held = begun.elapsed();
            copy_at_rest(&store, &config, self.with_secrets, &mut writer, &mut copied).await?;
            let bytes = writer.finish()?;
            self.tell(&file, &copied, bytes);
            Ok(ExitCode::SUCCESS)
        })
    }

    fn tell(&self, file: &std::path::Path, copied: &Copied, bytes: u64) {
        if self.json {
            let unfinished: Vec<String> =
                copied.in_acceptance.iter().map(ToString::to_string).collect();
            let told = json!({"file": file, "bytes": bytes, "shards": copied.shards,
                "months": copied.months.len(), "in_acceptance": unfinished,
                "held_ms": copied.held.as_millis() as u64,
                "with_secrets": self.with_secrets});
            println!("{told}");
            return;
        }
        println!(
            "{}: {bytes} octets, {} shards, {} months of history; the outbox was held for {:.1} s",
            file.display(),
            copied.shards,
            copied.months.len(),
            copied.held.as_secs_f64()
        );
        for id in &copied.in_acceptance {
            println!("{id} was not accepted yet: its upload is not in here, or only in part");
        }
        if !self.with_secrets {
            println!("the platform's keys are not in it; keep a copy of them apart");
        }
    }
}

#[derive(Debug, Default)]
struct Copied {
    shards: usize,
    months: Vec<String>,
    at_rest: Vec<String>,
    in_acceptance: Vec<CampaignId>,
    held: Duration,
}

/// The history that is written to first, then the queue: no event may be in history that the
/// queue does not know of, and what the queue told after the history was copied lies in its
/// outbox still, for the outbox is held.
async fn copy(
    store: &Store,
    hold: &OutboxHold,
    config: &Config,
    writer: &mut Writer,
) -> anyhow::Result<Copied> {
    let newest = store.campaigns(None, 1).await?;
    let mut copied = Copied { in_acceptance: in_acceptance(store).await?, ..Copied::default() };
    writer.put(&Section::Head(Head {
        program: env!("CARGO_PKG_VERSION").into(),
        made_at: super::now().0,
        prefix: store.prefix().into(),
        layout: Store::LAYOUT,
        shards: store.shards(),
        in_acceptance: copied.in_acceptance.clone(),
        last_campaign: newest.first().map_or(0, |id| id.0),
    }))?;
    let mut keeper = Keeper { store, hold, from: ShardId(0), extended: Instant::now() };
    let ledger = Ledger::open(&config.ledger)?;
    let months = ledger.months_to_copy()?;
    for month in &months.written {
        copy_month(&ledger, month, writer, Some(&mut keeper)).await?;
    }
    (copied.months, copied.at_rest) = (months.written, months.at_rest);
    for shard in store.all_shards() {
        keeper.from = shard;
        keeper.keep().await?;
        let put = |part: ShardPart| writer.put(&Section::Shard(shard.0, part));
        store.copy_shard(shard, hold, put).await.with_context(|| format!("shard {shard}"))?;
        copied.shards += 1;
    }
    Ok(copied)
}

/// Extends the hold in time.
struct Keeper<'s> {
    store: &'s Store,
    hold: &'s OutboxHold,
    /// Shards before this one are let go.
    from: ShardId,
    extended: Instant,
}

impl Keeper<'_> {
    async fn keep(&mut self) -> anyhow::Result<()> {
        if self.extended.elapsed() >= EXTEND_EVERY {
            self.store.extend_hold(self.hold, self.from).await?;
            self.extended = Instant::now();
        }
        Ok(())
    }
}

/// What need not be held: months that nobody writes to, and what lies outside of the shards,
/// after them: whatever a shard speaks of is there.
async fn copy_at_rest(
    store: &Store,
    config: &Config,
    with_secrets: bool,
    writer: &mut Writer,
    copied: &mut Copied,
) -> anyhow::Result<()> {
    store.copy_rest(|keys| writer.put(&Section::Rest(keys))).await?;
    let ledger = Ledger::open(&config.ledger)?;
    for month in std::mem::take(&mut copied.at_rest) {
        // It may be past its keeping since.
        if ledger.month_file(&month)?.exists() {
            copy_month(&ledger, &month, writer, None).await?;
            copied.months.push(month);
        }
    }
    if with_secrets {
        let keys = Secrets::open(&config.secrets, &config.data_dir)?;
        writer.put(&Section::Secrets(keys.to_text()))?;
    }
    Ok(())
}

/// Campaigns whose recipients are being taken in: their uploads lie on the disk of an API.
async fn in_acceptance(store: &Store) -> anyhow::Result<Vec<CampaignId>> {
    let open = |status| matches!(status, CampaignStatus::Draft | CampaignStatus::Closing);
    let active = store.active_campaigns().await?;
    let mut ids: Vec<CampaignId> =
        active.into_iter().filter(|(_, status)| open(*status)).map(|(id, _)| id).collect();
    ids.sort_unstable();
    Ok(ids)
}

async fn copy_month(
    ledger: &Ledger,
    month: &str,
    writer: &mut Writer,
    mut keeper: Option<&mut Keeper<'_>>,
) -> anyhow::Result<()> {
    // Beside the history: it has room for it, and /tmp may be memory.
    let folder = tempfile::Builder::new().prefix("backup-").tempdir_in(ledger.folder())?;
    let file = folder.path().join("month");
    let (of, name, into) = (ledger.clone(), month.to_owned(), file.clone());
    let mut copying = tokio::task::spawn_blocking(move || of.copy_month(&name, &into));
    loop {
        match tokio::time::timeout(EXTEND_EVERY, &mut copying).await {
            Ok(copied) => break copied??,
            Err(_) => keep(&mut keeper).await?,
        }
    }
    let mut input = File::open(&file).with_context(|| format!("the copy of {month}"))?;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&mut input).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        writer.put(&Section::Month(month.to_owned(), piece))?;
        keep(&mut keeper).await?;
    }
}

async fn keep(keeper: &mut Option<&mut Keeper<'_>>) -> anyhow::Result<()> {
    match keeper {
        Some(keeper) => keeper.keep().await,
        None => Ok(()),
    }
}
