//! Files of campaigns: put, listed, removed, refused; settled when the campaign is closed.

use serde_json::{Value, json};
use store::Batch;

use crate::support::{Reply, World, definition, line};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";

/// A campaign whose HTML shows `cid:logo`; its path.
async fn campaign(world: &World) -> String {
    let mut definition = definition();
    definition["html"] = json!("<p>{{ first }}</p><img src=\"cid:logo\">");
    let reply = world.request("POST", "/v1/campaigns").json(&definition).send().await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.header("location").to_owned()
}

async fn put(world: &World, path: &str, file: &str, media_type: &str, octets: &[u8]) -> Reply {
    world
        .request("PUT", &format!("{path}/attachments/{file}"))
        .header("content-type", media_type)
        .body(octets)
        .send()
        .await
}

async fn delete(world: &World, path: &str, file: &str) -> Reply {
    world.request("DELETE", &format!("{path}/attachments/{file}")).send().await
}

async fn list(world: &World, path: &str) -> Value {
    world.get(&format!("{path}/attachments")).await.json()
}

/// The octets of each file, as a relay reads them.
async fn stored(world: &World, path: &str) -> Vec<(String, Vec<u8>)> {
    let id = path.rsplit_once('/').unwrap().1.parse().unwrap();
    let campaign = world.store.campaign(id).await.unwrap().unwrap();
    let mut found = Vec::new();
    for file in &campaign.files {
        let (mut octets, mut next) = (Vec::new(), 0);
        while next < file.pieces() {
            let pieces = world.store.file_pieces(id, file, next).await.unwrap();
            next += pieces.len() as u32;
            octets.extend(pieces.concat());
        }
        found.push((file.name.clone(), octets));
    }
    found
}

/// A command of Redis that the store has no name for.
async fn raw<T: ::redis::FromRedisValue>(world: &World, command: &str, words: &[&str]) -> T {
    let client = ::redis::Client::open(world.redis.url()).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    ::redis::cmd(command).arg(words).query_async(&mut conn).await.unwrap()
}

/// The keys of all pieces.
async fn pieces(world: &World) -> Vec<String> {
    raw(world, "KEYS", &["*:file:*"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_put_listed_replaced_and_removed() {
    let world = World::new().await;
    let path = campaign(&world).await;
    assert_eq!(list(&world, &path).await["missing"], json!(["logo"]));

    let made = put(&world, &path, "logo.png?inline=logo", "image/png", PNG).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let again = put(&world, &path, "logo.png?inline=logo", "image/png", PNG).await;
    assert_eq!((again.status, again.json()), (200, made.json()), "the same again is the same");

    let large: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    let made = put(&world, &path, "Preise%20M%C3%A4rz.pdf", "application/pdf", &large).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["name"], "Preise März.pdf");
    let listed = list(&world, &path).await;
    assert_eq!(listed["octets"], PNG.len() + large.len());
    assert_eq!((&listed["missing"], &listed["unused"]), (&json!([]), &json!([])));
    assert_eq!(listed["attachments"][0]["inline"], "logo");
    assert_eq!(listed["attachments"], world.get(&path).await.json()["attachments"]);
    let both = vec![("logo.png".to_owned(), PNG.to_vec()), ("Preise März.pdf".into(), large)];
    assert_eq!(stored(&world, &path).await, both);
    assert_eq!(pieces(&world).await.len(), 1 + 3, "in pieces, and each once");

    let other = put(&world, &path, "logo.png?inline=logo", "image/png", b"another").await;
    assert_eq!(other.status, 200, "{}", other.text());
    assert_eq!(stored(&world, &path).await[0].1, b"another");
    for _ in 0..2 {
        assert_eq!(delete(&world, &path, "Preise%20M%C3%A4rz.pdf").await.status, 204);
    }
    assert_eq!(stored(&world, &path).await.len(), 1);
    assert_eq!(pieces(&world).await.len(), 1, "what is removed or replaced is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_into_a_message_is_quoted_back() {
    let world = World::with(|c| c.attachments_bytes_max = 2000, |_| {}).await;
    let path = campaign(&world).await;
    let long = "x".repeat(256);
    for (file, media_type, code, field, says) in [
        ("a%2Fb.png", "image/png", "bad-attachment", "name", "\"a/b.png\": '/' separates"),
        ("a%0D%0Ab", "image/png", "bad-attachment", "name", "\"a\\r\\nb\""),
        ("%20", "image/png", "bad-attachment", "name", "\" \": it is empty"),
        (long.as_str(), "image/png", "bad-attachment", "name", "256 octets are too many"),
        ("%FF", "image/png", "bad-attachment", "name", "not UTF-8"),
        ("a.png", "png", "bad-attachment", "content-type", "media type \"png\""),
        ("a.eml", "message/rfc822", "bad-attachment", "content-type", "\"message/rfc822\""),
        ("a", "multipart/mixed; boundary=x", "bad-attachment", "content-type", "\"multipart/"),
        ("a.png?inline=a%20b", "image/png", "bad-attachment", "inline", "content id \"a b\""),
    ] {
        let problem = put(&world, &path, file, media_type, PNG).await.problem(422, code);
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    let empty = put(&world, &path, "a.png", "image/png", b"").await;
    assert!(empty.problem(422, "bad-attachment")["detail"].as_str().unwrap().contains("\"a.png\""));
    let wrong = put(&world, &path, "a.png?cid=logo", "image/png", PNG).await;
    wrong.problem(400, "bad-query");
    let untyped = world.request("PUT", &format!("{path}/attachments/a.png")).body(PNG).send().await;
    untyped.problem(415, "unsupported-media-type");

    assert_eq!(put(&world, &path, "a.png?inline=logo", "image/png", PNG).await.status, 201);
    let twice = put(&world, &path, "b.png?inline=logo", "image/png", PNG).await;
    let problem = twice.problem(422, "bad-attachment");
    assert!(problem["detail"].as_str().unwrap().contains("\"logo\": the file \"a.png\""));
    assert_eq!(pieces(&world).await.len(), 1, "nothing of what was refused is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_bounded_in_number_and_in_octets_together() {
    let world = World::with(|c| c.attachments_bytes_max = 2000, |_| {}).await;
    let path = campaign(&world).await;
    assert_eq!(put(&world, &path, "a", "text/plain", &[b'x'; 1500]).await.status, 201);
    let problem =
        put(&world, &path, "b", "text/plain", &[b'x'; 501]).await.problem(413, "too-large");
    assert_eq!((&problem["max"], &problem["room"]), (&json!(2000), &json!(500)), "{problem}");
    // Without a length beforehand it is found on the way.
    let chunked = world
        .request("PUT", &format!("{path}/attachments/b"))
        .header("content-type", "text/plain")
        .send_chunked(&[b'x'; 501])
        .await;
    chunked.problem(413, "too-large");
    assert_eq!(
        put(&world, &path, "a", "text/plain", &[b'y'; 2000]).await.status,
        200,
        "in its place"
    );
    assert_eq!(put(&world, &path, "a", "text/plain", b"z").await.status, 200);
    for n in 1..message::FILES_MAX {
        assert_eq!(put(&world, &path, &n.to_string(), "text/plain", b"z").await.status, 201);
    }
    let problem = put(&world, &path, "last", "text/plain", b"z").await;
    let problem = problem.problem(422, "too-many-attachments");
    assert_eq!(problem["detail"], "\"last\" is one too many: a campaign has at most 32");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_closed_with_the_files_that_its_html_shows_and_then_they_are_settled() {
    let world = World::new().await;
    let path = campaign(&world).await;
    world.upload(&path, 0, line("ann@example.org").as_bytes()).await;
    let close = format!("{path}/recipients/close");
    let problem = world.post(&close).await.problem(422, "missing-attachment");
    assert_eq!(problem["missing"], json!(["logo"]));
    assert!(problem["detail"].as_str().unwrap().contains("\"cid:logo\""), "{problem}");

    let unused = put(&world, &path, "b.png?inline=banner", "image/png", PNG).await;
    assert_eq!(
        (unused.status, &unused.json()["warning"]),
        (201, &json!("the html never mentions cid:banner"))
    );
    assert_eq!(put(&world, &path, "logo.png?inline=logo", "image/png", PNG).await.status, 201);
    assert_eq!(list(&world, &path).await["unused"], json!(["banner"]));
    let closed = world.post(&close).await;
    assert_eq!(closed.status, 200, "a file too many is no reason to refuse: {}", closed.text());

    for reply in [
        put(&world, &path, "late.png", "image/png", PNG).await,
        put(&world, &path, "logo.png?inline=logo", "image/png", PNG).await,
        delete(&world, &path, "logo.png").await,
    ] {
        assert_eq!(reply.problem(409, "wrong-state")["state"], "ready");
    }
    assert_eq!(stored(&world, &path).await.len(), 2);

    // Relays that know no files leave the campaign and its batches alone.
    let id = path.rsplit_once('/').unwrap().1;
    let prefix = world.store.prefix();
    let record: Vec<u8> =
        raw(&world, "HGET", &[&format!("{prefix}:campaign:{id}"), "record"]).await;
    assert_eq!(record[0], 3);
    let shard = world.store.shard_of("example.org");
    let batches: Vec<Vec<u8>> =
        raw(&world, "HVALS", &[&format!("{{{prefix}:{}}}:batch", shard.0)]).await;
    assert_eq!(batches.iter().map(|blob| blob[0]).collect::<Vec<_>>(), [3]);
    assert!(Batch::decode(&batches[0]).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_belong_to_a_tenant_and_readers_change_none() {
    let world = World::new().await;
    let path = campaign(&world).await;
    assert_eq!(put(&world, &path, "a.png", "image/png", PNG).await.status, 201);
    let ask = |method: &'static str, key: &str| {
        let path = if method == "GET" {
            format!("{path}/attachments")
        } else {
            format!("{path}/attachments/a.png")
        };
        world.request(method, &path).with_key(key).header("content-type", "image/png").body(b"x")
    };
    for method in ["PUT", "DELETE"] {
        ask(method, &world.reader).send().await.problem(403, "forbidden");
        ask(method, &world.stranger).send().await.problem(404, "not-found");
    }
    ask("GET", &world.stranger).send().await.problem(404, "not-found");
    assert_eq!(ask("GET", &world.reader).send().await.status, 200);
    ask("PUT", &world.key).without_key().send().await.problem(401, "unauthorized");
    assert_eq!(stored(&world, &path).await, [("a.png".to_owned(), PNG.to_vec())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_arrive_whole_is_no_file_and_what_vanished_is_told() {
    let world = World::new().await;
    let path = campaign(&world).await;
    let request = world
        .request("PUT", &format!("{path}/attachments/a.bin"))
        .header("content-type", "application/octet-stream");
    request.body(&vec![7; 600_000]).break_off(700_000).await;
    for _ in 0..50 {
        if pieces(&world).await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(
        (pieces(&world).await.len(), list(&world, &path).await["attachments"].clone()),
        (0, json!([]))
    );

    assert_eq!(put(&world, &path, "logo.png?inline=logo", "image/png", PNG).await.status, 201);
    world.upload(&path, 0, line("ann@example.org").as_bytes()).await;
    for name in pieces(&world).await {
        let _: u32 = raw(&world, "DEL", &[&name]).await;
    }
    let problem =
        world.post(&format!("{path}/recipients/close")).await.problem(422, "missing-attachment");
    assert!(
        problem["detail"].as_str().unwrap().contains("\"logo.png\" did not arrive whole"),
        "{problem}"
    );
    assert_eq!(
        put(&world, &path, "logo.png?inline=logo", "image/png", PNG).await.status,
        200,
        "put again"
    );
    assert_eq!(world.post(&format!("{path}/recipients/close")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_when_their_campaign_is_over_and_not_before() {
    let world = World::new().await;
    let path = campaign(&world).await;
    assert_eq!(put(&world, &path, "logo.png?inline=logo", "image/png", PNG).await.status, 201);
    let piece = pieces(&world).await.remove(0);
    let lasts = async || -> i64 { raw(&world, "TTL", &[&piece]).await };
    assert_eq!(lasts().await, -1, "for ever");
    assert_eq!(world.post(&format!("{path}/cancel")).await.status, 200);
    assert!((1..=86_400).contains(&lasts().await), "{}", lasts().await);
}
