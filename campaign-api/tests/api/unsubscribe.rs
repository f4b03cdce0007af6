//! One click, or the page with one button.

use mail::event::EventKind;
use mail::unsubscribe::unsubscribe_path;
use mail::{CampaignId, DeliveryId, ShardId};

use crate::support::{World, line, links};

const DELIVERY: DeliveryId = DeliveryId { shard: ShardId(1), seq: 7 };

#[tokio::test]
async fn one_click_suppresses_and_tells_once() {
    let world = World::new().await;
    world.ready(&line("Ann@example.org")).await;
    let link = unsubscribe_path(&links(), DELIVERY, CampaignId(1), "Ann@example.org");
    // Scanners follow links: looking changes nothing.
    let page =
        world.request("GET", &link).without_key().header("accept-language", "fr-CA, en;q=0.5");
    let page = page.send().await;
    let text = page.text();
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-language"), "fr");
    assert!(text.contains("Me désabonner") && text.contains("Ann@example.org"), "{text}");
    assert!(text.contains("<form method=\"post\">"));
    assert_eq!(page.header("set-cookie"), "");
    let suppression = "/v1/suppressions/ann@example.org";
    world.get(suppression).await.problem(404, "not-found");
    for _ in 0..2 {
        let click = world
            .request("POST", &link)
            .without_key()
            .header("content-type", "application/x-www-form-urlencoded");
        let reply = click.body(b"List-Unsubscribe=One-Click").send().await;
        assert_eq!((reply.status, reply.header("location")), (200, ""));
        assert!(reply.text().contains("Done"));
    }
    let kept = world.get(suppression).await.json();
    assert_eq!(
        (kept["reason"].as_str(), kept["evidence"].as_str()),
        (Some("unsubscribed"), Some("link of campaign c1"))
    );
    let of = |kind| move |e: &&mail::Event| e.kind == kind;
    let events = world.events().await;
    let told: Vec<_> = events.iter().filter(of(EventKind::Unsubscribed)).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].delivery, told[0].recipient.as_str()), (Some(DELIVERY), "Ann@example.org"));
    assert_eq!(events.iter().filter(of(EventKind::SuppressionAdded)).count(), 1);
    let path = world.ready(&line("ann@example.org")).await;
    assert_eq!(world.get(&path).await.json()["progress"]["suppressed"], 1);
}

#[tokio::test]
async fn an_unsubscription_is_stronger_than_a_bounce_and_a_complaint_stays_told() {
    let world = World::new().await;
    world.ready(&line("ann@example.org")).await;
    let reply = world.request("PUT", "/v1/suppressions/ann@example.org").send().await;
    assert_eq!(reply.json()["reason"], "operator");
    let link = unsubscribe_path(&links(), DELIVERY, CampaignId(1), "ann@example.org");
    assert_eq!(world.request("POST", &link).without_key().send().await.status, 200);
    assert_eq!(
        world.get("/v1/suppressions/ann@example.org").await.json()["reason"],
        "unsubscribed"
    );
}

#[tokio::test]
async fn damaged_and_forged_links_do_nothing() {
    let world = World::new().await;
    let path = unsubscribe_path(&links(), DELIVERY, CampaignId(1), "ann@example.org");
    let other = unsubscribe_path(&links(), DELIVERY, CampaignId(1), "bob@example.org");
    let swapped =
        format!("{}/{}", &path[..path.rfind('/').unwrap()], other.rsplit('/').next().unwrap());
    let cut = &path[..path.len() - 3];
    let unknown_campaign = unsubscribe_path(&links(), DELIVERY, CampaignId(77), "ann@example.org");
    for link in [swapped.as_str(), cut, "/u/x/y", "/u/%ff/%ff", &unknown_campaign] {
        let reply = world.request("POST", link).without_key().send().await;
        assert!((400..500).contains(&reply.status), "{link}: {}", reply.text());
    }
    assert!(world.events().await.is_empty());
}
