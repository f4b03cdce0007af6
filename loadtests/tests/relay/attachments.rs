//! Campaigns with files: what arrives, what is too large for a server, and campaigns whose files
//! do not fit beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loadtests::internet::Kept;
use loadtests::noise;
use mail::event::EventKind;
use mail::{CampaignId, Category, Hygiene, Phase, Scope};
use mail_parser::{MessageParser, MimeHeaders};
use store::{BatchBuilder, FILE_PIECE_OCTETS, FileRecord, FilesChanged, Store};

use crate::relay::support::World;

/// A provider that looks at what it gets.
fn strict(octets_max: usize, chunking: bool) -> String {
    format!(
        r#"
name = "files"
record = "identity"
message_octets_max = {octets_max}

[strict]
lines = true
dkim = true
bulk = true

[manner.sink]
tls = "none"
chunking = {chunking}

[[provider]]
name = "a"
domains = ["a.pretend.example"]
mx = [{{ host = "mx.a.pretend.test", address = "127.0.0.11" }}]
manner = "sink"
tail = true
"#
    )
}

/// Puts files as the API does; the second of a pair is the Content-ID.
async fn put(store: &Store, id: CampaignId, files: &[(&str, Option<&str>, &[u8])]) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let campaign = store.campaign(id).await.unwrap().unwrap();
    let mut records = Vec::new();
    for (name, content_id, octets) in files {
        let key = format!("{:016x}", NUMBER.fetch_add(1, Ordering::Relaxed));
        for (n, piece) in octets.chunks(FILE_PIECE_OCTETS).enumerate() {
            store.put_file_piece(id, &key, n as u32, piece).await.unwrap();
        }
        records.push(FileRecord {
            name: (*name).to_owned(),
            media_type: "image/png".into(),
            content_id: content_id.map(str::to_owned),
            octets: octets.len() as u64,
            sha256: String::new(),
            key,
        });
    }
    assert_eq!(store.change_files(&campaign, &records).await.unwrap(), FilesChanged::Done);
    assert!(store.keep_files(id, &records).await.unwrap().is_empty());
}

/// A running campaign with these files and recipients.
async fn campaign(world: &World, files: &[(&str, Option<&str>, &[u8])], to: &[&str]) -> CampaignId {
    let id =
        world.create(|record| record.template.html = Some("<img src=\"cid:logo\">".into())).await;
    put(&world.store, id, files).await;
    let to: Vec<(&str, &str)> = to.iter().map(|address| (*address, "")).collect();
    world.fill_zoned(id, BatchBuilder::new(3).with_files(), &to, true).await;
    world.run(id).await;
    id
}

fn unstuffed(kept: &Kept) -> Vec<u8> {
    let lines = kept.wire.split_inclusive(|b| *b == b'\n');
    lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_arrive_octet_for_octet_with_a_signature_that_holds() {
    for chunking in [false, true] {
        let mut world = World::start_in(&strict(20 << 20, chunking)).await;
        world.internet.keep_messages(10);
        world.relay("relay-a", |_| {});
        let (image, large) = (noise(5_000), noise(1_500_000));
        let small = [("logo é.png", Some("logo"), image.as_slice())];
        let both = [small[0], ("large.png", None, large.as_slice())];
        for files in [&small[..], &both] {
            let to = ["ann@a.pretend.example", "bob@a.pretend.example"];
            let id = campaign(&world, files, &to).await;
            world.until(id, 20, |n| n.delivered == 2).await;
            let kept = world.internet.take_kept();
            assert_eq!(kept.len(), 2);
            for kept in &kept {
                // What goes by BDAT has its dots as they are; base64 and boundaries have none.
                let mail = unstuffed(kept);
                let parsed = MessageParser::default().parse(&mail).unwrap();
                let found = parsed.parts.iter().filter(|p| p.content_disposition().is_some());
                let found: Vec<_> = found
                    .map(|p| (p.attachment_name().unwrap(), p.content_id(), p.contents()))
                    .collect();
                assert_eq!(found, files);
            }
        }
        assert!(world.internet.book().violations().is_empty(), "lines, signature, headers");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_a_server_takes_fails_once_and_says_nothing_of_the_address() {
    let mut world = World::start_in(&strict(10_000_000, false)).await;
    world.internet.keep_messages(10);
    let to = ["ann@a.pretend.example", "bob@a.pretend.example"];
    let id = campaign(&world, &[("film.png", None, &noise(30 << 20))], &to).await;
    world.relay("relay-a", |_| {});
    let counters = world.until(id, 30, |n| n.waiting == 0).await;
    assert_eq!((counters.failed, counters.deferrals), (2, 0), "{counters:?}");
    assert!(world.internet.take_kept().is_empty());

    for event in world.told(EventKind::Failed).await {
        let reply = event.reply.as_ref().unwrap().to_string();
        assert!(event.bytes > 41 << 20, "{}", event.bytes);
        let both = format!("it has {} octets, the server takes 10000000", event.bytes);
        assert!(reply.starts_with("550 5.3.4 ") && reply.contains(&both), "{reply}");
        assert_eq!((event.category, event.attempt), (Some(Category::TooBig), 1));
        assert_eq!(event.phase, Some(Phase::Local), "before MAIL");
        assert_eq!((event.hygiene, event.scope), (Some(Hygiene::None), Some(Scope::Message)));
    }
    assert!(world.told(EventKind::PaceChanged).await.is_empty());
    assert!(world.told(EventKind::SuppressionAdded).await.is_empty());
    for address in to {
        assert!(world.store.listing("t", address).await.unwrap().is_none());
        assert!(world.store.address_history(Some("t"), address).await.unwrap().is_empty());
    }

    // The same recipients get what the server does take, over the same connections.
    let id = campaign(&world, &[("logo.png", Some("logo"), &noise(100_000))], &to).await;
    world.until(id, 10, |n| n.delivered == 2).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaigns_whose_files_do_not_fit_beside_each_other_go_by_turns() {
    let mut world = World::start_in(&strict(80 << 20, false)).await;
    // Room for one and a half of them once they are encoded.
    world.relay("relay-a", |config| config.files_memory_bytes = 80 << 20);
    let large = Arc::new(noise(40 << 20));
    let mut ids = Vec::new();
    for n in 0..3 {
        let to: Vec<String> = (0..4).map(|m| format!("r{n}{m}@a.pretend.example")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        ids.push(campaign(&world, &[("large.png", None, &large)], &to).await);
    }
    for id in ids {
        world.until(id, 60, |n| n.delivered == 4).await;
    }
    assert!(world.internet.book().violations().is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_whose_file_is_gone_is_set_aside_with_its_name() {
    let mut world = World::start_in(&strict(20 << 20, false)).await;
    let logo = [("logo.png", Some("logo"), &noise(900)[..])];
    let id = campaign(&world, &logo, &["x@a.pretend.example"]).await;
    let files = world.store.campaign(id).await.unwrap().unwrap().files;
    world.store.delete_files(id, &files).await.unwrap();
    world.relay("relay-a", |_| {});
    world.until(id, 10, |n| n.set_aside == 1).await;
    let told = world.told(EventKind::SetAside).await;
    assert!(told[0].note.contains("file \"logo.png\" of campaign"), "{}", told[0].note);
    world.stop().await;
}
