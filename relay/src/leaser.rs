//! What to lease next: of each site what it can take within seconds, so that a slow site
//! blocks nobody and a dead relay leaves little behind; and of that to each flow its share,
//! so that a newcomer is leased from at once although a million wait.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mail::load::is_urgent;
use mail::queue::{CampaignState, Lane};
use mail::share::{Weight, divided, parts};
use mail::{CampaignId, ShardId};
use store::{LeaseAnswer, LeasedBatch, StoreError};
use tokio::sync::Semaphore;

use crate::delivery;
use crate::lanes::{Lanes, Offer, Place};
use crate::meters;
use crate::placing;
use crate::relay::Relay;
use crate::site::SiteLane;
use crate::waiting::Held;

/// Recipients of one lease.
const LEASE_MAX: usize = 250;
/// Leases whose recipients are being resolved: each asks the store a few times, and the more
/// there are the longer a renewal waits for a connection when Redis is slow.
const RESOLVING_MAX: usize = 64;
/// However many flows share a site's room, each has at least so many recipients here, or a
/// lease, which costs the queue a write, would be worth too little.
const FLOW_MIN: usize = 4;
/// Between two looks while there is work, while there is none, and while the store is away.
const BUSY: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_millis(100);
const AWAY: Duration = Duration::from_millis(500);

/// What a round of leasing came to.
#[derive(Default)]
struct Round {
    leased: usize,
    full: bool,
}

/// What is wanted of one lane, and how much of it is expected at its site.
struct Want<'a> {
    offer: &'a Offer,
    count: u16,
}

/// Leases until the relay is stopping.
pub(crate) async fn run(relay: &Arc<Relay>) {
    let resolving = Arc::new(Semaphore::new(RESOLVING_MAX));
    let mut lanes = Lanes::default();
    let mut turn = 0;
    let mut told_full = false;
    while !relay.stopping.is_cancelled() {
        turn += 1;
        let wait = match round(relay, &resolving, &mut lanes, turn).await {
            Ok(round) => {
                if round.full && !told_full {
                    tracing::error!(
                        "the ledger is far behind: nothing is leased until it has caught up"
                    );
                }
                told_full = round.full;
                if round.leased > 0 { BUSY } else { IDLE }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot lease");
                AWAY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = relay.stopping.cancelled() => {}
        }
    }
}

async fn round(
    relay: &Arc<Relay>,
    resolving: &Arc<Semaphore>,
    lanes: &mut Lanes,
    turn: usize,
) -> Result<Round, StoreError> {
    // What it holds it finishes; nothing more is begun.
    if relay.is_drained() {
        return Ok(Round::default());
    }
    let (mut away, mut trouble) = (HashSet::new(), None);
    for shard in relay.store.all_shards() {
        // Also where nothing is ready: everything there may be leased to nobody.
        if let Err(e) = reconcile(relay, shard).await {
            away.insert(shard);
            trouble = Some(e);
        }
    }
    let offers = lanes.fresh(relay).await?;
    let offers = offers.iter().filter(|offer| !away.contains(&offer.shard));
    let wants = wants(relay, offers, resolving.available_permits(), turn);
    let mut round = Round::default();
    let (spent, failed) = lease(relay, resolving, &wants, &mut round).await;
    drop(wants);
    lanes.drop_spent(&spent);
    // A server is away; the others' shards have had their turn all the same.
    match trouble.or(failed) {
        Some(e) if round.leased == 0 => Err(e),
        Some(_) | None => Ok(round),
    }
}

/// Hands back what the queue holds for this relay and nobody here knows of. Only the
/// leaser may: between a lease and its entry in the register nothing else runs here.
async fn reconcile(relay: &Relay, shard: ShardId) -> Result<(), StoreError> {
    if !relay.register.take_doubt(shard) {
        return Ok(());
    }
    let known = relay.register.held(shard);
    let answer = relay.store.reconcile(shard, relay.heart.relay(), &known).await;
    if answer.is_err() {
        relay.register.doubt(shard);
    }
    answer.map(|_| ())
}

/// Whether a lane may be leased from at all: the place to say no. What an order suspends is
/// not, nor a campaign that was paused since the index was read; one that is cancelled is emptied.
fn may_lease(relay: &Relay, offer: &Offer) -> bool {
    let may_run = match relay.rulings.stopped(offer.lane.campaign) {
        Some(CampaignState::Paused | CampaignState::Held) => false,
        Some(CampaignState::Running | CampaignState::Cancelling) | None => true,
    };
    may_run && !relay.refuses_lane(&offer.lane, &offer.flow)
}

/// How much of which lane: site by site, flow by flow, as far as hands are free.
fn wants<'a>(
    relay: &Relay,
    offers: impl Iterator<Item = &'a Offer>,
    resolving: usize,
    turn: usize,
) -> Vec<Want<'a>> {
    let mut sites: BTreeMap<usize, (&Arc<SiteLane>, Vec<&Offer>)> = BTreeMap::new();
    let (mut shared, mut nowhere) = (Vec::new(), Vec::new());
    let is_their_turn = relay.load.is_their_turn();
    let is_up = |offer: &&Offer| is_their_turn || is_urgent(offer.priority);
    for offer in offers.filter(is_up).filter(|offer| may_lease(relay, offer)) {
        match &offer.place {
            Place::Site(site) => {
                sites.entry(Arc::as_ptr(site) as usize).or_insert((site, Vec::new())).1.push(offer);
            }
            Place::Many if relay.placing.may_lease(offer.lane.campaign) => shared.push(offer),
            Place::Many => {}
            Place::Nowhere => nowhere.push(offer),
        }
    }
    let (most, in_hand) = (relay.config.in_hand_max, relay.in_hand.load(Ordering::Relaxed));
    let (free, spare) =
        (most.saturating_sub(in_hand), relay.load.hands(most).saturating_sub(in_hand));
    let mut hands = Hands { free, spare, resolving };
    let mut wants = Vec::new();
    let mut sites: Vec<_> = sites.into_values().collect();
    let from = turn % sites.len().max(1);
    sites.rotate_left(from);
    for (site, offers) in sites {
        if let Some(room) = site.wanted(relay.now()) {
            let room = relay.load.room(room);
            want_flows(&offers, site.held(), room, turn, &mut hands, &mut wants);
        }
    }
    let room = placing::ROOM.min(relay.config.in_hand_max / 2);
    want_flows(&shared, being_placed(relay, &shared), room, turn, &mut hands, &mut wants);
    for offer in nowhere {
        want(&mut wants, offer, LEASE_MAX, &mut hands);
    }
    wants
}

/// What this relay can take: recipients, and leases whose recipients' sites are to be found.
struct Hands {
    free: usize,
    /// What of it the load of this host leaves to those who are not urgent.
    spare: usize,
    resolving: usize,
}

fn want<'a>(wants: &mut Vec<Want<'a>>, offer: &'a Offer, most: usize, hands: &mut Hands) -> usize {
    let must_resolve = !matches!(offer.place, Place::Site(_));
    if must_resolve && hands.resolving == 0 {
        return 0;
    }
    let free = if is_urgent(offer.priority) { hands.free } else { hands.spare };
    let count = most.min(LEASE_MAX).min(free);
    if count > 0 {
        hands.free -= count;
        hands.spare = hands.spare.saturating_sub(count);
        hands.resolving -= usize::from(must_resolve);
        wants.push(Want { offer, count: count as u16 });
    }
    count
}

/// What of the lanes that domains share has not found its site yet.
fn being_placed(relay: &Relay, offers: &[&Offer]) -> Vec<Held> {
    let mut held = relay.placing.by_campaign();
    let of = |offer: &&Offer| {
        let held = held.remove(&offer.lane.campaign)?;
        let (campaign, priority) = (offer.lane.campaign, offer.priority);
        Some(Held { priority, campaign, weight: offer.flow.weight, held })
    };
    offers.iter().filter_map(of).collect()
}

/// A flow that could hold more here.
struct Sharer<'a> {
    held: Held,
    lanes: Vec<&'a Offer>,
}

/// Divides a room among flows by weight, the most urgent class first: whoever has lanes to
/// lease from could take all of it, the others keep what they hold.
fn want_flows<'a>(
    offers: &[&'a Offer],
    held: Vec<Held>,
    room: usize,
    turn: usize,
    hands: &mut Hands,
    wants: &mut Vec<Want<'a>>,
) {
    let mut classes: BTreeMap<u8, BTreeMap<CampaignId, Sharer<'a>>> = BTreeMap::new();
    for held in held {
        let sharer = Sharer { held, lanes: Vec::new() };
        classes.entry(held.priority).or_default().insert(held.campaign, sharer);
    }
    for offer in offers {
        let new = || Sharer { held: Held::nothing(offer), lanes: Vec::new() };
        let class = classes.entry(offer.priority).or_default();
        class.entry(offer.lane.campaign).or_insert_with(new).lanes.push(offer);
    }
    let mut room = room;
    for flows in classes.into_values() {
        let flows: Vec<Sharer<'a>> = flows.into_values().collect();
        let sharing = flows.iter().filter(|f| !f.lanes.is_empty()).count();
        let class_room = if room == 0 { 0 } else { room.max(FLOW_MIN * sharing) };
        let limits = limits(&flows);
        let targets = parts(class_room as u32, &limits);
        room = room.saturating_sub(targets.iter().map(|t| *t as usize).sum());
        // Where hands are few, whoever has least for its weight comes first, and among those that
        // have as little another one each time.
        let from = turn % flows.len().max(1);
        let mut order: Vec<(f64, Sharer<'a>, u32)> = Vec::with_capacity(flows.len());
        for ((flow, (weight, _)), target) in flows.into_iter().zip(&limits).zip(targets) {
            order.push((flow.held.held as f64 / weight, flow, target));
        }
        order.rotate_left(from);
        order.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
        for (_, flow, target) in order {
            want_lanes(&flow, target as usize, turn, hands, wants);
        }
    }
}

/// Each flow's weight, a tenant's divided among its campaigns, and the most it could hold.
fn limits(flows: &[Sharer<'_>]) -> Vec<(f64, u32)> {
    let weights: Vec<Weight> = flows.iter().map(|flow| flow.held.weight).collect();
    let most = |flow: &Sharer<'_>| {
        if flow.lanes.is_empty() { flow.held.held as u32 } else { u32::MAX / 1024 }
    };
    divided(&weights).into_iter().zip(flows.iter().map(most)).collect()
}

/// Fills a flow up to its target, once half of that is free: a lease costs the queue a write,
/// however few it holds, so none for what has just gone.
fn want_lanes<'a>(
    flow: &Sharer<'a>,
    target: usize,
    turn: usize,
    hands: &mut Hands,
    wants: &mut Vec<Want<'a>>,
) {
    if flow.held.held > target / 2 {
        return;
    }
    let mut left = target - flow.held.held;
    for n in 0..flow.lanes.len() {
        let offer = flow.lanes[(turn + n) % flow.lanes.len()];
        left -= want(wants, offer, left, hands);
        if left == 0 || hands.free == 0 {
            return;
        }
    }
}

impl Held {
    fn nothing(offer: &Offer) -> Self {
        Self {
            priority: offer.priority,
            campaign: offer.lane.campaign,
            weight: offer.flow.weight,
            held: 0,
        }
    }
}

/// Leases in all shards at once; answers which lanes had less than was wanted, and what failed.
async fn lease(
    relay: &Arc<Relay>,
    resolving: &Arc<Semaphore>,
    wants: &[Want<'_>],
    round: &mut Round,
) -> (HashSet<(ShardId, Lane)>, Option<StoreError>) {
    let mut shards: BTreeMap<ShardId, Vec<(Lane, u16)>> = BTreeMap::new();
    for want in wants {
        shards.entry(want.offer.shard).or_default().push((want.offer.lane.clone(), want.count));
    }
    let (mut spent, mut failed) = (HashSet::new(), None);
    if shards.is_empty() {
        return (spent, failed);
    }
    let shards: Vec<(ShardId, Vec<(Lane, u16)>)> = shards.into_iter().collect();
    let epochs: Vec<u64> = shards.iter().map(|(shard, _)| relay.heart.epoch(*shard)).collect();
    let answers = relay.store.lease_together(relay.heart.relay(), &shards).await;
    let places: HashMap<(ShardId, &Lane), &Offer> =
        wants.iter().map(|w| ((w.offer.shard, &w.offer.lane), w.offer)).collect();
    for (((shard, wanted), epoch), answer) in shards.iter().zip(epochs).zip(answers) {
        let leases = match answer {
            Ok(answer) => granted(relay, *shard, epoch, answer, round),
            Err(error) => {
                relay.register.doubt(*shard);
                failed = Some(error);
                continue;
            }
        };
        let mut short: HashMap<&Lane, u16> = wanted.iter().map(|(lane, n)| (lane, *n)).collect();
        for batch in leases {
            let count = batch.lease.items.len();
            if let Some(short) = short.get_mut(&batch.lease.lane) {
                *short = short.saturating_sub(count as u16);
            }
            round.leased += count;
            meters::leased(count);
            let offer = places.get(&(*shard, &batch.lease.lane)).copied();
            take(relay, resolving, *shard, epoch, batch, offer).await;
        }
        let short = short.into_iter().filter(|(_, short)| *short > 0);
        spent.extend(short.map(|(lane, _)| (*shard, lane.clone())));
    }
    (spent, failed)
}

/// What of an answer is this relay's.
fn granted(
    relay: &Relay,
    shard: ShardId,
    epoch: u64,
    answer: LeaseAnswer,
    round: &mut Round,
) -> Vec<LeasedBatch> {
    let leases = match answer {
        LeaseAnswer::Leases(leases) => leases,
        LeaseAnswer::Lost => {
            relay.heart.lost(shard);
            relay.register.forget(shard);
            return Vec::new();
        }
        LeaseAnswer::OutboxFull => {
            round.full = true;
            return Vec::new();
        }
    };
    if relay.heart.is_gone(shard, epoch) {
        // Lost while this was on its way: taken back, or granted to the new standing;
        // nobody can tell, so it is handed back and leased again.
        relay.register.doubt(shard);
        return Vec::new();
    }
    for batch in &leases {
        let lease = &batch.lease;
        relay.register.leased(shard, lease.token, lease.items.len());
    }
    leases
}

/// Opens a lease; until its recipients stand in line they are expected there.
async fn take(
    relay: &Arc<Relay>,
    resolving: &Arc<Semaphore>,
    shard: ShardId,
    epoch: u64,
    batch: LeasedBatch,
    offer: Option<&Offer>,
) {
    let (campaign, count) = (batch.lease.lane.campaign, batch.lease.items.len());
    relay.rulings.saw_campaign(campaign);
    let site = offer.and_then(|offer| match &offer.place {
        Place::Site(site) => {
            site.expect(offer.priority, campaign, &offer.flow, count);
            Some((site.clone(), offer.priority))
        }
        Place::Many | Place::Nowhere => None,
    });
    let (placed, permit) = match site {
        Some(_) => (None, None),
        // As a rule there is one: that many were asked for. The semaphore is never closed.
        None => {
            let placed = relay.placing.begin(campaign, count);
            (Some(placed), resolving.clone().acquire_owned().await.ok())
        }
    };
    let relay = relay.clone();
    relay.clone().tasks.spawn(async move {
        delivery::begin(&relay, shard, epoch, batch, placed).await;
        if let Some((site, priority)) = site {
            site.arrived(priority, campaign, count);
        }
        drop(permit);
    });
}
