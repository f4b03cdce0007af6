//! Suppressions by hand.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn suppressions_are_put_listed_and_lifted() {
    let world = World::new().await;
    let mut wanted = BTreeSet::new();
    for i in 0..20 {
        let address = format!("r{i}@d{i}.example");
        let reply = world
            .request("PUT", &format!("/v1/suppressions/{address}"))
            .json(&json!({ "note": "asked by telephone" }));
        assert_eq!(reply.send().await.status, 200);
        wanted.insert(address);
    }
    let (mut seen, mut path) = (BTreeSet::new(), "/v1/suppressions?limit=3".to_owned());
    loop {
        let page = world.get(&path).await.json();
        for entry in page["suppressions"].as_array().unwrap() {
            assert_eq!(entry["evidence"], "by marketing: asked by telephone");
            assert!(seen.insert(entry["address"].as_str().unwrap().to_owned()));
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/suppressions?limit=3&cursor={next}");
    }
    assert_eq!(seen, wanted);
    let others = world.request("GET", "/v1/suppressions").with_key(&world.stranger).send().await;
    assert_eq!(others.json()["suppressions"], json!([]));
    for _ in 0..2 {
        let reply = world.request("DELETE", "/v1/suppressions/R0@d0.example").send().await;
        assert_eq!(reply.status, 204);
    }
    world.get("/v1/suppressions/r0@d0.example").await.problem(404, "not-found");
    let read = world.request("DELETE", "/v1/suppressions/r1@d1.example").with_key(&world.reader);
    read.send().await.problem(403, "forbidden");
    world.request("PUT", "/v1/suppressions/nobody").send().await.problem(422, "bad-address");
    let bad = world.request("PUT", "/v1/suppressions/r1@d1.example").json(&json!({ "nope": 1 }));
    bad.send().await.problem(422, "bad-definition");
    world.get("/v1/suppressions?cursor=AAAA").await.problem(422, "bad-cursor");
}
