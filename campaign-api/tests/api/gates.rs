//! Gates: a campaign with a bad list is paused once, with the reason; a person lets it go on.

use campaign_api::{Api, Parts};
use mail::event::EventKind;
use mail::hygiene::Policy;
use mail::queue::{End, Outcome};
use mail::{CampaignId, DeliveryId, Event, ShardId, Timestamp};
use serde_json::{Value, json};
use store::{Frame, LeaseAnswer, Page, Return, Returned};
use tokio_util::sync::CancellationToken;

use crate::support::{World, definition, line, links};

/// An API that judges after twenty answers.
async fn world() -> World {
    World::with(|config| config.gates.canary_min = 20, |_| {}).await
}

fn lines(count: usize) -> String {
    (0..count).map(|n| line(&format!("u{n}@example.org"))).collect()
}

fn id_of(path: &str) -> CampaignId {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

/// A relay of this name leases so many and is answered: the first `dead` addresses do not exist.
async fn answered(world: &World, relay: &str, delivered: usize, dead: usize) -> usize {
    let store = &world.store;
    assert!(store.renew(relay, |_| true).await.iter().all(Result::is_ok));
    let mut left = dead;
    let mut settled = 0;
    for shard in store.all_shards() {
        let page = Page { shard, from: 0, count: 100 };
        let mut number = 0;
        for (lane, _) in store.ready_pages(&[page]).await.remove(0).unwrap() {
            let wanted = u16::try_from(delivered + dead - settled).unwrap();
            let LeaseAnswer::Leases(leases) =
                store.lease(shard, relay, &[(lane, wanted)]).await.unwrap()
            else {
                panic!("no lease")
            };
            for leased in leases {
                let lease = leased.lease;
                let mut group = lease.settle(Vec::new());
                for (index, _) in &lease.items {
                    let is_dead = left > 0;
                    left -= usize::from(is_dead);
                    let end = if is_dead { End::Failed } else { End::Delivered };
                    group.outcomes.push((*index, Outcome::End(end)));
                    group.dead.extend(is_dead.then_some(*index));
                }
                settled += group.outcomes.len();
                number += 1;
                let frame = Frame::encode(&vec![Event::default(); group.outcomes.len()]);
                store.settle(shard, relay, number, &[group], &frame).await.unwrap();
            }
        }
    }
    settled
}

async fn started(world: &World, lines: &str, definition: &Value) -> String {
    let reply = world.request("POST", "/v1/campaigns").json(definition).send().await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let path = reply.header("location").to_owned();
    world.upload(&path, 0, lines.as_bytes()).await;
    world.post(&format!("{path}/recipients/close")).await;
    assert_eq!(world.post(&format!("{path}/start")).await.json()["status"], "running");
    path
}

async fn changes(world: &World) -> Vec<String> {
    let all = world.events().await.into_iter();
    let of_gate = |e: &Event| e.kind == EventKind::CampaignChanged && e.note.contains("by gate");
    all.filter(of_gate).map(|e| e.note).collect()
}

/// Longer than the housekeeping of any instance takes.
async fn a_while() {
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
}

#[tokio::test]
async fn a_bad_list_is_paused_once_with_the_reason_and_goes_on_when_a_person_says_so() {
    let world = world().await;
    // A second instance looks at the same campaigns.
    let parts = Parts {
        store: world.api_store.clone(),
        txt: world.zone.clone(),
        links: links(),
        history: ledger::Questions::new(world.history()),
        staging: world.folder.path().join("staging-2"),
        beside: None,
    };
    let second = Api::bind(world.config.clone(), parts).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(second.run(stop.clone()));

    let path = started(&world, &lines(300), &definition()).await;
    assert_eq!(answered(&world, "r1", 15, 4).await, 19);
    a_while().await;
    assert_eq!(world.get(&path).await.json()["status"], "running", "below the canary");
    assert_eq!(answered(&world, "r2", 65, 16).await, 81);
    let view = world.until_status(&path, "paused").await;
    let gate = &view["gate"];
    assert_eq!(gate["paused_by"], "bounces");
    let reason = "20 of 100 addresses that answered are dead (20 %), surely more than 10 %";
    assert_eq!(gate["reason"], reason);
    assert_eq!((&gate["found"][0]["did"], &gate["found"][1]), (&json!("pause"), &Value::Null));
    a_while().await;
    assert_eq!(answered(&world, "r3", 1, 0).await, 0, "nothing goes");
    assert_eq!(changes(&world).await, [format!("running to paused by gate bounces: {reason}")]);

    assert_eq!(world.post(&format!("{path}/resume")).await.json()["status"], "running");
    a_while().await;
    assert_eq!(answered(&world, "r4", 50, 0).await, 50);
    a_while().await;
    let view = world.get(&path).await.json();
    assert_eq!((&view["status"], &view["gate"]["paused_by"]), (&json!("running"), &Value::Null));
    assert!(view["gate"]["resumed_at"].is_string(), "{view}");
    assert_eq!(view["gate"]["found"].as_array().unwrap().len(), 1, "it stays on record");

    assert_eq!(answered(&world, "r5", 0, 50).await, 50);
    let view = world.until_status(&path, "paused").await;
    let again = "50 of 100 addresses that answered are dead (50 %), surely more than 10 % since it was resumed";
    assert_eq!(view["gate"]["reason"], again);
    assert_eq!(changes(&world).await.len(), 2);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn complaints_that_come_late_pause_what_is_left() {
    let world = world().await;
    let path = started(&world, &lines(300), &definition()).await;
    assert_eq!(answered(&world, "r1", 200, 0).await, 200);
    for seq in 1..=8 {
        let delivery = DeliveryId { shard: ShardId(0), seq };
        let (campaign, event) = (id_of(&path), &Event::default());
        let mail = Return { delivery, campaign, kind: Returned::Complaint, about: None, event };
        for taken in world.store.take_back(&[mail], Timestamp(1), &Policy::default()).await {
            taken.unwrap();
        }
    }
    let view = world.until_status(&path, "paused").await;
    assert_eq!(view["gate"]["paused_by"], "complaints");
    // It may have looked before all of them had come.
    let reason = view["gate"]["reason"].as_str().unwrap();
    assert!(reason.contains(" of 200 recipients who took it reported it as spam ("), "{reason}");
    assert!(reason.ends_with("surely more than 0.5 %"), "{reason}");
    assert_eq!(view["progress"]["waiting"], 100);
}

#[tokio::test]
async fn a_campaign_without_gates_and_one_beside_it_go_on() {
    let world = world().await;
    let mut spared = definition();
    spared["gates"] = json!(false);
    let spared = started(&world, &lines(100), &spared).await;
    assert_eq!(answered(&world, "r1", 10, 40).await, 50);
    let beside = started(&world, &lines(10), &definition()).await;
    a_while().await;
    let view = world.get(&spared).await.json();
    assert_eq!((&view["status"], &view["definition"]["gates"]), (&json!("running"), &json!(false)));
    assert_eq!(world.get(&beside).await.json()["status"], "running");
    assert!(changes(&world).await.is_empty());
}
