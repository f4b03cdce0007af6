//! One large tenant against many small ones at one site whose rate is fixed: who gets how
//! much while all wait, how long the small ones wait, what an urgent campaign waits, and
//! whether the rate is used when only the large one is left. Read from the sink's book.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::DURABILITY;
use super::platform::Platform;
use super::setup::Setup;
use crate::client::Client;
use crate::generator::{Generator, Template, index_of};
use crate::program::Program;
use crate::scenario::Scenario;

/// What a recipient may wait beyond what its fair share gives, in seconds: the campaigns and then
/// the relays start within half a second each, lanes are read four times a second, a slice is a
/// tenth, and a busy machine adds the rest.
const BEYOND_S: f64 = 2.0;
/// A flow counts as backlogged from when this share of it is delivered until that: its first ones
/// are sent while its lanes are being read, its last ones are in somebody's hands while the rest
/// of the room is others'.
const BACKLOGGED_FROM: f64 = 0.05;
const BACKLOGGED_UNTIL: f64 = 0.9;
/// How long the large one is watched alone.
const ALONE_S: f64 = 5.0;
/// Connections of each relay.
const CONNECTIONS: u32 = 20;
const LOOK: Duration = Duration::from_millis(250);

/// What to measure.
#[derive(Debug, Clone)]
pub struct FairWish {
    /// Relays that share the work.
    pub relays: u16,
    /// Messages a second of the site.
    pub rate: f64,
    /// Recipients of the large tenant.
    pub big: u64,
    /// Small tenants, and recipients of each.
    pub smalls: u64,
    /// See `smalls`.
    pub small: u64,
    /// Weights of the small tenants, in turn; the large one has 1.
    pub weights: Vec<f64>,
    /// Recipients of an urgent campaign that comes when half of the small ones are served; 0: none.
    pub urgent: u64,
    /// The seed of the recipients.
    pub seed: u64,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Fairness {
    /// Most over least messages per weight among all tenants, while all were backlogged.
    pub share_ratio: f64,
    /// Jain's index of the same shares; 1 is perfect.
    pub jain: f64,
    /// From a small tenant's start to the delivery of each of its recipients: the 99th percentile.
    pub small_p99_wait_s: f64,
    /// What it may be: what fair share needs to serve them, and a constant.
    pub bound_s: f64,
    /// The wait that fair share alone makes.
    pub fair_s: f64,
    /// How long all were backlogged.
    pub window_s: f64,
    /// Messages of the large tenant in it, and the fewest and the most per weight of anybody.
    pub big_share: f64,
    /// See `big_share`.
    pub least_share: f64,
    /// See `big_share`.
    pub most_share: f64,
    /// Part of the rate that was used in the window.
    pub window_used: f64,
    /// Part of the rate that the large tenant got when the small ones were through.
    pub alone_used: f64,
    /// From the urgent campaign's start to its last delivery, and what it may be.
    pub urgent_s: Option<f64>,
    /// See `urgent_s`.
    pub urgent_bound_s: Option<f64>,
    /// From the start of the large campaign to its first delivery; the relays are started last.
    pub big_first_s: f64,
    /// Messages delivered twice.
    pub duplicates: u64,
    /// What was measured.
    pub relays: u16,
    /// See `relays`.
    pub rate: f64,
    /// See `relays`.
    pub big: u64,
    /// See `relays`.
    pub smalls: u64,
    /// See `relays`.
    pub small: u64,
    /// What an answer of the store was worth.
    pub durability: &'static str,
}

/// One tenant's campaign.
struct Party {
    client: Client,
    campaign: String,
    weight: f64,
    recipients: u64,
    /// Its first recipient's index; what it has goes on from there.
    first: u64,
    started_ms: u32,
    /// When each was delivered, in order.
    delivered_ms: Vec<u32>,
}

/// Makes one measurement on a fresh platform.
///
/// # Errors
/// When the platform cannot be set up, or does not deliver.
pub async fn fairness(program: &Program, wish: &FairWish) -> Result<Fairness> {
    let weights = (0..wish.smalls).map(|n| (n, weight(wish, n)));
    let tables = weights.map(|(n, w)| format!("[relay.tenants.small-{n}]\nweight = {w:?}\n"));
    let setup = Setup {
        connections: CONNECTIONS * u32::from(wish.relays),
        rate: wish.rate,
        // Several relays, the sink and everything else share this host, and that is not what is
        // measured.
        more: format!("[relay.load]\nenabled = false\n{}", tables.collect::<String>()),
        ..Setup::plain(Scenario::named("throughput")?)
    };
    Platform::measured(program, &setup, async |platform| measure(platform, wish).await).await
}

fn weight(wish: &FairWish, small: u64) -> f64 {
    if wish.weights.is_empty() {
        return 1.0;
    }
    wish.weights[small as usize % wish.weights.len()]
}

async fn measure(platform: &mut Platform, wish: &FairWish) -> Result<Fairness> {
    let mut parties = vec![party(platform, wish, "big", 1.0, 1, (0, wish.big)).await?];
    for n in 0..wish.smalls {
        let range = (wish.big + n * wish.small, wish.small);
        let name = format!("small-{n}");
        parties.push(party(platform, wish, &name, weight(wish, n), 1, range).await?);
    }
    let mut urgent = None;
    if wish.urgent > 0 {
        let range = (wish.big + wish.smalls * wish.small, wish.urgent);
        urgent = Some(party(platform, wish, "urgent", 1.0, 0, range).await?);
    }
    start_all(platform, &mut parties).await?;
    platform.start_relays(wish.relays).await?;
    let smalls = wish.smalls * wish.small;
    if let Some(urgent) = &mut urgent {
        await_delivered(platform, wish, smalls / 2).await?;
        urgent.started_ms = platform.internet.book().now_ms();
        urgent.client.start(&urgent.campaign).await?;
    }
    await_delivered(platform, wish, smalls + wish.urgent).await?;
    tokio::time::sleep(Duration::from_secs_f64(ALONE_S + 1.5)).await;
    platform.is_well()?;
    read_book(platform, &mut parties, urgent.as_mut());
    let duplicates = platform.internet.book().duplicates().len() as u64;
    judge(wish, &parties, urgent.as_ref(), duplicates)
}

async fn party(
    platform: &Platform,
    wish: &FairWish,
    tenant: &str,
    weight: f64,
    priority: u8,
    (first, recipients): (u64, u64),
) -> Result<Party> {
    let (client, sender) = platform.add_tenant(tenant).await?;
    let template = Template::of_size(2_000);
    let campaign = client.create_urgent(&sender, &template, priority).await?;
    let list = Generator::new(wish.seed, first + recipients).part(first..first + recipients);
    client.upload(&campaign, list).await?;
    let accepted = client.close(&campaign).await?;
    ensure!(accepted == recipients, "{tenant}: {accepted} of {recipients} were accepted");
    let (started_ms, delivered_ms) = (0, Vec::new());
    Ok(Party { client, campaign, weight, recipients, first, started_ms, delivered_ms })
}

/// The large one first, the small ones right after it, a few at a time. No relay is there yet, so
/// that all are backlogged from the first message on: whoever started a moment sooner would else
/// have had the site alone for that moment, and rightly so.
async fn start_all(platform: &Platform, parties: &mut [Party]) -> Result<()> {
    for some in parties.chunks_mut(8) {
        let mut starting = tokio::task::JoinSet::new();
        for party in some {
            party.started_ms = platform.internet.book().now_ms();
            let (client, campaign) = (party.client.clone(), party.campaign.clone());
            starting.spawn(async move { client.start(&campaign).await });
        }
        while let Some(started) = starting.join_next().await {
            started??;
        }
    }
    Ok(())
}

/// Until so many are delivered that are not the large tenant's.
async fn await_delivered(platform: &mut Platform, wish: &FairWish, wanted: u64) -> Result<()> {
    let began = Instant::now();
    let patience = 60.0 + 4.0 * (fair_messages(wish) + wish.urgent as f64) / wish.rate;
    loop {
        let mut delivered = 0;
        platform.internet.book().for_each(|entry| {
            let index = index_of(&entry.address).unwrap_or(0);
            delivered += u64::from(entry.taken > 0 && index >= wish.big);
        });
        if delivered >= wanted {
            return Ok(());
        }
        platform.is_well()?;
        let waited = began.elapsed().as_secs_f64();
        ensure!(waited < patience, "{delivered} of {wanted} are delivered after {waited:.0} s");
        tokio::time::sleep(LOOK).await;
    }
}

fn read_book(platform: &Platform, parties: &mut [Party], urgent: Option<&mut Party>) {
    let mut all: Vec<&mut Party> = parties.iter_mut().chain(urgent).collect();
    platform.internet.book().for_each(|entry| {
        let (Some(index), Some(last)) = (index_of(&entry.address), entry.last) else { return };
        let place = all.partition_point(|party| party.first <= index) - 1;
        if entry.taken > 0 {
            all[place].delivered_ms.push(last.at_ms);
        }
    });
    all.iter_mut().for_each(|party| party.delivered_ms.sort_unstable());
}

/// Messages that fair share serves until the last small one is: of each tenant as many as its
/// weight gives it in that time, or all that it has.
fn fair_messages(wish: &FairWish) -> f64 {
    let small = wish.small as f64;
    let weights: Vec<f64> = (0..wish.smalls).map(|n| weight(wish, n)).collect();
    let slowest = weights.iter().copied().fold(f64::MAX, f64::min);
    small * weights.len() as f64 + (small / slowest).min(wish.big as f64)
}

impl Party {
    fn at(&self, share: f64) -> Option<u32> {
        let place = ((self.recipients as f64 * share).ceil() as usize).max(1) - 1;
        self.delivered_ms.get(place).copied()
    }

    fn between(&self, from: u32, to: u32) -> f64 {
        let upto = |t| self.delivered_ms.partition_point(|at| *at < t);
        (upto(to) - upto(from)) as f64
    }
}

fn judge(
    wish: &FairWish,
    parties: &[Party],
    urgent: Option<&Party>,
    duplicates: u64,
) -> Result<Fairness> {
    let (big, smalls) = parties.split_first().context("nobody sent")?;
    let begun = smalls.iter().filter_map(|p| p.at(BACKLOGGED_FROM)).max();
    let from = begun.max(big.delivered_ms.first().copied()).context("nobody was served")?;
    let to = smalls.iter().filter_map(|p| p.at(BACKLOGGED_UNTIL)).min();
    let to = to.context("no small tenant was served")?;
    ensure!(to > from, "a small tenant was through before the last one was begun: lower the rate");
    let shares: Vec<f64> = parties.iter().map(|p| p.between(from, to) / p.weight).collect();
    let (least, most) =
        shares.iter().fold((f64::MAX, 0.0), |(l, m): (f64, f64), s| (l.min(*s), m.max(*s)));
    let (sum, squares): (f64, f64) = (shares.iter().sum(), shares.iter().map(|s| s * s).sum());
    let mut waits: Vec<u32> = smalls
        .iter()
        .flat_map(|p| p.delivered_ms.iter().map(|at| at.saturating_sub(p.started_ms)))
        .collect();
    waits.sort_unstable();
    let p99 = waits.get((waits.len() * 99).div_ceil(100).max(1) - 1).context("no small one")?;
    let through = smalls.iter().chain(urgent).filter_map(|p| p.delivered_ms.last()).max();
    let alone = through.context("no small one")? + 1000;
    let alone_until = alone + (ALONE_S * 1000.0) as u32;
    let window_s = f64::from(to - from) / 1000.0;
    let served: f64 = parties.iter().chain(urgent).map(|p| p.between(from, to)).sum();
    let fair_s = (fair_messages(wish) + wish.urgent as f64) / wish.rate;
    let big_first = big.delivered_ms.first().context("the large tenant was not served")?;
    Ok(Fairness {
        share_ratio: most / least,
        jain: sum * sum / (shares.len() as f64 * squares),
        small_p99_wait_s: f64::from(*p99) / 1000.0,
        bound_s: fair_s + BEYOND_S,
        fair_s,
        window_s,
        big_share: shares[0],
        least_share: least,
        most_share: most,
        window_used: served / window_s / wish.rate,
        alone_used: big.between(alone, alone_until) / ALONE_S / wish.rate,
        urgent_s: urgent.and_then(|u| Some(f64::from(u.at(1.0)? - u.started_ms) / 1000.0)),
        urgent_bound_s: urgent.map(|_| wish.urgent as f64 / wish.rate + BEYOND_S),
        big_first_s: f64::from(big_first - big.started_ms) / 1000.0,
        duplicates,
        relays: wish.relays,
        rate: wish.rate,
        big: wish.big,
        smalls: wish.smalls,
        small: wish.small,
        durability: DURABILITY,
    })
}
