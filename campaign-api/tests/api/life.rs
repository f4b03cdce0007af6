//! A campaign's life: started, paused, resumed, cancelled, scheduled, finished.

use mail::event::EventKind;
use mail::queue::{End, Outcome};
use mail::{CampaignId, Event};
use serde_json::json;
use store::{Frame, LeaseAnswer, Page};

use crate::support::{World, definition, line};

/// Leases whatever may be leased and settles it; answers how many there were.
async fn relay(world: &World, end: End) -> usize {
    let store = &world.store;
    assert!(store.renew("relay-1", |_| true).await.iter().all(Result::is_ok));
    let mut settled = 0;
    for shard in store.all_shards() {
        let page = Page { shard, from: 0, count: 100 };
        for (lane, _) in store.ready_pages(&[page]).await.remove(0).unwrap() {
            let LeaseAnswer::Leases(leases) =
                store.lease(shard, "relay-1", &[(lane, 500)]).await.unwrap()
            else {
                panic!("no lease")
            };
            for (number, leased) in leases.into_iter().enumerate() {
                let lease = leased.lease;
                let outcomes: Vec<_> =
                    lease.items.iter().map(|(i, _)| (*i, Outcome::End(end))).collect();
                let events = vec![Event::default(); outcomes.len()];
                settled += outcomes.len();
                let group = lease.settle(outcomes);
                let number = number as u64 + 1;
                store
                    .settle(shard, "relay-1", number, &[group], &Frame::encode(&events))
                    .await
                    .unwrap();
            }
        }
    }
    settled
}

#[tokio::test]
async fn a_campaign_runs_pauses_resumes_and_finishes() {
    let world = World::new().await;
    let path = world.ready(&[line("ann@example.org"), line("bob@example.net")].concat()).await;
    let status = async |verb: &str| {
        let reply = world.post(&format!("{path}/{verb}")).await;
        assert_eq!(reply.status, 200, "{verb}: {}", reply.text());
        reply.json()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(relay(&world, End::Delivered).await, 0, "nothing goes before the start");
    assert_eq!(status("start").await, "running");
    assert_eq!(status("pause").await, "paused");
    assert_eq!(status("pause").await, "paused");
    assert_eq!(relay(&world, End::Delivered).await, 0, "nothing goes while it is paused");
    world.post(&format!("{path}/start")).await.problem(409, "wrong-state");
    assert_eq!(status("resume").await, "running");
    assert_eq!(status("resume").await, "running");
    assert_eq!(relay(&world, End::Delivered).await, 2);
    let view = world.until_status(&path, "finished").await;
    assert_eq!(view["progress"]["delivered"], 2);
    assert_eq!(view["progress"]["percent"]["done"], 100.0);
    let refused = world.post(&format!("{path}/cancel")).await.problem(409, "wrong-state");
    assert_eq!((&refused["state"], &refused["possible"]), (&json!("finished"), &json!([])));
    let active = world.store.active_campaigns().await.unwrap();
    assert!(active.iter().all(|(id, _)| *id != CampaignId(1)), "{active:?}");
    let told: Vec<String> = world
        .events()
        .await
        .into_iter()
        .filter(|e| e.kind == EventKind::CampaignChanged)
        .map(|e| e.note)
        .collect();
    let expected = [
        "draft to closing by marketing",
        "closing to ready by marketing",
        "ready to running by marketing",
        "running to paused by marketing",
        "paused to running by marketing",
        "running to finished by schedule",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_cancelled_campaign_is_emptied_and_ends() {
    let world = World::new().await;
    let path = world.ready(&line("ann@example.org")).await;
    for _ in 0..2 {
        let reply = world.post(&format!("{path}/cancel")).await;
        assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("cancelling")));
    }
    assert_eq!(relay(&world, End::Cancelled).await, 1);
    let view = world.until_status(&path, "cancelled").await;
    assert_eq!(
        (&view["progress"]["cancelled"], &view["progress"]["waiting"]),
        (&json!(1), &json!(0))
    );
    world.post(&format!("{path}/start")).await.problem(409, "wrong-state");
}

#[tokio::test]
async fn a_draft_is_cancelled_at_once_and_its_upload_forgotten() {
    let world = World::new().await;
    let path = world.campaign().await;
    world.upload(&path, 0, line("ann@example.org").as_bytes()).await;
    let file = world.folder.path().join("staging/c1.ndjson");
    assert!(file.exists());
    assert_eq!(world.post(&format!("{path}/cancel")).await.json()["status"], "cancelled");
    assert!(!file.exists());
    world.upload(&path, 0, b"x").await.problem(409, "wrong-state");
    let refused = world.post(&format!("{path}/start")).await.problem(409, "wrong-state");
    assert!(refused["detail"].as_str().unwrap().contains("nothing can change it"), "{refused}");
}

#[tokio::test]
async fn a_scheduled_campaign_starts_when_it_is_time() {
    let mut world = World::new().await;
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(3);
    let at = soon.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut wanted = definition();
    wanted["start_at"] = json!(mail::Timestamp(at).to_string());
    let reply = world.request("POST", "/v1/campaigns").json(&wanted).send().await;
    let path = reply.header("location").to_owned();
    world.upload(&path, 0, line("ann@example.org").as_bytes()).await;
    world.post(&format!("{path}/recipients/close")).await;
    assert_eq!(world.post(&format!("{path}/start")).await.json()["status"], "scheduled");
    assert_eq!(relay(&world, End::Delivered).await, 0);
    // Another process takes over.
    world.stop().await;
    world.start().await;
    world.until_status(&path, "running").await;
    assert_eq!(relay(&world, End::Delivered).await, 1);
}

#[tokio::test]
async fn a_start_of_which_the_shards_never_heard_is_told_after_a_restart() {
    let mut world = World::new().await;
    let path = world.ready(&line("ann@example.org")).await;
    world.stop().await;
    let id = path.rsplit('/').next().unwrap().parse().unwrap();
    let (ready, running) = (store::CampaignStatus::Ready, store::CampaignStatus::Running);
    world.store.change_status(id, &[ready], running, mail::Timestamp(9)).await.unwrap();
    assert_eq!(relay(&world, End::Delivered).await, 0);
    world.start().await;
    for _ in 0..100 {
        if relay(&world, End::Delivered).await == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the shards were never told");
}
