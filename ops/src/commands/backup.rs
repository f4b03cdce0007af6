//! `malleposte backup`: queue and history into one file, while everything runs. The order is
//! the point; docs/OPERATIONS.md, "Backup", reasons about it.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use ledger::Ledger;
use serde_json::json;
use store::{CampaignStatus, OutboxHold, Store};

use super::Global;
use crate::backup::{Head, PIECE_BYTES, Section, Writer};
use crate::config::Config;
use crate::secrets::Secrets;
use crate::wiring::connect;

/// How long events are kept when this program dies in the middle. It is extended before each
/// month and each shard, so it bounds the copy of one of them: tens of gigabytes.
const HOLD: Duration = Duration::from_secs(30 * 60);

/// Copy queue and history into one file, while everything runs
///
/// Runs where the ledger's folder is. While it copies, the ledger goes on but takes nothing out
/// of the queue's outbox; if that fills up, sending pauses until the copy is done.
/// Uploads that are not accepted yet, the mailbox, and the platform's keys are not in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  malleposte backup /backup/monday.mpb
  malleposte backup monday.mpb --with-secrets   the platform's keys, too: guard the file like them")]
pub(super) struct Backup {
    /// The file to make; it must not exist
    file: PathBuf,
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
            let mut writer = Writer::create(&self.file)?;
            let store = connect(&config).await?;
            let token = format!("{}-{}", std::process::id(), super::now().0);
            let hold = store.hold_outbox(&token, HOLD).await?;
            let copied = copy(&store, &hold, &config, self.with_secrets, &mut writer).await;
            // Released whatever happened: sending must not wait for half an hour.
            let released = store.release_outbox(hold).await;
            let copied = copied?;
            released?;
            let bytes = writer.finish()?;
            self.tell(&copied, bytes);
            Ok(ExitCode::SUCCESS)
        })
    }

    fn tell(&self, copied: &Copied, bytes: u64) {
        let file = self.file.display();
        if self.json {
            let told = json!({"file": self.file, "bytes": bytes, "shards": copied.shards,
                "keys": copied.keys, "months": copied.months, "in_acceptance": copied.in_acceptance,
                "with_secrets": self.with_secrets});
            println!("{told}");
            return;
        }
        println!(
            "{file}: {bytes} octets, {} shards with {} keys, {} months of history",
            copied.shards, copied.keys, copied.months
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
    keys: usize,
    months: usize,
    in_acceptance: Vec<String>,
}

/// The history first, then the queue: no event may be in history that the queue does not know
/// of, and what the queue told after the history was copied lies in its outbox still, for the
/// outbox is held. Then the campaigns: whatever a shard speaks of is there.
async fn copy(
    store: &Store,
    hold: &OutboxHold,
    config: &Config,
    with_secrets: bool,
    writer: &mut Writer,
) -> anyhow::Result<Copied> {
    let mut copied = Copied { in_acceptance: in_acceptance(store).await?, ..Copied::default() };
    writer.put(&Section::Head(Head {
        program: env!("CARGO_PKG_VERSION").into(),
        made_at: super::now().0,
        prefix: store.prefix().into(),
        layout: Store::LAYOUT,
        shards: store.shards(),
        in_acceptance: copied.in_acceptance.clone(),
    }))?;
    let ledger = Ledger::open(&config.ledger)?;
    for month in ledger.months()? {
        store.extend_hold(hold).await?;
        copy_month(&ledger, &month, config, writer)?;
        copied.months += 1;
    }
    for shard in store.all_shards() {
        store.extend_hold(hold).await?;
        let keys = store.dump_shard(shard, hold).await?;
        (copied.shards, copied.keys) = (copied.shards + 1, copied.keys + keys.len());
        writer.put(&Section::Shard(shard.0, keys))?;
    }
    let rest = store.dump_rest().await?;
    copied.keys += rest.len();
    writer.put(&Section::Rest(rest))?;
    if with_secrets {
        writer
            .put(&Section::Secrets(Secrets::open(&config.secrets, &config.data_dir)?.to_text()))?;
    }
    Ok(copied)
}

/// Campaigns whose recipients are being taken in: their uploads lie on the disk of an API.
async fn in_acceptance(store: &Store) -> anyhow::Result<Vec<String>> {
    let open = |status| matches!(status, CampaignStatus::Draft | CampaignStatus::Closing);
    let active = store.active_campaigns().await?;
    Ok(active.into_iter().filter(|(_, s)| open(*s)).map(|(id, _)| id.to_string()).collect())
}

fn copy_month(
    ledger: &Ledger,
    month: &str,
    config: &Config,
    writer: &mut Writer,
) -> anyhow::Result<()> {
    // Beside the history: it has room for it, and /tmp may be memory.
    let folder = tempfile::Builder::new().prefix("backup-").tempdir_in(&config.ledger.folder)?;
    let file = folder.path().join("month");
    ledger.copy_month(month, &file)?;
    let mut input = File::open(&file).with_context(|| format!("the copy of {month}"))?;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&mut input).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        writer.put(&Section::Month(month.to_owned(), piece))?;
    }
}
