//! What must be refused with its line and reason, leaving nothing half-started.

use serde_json::{Value, json};

use crate::support::{World, definition, line};

async fn create(world: &World, body: &str) -> crate::support::Reply {
    let request = world.request("POST", "/v1/campaigns").header("content-type", "application/json");
    request.body(body.as_bytes()).send().await
}

#[tokio::test]
async fn malformed_definitions_are_refused_with_their_place() {
    let world = World::new().await;
    let problem =
        create(&world, "{\n \"name\": \"x\",\n oops }").await.problem(400, "malformed-json");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(3), &json!(2)), "{problem}");
    create(&world, "").await.problem(400, "malformed-json");
    create(&world, "{\"name\":\"x\"").await.problem(400, "malformed-json");
    let problem =
        create(&world, "{\"name\":\"x\",\"colour\":1}").await.problem(422, "bad-definition");
    assert!(problem["detail"].as_str().unwrap().contains("`colour`"), "{problem}");
    let deep = format!("{{\"name\":{}", "[".repeat(100_000));
    create(&world, &deep).await.problem(422, "bad-definition");
    assert_eq!(world.get("/v1/campaigns").await.json()["campaigns"], json!([]));
}

#[tokio::test]
async fn bad_content_is_refused_with_the_part_and_the_line() {
    let world = World::new().await;
    let changed = |field: &str, value: Value| {
        let mut body = definition();
        body[field] = value;
        body
    };
    let cases = [
        (changed("subject", json!("a\r\nBcc: x@y.example")), "bad-content", "subject", None),
        (changed("headers", json!({ "X-A": "a\r\nX-B: b" })), "bad-content", "X-A", None),
        (changed("headers", json!({ "X-A\r\nX-B": "b" })), "bad-content", "header", None),
        (changed("headers", json!({ "Bcc": "x@y.example" })), "bad-content", "Bcc", None),
        (changed("text", json!("one\ntwo\rthree")), "bad-content", "lone CR", Some(2)),
        (changed("text", json!("one\r\ntwo\r\n\u{0}")), "bad-content", "text", Some(3)),
        (changed("html", json!("<p>\n\n{{ frist }}")), "bad-content", "\"first\"", None),
        (changed("html", json!("<p>\n{% if %}")), "bad-content", "html", Some(2)),
        (changed("fields", json!(["first", "points", "a b"])), "bad-content", "\"a b\"", None),
        (changed("text", Value::Null), "bad-content", "neither text nor html", None),
        (
            changed("from", json!({ "address": "ana@@example.org" })),
            "bad-definition",
            "ana@@example.org",
            None,
        ),
        (
            changed("from", json!({ "address": "news@news.example", "name": "a\nb" })),
            "bad-content",
            "display name",
            None,
        ),
        (changed("reply_to", json!("nobody")), "bad-definition", "reply_to", None),
        (changed("defaults", json!({ "nope": "x" })), "bad-definition", "\"nope\"", None),
        (changed("defaults", json!({ "first": "a\rb" })), "bad-definition", "control", None),
        (changed("start_at", json!("tomorrow")), "bad-definition", "tomorrow", None),
        (changed("priority", json!(10)), "bad-definition", "priority", None),
        (changed("weight", json!(0)), "bad-definition", "weight", None),
        (changed("lifetime_s", json!(1)), "bad-definition", "lifetime_s", None),
        (changed("pool", json!("a/b")), "bad-definition", "pool", None),
        (changed("name", json!(" ")), "bad-definition", "name", None),
    ];
    for (body, code, names, at_line) in cases {
        let problem = create(&world, &body.to_string()).await.problem(422, code);
        assert!(problem["detail"].as_str().unwrap().contains(names), "{names}: {problem}");
        if let Some(at_line) = at_line {
            assert_eq!(problem["line"], at_line, "{problem}");
        }
    }
    assert_eq!(world.get("/v1/campaigns").await.json()["campaigns"], json!([]));
}

#[tokio::test]
async fn sizes_and_media_are_bounded() {
    let world = World::with(|c| c.body_bytes_max = 4096, |_| {}).await;
    create(&world, &"x".repeat(5000)).await.problem(413, "too-large");
    let chunked = world
        .request("POST", "/v1/campaigns")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    chunked.body(b"{}").send().await.problem(415, "unsupported-media-type");
    let form = world.request("POST", "/v1/campaigns").header("content-type", "text/plain");
    form.body(b"{}").send().await.problem(415, "unsupported-media-type");
    let path = world.campaign().await;
    let form = world.request("POST", &format!("{path}/recipients"));
    form.body(line("a@b.example").as_bytes()).send().await.problem(415, "unsupported-media-type");
    let world = World::with(|c| c.template_bytes_max = 1024, |_| {}).await;
    let mut big = definition();
    big["html"] = json!("x".repeat(2000));
    create(&world, &big.to_string()).await.problem(413, "too-large");
}

#[tokio::test]
async fn connections_that_say_nothing_are_ended_and_do_not_keep_others_out() {
    use tokio::io::AsyncReadExt;
    let small = |c: &mut campaign_api::Config| {
        (c.connections_max, c.upload_idle_s, c.close_wait_s) = (2, 1, 1);
    };
    let world = World::with(small, |_| {}).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(tokio::net::TcpStream::connect(world.address).await.unwrap());
    }
    // This one waits until they have been ended.
    assert_eq!(world.get("/livez").await.status, 200);
    let mut said = Vec::new();
    silent[0].read_to_end(&mut said).await.unwrap();
    assert!(said.is_empty());
}

#[tokio::test]
async fn bad_lines_are_reported_and_the_others_go_on() {
    let world = World::new().await;
    let lines = [
        "{\"email\":\"ann@example.org\",\"merge\":{\"first\":\"Ann\"}}".to_owned(),
        "{\"email\":\"ana@@example.org\",\"merge\":{\"first\":\"Ana\"}}".to_owned(),
        "{\"email\":".to_owned(),
        "{\"email\":\"bob@example.org\",\"merge\":{\"frist\":\"Bob\"}}".to_owned(),
        "{\"email\":\"bob@example.org\",\"merge\":{}}".to_owned(),
        String::new(),
        "{\"email\":\"cat@example.org\",\"merge\":{\"first\":\"a\\rb\"}}".to_owned(),
        format!("{{\"email\":\"dan@example.org\",\"merge\":{{\"first\":\"{}\"}}}}", "x".repeat(70_000)),
        "{\"email\":\"ANN@example.org\",\"merge\":{\"first\":\"Ann again\"}}".to_owned(),
        "{\"email\":\"eve@example.net\",\"name\":\"Eve\",\"merge\":{\"first\":\"Eve\",\"points\":7}}".to_owned(),
        // The last line of a broken-off file.
        "{\"email\":\"fay@exa".to_owned(),
    ];
    let path = world.ready(&lines.join("\n")).await;
    let view = world.get(&path).await.json();
    assert_eq!(
        view["intake"],
        json!({ "lines": 10, "refused": 8, "duplicates": 1, "recipients": 2 })
    );
    assert_eq!(view["progress"]["accepted"], 2);
    let report = world.get(&format!("{path}/recipients/refused")).await;
    assert_eq!(report.header("content-type"), "application/x-ndjson");
    let text = String::from_utf8(report.body).unwrap();
    let entries: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let told: Vec<_> = entries
        .iter()
        .map(|e| (e["line"].as_u64().unwrap(), e["reason"].as_str().unwrap()))
        .collect();
    let expected = [
        (2, "bad-address"),
        (3, "malformed-json"),
        (4, "unknown-field"),
        (5, "missing-field"),
        (7, "bad-value"),
        (8, "too-long"),
        (9, "duplicate"),
        (11, "malformed-json"),
    ];
    assert_eq!(told, expected);
    assert!(entries[0]["detail"].as_str().unwrap().contains("\"ana@@example.org\""));
    assert!(entries.iter().all(|e| e["quote"].as_str().unwrap().chars().count() <= 100));
    assert_eq!(entries[6]["detail"], "the same address as on line 1");
}

#[tokio::test]
async fn a_line_of_50_mb_is_refused_in_bounded_memory() {
    let world = World::new().await;
    let path = world.campaign().await;
    let mut offset = 0;
    let mut send = async |piece: &[u8]| {
        assert_eq!(world.upload(&path, offset, piece).await.status, 200);
        offset += piece.len() as u64;
    };
    send(line("ann@example.org").as_bytes()).await;
    send(b"{\"email\":\"big@example.org\",\"merge\":{\"first\":\"").await;
    for _ in 0..25 {
        send(&[b'x'; 2_000_000]).await;
    }
    send(b"\"}}\n").await;
    send(line("bob@example.org").as_bytes()).await;
    let before = peak_memory();
    assert_eq!(world.post(&format!("{path}/recipients/close")).await.status, 200);
    let grown = peak_memory() - before;
    assert!(grown < 16 << 20, "closing took {grown} octets more");
    let view = world.get(&path).await.json();
    assert_eq!(
        view["intake"],
        json!({ "lines": 3, "refused": 1, "duplicates": 0, "recipients": 2 })
    );
    let report = world.get(&format!("{path}/recipients/refused")).await.json();
    assert_eq!((&report["line"], &report["reason"]), (&json!(2), &json!("too-long")));
}

/// The most memory that this process ever had; each test has a process of its own.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
