//! Uploads in pieces, broken off and resumed; closing, once and again.

use std::collections::HashMap;

use serde_json::json;

use crate::support::{World, line};

#[tokio::test]
async fn an_upload_goes_on_where_it_was_broken_off() {
    let world = World::new().await;
    let path = world.campaign().await;
    let to = format!("{path}/recipients");
    let head = world.request("HEAD", &to).send().await;
    assert_eq!((head.status, head.header("upload-offset")), (200, "0"));
    let text: String = (0..100).map(|i| line(&format!("r{i}@example.org"))).collect();
    let cut = 1234;
    let broken = world
        .request("POST", &to)
        .header("content-type", "application/x-ndjson")
        .body(&text.as_bytes()[..cut]);
    broken.break_off(text.len()).await;
    // Another offset than where it stands is refused, with where it stands.
    let reply = world.upload(&path, 7, b"x").await;
    assert_eq!(reply.problem(409, "offset-mismatch")["offset"], cut);
    assert_eq!(reply.header("upload-offset"), cut.to_string());
    assert_eq!(world.get(&to).await.json(), json!({ "offset": cut, "status": "draft" }));
    let rest = world.upload(&path, cut as u64, &text.as_bytes()[cut..]).await;
    assert_eq!(rest.header("upload-offset"), text.len().to_string());
    let view = world.post(&format!("{to}/close")).await;
    assert_eq!(
        view.json()["intake"],
        json!({ "lines": 100, "refused": 0, "duplicates": 0, "recipients": 100 })
    );
    assert_eq!(view.json()["status"], "ready");
    let bad = world.request("POST", &to).header("content-type", "application/x-ndjson");
    bad.header("upload-offset", "ten").send().await.problem(400, "bad-offset");
}

#[tokio::test]
async fn an_upload_survives_a_restart_of_the_api() {
    let mut world = World::new().await;
    let path = world.campaign().await;
    let first = line("ann@example.org");
    world.upload(&path, 0, first.as_bytes()).await;
    world.stop().await;
    world.start().await;
    let second = line("bob@example.org");
    let reply = world.upload(&path, first.len() as u64, second.as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let view = world.post(&format!("{path}/recipients/close")).await.json();
    assert_eq!(view["progress"]["accepted"], 2);
}

#[tokio::test]
async fn another_instance_does_not_guess() {
    let mut world = World::new().await;
    let path = world.campaign().await;
    world.upload(&path, 0, line("ann@example.org").as_bytes()).await;
    world.stop().await;
    world.folder = tempfile::tempdir().unwrap();
    world.start().await;
    world.upload(&path, 0, b"").await.problem(421, "other-instance");
    world.get(&format!("{path}/recipients")).await.problem(421, "other-instance");
    world.post(&format!("{path}/recipients/close")).await.problem(421, "other-instance");
    assert_eq!(world.get(&path).await.json()["status"], "draft");
}

#[tokio::test]
async fn an_upload_is_bounded_and_what_fits_stays() {
    let world = World::with(|c| c.upload_bytes_max = 100, |_| {}).await;
    let path = world.campaign().await;
    assert_eq!(world.upload(&path, 0, &[b' '; 60]).await.status, 200);
    let reply = world.upload(&path, 60, &[b' '; 60]).await;
    assert_eq!(reply.problem(413, "too-large")["offset"], 60);
    assert_eq!(world.upload(&path, 60, &[b' '; 40]).await.status, 200);
}

#[tokio::test]
async fn a_silent_upload_ends_and_does_not_lock_others_out() {
    let world = World::with(|c| c.upload_idle_s = 1, |_| {}).await;
    let path = world.campaign().await;
    let request = world
        .request("POST", &format!("{path}/recipients"))
        .header("content-type", "application/x-ndjson");
    let reply = request.promise(100, b"half").await;
    assert_eq!(reply.problem(408, "silent")["offset"], 4);
    assert_eq!(world.upload(&path, 4, b"\n").await.status, 200);
}

#[tokio::test]
async fn two_uploads_at_a_time_do_not_mix() {
    let world = World::new().await;
    let path = world.campaign().await;
    let slow = world
        .request("POST", &format!("{path}/recipients"))
        .header("content-type", "application/x-ndjson");
    let second = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        world.upload(&path, 0, b"theirs").await
    };
    // The first one stands still until its time is over; the second one waits for less.
    let (slow, second) = tokio::join!(slow.promise(100, b"ours"), second);
    slow.problem(408, "silent");
    second.problem(409, "upload-running");
    assert_eq!(world.get(&format!("{path}/recipients")).await.json()["offset"], 4);
}

#[tokio::test]
async fn closing_accepts_once_however_often_it_is_asked() {
    let world = World::new().await;
    let path = world.campaign().await;
    let close = format!("{path}/recipients/close");
    world.post(&close).await.problem(422, "no-recipients");
    world.get(&format!("{path}/recipients/refused")).await.problem(404, "not-found");
    let text: String = (0..700).map(|i| line(&format!("r{i}@d{}.example", i % 30))).collect();
    world.upload(&path, 0, text.as_bytes()).await;
    let (one, two) = tokio::join!(world.post(&close), world.post(&close));
    assert_eq!((one.status, two.status), (200, 200), "{} {}", one.text(), two.text());
    let view = world.post(&close).await.json();
    assert_eq!(view["progress"]["accepted"], 700);
    assert_eq!(view["progress"]["waiting"], 700);
    let refused = world.upload(&path, 0, b"x").await.problem(409, "wrong-state");
    assert_eq!(
        (&refused["state"], &refused["possible"]),
        (&json!("ready"), &json!(["start", "cancel"]))
    );
}

#[tokio::test]
async fn a_closing_that_a_crash_cut_off_is_finished_by_itself() {
    let mut world = World::new().await;
    let path = world.campaign().await;
    world.upload(&path, 0, line("ann@example.org").as_bytes()).await;
    world.stop().await;
    // What a crash leaves: the status says closing, and nobody works on it.
    let id = path.rsplit('/').next().unwrap().parse().unwrap();
    let (draft, closing) = (store::CampaignStatus::Draft, store::CampaignStatus::Closing);
    world.store.change_status(id, &[draft], closing, mail::Timestamp(9)).await.unwrap();
    world.start().await;
    let view = world.until_status(&path, "ready").await;
    assert_eq!(view["progress"]["accepted"], 1);
}

#[tokio::test]
async fn redis_away_while_closing_is_told_and_made_good() {
    let mut world = World::new().await;
    let path = world.campaign().await;
    let text: String = (0..2000).map(|i| line(&format!("r{i}@d{}.example", i % 300))).collect();
    world.upload(&path, 0, text.as_bytes()).await;
    world.redis.kill();
    let reply = world.post(&format!("{path}/recipients/close")).await;
    reply.problem(503, "queue-away");
    world.redis.restart(&["--appendonly", "yes"]);
    world.until_ready().await;
    assert_eq!(world.get(&path).await.json()["status"], "draft");
    let view = world.post(&format!("{path}/recipients/close")).await.json();
    assert_eq!(view["progress"]["accepted"], 2000);
    assert_eq!(view["progress"]["imbalance"], 0);
}

#[tokio::test]
async fn a_full_outbox_delays_acceptance_and_loses_nothing() {
    let world = World::with(|c| c.close_wait_s = 1, |s| (s.outbox_max, s.shards) = (100, 1)).await;
    let path = world.campaign().await;
    // 130 lanes of their own: 130 frames, more than the outbox takes.
    let text: String = (0..13_000).map(|i| line(&format!("r{i}@d{}.example", i % 130))).collect();
    world.upload(&path, 0, text.as_bytes()).await;
    let reply = world.post(&format!("{path}/recipients/close")).await;
    assert_eq!(
        (reply.status, &reply.json()["status"]),
        (202, &json!("closing")),
        "{}",
        reply.text()
    );
    let cancel = world.post(&format!("{path}/cancel")).await.problem(409, "wrong-state");
    assert_eq!(cancel["state"], "closing");
    // The ledger catches up.
    let shard = mail::ShardId(0);
    let frames = world.store.outbox(shard, store::Position::default(), 1000).await.unwrap();
    let mut accepted: u32 = frames.iter().flat_map(|(_, f)| f).map(|s| count(&s.event)).sum();
    world.store.trim_outbox(shard, frames.last().unwrap().0).await.unwrap();
    let view = world.until_status(&path, "ready").await;
    assert_eq!(view["progress"]["accepted"], 13_000);
    accepted += world.events().await.iter().map(count).sum::<u32>();
    assert_eq!(accepted, 13_000);
}

fn count(event: &mail::Event) -> u32 {
    if event.kind == mail::event::EventKind::Accepted { event.count } else { 0 }
}

#[tokio::test]
async fn what_is_suppressed_is_accepted_and_not_queued() {
    let world = World::new().await;
    for address in ["Ann@example.org", "bob@example.org"] {
        let reply = world.request("PUT", &format!("/v1/suppressions/{address}")).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let text: String =
        ["bob", "ANN", "cat", "dan"].map(|n| line(&format!("{n}@example.org"))).concat();
    let path = world.ready(&text).await;
    let progress = &world.get(&path).await.json()["progress"];
    assert_eq!(
        (&progress["accepted"], &progress["suppressed"], &progress["waiting"]),
        (&json!(4), &json!(2), &json!(2))
    );
    assert_eq!(progress["percent"]["done"], 50.0);
    let mut told = HashMap::new();
    for event in world.events().await {
        if event.campaign.is_some() && event.kind == mail::event::EventKind::Suppressed {
            told.insert(event.recipient.clone(), event);
        }
    }
    assert_eq!(told.len(), 2);
    assert_eq!(told["ANN@example.org"].service, "api");
}
