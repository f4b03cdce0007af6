//! The promises of fair share, on the model: relays that ask every slice, campaigns that
//! come and go.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

const SLICE: Duration = Duration::from_millis(100);

/// Relays with what waits in each, and what was sent of each campaign.
struct World {
    fair: Fair,
    now: Timestamp,
    rate: f64,
    relays: Vec<BTreeMap<u64, Demand>>,
    sent: BTreeMap<u64, u32>,
}

impl World {
    fn new(rate: f64, relays: usize) -> Self {
        Self {
            fair: Fair::default(),
            now: Timestamp(1_000_000),
            rate,
            relays: vec![BTreeMap::new(); relays],
            sent: BTreeMap::new(),
        }
    }

    fn add(&mut self, relay: usize, campaign: u64, tenant: u32, weight: f64, priority: u8, n: u32) {
        let tenant = TenantMark(tenant);
        let weight = Weight { tenant, of_tenant: weight, ..Weight::default() };
        self.add_weighing(relay, campaign, weight, priority, n);
    }

    fn add_weighing(&mut self, relay: usize, campaign: u64, weight: Weight, priority: u8, n: u32) {
        let flow = Demand { campaign: CampaignId(campaign), weight, priority, waiting: 0 };
        self.relays[relay].entry(campaign).or_insert(flow).waiting += n;
    }

    fn ask(&mut self, relay: usize) -> u32 {
        let flows: Vec<Demand> = self.relays[relay].values().copied().collect();
        let name = format!("r{relay}");
        let ask = Ask { relay: &name, flows: &flows, rate: self.rate, slice: SLICE };
        let mut sum = 0;
        for (campaign, n) in self.fair.slice(self.now, &ask).granted {
            self.relays[relay].get_mut(&campaign.0).unwrap().waiting -= n;
            *self.sent.entry(campaign.0).or_default() += n;
            sum += n;
        }
        sum
    }

    /// Every relay asks once a slice, spread over it.
    fn run(&mut self, slices: u32) -> u32 {
        let mut sum = 0;
        let relays = self.relays.len();
        for _ in 0..slices {
            for relay in 0..relays {
                sum += self.ask(relay);
                self.now = self.now + SLICE / relays as u32;
            }
        }
        sum
    }

    fn sent(&self, campaign: u64) -> f64 {
        f64::from(self.sent.get(&campaign).copied().unwrap_or(0))
    }
}

fn ratio(shares: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = shares.clone().fold(0.0, f64::max);
    most / shares.fold(f64::MAX, f64::min)
}

#[test]
fn a_large_campaign_and_a_hundred_small_ones_have_equal_shares_on_any_number_of_relays() {
    for relays in [1, 2, 4] {
        let mut world = World::new(500.0, relays);
        for relay in 0..relays {
            world.add(relay, 1, 1, 1.0, 1, 1_000_000);
        }
        // Each small one lies wholly in one relay.
        for small in 0..100 {
            world.add(small as usize % relays, 10 + small, 10 + small as u32, 1.0, 1, 100);
        }
        world.run(100);
        let shares = (10..110).chain([1]).map(|c| world.sent(c));
        let ratio = ratio(shares);
        assert!(ratio <= 1.2, "{relays} relays: {ratio}: {:?}", world.sent);
    }
}

#[test]
fn shares_follow_weights_and_a_tenant_gains_nothing_by_many_campaigns() {
    let mut world = World::new(200.0, 2);
    for relay in 0..2 {
        world.add(relay, 1, 1, 3.0, 1, 100_000);
        world.add(relay, 2, 2, 1.0, 1, 100_000);
        for more in 0..10 {
            world.add(relay, 100 + more, 3, 1.0, 1, 100_000);
        }
    }
    world.run(200);
    let tenants = [world.sent(1) / 3.0, world.sent(2), (100..110).map(|c| world.sent(c)).sum()];
    assert!(ratio(tenants.into_iter()) <= 1.05, "{tenants:?}");
    assert!(ratio((100..110).map(|c| world.sent(c))) <= 1.2, "{:?}", world.sent);
}

#[test]
fn a_tenants_part_is_divided_by_the_weights_of_its_campaigns_that_wait() {
    let mut world = World::new(600.0, 2);
    let weight =
        |tenant, of_campaign| Weight { tenant: TenantMark(tenant), of_tenant: 2.0, of_campaign };
    for relay in 0..2 {
        world.add_weighing(relay, 1, weight(1, 1.0), 1, 100_000);
        world.add_weighing(relay, 2, weight(1, 3.0), 1, 100_000);
        world.add_weighing(relay, 3, weight(2, 0.5), 1, 100_000);
    }
    world.run(200);
    let shares = [world.sent(1), world.sent(2) / 3.0, world.sent(3) / 4.0];
    assert!(ratio(shares.into_iter()) <= 1.05, "{shares:?}");
}

#[test]
fn a_newcomer_is_served_at_once_and_whoever_was_idle_gained_nothing() {
    let mut world = World::new(1000.0, 1);
    world.add(0, 1, 1, 1.0, 1, 1_000_000);
    world.add(0, 2, 2, 1.0, 1, 10);
    world.run(200);
    let (before, old) = (world.sent(1), world.sent(2));
    // The second has been idle for 20 s, the third is new.
    world.add(0, 2, 2, 1.0, 1, 100_000);
    world.add(0, 3, 3, 1.0, 1, 100_000);
    world.run(10);
    let shares = [world.sent(1) - before, world.sent(2) - old, world.sent(3)];
    assert!(ratio(shares.into_iter()) <= 1.05, "{shares:?}");
}

#[test]
fn urgent_ones_go_first_and_alone_until_they_are_through() {
    let mut world = World::new(500.0, 2);
    for relay in 0..2 {
        world.add(relay, 1, 1, 1.0, 1, 100_000);
    }
    world.run(20);
    let before = world.sent(1);
    // In one relay only: the other holds back for it.
    world.add(1, 2, 2, 1.0, 0, 500);
    world.run(11);
    assert!(world.sent(2) >= 500.0 * 0.95, "{:?}", world.sent);
    assert!(world.sent(1) - before <= 110.0, "{}", world.sent(1) - before);
}

#[test]
fn what_others_do_not_fetch_goes_to_whoever_asks() {
    for rate in [0.5, 3.0, 50.0, 5000.0] {
        let mut world = World::new(rate, 4);
        for relay in 0..4 {
            world.add(relay, 1 + relay as u64, 1 + relay as u32, 1.0, 1, 10_000_000);
        }
        world.run(50);
        let before = world.sent(1);
        // The others are dead: after a moment the first has everything.
        let slices = 400;
        for _ in 0..slices {
            world.ask(0);
            world.now = world.now + SLICE;
        }
        let could = rate * f64::from(slices) * 0.1;
        let sent = world.sent(1) - before;
        assert!(sent >= (0.97 * could - 3.0).floor(), "{rate}: {sent} of {could}");
    }
}

#[test]
fn a_relay_that_was_gone_for_long_takes_no_revenge() {
    let mut world = World::new(1000.0, 2);
    world.add(0, 1, 1, 1.0, 1, 10_000_000);
    world.add(1, 2, 2, 1.0, 1, 10_000_000);
    world.run(10);
    for _ in 0..300 {
        world.ask(0);
        world.now = world.now + SLICE;
    }
    let before = world.sent(1);
    world.run(40);
    let share = (world.sent(1) - before) / 4000.0;
    assert!(share > 0.3, "the first has {share} of the next four seconds");
}

/// 1.4 messages a slice, all of them one relay's while another waits for its class.
#[test]
fn slices_that_bring_no_whole_number_are_used() {
    let mut world = World::new(13.75, 3);
    world.add(0, 3, 1, 0.01, 0, 1_000_000);
    world.add(1, 1, 0, 0.01, 1, 1_000_000);
    let sum = world.run(50);
    assert!((64..=70).contains(&sum), "{sum} of 68");
    assert!(world.sent(1) <= 1.0, "the urgent one goes first: {:?}", world.sent);
}

proptest! {
    /// Whatever waits where: never more than the budget, nothing invented, and while
    /// there is enough for everybody all of the budget is used.
    #[test]
    fn the_budget_is_kept_and_used(
        rate in 1.0f64..2000.0,
        relays in 1usize..5,
        flows in proptest::collection::vec((0usize..5, 1u64..30, 0.01f64..100.0, 0u8..3), 1..40),
    ) {
        let mut world = World::new(rate, relays);
        // A campaign has one weight and one class, whichever relay holds it.
        let mut known = BTreeMap::new();
        for (relay, campaign, weight, priority) in flows {
            let (weight, priority) = *known.entry(campaign).or_insert((weight, priority));
            world.add(relay % relays, campaign, campaign as u32 / 3, weight, priority, 1_000_000);
        }
        let sum = f64::from(world.run(50));
        prop_assert!(sum <= rate * 5.2 + 1.0, "{sum} at {rate}");
        prop_assert!(sum >= (rate * 4.7 - 3.0).floor(), "{sum} at {rate}");
        prop_assert_eq!(sum, f64::from(world.sent.values().sum::<u32>()));
    }

    /// Nobody of the first class waits for ever, however small its weight.
    #[test]
    fn nobody_starves(weights in proptest::collection::vec(0.5f64..20.0, 2..30), relays in 1usize..4) {
        let mut world = World::new(100.0, relays);
        for (i, weight) in weights.iter().enumerate() {
            world.add(i % relays, i as u64 + 1, i as u32, *weight, 1, 1_000_000);
        }
        let slices = 200;
        world.run(slices);
        let all: f64 = weights.iter().sum();
        for (i, weight) in weights.iter().enumerate() {
            let fair = 100.0 * f64::from(slices) * 0.1 * weight / all;
            let sent = world.sent(i as u64 + 1);
            prop_assert!(sent >= 0.9 * fair - 3.0, "flow {}: {} of {}", i, sent, fair);
        }
    }

    #[test]
    fn parts_use_the_room_and_give_nobody_more_than_it_wants(
        room in 0u32..10_000,
        wants in proptest::collection::vec((0.01f64..100.0, 0u32..1000), 0..60),
    ) {
        let parts = parts(room, &wants);
        let all: u32 = wants.iter().map(|(_, most)| most).sum();
        prop_assert_eq!(parts.iter().sum::<u32>(), room.min(all));
        prop_assert!(parts.iter().zip(&wants).all(|(part, (_, most))| part <= most));
    }
}
