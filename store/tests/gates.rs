//! What gates judge is counted once, whatever is repeated; and of any number that look at a
//! campaign at the same time one pauses it, once.

use mail::gate::{Config, Counts, Gates, Memory, Step};
use mail::hygiene::Policy;
use mail::queue::{BatchId, CampaignState, End, Enqueue, Enqueued, Lane, Outcome, Settle};
use mail::{CampaignId, DeliveryId, Event, ShardId, Timestamp};
use store::{CampaignStatus, Frame, LeaseAnswer, Return, Returned, Store};

use crate::support;

const SHARD: ShardId = ShardId(0);

/// A campaign of four that runs, and a lease of all of them.
async fn lease(store: &Store) -> (CampaignId, Settle) {
    let id = store.create_campaign(&support::campaign()).await.unwrap();
    let lane = Lane { campaign: id, domain: None };
    let batch = store.reserve(SHARD, 4).await.unwrap();
    let enqueue = Enqueue {
        lane: lane.clone(),
        chunk: 0,
        batch: BatchId(batch.0),
        count: 4,
        suppressed: vec![],
        priority: 1,
    };
    let frame = Frame::encode(&[Event::default()]);
    let stored = store.enqueue(SHARD, &[(enqueue, b"blob".to_vec(), frame)]).await.unwrap();
    assert_eq!(stored, [Enqueued::Stored]);
    store.set_campaign_state(id, CampaignState::Running, 1).await.unwrap();
    assert!(store.renew("r1", |_| true).await.iter().all(Result::is_ok));
    let LeaseAnswer::Leases(leases) = store.lease(SHARD, "r1", &[(lane, 4)]).await.unwrap() else {
        panic!("no lease")
    };
    (id, leases[0].lease.settle(Vec::new()))
}

async fn running(store: &Store) -> CampaignId {
    let id = store.create_campaign(&support::campaign()).await.unwrap();
    run(store, id, CampaignStatus::Draft).await;
    id
}

async fn run(store: &Store, id: CampaignId, from: CampaignStatus) {
    let to = CampaignStatus::Running;
    assert_eq!(store.change_status(id, &[from], to, Timestamp(2)).await.unwrap(), to);
}

fn a_fifth_is_dead() -> Counts {
    Counts { accepted: 10_000, delivered: 160, dead: 40, ..Counts::default() }
}

/// What follows from this memory when the campaign runs.
fn pause(memory: &Memory, counts: &Counts) -> Memory {
    let gates = Gates::new(&Config::default()).unwrap();
    match memory.step(&gates, counts, Timestamp(9)) {
        Step::Pause(memory, _) | Step::Resumed(memory) => memory,
        step => panic!("{step:?}"),
    }
}

#[tokio::test]
async fn dead_addresses_are_counted_once_and_move_no_account() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let (id, mut settle) = lease(&store).await;
    let end = Outcome::End;
    settle.outcomes = vec![
        (0, end(End::Failed)),
        (1, end(End::Failed)),
        (2, end(End::Expired)),
        (3, end(End::Delivered)),
    ];
    settle.dead = vec![1, 2];
    let frame = Frame::encode(&vec![Event::default(); 4]);
    for _ in 0..2 {
        let told = store.settle(SHARD, "r1", 1, &[settle.clone()], &frame).await.unwrap();
        assert_eq!(told.len(), 4);
    }
    // Late, under another number, it is refused and not counted.
    store.settle(SHARD, "r1", 2, &[settle], &frame).await.unwrap();
    let (accounts, counts) = store.campaign_counts(id).await.unwrap();
    assert_eq!((accounts.failed, accounts.expired, accounts.delivered), (2, 1, 1));
    assert_eq!((accounts.imbalance(), counts.dead, counts.delivered), (0, 2, 1));
}

#[tokio::test]
async fn what_came_back_dead_is_counted_once() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let id = running(&store).await;
    let of = |seq| DeliveryId { shard: SHARD, seq };
    let dead = Returned::Failure { dead: true };
    for (seq, kind) in [
        (1, dead),
        (1, dead),
        (2, Returned::Failure { dead: false }),
        (3, dead),
        (4, Returned::Complaint),
        (4, Returned::Complaint),
    ] {
        let event = &Event::default();
        let mail = Return { delivery: of(seq), campaign: id, kind, about: None, event };
        for taken in store.take_back(&[mail], Timestamp(1), &Policy::default()).await {
            taken.unwrap();
        }
    }
    let (accounts, counts) = store.campaign_counts(id).await.unwrap();
    assert_eq!((accounts.returned, accounts.complained), (3, 1));
    assert_eq!((counts.returned_dead, counts.complained), (2, 1));
    let stranger = store.campaign_counts(CampaignId(99)).await.unwrap();
    assert_eq!(stranger.1, Counts::default());
}

#[tokio::test]
async fn of_two_who_look_at_once_one_pauses() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    for _ in 0..20 {
        let id = running(&store).await;
        let look = async || {
            let before = store.gate_memory(id).await.unwrap();
            let memory = pause(&before.memory, &a_fifth_is_dead());
            store.put_gate_memory(id, &before, &memory, Timestamp(9)).await.unwrap()
        };
        let (one, two) = tokio::join!(look(), look());
        assert!(one != two, "{one} {two}");
        let campaign = store.campaign(id).await.unwrap().unwrap();
        assert_eq!((campaign.status, campaign.changed_at), (CampaignStatus::Paused, Timestamp(9)));
        let note = campaign.gate.pause().unwrap();
        assert!(note.reason.starts_with("40 of 200 "), "{}", note.reason);
        assert_eq!(campaign.gate.found.len(), 1);
    }
}

#[tokio::test]
async fn what_a_person_lets_go_on_is_paused_by_new_evidence_alone() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let id = running(&store).await;
    let unread = store.gate_memory(id).await.unwrap();
    let paused = pause(&unread.memory, &a_fifth_is_dead());
    assert!(store.put_gate_memory(id, &unread, &paused, Timestamp(9)).await.unwrap());
    // Nobody pauses what does not run.
    let before = store.gate_memory(id).await.unwrap();
    assert_eq!(before.memory, paused);
    assert!(!store.put_gate_memory(id, &before, &paused, Timestamp(9)).await.unwrap());
    run(&store, id, CampaignStatus::Paused).await;
    // Who had looked before the pause comes too late.
    assert!(!store.put_gate_memory(id, &unread, &paused, Timestamp(9)).await.unwrap());
    let resumed = pause(&before.memory, &a_fifth_is_dead());
    assert!(store.put_gate_memory(id, &before, &resumed, Timestamp(9)).await.unwrap());
    let campaign = store.campaign(id).await.unwrap().unwrap();
    assert_eq!(campaign.status, CampaignStatus::Running);
    assert_eq!((campaign.gate.pause(), campaign.gate.base), (None, a_fifth_is_dead()));
    let gates = Gates::new(&Config::default()).unwrap();
    assert_eq!(campaign.gate.step(&gates, &a_fifth_is_dead(), Timestamp(10)), Step::Nothing);
}
