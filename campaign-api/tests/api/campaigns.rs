//! Creating, listing and reading campaigns; keys, tenants, proofs.

use std::time::SystemTime;

use mail::Timestamp;
use serde_json::json;
use store::RelayRecord;

use crate::support::{NAME, RECORD, World, definition};

#[tokio::test]
async fn a_campaign_is_created_and_reads_back_what_it_was_given() {
    let world = World::new().await;
    let mut wanted = definition();
    wanted["headers"] = json!("HEADERS");
    wanted["start_at"] = json!("2031-01-01T10:00:00+01:00");
    wanted["lifetime_s"] = json!(3600);
    wanted["require_tls"] = json!(true);
    wanted["weight"] = json!(2.5);
    wanted["reply_to"] = json!("Answers@News.example");
    // By hand: the order of headers counts, and `json!` sorts.
    let headers = r#"{ "X-Zebra": "1", "X-Ape": "{{ first }}", "X-Zebra": "2" }"#;
    let body = wanted.to_string().replace("\"HEADERS\"", headers);
    let request = world.request("POST", "/v1/campaigns").header("content-type", "application/json");
    let reply = request.body(body.as_bytes()).send().await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let made = reply.json();
    assert_eq!(made["durability"], "always");
    assert_eq!(made["status"], "draft");
    assert_eq!(reply.header("location"), format!("/v1/campaigns/{}", made["id"].as_str().unwrap()));
    let view = world.get(reply.header("location")).await.json();
    let got = &view["definition"];
    assert_eq!(got["from"], wanted["from"]);
    assert_eq!(got["reply_to"], "Answers@news.example");
    assert_eq!(got["defaults"], wanted["defaults"]);
    assert_eq!(got["start_at"], "2031-01-01T09:00:00.000Z");
    assert_eq!(got["require_tls"], json!(true));
    assert_eq!((&got["lifetime_s"], &got["weight"]), (&json!(3600), &json!(2.5)));
    let headers: Vec<_> = got["headers"].as_array().unwrap().iter().map(|h| &h["value"]).collect();
    assert_eq!(headers, ["1", "{{ first }}", "2"]);
    assert_eq!(view["possible"], json!(["upload", "close", "cancel"]));
    assert_eq!(view["progress"]["accepted"], 0);
}

#[tokio::test]
async fn a_pool_that_no_relay_has_is_refused_while_relays_say_what_they_have() {
    let world = World::new().await;
    let mut wanted = definition();
    wanted["pool"] = json!("vip");
    let create = || world.request("POST", "/v1/campaigns").json(&wanted).send();
    assert_eq!(create().await.status, 201, "no relay runs: nobody knows");
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = Timestamp(since.as_millis() as u64);
    let relay = |pools: &[&str], seen_at| RelayRecord {
        host: "h".into(),
        pid: 1,
        started_at: now,
        seen_at,
        connections: 0,
        unsettled_max: 8,
        leased: 0,
        draining: false,
        reads_batch: 1,
        pools: pools.iter().map(|p| (*p).to_owned()).collect(),
        budget_percent: 100,
        pressed_by: Vec::new(),
    };
    let later = Timestamp(now.0 + 60_000);
    world.store.put_relay("a", &relay(&["default", "news"], later)).await.unwrap();
    let problem = create().await.problem(422, "no-such-pool");
    assert_eq!(
        problem["detail"],
        "\"vip\": no relay has this pool; those that run have default, news"
    );
    world.store.put_relay("gone", &relay(&["vip"], Timestamp(1))).await.unwrap();
    create().await.problem(422, "no-such-pool");
    world.store.put_relay("b", &relay(&["default", "vip"], later)).await.unwrap();
    assert_eq!(create().await.status, 201);
    world.store.remove_relay("b").await.unwrap();
    world.store.put_relay("older", &relay(&[], later)).await.unwrap();
    assert_eq!(create().await.status, 201, "an older relay does not tell");
}

#[tokio::test]
async fn keys_open_what_is_theirs_and_nothing_else() {
    let world = World::new().await;
    let path = world.campaign().await;
    let reply = world.request("GET", &path).without_key().send().await;
    reply.problem(401, "unauthorized");
    assert_eq!(reply.header("www-authenticate"), "Bearer");
    world.request("GET", &path).with_key("mp_wrong").send().await.problem(401, "unauthorized");
    world.request("GET", &path).with_key(&world.stranger).send().await.problem(404, "not-found");
    let start = format!("{path}/cancel");
    world.request("POST", &start).with_key(&world.stranger).send().await.problem(404, "not-found");
    world.request("POST", &start).with_key(&world.reader).send().await.problem(403, "forbidden");
    assert_eq!(world.request("GET", &path).with_key(&world.reader).send().await.status, 200);
    assert_eq!(world.request("GET", &path).with_key(&world.admin).send().await.status, 200);
    let list = world.request("GET", "/v1/campaigns").with_key(&world.stranger).send().await;
    assert_eq!(list.json()["campaigns"], json!([]));
    let mut for_another = definition();
    for_another["tenant"] = json!("acme");
    let create =
        |key: &str| world.request("POST", "/v1/campaigns").with_key(key).json(&for_another);
    create(&world.stranger).send().await.problem(403, "forbidden");
    let made = create(&world.admin).send().await;
    assert_eq!((made.status, &made.json()["tenant"]), (201, &json!("acme")), "{}", made.text());
    world.get("/v1/campaigns/c99").await.problem(404, "not-found");
    world.get("/v1/campaigns/zzz").await.problem(404, "not-found");
    world.get("/v2").await.problem(404, "not-found");
    world.request("PATCH", &path).send().await.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn the_list_has_pages_newest_first() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.campaign().await.rsplit('/').next().unwrap().to_owned());
    }
    made.reverse();
    let (mut seen, mut path) = (Vec::new(), "/v1/campaigns?limit=2".to_owned());
    loop {
        let reply = world.get(&path).await;
        let page = reply.json();
        for campaign in page["campaigns"].as_array().unwrap() {
            seen.push(campaign["id"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        assert!(reply.header("link").contains(next));
        path = format!("/v1/campaigns?limit=2&cursor={next}");
    }
    assert_eq!(seen, made);
    world.get("/v1/campaigns?cursor=%21").await.problem(422, "bad-cursor");
    world.get("/v1/campaigns?limit=many").await.problem(400, "bad-query");
}

#[tokio::test]
async fn an_idempotency_key_makes_one_campaign() {
    let world = World::new().await;
    let create = |body: &serde_json::Value| {
        world.request("POST", "/v1/campaigns").header("idempotency-key", "k-1").json(body)
    };
    let first = create(&definition()).send().await;
    let again = create(&definition()).send().await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("location"), again.header("location"));
    // Still so when the campaign has gone on.
    world.post(&format!("{}/cancel", first.header("location"))).await;
    assert_eq!(create(&definition()).send().await.body, first.body);
    assert_eq!(world.get(first.header("location")).await.json()["status"], "cancelled");
    let mut other = definition();
    other["name"] = json!("Autumn");
    create(&other).send().await.problem(422, "idempotency-key-reused");
    assert_eq!(world.get("/v1/campaigns").await.json()["campaigns"].as_array().unwrap().len(), 1);
    let bad = world.request("POST", "/v1/campaigns").header("idempotency-key", &"x".repeat(300));
    bad.json(&definition()).send().await.problem(400, "bad-idempotency-key");
}

#[tokio::test]
async fn a_key_in_use_answers_in_progress_and_a_creation_cut_off_is_completed() {
    let world = World::new().await;
    let body = definition().to_string();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    let print: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let create = || {
        world.request("POST", "/v1/campaigns").header("idempotency-key", "k").json(&definition())
    };
    world.store.begin_request("acme", "k", &print).await.unwrap();
    create().send().await.problem(409, "in-progress");
    // The process died after the number was taken and before the campaign was written.
    let id = world.store.reserve_campaign().await.unwrap();
    let claim = json!({ "id": id.0, "created_at": 5 }).to_string();
    world.store.finish_request("acme", "k", &print, &claim).await.unwrap();
    let reply = create().send().await;
    assert_eq!((reply.status, &reply.json()["id"]), (201, &json!(id.to_string())));
    assert_eq!(world.get(reply.header("location")).await.json()["status"], "draft");
}

#[tokio::test]
async fn a_sender_domain_must_be_ours_and_proved() {
    let world = World::new().await;
    let create = |address: &str, key: &str| {
        let mut body = definition();
        body["from"]["address"] = json!(address);
        world
            .request("POST", "/v1/campaigns")
            .with_key(key)
            .header("idempotency-key", "same")
            .json(&body)
    };
    let problem =
        create("a@unknown.example", &world.key).send().await.problem(422, "unknown-sender");
    assert!(problem["detail"].as_str().unwrap().contains("malleposte dkim add unknown.example"));
    // Another tenant's domain is as unknown.
    create("a@news.example", &world.stranger).send().await.problem(422, "unknown-sender");
    let publish = |value: Option<Option<Vec<String>>>| {
        let mut zone = world.zone.0.lock().unwrap();
        zone.remove(NAME);
        value.map(|v| zone.insert(NAME.into(), v));
    };
    publish(None);
    let problem =
        create("a@news.example", &world.key).send().await.problem(422, "sender-not-proved");
    assert_eq!(problem["record"], json!({ "name": NAME, "type": "TXT", "value": RECORD }));
    publish(Some(Some(vec!["v=DKIM1; p=another".into()])));
    create("a@news.example", &world.key).send().await.problem(422, "sender-not-proved");
    publish(Some(None));
    let reply = create("a@news.example", &world.key).send().await;
    reply.problem(503, "dns-away");
    assert!(!reply.header("retry-after").is_empty());
    // No failure has used up the idempotency key.
    publish(Some(Some(vec!["unrelated".into(), "v=DKIM1;k=rsa;p=MIIB pretend".into()])));
    assert_eq!(create("a@news.example", &world.key).send().await.status, 201);
    // Proved for a day: DNS is not asked again.
    publish(None);
    world.campaign().await;
    let senders = world.get("/v1/senders").await.json();
    assert!(senders["senders"][0]["proved_at"].is_string(), "{senders}");
    assert_eq!(senders["senders"][0]["records"][0]["value"], RECORD);
    assert_eq!(senders["senders"][0]["records"][0]["state"], "active");
    let others = world.request("GET", "/v1/senders").with_key(&world.stranger).send().await;
    assert_eq!(others.json()["senders"], json!([]));
}

#[tokio::test]
async fn health_tells_whether_redis_answers() {
    let mut world = World::new().await;
    assert_eq!(world.get("/livez").await.status, 200);
    assert_eq!(world.get("/readyz").await.status, 200);
    let path = world.campaign().await;
    world.redis.kill();
    assert_eq!(world.get("/livez").await.status, 200);
    let reply = world.get("/readyz").await;
    reply.problem(503, "queue-away");
    assert_eq!(reply.header("retry-after"), "2");
    let create = world.request("POST", "/v1/campaigns").json(&definition()).send().await;
    assert!(
        create.problem(503, "queue-away")["detail"]
            .as_str()
            .unwrap()
            .contains("nothing was accepted")
    );
    world.redis.restart(&["--appendonly", "yes"]);
    world.until_ready().await;
    assert_eq!(world.get(&path).await.status, 200);
}

#[tokio::test]
async fn what_is_not_confirmed_is_said_and_repeated_with_the_same_key() {
    let mut world = World::with(|_| {}, |s| s.durability = store::Durability::Replicated).await;
    let create = async |world: &World| {
        let request = world.request("POST", "/v1/campaigns").header("idempotency-key", "k");
        request.json(&definition()).send().await
    };
    // No replica can have it.
    for _ in 0..3 {
        let reply = create(&world).await;
        let problem = reply.problem(503, "not-confirmed");
        assert!(problem["detail"].as_str().unwrap().contains("repeat with the same key"));
        assert!(!reply.header("retry-after").is_empty());
    }
    world.stop().await;
    world.api_store = world.store.clone();
    world.start().await;
    let reply = create(&world).await;
    assert_eq!((reply.status, &reply.json()["id"]), (201, &json!("c1")));
    assert_eq!(world.get("/v1/campaigns").await.json()["campaigns"].as_array().unwrap().len(), 1);
}
