//! Orders about suppressed addresses, whoever gives another one at the same time.

use mail::Timestamp;
use store::{Listed, Store, StoreError, SuppressionRecord};

use crate::support;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const LIST: &str = "acme";
const ADDRESS: &str = "ann@one.example";
const DAY_MS: u64 = 86_400_000;

fn record(reason: &str, days: Option<u64>) -> SuppressionRecord {
    SuppressionRecord {
        reason: reason.into(),
        category: None,
        at: NOW,
        evidence: "a test".into(),
        delivery: None,
        expires_at: days.map(|days| Timestamp(NOW.0 + days * DAY_MS)),
    }
}

async fn order(store: &Store, record: Option<&SuppressionRecord>) -> Result<Listed, StoreError> {
    store.list_by_order(LIST, ADDRESS, record, ("test", String::new()), NOW).await
}

#[tokio::test]
async fn an_order_makes_no_suppression_shorter() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let [short, long, endless] = [Some(1), Some(9), None].map(|days| record("operator", days));
    assert_eq!(order(&store, None).await.unwrap(), Listed::Absent);
    assert_eq!(order(&store, Some(&short)).await.unwrap(), Listed::Done);
    assert_eq!(order(&store, Some(&long)).await.unwrap(), Listed::Done);
    assert_eq!(order(&store, Some(&short)).await.unwrap(), Listed::Outlasted);
    assert_eq!(order(&store, Some(&endless)).await.unwrap(), Listed::Done);
    assert_eq!(order(&store, Some(&long)).await.unwrap(), Listed::Outlasted);
    assert_eq!(store.listing(LIST, ADDRESS).await.unwrap(), Some(endless));
    assert_eq!(order(&store, None).await.unwrap(), Listed::Done);
    assert_eq!(store.listing(LIST, ADDRESS).await.unwrap(), None);
}

/// What one order goes by is written over by another before it is written itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_at_the_same_time_is_seen() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let (imported, unsubscribed) = (record("imported", Some(30)), record("unsubscribed", None));
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let stays = |known: Option<&SuppressionRecord>| {
        if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            assert_eq!(known, None);
            meanwhile(order(&store, Some(&unsubscribed)));
        }
        known.is_some_and(|known| known.outlasts(&imported))
    };
    let written = store.change_listing((LIST, ADDRESS), Some(&imported), &[], stays).await;
    assert!(!written.unwrap());
    assert_eq!(asked.into_inner(), 2);
    assert_eq!(store.listing(LIST, ADDRESS).await.unwrap(), Some(unsubscribed));
}

/// As an import has them that was sorted by address: each row outlasts the one before.
#[tokio::test(flavor = "multi_thread")]
async fn many_orders_about_one_address_at_once_leave_the_longest() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let orders = (1..=40).map(|days| {
        let store = store.clone();
        async move { order(&store, Some(&record("imported", Some(days)))).await.unwrap() }
    });
    let done = futures_util::future::join_all(orders).await;
    assert!(done.iter().all(|done| *done != Listed::Absent));
    let listed = store.listing(LIST, ADDRESS).await.unwrap();
    assert_eq!(listed, Some(record("imported", Some(40))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lifted_while_another_order_replaces_it_is_lifted_as_it_stands_then() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    order(&store, Some(&record("operator", Some(1)))).await.unwrap();
    let complained = record("complained", None);
    let asked = std::sync::atomic::AtomicUsize::new(0);
    // Whoever lifts has seen the first, and is not to lift the second unseen.
    let stays = |known: Option<&SuppressionRecord>| {
        if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            meanwhile(order(&store, Some(&complained)));
        }
        known.is_none_or(|known| known.reason == complained.reason)
    };
    assert!(!store.change_listing((LIST, ADDRESS), None, &[], stays).await.unwrap());
    assert_eq!(store.listing(LIST, ADDRESS).await.unwrap(), Some(complained));
}

fn meanwhile(order: impl Future<Output = Result<Listed, StoreError>>) {
    let written = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(order));
    assert_eq!(written.unwrap(), Listed::Done);
}
