//! `malleposte restore`: a backup into an empty store and an empty history. Nothing is
//! touched before the whole file was read and found good, and nobody works with the store
//! before all of it is there.

mod campaigns;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use ledger::Ledger;
use mail::{ShardId, Timestamp};
use store::{Refill, Store};
use tokio_util::sync::CancellationToken;

use super::Global;
use crate::backup::{Head, Reader, Section, file_to_read};
use crate::config::Config;
use crate::redis_child::RedisChild;
use crate::secrets::Secrets;
use campaigns::Changed;

/// Put a backup into an empty store and an empty history
///
/// Runs where the ledger's folder is to be, while no service runs. The store may be another
/// kind than the one that was copied: a single Redis, one behind sentinels, a cluster. WHAT WAS
/// SENT AFTER THE BACKUP WAS MADE IS SENT AGAIN when its campaign goes on; so every campaign
/// that ran is paused, unless --run is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  malleposte restore /backup                    the newest file of a folder
  malleposte restore /backup/monday.mpb")]
pub(super) struct Restore {
    /// The backup, or a folder of backups: its newest
    from: PathBuf,
    /// Let campaigns go on as they were, though what was sent since is sent again
    #[arg(long)]
    run: bool,
}

impl Restore {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let mut config = global.read()?;
        super::block_on(async move {
            let backup = examine(&file_to_read(&self.from)?, &config)?;
            let ledger = Ledger::open(&config.ledger)?;
            let _only_one = ledger.lock()?;
            if !ledger.is_empty()? {
                let folder = ledger.folder();
                bail!("{folder:?} holds a history; restore into an empty folder, `ledger.folder`");
            }
            let stop = CancellationToken::new();
            let own = match config.store.url.as_str() {
                "" => {
                    let redis = RedisChild::start(&config.redis, &config.data_dir).await?;
                    config.store.url = redis.url();
                    Some(tokio::spawn(redis.supervise(stop.clone())))
                }
                _ => None,
            };
            let done = self.restore(&backup, &config, &ledger).await;
            stop.cancel();
            if let Some(own) = own {
                own.await??;
            }
            self.tell(&backup, &done?);
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn restore(
        &self,
        backup: &Examined,
        config: &Config,
        ledger: &Ledger,
    ) -> anyhow::Result<Done> {
        let refill = Refill::begin(&config.store, backup.head.shards).await?;
        let mut months = Months::new(ledger);
        let mut reader = Reader::open(&backup.file)?;
        while let Some(section) = reader.section()? {
            match section {
                Section::Head(_) | Section::End => {}
                Section::Month(month, piece) => months.put(&month, &piece)?,
                Section::Shard(shard, part) => {
                    let put = refill.put_shard(ShardId(shard), &part).await;
                    put.with_context(|| format!("shard {shard}"))?;
                }
                Section::Rest(keys) => refill.put_rest(&keys).await?,
                Section::Secrets(text) => Secrets::give(&text, &config.secrets, &config.data_dir)?,
            }
        }
        let months = months.finish()?;
        let store = refill.store();
        let changed = campaigns::set_right(store, &backup.head, self.run).await?;
        let balance = ledger.balance(store).await?;
        refill.finish().await?;
        let uncompared = balance.uncompared.len();
        Ok(Done { months, changed, imbalance: balance.imbalance, uncompared })
    }

    fn tell(&self, backup: &Examined, done: &Done) {
        let head = &backup.head;
        println!(
            "{}: restored {} shards, {} months of history, as it was at {}",
            backup.file.display(),
            head.shards,
            done.months,
            Timestamp(head.made_at)
        );
        println!("what was sent since then is sent again when its campaign goes on");
        if done.imbalance > 0 {
            println!("QUEUE AND HISTORY DISAGREE about {} recipients", done.imbalance);
        }
        if done.uncompared > 0 {
            println!("{} shards could not be compared with history yet", done.uncompared);
        }
        if self.run {
            println!("campaigns go on as soon as a relay runs");
        }
        for id in &done.changed.paused {
            println!("{id} is paused; `resume` lets it go on");
        }
        for id in &done.changed.partial {
            println!("{id} was being taken in: it is paused, and some recipients may be missing");
        }
        for id in &done.changed.unaccepted {
            println!("{id} was not accepted yet: its upload is gone; submit it anew");
        }
        if backup.keys.is_none() {
            println!(
                "the platform's keys are not in the backup: give `secrets.platform` its old ones"
            );
        }
    }
}

struct Done {
    months: usize,
    changed: Changed,
    imbalance: u64,
    uncompared: usize,
}

/// A backup that was read to its end.
struct Examined {
    file: PathBuf,
    head: Head,
    keys: Option<String>,
}

/// Reads all of it, so that damage at its end is known before anything is changed.
fn examine(file: &Path, config: &Config) -> anyhow::Result<Examined> {
    let mut reader = Reader::open(file)?;
    let Some(Section::Head(head)) = reader.section()? else {
        bail!("{file:?} does not begin as a backup does");
    };
    if head.layout > Store::LAYOUT {
        let (theirs, ours) = (head.layout, Store::LAYOUT);
        bail!("{file:?} has layout {theirs} and this program knows {ours}: upgrade the program");
    }
    if head.prefix != config.store.prefix {
        let (theirs, ours) = (&head.prefix, &config.store.prefix);
        bail!("{file:?} was made with `store.prefix` {theirs:?}, and it is {ours:?} here");
    }
    let mut keys = None;
    while let Some(section) = reader.section()? {
        if let Section::Secrets(text) = section {
            Secrets::refuse_others(&text, &config.secrets, &config.data_dir)?;
            keys = Some(text);
        }
    }
    Ok(Examined { file: file.to_owned(), head, keys })
}

/// Months under a name of their own until all are whole.
struct Months<'l> {
    ledger: &'l Ledger,
    drafts: BTreeMap<String, (PathBuf, File)>,
}

impl<'l> Months<'l> {
    fn new(ledger: &'l Ledger) -> Self {
        Self { ledger, drafts: BTreeMap::new() }
    }

    fn put(&mut self, month: &str, piece: &[u8]) -> anyhow::Result<()> {
        if !self.drafts.contains_key(month) {
            let draft = self.ledger.month_file(month)?.with_extension("restoring");
            let file = File::create(&draft).with_context(|| format!("cannot write {draft:?}"))?;
            self.drafts.insert(month.to_owned(), (draft, file));
        }
        if let Some((draft, file)) = self.drafts.get_mut(month) {
            file.write_all(piece).with_context(|| format!("cannot write {draft:?}"))?;
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<usize> {
        let count = self.drafts.len();
        for (month, (draft, file)) in self.drafts {
            file.sync_all()?;
            std::fs::rename(&draft, self.ledger.month_file(&month)?)?;
        }
        File::open(self.ledger.folder())?.sync_all()?;
        Ok(count)
    }
}
