//! One suite, two queues: random commands with random time jumps go to the model in
//! `mail::queue` and to the Redis scripts; every answer and every byte of state must
//! agree, and the accounts must balance after each command. A failure names the seed
//! that replays it: `CONFORMANCE_SEED=17 cargo nextest run -p store conformance`.

use std::collections::BTreeSet;

use mail::queue::{
    BatchId, CampaignState, End, Enqueue, Enqueued, Lane, Leased, Model, Outcome, Settle, Standing,
};
use mail::{CampaignId, Event, ShardId, Timestamp};
use store::{Frame, LeaseAnswer, Store};

use crate::support;
use crate::topologies;

/// SplitMix64: small, good enough, the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

const RELAYS: [&str; 3] = ["r1", "r2", "r3"];
const SHARD: ShardId = ShardId(0);

struct Run {
    dice: Dice,
    store: Store,
    model: Model,
    now: Timestamp,
    next_batch: u64,
    chunks: [u64; 3],
    /// Leases that some relay believes to hold, with what it has not settled yet.
    held: Vec<(&'static str, Leased)>,
    /// Settles so far, per relay.
    numbers: [u64; 3],
    log: Vec<String>,
}

impl Run {
    fn lanes() -> Vec<Lane> {
        let lanes = ["c1/a.example", "c1/*", "c2/a.example", "c3/*"];
        lanes.iter().map(|l| l.parse().unwrap()).collect()
    }

    async fn step(&mut self) {
        self.now = Timestamp(self.now.0 + self.jump());
        match self.dice.below(100) {
            0..15 => self.enqueue().await,
            15..25 => self.campaign().await,
            25..45 => self.renew().await,
            45..70 => self.lease().await,
            70..94 => self.settle().await,
            94..96 => self.reconcile().await,
            96..98 => self.restore().await,
            _ => self.expedite().await,
        }
        self.compare().await;
    }

    fn jump(&mut self) -> u64 {
        match self.dice.below(20) {
            0 => 2_000 + self.dice.next() % 6_000,
            1..4 => self.dice.next() % 2_500,
            _ => self.dice.next() % 400,
        }
    }

    async fn enqueue(&mut self) {
        let lane = self.dice.pick(&Self::lanes()).clone();
        let count = 1 + self.dice.below(12) as u16;
        let mut suppressed: Vec<u16> = (0..count).filter(|_| self.dice.below(5) == 0).collect();
        if self.dice.below(20) == 0 {
            suppressed = (0..count).collect();
        }
        let slot = (lane.campaign.0 - 1) as usize;
        let chunk = match self.dice.below(12) {
            0 => self.chunks[slot].saturating_sub(1),
            1 => self.chunks[slot] + 1,
            _ => self.chunks[slot],
        };
        let e = Enqueue {
            lane,
            chunk,
            batch: BatchId(self.next_batch),
            count,
            suppressed,
            priority: 1,
        };
        self.log.push(format!("{} enqueue {e:?}", self.now.0));
        let expected = self.model.enqueue(self.now, &e);
        if expected == Enqueued::Stored {
            self.chunks[slot] += 1;
            self.next_batch += u64::from(count);
        }
        let frame = Frame::encode(&[Event::default()]);
        let got = self
            .store
            .enqueue_at(Some(self.now), SHARD, &[(e, b"blob".to_vec(), frame)])
            .await
            .unwrap();
        assert_eq!(got, [expected]);
    }

    async fn campaign(&mut self) {
        let id = CampaignId(1 + self.dice.below(3) as u64);
        let state = match self.dice.below(10) {
            0 => CampaignState::Held,
            1..3 => CampaignState::Paused,
            3 => CampaignState::Cancelling,
            _ => CampaignState::Running,
        };
        self.log.push(format!("{} campaign {id} {state}", self.now.0));
        self.model.set_campaign(self.now, id, state, 1);
        self.store.set_campaign_state_at(Some(self.now), SHARD, id, state, 1).await.unwrap();
    }

    async fn renew(&mut self) {
        let relay = *self.dice.pick(&RELAYS);
        let fresh = self.dice.below(6) == 0;
        self.log.push(format!("{} renew {relay} fresh={fresh}", self.now.0));
        let expected = self.model.renew(self.now, relay, fresh);
        let got = self.store.renew_at(Some(self.now), SHARD, relay, fresh).await.unwrap();
        assert_eq!(got.standing, expected);
        // A relay that lost its standing may or may not notice at once.
        if expected == Standing::Lost && self.dice.below(2) == 0 {
            self.held.retain(|(r, _)| *r != relay);
        }
    }

    async fn lease(&mut self) {
        let relay = *self.dice.pick(&RELAYS);
        let lanes = Self::lanes();
        let wants: Vec<(Lane, u16)> = (0..1 + self.dice.below(2))
            .map(|_| (self.dice.pick(&lanes).clone(), 1 + self.dice.below(9) as u16))
            .collect();
        self.log.push(format!("{} lease {relay} {wants:?}", self.now.0));
        let expected = self.model.lease(self.now, relay, &wants);
        let got = self.store.lease_at(Some(self.now), SHARD, relay, &wants).await.unwrap();
        match (expected, got) {
            (None, LeaseAnswer::Lost) => {}
            (Some(expected), LeaseAnswer::Leases(got)) => {
                let got: Vec<Leased> = got.into_iter().map(|l| l.lease).collect();
                assert_eq!(got, expected);
                // Sometimes the answer is lost on the way: nobody knows of these leases.
                if self.dice.below(10) > 0 {
                    self.held.extend(got.into_iter().map(|l| (relay, l)));
                }
            }
            (expected, got) => panic!("model {expected:?}, redis {got:?}"),
        }
    }

    async fn settle(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.dice.below(self.held.len());
        let (relay, mut lease) = self.held.swap_remove(at);
        let part = 1 + self.dice.below(lease.items.len());
        let rest = lease.items.split_off(part);
        let outcomes = lease.items.iter().map(|(i, _)| (*i, self.outcome())).collect();
        let group = Settle { reason: "unreadable".into(), ..lease.settle(outcomes) };
        let who = RELAYS.iter().position(|r| *r == relay).unwrap();
        // An answer that got lost makes the relay say the same again.
        let times = 1 + usize::from(self.dice.below(8) == 0);
        self.numbers[who] += 1;
        for _ in 0..times {
            self.log.push(format!("{} settle {relay} {} {group:?}", self.now.0, self.numbers[who]));
            let groups = std::slice::from_ref(&group);
            let expected = self.model.settle(self.now, relay, self.numbers[who], groups);
            let got = self
                .store
                .settle_at(Some(self.now), SHARD, relay, self.numbers[who], groups, b"")
                .await
                .unwrap();
            assert_eq!(got, expected);
        }
        // Sometimes what was settled is still believed to be held, as after a lost answer.
        if self.dice.below(12) == 0 {
            self.held.push((relay, lease.clone()));
        }
        if !rest.is_empty() {
            lease.items = rest;
            self.held.push((relay, lease));
        }
    }

    fn outcome(&mut self) -> Outcome {
        match self.dice.below(10) {
            0..4 => Outcome::End(End::Delivered),
            4 => Outcome::End(*self.dice.pick(&End::ALL)),
            5 => Outcome::Back,
            6 => Outcome::Waits { due: Timestamp((self.now.0 / 1000 + 3) * 1000) },
            _ => Outcome::Deferred {
                due: Timestamp((self.now.0 / 1000 + 1 + self.dice.next() % 8) * 1000),
            },
        }
    }

    async fn reconcile(&mut self) {
        let relay = *self.dice.pick(&RELAYS);
        let known: Vec<_> =
            self.held.iter().filter(|(r, _)| *r == relay).map(|(_, l)| l.token).collect();
        self.log.push(format!("{} reconcile {relay} {known:?}", self.now.0));
        self.model.reconcile(self.now, relay, &known);
        self.store.reconcile_at(Some(self.now), SHARD, relay, &known).await.unwrap();
    }

    async fn restore(&mut self) {
        let asides = self.store.asides(SHARD).await.unwrap();
        if asides.is_empty() {
            return;
        }
        let aside = self.dice.pick(&asides).clone();
        self.log.push(format!("{} restore {}", self.now.0, aside.batch.0));
        let expected = self.model.restore(self.now, aside.batch);
        let got = self
            .store
            .restore_aside_at(Some(self.now), SHARD, &aside, "mended", self.now)
            .await
            .unwrap();
        assert_eq!(got as usize, expected);
    }

    async fn expedite(&mut self) {
        let id = CampaignId(1 + self.dice.below(3) as u64);
        self.log.push(format!("{} expedite {id}", self.now.0));
        self.model.expedite(self.now, id);
        self.store.expedite_at(Some(self.now), SHARD, id).await.unwrap();
    }

    async fn compare(&self) {
        let audit = self.store.audit(SHARD).await.unwrap();
        let mut open: Vec<_> =
            audit.open.iter().map(|o| (o.batch, o.states.clone(), o.attempts.clone())).collect();
        open.sort();
        assert_eq!(open, self.model.open_batches());
        let asides: Vec<(BatchId, usize)> = (self.store.asides(SHARD).await.unwrap().iter())
            .map(|aside| (aside.batch, aside.count as usize))
            .collect();
        assert_eq!(asides, self.model.asides());
        let ready: BTreeSet<String> = audit.ready.iter().cloned().collect();
        let expected: BTreeSet<String> =
            self.model.ready().iter().map(ToString::to_string).collect();
        assert_eq!(ready, expected, "ready lanes");
        let accounts = self.store.accounts(SHARD).await.unwrap();
        for id in self.model.campaigns() {
            let got = accounts.campaigns.get(&id).copied().unwrap_or_default();
            assert_eq!(got, self.model.counters(id), "{id}");
            assert_eq!(got.imbalance(), 0, "{id}: {got:?}");
            assert_eq!(got.waiting, audit.waiting(id), "{id}: waiting by states");
            assert_eq!(got.waiting, self.model.audit_waiting(id), "{id}: waiting by the model");
        }
    }
}

async fn run(config: &store::Config, seed: u64, steps: usize) -> Result<(), String> {
    let config = store::Config { prefix: format!("t{seed}"), shards: 1, ..config.clone() };
    let mut run = Run {
        dice: Dice(seed),
        store: Store::open(&config).await.unwrap(),
        model: Model::default(),
        now: Timestamp(1_700_000_000_000),
        next_batch: 1,
        chunks: [0; 3],
        held: Vec::new(),
        numbers: [0; 3],
        log: Vec::new(),
    };
    for _ in 0..steps {
        let step = std::panic::AssertUnwindSafe(run.step());
        if futures_catch(step).await.is_err() {
            return Err(run.log.join("\n"));
        }
    }
    Ok(())
}

/// Polls a future and catches its panic, so that the log of commands can be printed.
async fn futures_catch<F: Future>(
    future: std::panic::AssertUnwindSafe<F>,
) -> Result<F::Output, Box<dyn std::any::Any + Send>> {
    let mut future = Box::pin(future.0);
    std::future::poll_fn(move |cx| {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    })
    .await
}

async fn conform(config: &store::Config, seeds: u64) {
    let seeds: Vec<u64> = match std::env::var("CONFORMANCE_SEED") {
        Ok(seed) => vec![seed.parse().expect("CONFORMANCE_SEED is a number")],
        Err(_) => {
            let many = std::env::var("CONFORMANCE_SEEDS").ok().and_then(|n| n.parse().ok());
            (1..=many.unwrap_or(seeds)).collect()
        }
    };
    for seed in seeds {
        if let Err(log) = run(config, seed, 250).await {
            let tail: Vec<&str> = log.lines().rev().take(12).collect();
            panic!("seed {seed} disagrees; its last commands, newest first:\n{}", tail.join("\n"));
        }
    }
}

#[tokio::test]
async fn conformance_of_redis_with_the_model() {
    conform(&support::Redis::start().config(), 60).await;
}

#[tokio::test]
async fn conformance_through_sentinels_at_the_replicated_level() {
    let sentinels = topologies::sentinel::Sentinels::start().await;
    let durability = store::Durability::Replicated;
    conform(&store::Config { durability, ..sentinels.config() }, 8).await;
}

#[tokio::test]
async fn conformance_on_a_cluster_at_the_replicated_level() {
    let cluster = topologies::cluster::Cluster::start().await;
    let durability = store::Durability::Replicated;
    // Each seed has a prefix of its own, and so another slot: all nodes have their turn.
    conform(&store::Config { durability, ..cluster.config() }, 8).await;
}
