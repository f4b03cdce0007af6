//! The gate between the final dot and the reply.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use loadtests::Hold;

use crate::internet::client::{Client, MESSAGE, one};

const A: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const B: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
const LONG: Duration = Duration::from_secs(20);

async fn up_to_the_dot(internet: &loadtests::Internet, from: Ipv4Addr, to: &str) -> Client {
    let mut client = Client::connect_from(internet, from).await;
    client.reply().await;
    client.ehlo().await;
    assert_eq!(client.envelope(to).await.0, 250);
    assert_eq!(client.command("DATA").await.0, 354);
    client.write(MESSAGE).await;
    client
}

#[tokio::test]
async fn replies_of_one_client_are_held_until_released() {
    let internet = one("").await;
    internet.hold_replies(Hold { client: Some(IpAddr::V4(A)), longest: LONG });
    let mut held = Vec::new();
    for n in 0..10 {
        held.push(up_to_the_dot(&internet, A, &format!("a{n}@one.example")).await);
    }
    let waiting = internet.wait_held(10, LONG).await;
    assert_eq!(waiting.len(), 10);
    assert!(waiting.iter().all(|h| h.peer.ip() == IpAddr::V4(A) && h.recipients.len() == 1));
    assert_eq!(internet.book().live()["one"].awaiting_reply, 10);
    let mut other = up_to_the_dot(&internet, B, "b@one.example").await;
    assert_eq!(other.reply().await.0, 250);
    internet.release_replies();
    for client in &mut held {
        assert_eq!(client.reply().await.0, 250);
    }
    assert!(internet.held().is_empty());
    assert_eq!(internet.book().summary().replied, 11);
}

#[tokio::test]
async fn a_client_that_dies_at_the_gate_leaves_its_message_in_the_mailbox() {
    let internet = one("").await;
    internet.hold_replies(Hold { client: None, longest: LONG });
    let client = up_to_the_dot(&internet, A, "ann@one.example").await;
    assert_eq!(internet.wait_held(1, LONG).await.len(), 1);
    drop(client);
    for _ in 0..100 {
        if internet.held().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(internet.held().is_empty());
    internet.release_replies();
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    assert_eq!((ann.dots, ann.taken, ann.accepted), (1, 1, 0));
    assert_eq!(internet.book().summary().unheard, 1);
    // Another relay takes over: the mailbox has it twice now, and the book says so.
    let mut again = up_to_the_dot(&internet, B, "ann@one.example").await;
    assert_eq!(again.reply().await.0, 250);
    assert_eq!(internet.book().duplicates(), vec![("ann@one.example".to_owned(), 2)]);
}

#[tokio::test]
async fn nothing_is_held_longer_than_the_longest_time() {
    let internet = one("").await;
    internet.hold_replies(Hold { client: None, longest: Duration::from_millis(200) });
    let mut client = up_to_the_dot(&internet, A, "ann@one.example").await;
    assert_eq!(client.reply().await.0, 250);
}

#[tokio::test]
async fn waiting_for_more_than_there_are_ends_in_time() {
    let internet = one("").await;
    internet.hold_replies(Hold { client: None, longest: LONG });
    let _client = up_to_the_dot(&internet, A, "ann@one.example").await;
    internet.wait_held(1, LONG).await;
    assert_eq!(internet.wait_held(2, Duration::from_millis(100)).await.len(), 1);
}
