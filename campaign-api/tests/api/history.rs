//! Statistics and traces: what happened, to those whom it concerns.

use ledger::{Facts, Ledger, ShardFrames};
use mail::event::EventKind;
use mail::queue::Judgement;
use mail::{CampaignId, Category, DeliveryId, Event, Phase, Reply, ShardId, Timestamp};
use serde_json::{Value, json};
use store::{OutboxFrame, Settled};

use crate::support::World;

/// Half an hour ago.
fn when() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as u64 - 1_800_000
}

/// Forty recipients of each of two tenants; every fourth mailbox is full.
fn write_history(world: &World) {
    let ledger = Ledger::open(&world.history()).unwrap();
    let mut writer = ledger.writer().unwrap();
    let at = when();
    for (tenant, campaign) in [("acme", 1), ("evil", 2)] {
        let sender = format!("news@{tenant}.example");
        let facts = Facts { tenant: tenant.into(), name: "Spring".into(), sender };
        writer.learn(CampaignId(campaign), facts);
    }
    let event = |n: u64| {
        let is_full = n.is_multiple_of(4);
        let reply = if is_full { "552 5.2.2 over quota <script>" } else { "250 2.0.0 Ok" };
        Event {
            campaign: Some(CampaignId(1 + n % 2)),
            delivery: Some(DeliveryId { shard: ShardId(0), seq: n }),
            recipient: format!("r{n}@d{}.example", n % 5),
            service: "relay-1".into(),
            source: "out-1".into(),
            site: "mx.example".into(),
            phase: Some(Phase::Dot),
            reply: Reply::parse(reply),
            category: is_full.then_some(Category::MailboxFull),
            bytes: 1000,
            age_ms: 4_000,
            ..Event::new(
                if is_full { EventKind::Failed } else { EventKind::Delivered },
                Timestamp(at),
            )
        }
    };
    let settled = |n| Settled { event: event(n), judgement: Judgement::Applied };
    let events = Ok((0..80).map(settled).collect());
    let position = format!("{at}-0").parse().unwrap();
    let frames = vec![OutboxFrame { position, events, raw: Vec::new() }];
    writer.write(&[ShardFrames { shard: ShardId(0), frames }]).unwrap();
}

async fn ask(world: &World, path: &str, key: &str) -> Value {
    let reply = world.request("GET", path).with_key(key).send().await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.json());
    reply.json()
}

#[tokio::test]
async fn statistics_are_of_the_tenants_own_campaigns() {
    let world = World::new().await;
    world.get("/v1/stats").await.problem(404, "history-elsewhere");
    write_history(&world);
    let told = ask(&world, "/v1/stats?by=category&compare=true", &world.reader).await;
    let row = |of: &str| {
        let rows = told["rows"].as_array().unwrap();
        rows.iter().find(|row| row["category"] == of).unwrap_or(&Value::Null).clone()
    };
    // Of every fourth of eighty all are even: those of the first campaign.
    assert_eq!((&row("")["delivered"], &row("mailbox-full")["failed"]), (&json!(20), &json!(20)));
    assert_eq!(row("")["bytes"], 20_000);
    assert_eq!(row("")["delivery_seconds"]["p90"], 5.0);
    assert_eq!(row("")["before"]["delivered"], 0);
    assert_eq!(told["total"]["delivered"], 20);
    let all = ask(&world, "/v1/stats?by=tenant&since=2h", &world.admin).await;
    let tenants: Vec<_> = all["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["tenant"], &row["delivered"]))
        .collect();
    assert_eq!(tenants.len(), 2);
    assert!(tenants.contains(&(&json!("evil"), &json!(40))), "{all}");
    let one = ask(&world, "/v1/stats?tenant=evil", &world.admin).await;
    assert_eq!(one["total"]["delivered"], 40);
    let others = world.request("GET", "/v1/stats?tenant=evil").with_key(&world.reader).send().await;
    others.problem(403, "forbidden");
    world.get("/v1/stats?by=planet").await.problem(422, "bad-query");
    world.get("/v1/stats?since=soon").await.problem(422, "bad-query");
    world.get("/v1/stats?planet=earth").await.problem(400, "bad-query");
    world.get("/v1/stats?limit=many").await.problem(400, "bad-query");
}

#[tokio::test]
async fn a_trace_tells_the_tenant_what_happened_in_plain_words_page_by_page() {
    let world = World::new().await;
    write_history(&world);
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let path =
            format!("/v1/trace?category=mailbox-full&text=OVER%20quota&limit=7&lang=fr{next}");
        let reply = world.request("GET", &path).with_key(&world.reader).send().await;
        let (link, page) = (reply.header("link").to_owned(), reply.json());
        for entry in page["entries"].as_array().unwrap() {
            assert_eq!(entry["campaign"], "c1");
            assert_eq!(
                entry["explanation"]["what"], "La boîte est pleine : son quota est atteint.",
                "{entry}"
            );
            assert_eq!(entry["reply"], "552 5.2.2 over quota <script>");
            seen.push(entry["recipient"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&cursor={cursor}");
        let asked = "/v1/trace?category=mailbox-full&text=OVER%20quota&limit=7&lang=fr";
        assert_eq!(link, format!("<{asked}&cursor={cursor}>; rel=\"next\""));
    }
    let expected: Vec<String> = (0..80_u64)
        .rev()
        .filter(|n| n.is_multiple_of(4))
        .map(|n| format!("r{n}@d{}.example", n % 5))
        .collect();
    assert_eq!(seen, expected);
    let stranger = ask(&world, "/v1/trace?address=r4@d4.example", &world.stranger).await;
    assert_eq!(stranger["entries"], json!([]), "it is another tenant's");
    let whole = ask(&world, "/v1/trace?address=R7@d2.example&sender=evil", &world.stranger).await;
    assert_eq!(whole["entries"].as_array().unwrap().len(), 1);
    world.get("/v1/trace?kind=bounced").await.problem(422, "bad-query");
    world.get("/v1/trace?lang=de").await.problem(422, "bad-query");
    world.get("/v1/trace?planet=earth").await.problem(400, "bad-query");
    world.get("/v1/trace?cursor=AAAA").await.problem(422, "bad-cursor");
}
