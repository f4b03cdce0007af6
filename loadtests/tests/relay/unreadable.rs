//! Bad records: set aside with a reason, counted, restored when the cause is gone; never a
//! crash, never a silent drop, and never in the way of the others.

use std::time::Duration;

use mail::event::EventKind;
use mail::queue::{Aside, BatchId};
use mail::{CampaignId, Event, ShardId};
use store::{RelayRecord, SealKeys};

use crate::relay::support::{World, now};

const DOMAIN: &str = "a.pretend.example";

async fn asides(world: &World) -> Vec<(ShardId, Aside)> {
    let mut all = Vec::new();
    for shard in world.store.all_shards() {
        all.extend(world.store.asides(shard).await.unwrap().into_iter().map(|a| (shard, a)));
    }
    all
}

async fn with_blob(world: &World, blob: Vec<u8>) -> CampaignId {
    let campaign = world.create(|_| {}).await;
    let shard = world.store.shard_of(DOMAIN);
    let batch = world.store.reserve(shard, 2).await.unwrap();
    world.enqueue(campaign, shard, batch, 2, Some(DOMAIN), blob).await;
    world.run(campaign).await;
    campaign
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_read_is_set_aside_with_its_reason_and_the_rest_goes_on() {
    let mut world = World::start().await;
    let corrupt = with_blob(&world, b"\x01no zstd".to_vec()).await;
    let never = with_blob(&world, b"\x00old".to_vec()).await;
    let newer = with_blob(&world, b"\x63future".to_vec()).await;
    let erased = world.campaign("acme", &["ann@a.pretend.example"], true).await;
    world.raw("DEL", &[&format!("mp:campaign:{erased}")]).await;
    let broken =
        world.create(|record| record.template.subject = "{{ no_such_field }}".into()).await;
    world.fill(broken, &["bob@a.pretend.example"], true).await;
    world.run(broken).await;
    let good = world.campaign("acme", &["eve@a.pretend.example"], true).await;
    world.relay("relay-a", |_| {});
    world.until(good, 20, |n| n.delivered == 1).await;
    let expected = [
        (corrupt, 2, "a batch cannot be read"),
        (never, 2, "which never was"),
        (newer, 2, "version 99, newer than this program"),
        (erased, 1, "is not in the store"),
        (broken, 1, "no_such_field"),
    ];
    for (campaign, count, _) in expected {
        world.until(campaign, 20, |n| n.set_aside == count && n.waiting == 0).await;
    }
    let listed = asides(&world).await;
    for (campaign, count, reason) in expected {
        let lane = format!("{campaign}/{DOMAIN}");
        let (_, aside) = listed.iter().find(|(_, a)| a.lane == lane).unwrap();
        assert_eq!(u64::from(aside.count), count);
        assert!(aside.reason.contains(reason), "{reason}: {}", aside.reason);
        assert_eq!(aside.newer, if campaign == newer { 99 } else { 0 });
    }
    world.stop().await;
}

/// Reading and compiling it anew for each batch, or each message, would cost more than sending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_is_read_and_compiled_once() {
    let mut world = World::start().await;
    world.relay("relay-a", |_| {});
    let campaign = world.campaign("t", &["ann@a.pretend.example"], true).await;
    world.until(campaign, 20, |n| n.delivered == 1).await;
    // From now on nobody can read it.
    world.raw("DEL", &[&format!("mp:campaign:{campaign}")]).await;
    world.fill(campaign, &["bob@a.pretend.example", "eve@a.pretend.example"], true).await;
    world.until(campaign, 20, |n| n.delivered == 3).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_batch_is_left_to_a_newer_relay_that_lives() {
    let mut world = World::start().await;
    let record = RelayRecord {
        host: "elsewhere".into(),
        pid: 1,
        started_at: now(),
        // Lives for as long as this test lasts.
        seen_at: now() + Duration::from_secs(60),
        connections: 0,
        unsettled_max: 8,
        leased: 0,
        draining: false,
        reads_batch: 99,
        pools: Vec::new(),
        budget_percent: 100,
        pressed_by: Vec::new(),
    };
    world.store.put_relay("newer-1-1", &record).await.unwrap();
    world.relay("relay-a", |_| {});
    let newer = with_blob(&world, b"\x63future".to_vec()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let n = world.counters(newer).await;
    assert_eq!((n.waiting, n.set_aside, n.deferrals), (2, 0, 0));
    world.store.remove_relay("newer-1-1").await.unwrap();
    world.until(newer, 20, |n| n.set_aside == 2).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_relay_lacks_the_platform_key_for_waits_for_one_that_has_it() {
    let mut world = World::start().await;
    world.relay_sealed("keyless", SealKeys::new(vec![('z', [1; 32])]), |_| {});
    let campaign = world.campaign("t", &["ann@a.pretend.example"], true).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let n = world.counters(campaign).await;
    assert_eq!((n.waiting, n.set_aside, n.deferrals), (1, 0, 0));
    // Whoever leases first after each rest: it is the other one's turn soon.
    world.relay("with-the-key", |_| {});
    world.relay("with-the-key-too", |_| {});
    world.until(campaign, 60, |n| n.delivered == 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_goes_on_once_the_cause_is_mended() {
    let mut world = World::start().await;
    let campaign = world.create(|_| {}).await;
    let key = format!("mp:campaign:{campaign}");
    world.raw("RENAME", &[&key, "mp:hidden"]).await;
    world.fill(campaign, &["ann@a.pretend.example", "bob@a.pretend.example"], true).await;
    world.run(campaign).await;
    world.relay("relay-a", |_| {});
    world.until(campaign, 20, |n| n.set_aside == 2).await;
    world.raw("RENAME", &["mp:hidden", &key]).await;
    let all = asides(&world).await;
    let (shard, aside) = &all[0];
    let again = world.store.restore_aside(*shard, aside, "restored by the test", now()).await;
    assert_eq!(again.unwrap(), 2);
    assert_eq!(world.counters(campaign).await.waiting, 2);
    let again = world.store.restore_aside(*shard, aside, "again", now()).await;
    assert_eq!(again.unwrap(), 0, "there is nothing left to restore");
    // The relay that set it aside remembers why for a while; another one reads it anew.
    world.relay("relay-b", |_| {});
    let mut restored = 2;
    let n = loop {
        let n = world.counters(campaign).await;
        if n.delivered == 2 {
            break n;
        }
        for (shard, aside) in asides(&world).await {
            restored += world.store.restore_aside(shard, &aside, "again", now()).await.unwrap();
        }
        assert!(restored < 200, "it never gets to the relay that can: {n:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!((n.set_aside, n.waiting), (0, 0));
    let told: u32 = world.told(EventKind::Restored).await.iter().map(|e| e.count).sum();
    assert_eq!(told, restored);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_which_little_is_left_is_packed_anew_and_what_is_left_arrives() {
    let mut world = World::start().await;
    let campaign = world.create(|_| {}).await;
    // Addresses that do not compress into nothing, as those of people do not.
    let name = |i: u64| mail::id::domain_hash(&i.to_string());
    let many: Vec<String> = (0..400).map(|i| format!("u{:016x}@{DOMAIN}", name(i))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let batch = world.fill(campaign, &many, true).await;
    let shard = world.store.shard_of(DOMAIN);
    let whole = world.store.batch(shard, batch).await.unwrap().unwrap();
    defer_all_but(&world, campaign, batch, 380).await;
    assert_eq!(world.store.repack(shard).await.unwrap(), 1);
    assert_eq!(world.store.repack(shard).await.unwrap(), 0, "once is enough");
    let small = world.store.batch(shard, batch).await.unwrap().unwrap();
    assert!(small.len() * 4 < whole.len(), "{} of {} octets", small.len(), whole.len());
    world.relay("relay-a", |_| {});
    world.store.expedite(campaign).await.unwrap();
    let n = world.until(campaign, 20, |n| n.waiting == 0).await;
    assert_eq!((n.delivered, n.set_aside), (400, 0));
    let book = world.internet.book();
    for (i, address) in many.iter().enumerate() {
        let taken = book.recipient(address).map_or(0, |e| e.taken);
        assert_eq!(taken, u16::from(i >= 380), "{address}");
    }
    world.stop().await;
}

/// Settles a batch by hand: the first so many delivered, the rest put off.
async fn defer_all_but(world: &World, campaign: CampaignId, batch: BatchId, delivered: u16) {
    use mail::queue::{End, Lane, Outcome};
    let shard = world.store.shard_of(DOMAIN);
    world.run(campaign).await;
    for renewal in world.store.renew("by-hand", |_| true).await {
        renewal.unwrap();
    }
    let lane = Lane { campaign, domain: Some(DOMAIN.parse().unwrap()) };
    let answer = world.store.lease(shard, "by-hand", &[(lane.clone(), 500)]).await.unwrap();
    let store::LeaseAnswer::Leases(leases) = answer else { panic!("{answer:?}") };
    let due = now() + Duration::from_secs(3600);
    let outcome = |i: u16| match i < delivered {
        true => Outcome::End(End::Delivered),
        false => Outcome::Deferred { due },
    };
    let lease = &leases[0].lease;
    assert_eq!(lease.batch, batch);
    let settle = lease.settle(lease.items.iter().map(|(i, _)| (*i, outcome(*i))).collect());
    let told = |i: u16| {
        let kind = if i < delivered { EventKind::Delivered } else { EventKind::Deferred };
        Event { campaign: Some(campaign), ..Event::new(kind, now()) }
    };
    let told: Vec<Event> = lease.items.iter().map(|(i, _)| told(*i)).collect();
    let frame = store::Frame::encode(&told);
    world.store.settle(shard, "by-hand", 1, &[settle], &frame).await.unwrap();
}
