//! Holds that relays share: whoever hears first, there is one; a person ends it, and it stays so.

use std::time::Duration;

use mail::Timestamp;
use mail::event::EventKind;
use mail::holds::{Cause, Change, Config, HOLDS_MAX, Hold, Key, Kind, News, Standing};
use store::{HoldPut, Position, Store};

use crate::support;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const RESPITE: Duration = Duration::from_secs(3600);

fn key(name: &str) -> Key {
    Key { kind: Kind::SenderDomain, name: name.into(), site: "mx.example".into() }
}

fn news(said: u32) -> News<'static> {
    News { said, passed: 0, cause: Some(Cause::Quota), answer: "421 4.7.28 your DKIM domain" }
}

/// As a relay does it, until nobody was faster.
async fn hear(store: &Store, key: &Key, said: u32, now: Timestamp) -> Option<Change> {
    loop {
        let before = store.hold_record(key).await.unwrap();
        let mut hold = before.hold.clone().unwrap_or_else(|| Hold::new(key.clone(), "acme", now));
        let change = hold.hear(&Config::default(), now, &news(said));
        if change == Some(Change::Set) {
            hold.id = store.order_number().await.unwrap();
        }
        match store.put_hold(key, &before, Some(&hold)).await.unwrap() {
            HoldPut::Done => return change,
            HoldPut::Changed => {}
            HoldPut::Full => panic!("full"),
        }
    }
}

#[tokio::test]
async fn what_relays_hear_adds_up_and_holds_once() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    for round in 0..20 {
        let key = key(&format!("d{round}.example"));
        let (a, b, c) = tokio::join!(
            hear(&store, &key, 1, NOW),
            hear(&store, &key, 1, NOW),
            hear(&store, &key, 1, NOW)
        );
        let set = [a, b, c].into_iter().filter(|change| *change == Some(Change::Set)).count();
        assert_eq!(set, 1, "three relays, an answer each");
    }
    let holds = store.holds(NOW).await.unwrap();
    assert_eq!(holds.len(), 20);
    assert!(holds.windows(2).all(|pair| pair[0].id < pair[1].id), "each has its number");
}

#[tokio::test]
async fn what_a_person_ends_is_told_and_not_set_again_at_once() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let key = key("news.example");
    hear(&store, &key, 3, NOW).await;
    let held = store.holds(NOW).await.unwrap().remove(0);
    let wrong = store.cancel_hold(held.id + 1, "ann", "no", NOW, RESPITE).await.unwrap();
    assert_eq!(wrong, None);
    let undone = store.cancel_hold(held.id, "ann", "they called", NOW, RESPITE).await.unwrap();
    assert_eq!(undone, Some(held.clone()));
    assert_eq!(store.cancel_hold(held.id, "ann", "again", NOW, RESPITE).await.unwrap(), None);
    assert_eq!(hear(&store, &key, 99, NOW).await, None);
    assert!(store.holds(NOW).await.unwrap().is_empty());
    let record = store.hold_record(&key).await.unwrap().hold.unwrap();
    assert_eq!(record.standing(NOW), Standing::Free);
    assert_eq!(hear(&store, &key, 3, NOW + RESPITE).await, Some(Change::Set));
    let mut told = Vec::new();
    for shard in store.all_shards() {
        let frames = store.outbox(shard, Position::default(), 100).await.unwrap();
        told.extend(frames.into_iter().flat_map(|(_, settled)| settled).map(|s| s.event));
    }
    let note = format!(
        "order {} undone: hold sender-domain news.example at mx.example by ann: they called",
        held.id
    );
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].kind, told[0].note.as_str()), (EventKind::Ordered, note.as_str()));
    assert_eq!(told[0].site, "mx.example");
}

#[tokio::test]
async fn a_hold_of_a_newer_program_is_left_alone_and_there_are_not_too_many() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let newer = key("newer.example");
    let _: () = redis::cmd("HSET")
        .arg("mp:holds")
        .arg(newer.to_string())
        .arg("\u{7f}unknown")
        .query_async(&mut conn)
        .await
        .unwrap();
    assert!(store.holds(NOW).await.unwrap().is_empty());
    assert!(store.hold_record(&newer).await.is_err());
    for n in 1..HOLDS_MAX {
        let key = key(&format!("d{n}.example"));
        let hold = Hold::new(key.clone(), "acme", NOW);
        let none = store.hold_record(&key).await.unwrap();
        assert_eq!(store.put_hold(&key, &none, Some(&hold)).await.unwrap(), HoldPut::Done);
    }
    let (one, more) = (key("d1.example"), key("more.example"));
    let hold = Hold::new(more.clone(), "acme", NOW);
    let none = store.hold_record(&more).await.unwrap();
    assert_eq!(store.put_hold(&more, &none, Some(&hold)).await.unwrap(), HoldPut::Full);
    let before = store.hold_record(&one).await.unwrap();
    assert_eq!(store.put_hold(&one, &before, None).await.unwrap(), HoldPut::Done);
    assert_eq!(store.put_hold(&more, &none, Some(&hold)).await.unwrap(), HoldPut::Done);
}
