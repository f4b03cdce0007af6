//! What waits behind the relays, as a relay sees it.

use mail::event::EventKind;
use mail::{Event, Scope, ShardId, Timestamp};
use store::{Config, Feedback, Store};

use crate::support;

#[tokio::test]
async fn the_fullest_outbox_and_untaken_feedback_are_told() {
    let redis = support::Redis::start();
    let store = Store::open(&Config { outbox_max: 200, ..redis.config() }).await.unwrap();
    assert_eq!(store.outbox_fullness().await.unwrap(), 0.0);
    assert_eq!(store.feedback_waiting().await.unwrap(), 0);
    let event = Event::new(EventKind::Service, Timestamp(1));
    for (shard, frames) in [(0, 10), (3, 50), (2, 5)] {
        for _ in 0..frames {
            store.emit(ShardId(shard), std::slice::from_ref(&event)).await.unwrap();
        }
    }
    assert_eq!(store.outbox_fullness().await.unwrap(), 0.25);
    let feedback = Feedback {
        domain: "example.org".into(),
        category: None,
        scope: Scope::Recipient,
        signal: None,
        campaign: None,
        said: String::new(),
    };
    for _ in 0..3 {
        store.put_feedback(&feedback).await.unwrap();
    }
    assert_eq!(store.feedback_waiting().await.unwrap(), 3);
    store.take_feedback(2).await.unwrap();
    assert_eq!(store.feedback_waiting().await.unwrap(), 1);
}
