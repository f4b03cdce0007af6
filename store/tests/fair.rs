//! The script that shares a budget and the model of it: the same questions, the same answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mail::share::{Ask, Demand, Fair, TenantMark, Weight};
use mail::{CampaignId, Site, Timestamp};
use store::{NewPace, PaceSlice, SliceRequest, Store};

use crate::ask;
use crate::support;

const SLICE: Duration = Duration::from_millis(100);

/// A small generator of numbers, so that a failing seed replays.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn flow(campaign: u64, waiting: u32) -> Demand {
    let weights = [1.0, 1.0, 3.0, 0.25, 7.5];
    let tenant = campaign / 2;
    Demand {
        campaign: CampaignId(campaign),
        weight: Weight {
            tenant: TenantMark(0x8000_0000 + tenant as u32),
            of_tenant: weights[tenant as usize % weights.len()],
            of_campaign: weights[campaign as usize % weights.len()] / 3.0,
        },
        priority: (campaign % 7 / 5) as u8,
        waiting,
    }
}

async fn ask(
    store: &Store,
    site: &Site,
    now: Option<Timestamp>,
    relay: &str,
    flows: &[Demand],
) -> PaceSlice {
    let expiry = Duration::from_secs(5);
    let request = SliceRequest {
        relay,
        flows,
        in_use: 1,
        slice: SLICE,
        expiry,
        start: (20.0, 4),
        fixed: (None, None),
    };
    store.pace_slice_at(now, "s", site, request).await.unwrap()
}

#[tokio::test]
async fn the_script_grants_what_the_model_grants() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    for seed in 0..40u64 {
        let mut dice = Dice(seed);
        let site = Site::from_name(&format!("mx{seed}.example"));
        let rate = [0.5, 4.0, 33.3, 250.0, 4000.0][dice.below(5) as usize];
        let pace = NewPace { state: b"", rate, connections: 10, is_taught: true, is_held: false };
        store.put_pace("s", &site, 0, pace).await.unwrap();
        let mut model = Fair::default();
        let mut now = Timestamp(1_800_000_000_000);
        let flows = 1 + dice.below(60);
        for step in 0..150 {
            let relay = ["r1", "r2", "r3"][dice.below(3) as usize];
            let mut asked: BTreeMap<u64, Demand> = BTreeMap::new();
            for _ in 0..dice.below(flows + 1) {
                let campaign = 1 + dice.below(flows);
                let most = if dice.below(4) == 0 { 3000 } else { 12 };
                asked.insert(campaign, flow(campaign, dice.below(most) as u32));
            }
            let asked: Vec<Demand> = asked.into_values().collect();
            let answer = ask(&store, &site, Some(now), relay, &asked).await;
            let model = model.slice(now, &Ask { relay, flows: &asked, rate, slice: SLICE });
            assert_eq!(answer.granted, model.granted, "seed {seed}, step {step}, {relay}");
            assert_eq!(answer.wait, model.wait, "seed {seed}, step {step}, {relay}");
            let pause = if dice.below(20) == 0 { 4000 } else { 70 };
            now = now + Duration::from_millis(dice.below(pause));
        }
    }
}

/// What a question costs with a hundred flows and four relays, told by Redis itself; the figures
/// are in docs/PACE.md. `cargo nextest run -p store --run-ignored all --no-capture what_a_question`.
#[tokio::test]
#[ignore = "a measurement, and no promise"]
async fn what_a_question_costs() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let site = Site::from_name("mx.example");
    let pace =
        NewPace { state: b"", rate: 1000.0, connections: 10, is_taught: true, is_held: false };
    store.put_pace("s", &site, 0, pace).await.unwrap();
    for flows in [1, 10, 100] {
        let _: String = ask::ask(&redis, redis::cmd("CONFIG").arg("RESETSTAT")).await;
        let (began, mut sum, mut n) = (Instant::now(), 0, 0u32);
        while began.elapsed() < Duration::from_secs(2) {
            let relay = format!("r{}", n % 4);
            let asked: Vec<Demand> = (1..=flows).map(|c| flow(c * 7, 40)).collect();
            sum += ask(&store, &site, None, &relay, &asked).await.sum();
            n += 1;
            tokio::time::sleep(SLICE / 4).await;
        }
        let stats: String = ask::ask(&redis, redis::cmd("INFO").arg("commandstats")).await;
        let line = stats.lines().find(|l| l.starts_with("cmdstat_evalsha:")).unwrap();
        let per_call = line.split("usec_per_call=").nth(1).unwrap();
        let micros: f64 = per_call.split(',').next().unwrap().parse().unwrap();
        println!("{flows} flows: {micros:.0} µs a question, {sum} granted in {n} questions");
    }
}
