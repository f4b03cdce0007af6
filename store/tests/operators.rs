//! Who may open the console, who has it open, and of what nobody is told.

use std::time::Duration;

use mail::Timestamp;
use mail::alarm::Condition;
use store::{Operator, Role, SessionRecord, Store};

use crate::support;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

#[tokio::test]
async fn operators_and_sessions_come_and_go_and_tries_are_counted() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let ann = Operator {
        password: "$argon2id$…".into(),
        role: Role::Operate,
        created_at: NOW,
        changed_at: NOW,
    };
    store.put_operator("ann", &ann).await.unwrap();
    store.put_operator("wall", &Operator { role: Role::Look, ..ann.clone() }).await.unwrap();
    assert_eq!(store.operator("ann").await.unwrap(), Some(ann.clone()));
    assert_eq!(store.operator("bob").await.unwrap(), None);
    let names: Vec<String> = store.operators().await.unwrap().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["ann", "wall"]);
    assert!(store.remove_operator("wall").await.unwrap());
    assert!(!store.remove_operator("wall").await.unwrap());

    let session = SessionRecord { name: "ann".into(), form_token: "f".into(), began_at: NOW };
    store.begin_session("token", &session, Duration::from_secs(60)).await.unwrap();
    store.begin_session("short", &session, Duration::from_millis(900)).await.unwrap();
    assert_eq!(store.session("token").await.unwrap(), Some(session));
    assert_eq!(store.session("other").await.unwrap(), None);
    store.end_session("token").await.unwrap();
    assert_eq!(store.session("token").await.unwrap(), None);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(store.session("short").await.unwrap(), None, "its time is over");

    for n in 1..=3 {
        assert_eq!(store.count_sign_in("ann", Duration::from_secs(60)).await.unwrap(), n);
    }
    assert_eq!(store.count_sign_in("bob", Duration::from_secs(60)).await.unwrap(), 1);
    assert_eq!(store.sign_ins("ann").await.unwrap(), 3);
    store.forget_sign_ins("ann").await.unwrap();
    assert_eq!(store.sign_ins("ann").await.unwrap(), 0);
    assert_eq!(store.count_sign_in("ann", Duration::from_secs(60)).await.unwrap(), 1);
}

#[tokio::test]
async fn silences_hold_until_they_end_or_are_lifted() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let (who, until) = (("ann", "ticket 7"), NOW + Duration::from_secs(60));
    let one = store.silence(Some(Condition::QueueOld), "c7", until, who, NOW).await.unwrap();
    let all = store.silence(None, "", until, who, NOW).await.unwrap();
    assert_eq!(store.silences(NOW).await.unwrap(), [one.clone(), all.clone()]);
    assert!(store.lift_silence(one.id).await.unwrap());
    assert!(!store.lift_silence(one.id).await.unwrap());
    assert_eq!(store.silences(NOW).await.unwrap(), [all]);
    assert!(store.silences(until).await.unwrap().is_empty());
    for _ in 0..200 {
        store.silence(None, "", until + Duration::from_secs(60), who, until).await.unwrap();
    }
    let refused = store.silence(None, "", until + Duration::from_secs(60), who, until).await;
    assert!(refused.unwrap_err().to_string().contains("200 silences hold already"));
}
