//! Settling in several shards at once: each shard's answer is its own, a repetition
//! changes nothing, and a server that forgot the scripts is taught again.

use mail::queue::{CampaignState, End, Enqueue, Judgement, Lane, Outcome, Settle, Standing};
use mail::{CampaignId, Event, ShardId};
use store::{Frame, LeaseAnswer, ShardSettle, Store};

use crate::support;

async fn lease(store: &Store, shard: ShardId) -> Settle {
    let lane: Lane = "c1/a.example".parse().unwrap();
    let LeaseAnswer::Leases(leases) = store.lease(shard, "r1", &[(lane, 10)]).await.unwrap() else {
        panic!("no lease in {shard:?}");
    };
    let lease = &leases[0].lease;
    lease.settle(lease.items.iter().map(|(i, _)| (*i, Outcome::End(End::Delivered))).collect())
}

async fn filled(store: &Store) {
    for shard in store.all_shards() {
        let enqueue = Enqueue {
            lane: "c1/a.example".parse().unwrap(),
            chunk: 0,
            batch: mail::queue::BatchId(1),
            count: 3,
            suppressed: vec![],
            priority: 1,
        };
        let frame = Frame::encode(&[Event::default()]);
        store.enqueue(shard, &[(enqueue, b"blob".to_vec(), frame)]).await.unwrap();
    }
    store.set_campaign_state(CampaignId(1), CampaignState::Running, 1).await.unwrap();
    let renewals = store.renew("r1", |_| true).await;
    assert!(renewals.into_iter().all(|r| r.unwrap().standing == Standing::Known));
}

#[tokio::test]
async fn each_shard_has_its_own_answer_and_a_repetition_changes_nothing() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    filled(&store).await;
    let (a, b) = (lease(&store, ShardId(0)).await, lease(&store, ShardId(3)).await);
    let frame = Frame::encode(&[Event::default(), Event::default(), Event::default()]);
    let part = |shard, settle| ShardSettle {
        shard: ShardId(shard),
        number: 1,
        groups: std::slice::from_ref(settle),
        frame: &frame,
    };
    // The server forgets the scripts: it is taught again, and nobody notices.
    let client = redis::Client::open(redis.url()).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut conn).await.unwrap();
    for _ in 0..2 {
        let answers = store.settle_together("r1", &[part(0, &a), part(3, &b)]).await;
        assert_eq!(answers.len(), 2);
        for answer in answers {
            assert_eq!(answer.unwrap(), [Judgement::Applied; 3]);
        }
        let counters = store.campaign_counters(CampaignId(1)).await.unwrap();
        assert_eq!((counters.accepted, counters.delivered, counters.waiting), (12, 6, 6));
    }
}

#[tokio::test]
async fn one_shard_that_fails_leaves_the_others_their_answers() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    filled(&store).await;
    let (a, b) = (lease(&store, ShardId(0)).await, lease(&store, ShardId(1)).await);
    let client = redis::Client::open(redis.url()).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    // Something else lies where shard 0 keeps its open batches.
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("*0}*open").query_async(&mut conn).await.unwrap();
    let open = keys.first().expect("the open batches of shard 0").clone();
    let _: () = redis::cmd("SET").arg(&open).arg("x").query_async(&mut conn).await.unwrap();
    let frame = Frame::encode(&[Event::default(), Event::default(), Event::default()]);
    let part = |shard, settle| ShardSettle {
        shard: ShardId(shard),
        number: 1,
        groups: std::slice::from_ref(settle),
        frame: &frame,
    };
    let answers = store.settle_together("r1", &[part(0, &a), part(1, &b)]).await;
    assert!(answers[0].is_err());
    assert_eq!(answers[1].as_ref().unwrap(), &[Judgement::Applied; 3]);
}
