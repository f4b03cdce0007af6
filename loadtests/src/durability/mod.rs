//! What each level of durability loses when the power fails or a disk is gone, and what it
//! costs: recipients whose enqueueing was answered, and are not there afterwards.

mod load;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use store::{Durability, Store};

use load::{Customers, Load};
use server::Server;

use crate::bench::Machine;
use crate::bench::drain::drain;
use crate::mix::{self, Dice};

/// The moment of a cut: so long after the customers have begun, and up to so much more. At
/// least one fsync of `everysec` lies before it.
const CUT_AFTER_MS: (u64, u64) = (1_200, 1_500);
/// How long intake is measured.
const INTAKE_OVER: Duration = Duration::from_secs(3);
const SHARDS: u16 = 8;

mail::words! {
    /// What happens to the servers.
    Cut {
        /// The power of the primary fails: it is killed, its file cut at the last completed fsync.
        Power = "power",
        /// The primary is gone with its disk, and the replica is promoted.
        PrimaryGone = "primary-gone",
        /// The power of primary and replica fails at the same time, and the primary's disk is
        /// gone: the replica comes back with what it had on its own.
        AllPower = "all-power",
    }
}

impl Cut {
    const fn has_replica(self) -> bool {
        matches!(self, Self::PrimaryGone | Self::AllPower)
    }
}

/// A level against a cut.
#[derive(Debug, Clone, Serialize)]
pub struct Loss {
    /// What an answer is worth.
    pub level: &'static str,
    /// What happened.
    pub cut: Cut,
    /// How often.
    pub cuts: usize,
    /// Recipients that were acknowledged in all of them.
    pub acknowledged: u64,
    /// Of those, lost.
    pub lost: u64,
    /// Cuts that lost something.
    pub cuts_with_loss: usize,
    /// Octets of append-only files that were not on the disk.
    pub octets_cut: u64,
}

/// What a level costs.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// What an answer is worth.
    pub level: &'static str,
    /// Recipients acknowledged a second.
    pub intake_per_s: f64,
    /// Recipients leased and settled a second.
    pub lease_settle_per_s: f64,
}

/// The table.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Cuts of each kind at each level.
    pub cuts: usize,
    /// What was lost.
    pub losses: Vec<Loss>,
    /// What it costs.
    pub costs: Vec<Cost>,
    /// Levels that could not be tried, and why.
    pub left_out: Vec<String>,
    /// Where it was measured.
    pub machine: Machine,
}

/// What to try.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Cuts of each kind at each level.
    pub cuts: usize,
    /// The moments of the cuts are drawn from it.
    pub seed: u64,
    /// A server that knows `WAITAOF`; without one `fsynced-replicas` is left out.
    pub valkey: Option<PathBuf>,
    /// Where servers keep their files.
    pub folder: Option<PathBuf>,
}

/// Each level against the cuts that it speaks about, and against worse ones.
const TRIALS: [(Durability, Cut); 8] = [
    (Durability::Always, Cut::Power),
    (Durability::Everysec, Cut::Power),
    (Durability::Always, Cut::PrimaryGone),
    (Durability::Everysec, Cut::PrimaryGone),
    (Durability::Replicated, Cut::PrimaryGone),
    (Durability::Replicated, Cut::AllPower),
    (Durability::FsyncedReplicas, Cut::PrimaryGone),
    (Durability::FsyncedReplicas, Cut::AllPower),
];
const LEVELS: [Durability; 4] =
    [Durability::Always, Durability::Everysec, Durability::Replicated, Durability::FsyncedReplicas];

/// Tries and measures everything.
///
/// # Errors
/// When a server does not do what it should; a loss is a result.
pub async fn durability(wish: &Wish, mut tell: impl FnMut(&str)) -> Result<Report> {
    let (mut losses, mut costs, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for (level, cut) in TRIALS {
        let Some(binary) = binary(level, wish) else { continue };
        let loss = Trials { binary: &binary, level, cut, wish }.all().await?;
        tell(&format!(
            "{:<17} {:<13} {} cuts, {} of {} acknowledged are lost",
            loss.level, loss.cut, loss.cuts, loss.lost, loss.acknowledged
        ));
        losses.push(loss);
    }
    for level in LEVELS {
        let Some(binary) = binary(level, wish) else {
            left_out.push(format!("{}: no valkey-server is at hand", level.as_str()));
            continue;
        };
        let cost = cost(&binary, level, wish).await?;
        tell(&format!(
            "{:<17} {:.0} recipients/s of intake, {:.0}/s leased and settled",
            cost.level, cost.intake_per_s, cost.lease_settle_per_s
        ));
        costs.push(cost);
    }
    let cuts = wish.cuts;
    Ok(Report { cuts, losses, costs, left_out, machine: Machine::here() })
}

/// The server that a level is tried on.
fn binary(level: Durability, wish: &Wish) -> Option<PathBuf> {
    match level {
        Durability::Memory | Durability::Always | Durability::Everysec | Durability::Replicated => {
            Some("redis-server".into())
        }
        Durability::FsyncedReplicas => wish.valkey.clone(),
    }
}

/// The `appendfsync` of servers at a level. With `everysec` WAITAOF confirms too early in Redis
/// from 7.4 to the fix of redis/redis#13793, and in Valkey 9.1.2: this trial lost what it had
/// confirmed. With `always` an answer has nothing to be early about.
const fn fsync(level: Durability) -> &'static str {
    match level {
        Durability::Always | Durability::FsyncedReplicas => "always",
        Durability::Everysec | Durability::Replicated => "everysec",
        Durability::Memory => "no",
    }
}

fn folder(wish: &Wish) -> Result<tempfile::TempDir> {
    let mut named = tempfile::Builder::new();
    named.prefix("mp-durability-");
    Ok(match &wish.folder {
        Some(parent) => named.tempdir_in(parent)?,
        None => named.tempdir()?,
    })
}

async fn open(server: &Server, durability: Durability) -> Result<Store> {
    let config = store::Config {
        url: server.url(),
        shards: SHARDS,
        durability,
        // Nobody reads it here.
        outbox_max: u64::MAX / 2,
        ..store::Config::default()
    };
    Ok(Store::open(&config).await?)
}

/// The cuts of one kind at one level.
struct Trials<'a> {
    binary: &'a Path,
    level: Durability,
    cut: Cut,
    wish: &'a Wish,
}

impl Trials<'_> {
    async fn all(&self) -> Result<Loss> {
        let mut loss = Loss {
            level: self.level.as_str(),
            cut: self.cut,
            cuts: self.wish.cuts,
            acknowledged: 0,
            lost: 0,
            cuts_with_loss: 0,
            octets_cut: 0,
        };
        let mut dice = Dice::new(mix::of_number(self.wish.seed, 90, self.cut as u64));
        for n in 0..self.wish.cuts {
            let after = CUT_AFTER_MS.0 + dice.below(CUT_AFTER_MS.1);
            let one = self.one(Duration::from_millis(after), dice.roll()).await;
            one.with_context(|| format!("{} {} number {n}", self.level.as_str(), self.cut))?
                .add_to(&mut loss);
        }
        Ok(loss)
    }

    async fn one(&self, after: Duration, seed: u64) -> Result<One> {
        let folder = folder(self.wish)?;
        let fsync = fsync(self.level);
        let start = |name: &str| {
            let folder = folder.path().join(name);
            async move { Server::start(self.binary, &folder, fsync).await }
        };
        let mut primary = start("primary").await?;
        let mut replica = None;
        if self.cut.has_replica() {
            let server = start("replica").await?;
            server.follow(&primary).await?;
            replica = Some(server);
        }
        match (self.cut, &mut replica) {
            (Cut::Power, _) => primary.watch().await?,
            (Cut::AllPower, Some(replica)) => replica.watch().await?,
            (Cut::PrimaryGone | Cut::AllPower, _) => {}
        }
        let store = open(&primary, self.level).await?;
        let customers = Customers::start(&store, Load::MANY, seed >> 8);
        tokio::time::sleep(after).await;
        primary.kill()?;
        let mut octets_cut = 0;
        if let (Cut::AllPower, Some(replica)) = (self.cut, &mut replica) {
            replica.kill()?;
            octets_cut = replica.cut().await?;
            replica.restart().await?;
        }
        let acknowledged = customers.ended().await?;
        let survivor = match replica {
            Some(replica) => {
                replica.promote().await?;
                replica
            }
            None => {
                octets_cut = primary.cut().await?;
                primary.restart().await?;
                primary
            }
        };
        let store = open(&survivor, Durability::Everysec).await?;
        let lost = load::lost(&store, &acknowledged).await?;
        let acknowledged = acknowledged.values().sum();
        ensure!(acknowledged > 0, "nothing was acknowledged before the cut");
        Ok(One { acknowledged, lost, octets_cut })
    }
}

struct One {
    acknowledged: u64,
    lost: u64,
    octets_cut: u64,
}

impl One {
    fn add_to(&self, loss: &mut Loss) {
        loss.acknowledged += self.acknowledged;
        loss.lost += self.lost;
        loss.cuts_with_loss += usize::from(self.lost > 0);
        loss.octets_cut += self.octets_cut;
    }
}

/// What a level costs, with one replica where it needs one.
async fn cost(binary: &Path, level: Durability, wish: &Wish) -> Result<Cost> {
    let folder = folder(wish)?;
    let primary = Server::start(binary, &folder.path().join("primary"), fsync(level)).await?;
    let replica = match level {
        Durability::Replicated | Durability::FsyncedReplicas => {
            let folder = folder.path().join("replica");
            let replica = Server::start(binary, &folder, fsync(level)).await?;
            replica.follow(&primary).await?;
            Some(replica)
        }
        Durability::Memory | Durability::Always | Durability::Everysec => None,
    };
    let store = open(&primary, level).await?;
    let customers = Customers::start(&store, Load::LARGE, wish.seed);
    let intake_per_s = customers.rate(INTAKE_OVER).await?;
    let running = mail::queue::CampaignState::Running;
    store.set_campaign_state(load::CAMPAIGN, running, 1).await?;
    let drained = drain(&store, 0.0).await?;
    drop(replica);
    Ok(Cost { level: level.as_str(), intake_per_s, lease_settle_per_s: drained.per_s() })
}
