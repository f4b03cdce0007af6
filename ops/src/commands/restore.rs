//! `malleposte restore`: a backup into an empty store and an empty history. Nothing is
//! touched before the whole file was read and found good.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use ledger::Ledger;
use mail::event::EventKind;
use mail::queue::CampaignState;
use mail::{CampaignId, Event, ShardId};
use store::{CampaignStatus, Store};
use tokio_util::sync::CancellationToken;

use super::Global;
use crate::backup::{Head, Reader, Section};
use crate::config::Config;
use crate::redis_child::RedisChild;
use crate::secrets::Secrets;

/// Put a backup into an empty store and an empty history
///
/// Runs where the ledger's folder is to be, while no service runs. The store may be another
/// kind than the one that was copied. WHAT WAS SENT AFTER THE BACKUP WAS MADE IS SENT AGAIN when
/// its campaign goes on; so every campaign that ran is paused, unless --run is given.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Let campaigns go on as they were, though what was sent since is sent again
    #[arg(long)]
    run: bool,
}

impl Restore {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let mut config = global.read()?;
        super::block_on(async move {
            let head = examine(&self.file, &config)?;
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
            let done = self.restore(&head, &config, &ledger).await;
            stop.cancel();
            if let Some(own) = own {
                own.await??;
            }
            done?;
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn restore(&self, head: &Head, config: &Config, ledger: &Ledger) -> anyhow::Result<()> {
        let store = Store::open_empty(&config.store, head.shards).await?;
        let mut months = Months::new(ledger);
        let (mut keys, mut with_secrets) = (0, false);
        let mut reader = Reader::open(&self.file)?;
        while let Some(section) = reader.next()? {
            match section {
                Section::Head(_) | Section::End => {}
                Section::Month(month, piece) => months.put(&month, &piece)?,
                Section::Shard(shard, of_shard) => {
                    keys += of_shard.len();
                    store.restore_shard(ShardId(shard), &of_shard).await?;
                }
                Section::Rest(rest) => {
                    keys += rest.len();
                    store.restore_rest(&rest).await?;
                }
                Section::Secrets(text) => {
                    with_secrets = true;
                    Secrets::write(&text, &config.data_dir)?;
                }
            }
        }
        let paused = if self.run { Vec::new() } else { pause_all(&store).await? };
        let count = months.finish()?;
        println!("restored {} shards with {keys} keys, {count} months of history", head.shards);
        self.tell(head, &paused, with_secrets);
        Ok(())
    }

    fn tell(&self, head: &Head, paused: &[CampaignId], with_secrets: bool) {
        println!(
            "as it was at {}; what was sent since then is sent again when its campaign goes on",
            mail::Timestamp(head.made_at)
        );
        if self.run {
            println!("campaigns go on as soon as a relay runs");
        }
        for id in paused {
            println!("{id} is paused; `resume` lets it go on");
        }
        for id in &head.in_acceptance {
            println!("{id} was not accepted yet: its upload is gone; submit it anew");
        }
        if !with_secrets {
            println!(
                "the platform's keys are not in the backup: give `secrets.platform` its old ones"
            );
        }
    }
}

/// Reads all of it, so that damage at its end is known before anything is changed.
fn examine(file: &Path, config: &Config) -> anyhow::Result<Head> {
    let mut reader = Reader::open(file)?;
    let Some(Section::Head(head)) = reader.next()? else {
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
    while reader.next()?.is_some() {}
    Ok(head)
}

/// Campaigns that ran or would start by themselves. The status is the truth, the shards follow
/// it, and history is told why.
async fn pause_all(store: &Store) -> anyhow::Result<Vec<CampaignId>> {
    use CampaignStatus::{Paused, Running, Scheduled};
    let mut paused = Vec::new();
    for (id, status) in store.active_campaigns().await? {
        if !matches!(status, Running | Scheduled) {
            continue;
        }
        let now = super::now();
        store.change_status(id, &[Running, Scheduled], Paused, now).await?;
        let campaign = store.campaign(id).await?.with_context(|| format!("{id} is gone"))?;
        store.set_campaign_state(id, CampaignState::Paused, campaign.record.priority).await?;
        let event = Event {
            campaign: Some(id),
            service: "restore".into(),
            note: format!("{status} to {Paused} by restore"),
            ..Event::new(EventKind::CampaignChanged, now)
        };
        let home = ShardId((id.0 % u64::from(store.shards())) as u16);
        store.emit(home, &[event]).await?;
        paused.push(id);
    }
    paused.sort_unstable_by_key(|id| id.0);
    Ok(paused)
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
