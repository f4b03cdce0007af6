//! Hidden limits and slowness.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mail::Category;

use crate::internet::client::{Client, one};

#[tokio::test]
async fn one_connection_too_many_is_turned_away_with_the_providers_words() {
    let internet = one("style = \"orange\"\nlimits = { connections = 2 }").await;
    let first = Client::hello(&internet).await;
    let _second = Client::hello(&internet).await;
    let mut third = Client::connect(&internet).await;
    let (code, text) = third.reply().await;
    assert_eq!(code, 421);
    assert!(text.contains("OFR004_104"), "{text}");
    assert_eq!(third.reply_or_end().await, None);
    // Another client address has its own room, and a closed connection makes some.
    let mut other = Client::connect_from(&internet, Ipv4Addr::new(127, 0, 1, 2)).await;
    assert_eq!(other.reply().await.0, 220);
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut fourth = Client::connect(&internet).await;
    assert_eq!(fourth.reply().await.0, 220);
    assert_eq!(internet.book().live()["one"].limited, 1);
}

#[tokio::test]
async fn too_fast_is_421_and_the_end_of_the_connection() {
    let internet = one("style = \"gmail\"\nlimits = { rate_per_s = 2, burst = 3 }").await;
    let mut client = Client::hello(&internet).await;
    for n in 0..3 {
        assert_eq!(client.send(&format!("r{n}@one.example")).await.0, 250);
    }
    let (code, text) = client.send("late@one.example").await;
    assert_eq!(code, 421);
    assert!(text.contains("4.7.28") && text.contains("[127.0.0.1]"), "{text}");
    assert_eq!(client.reply_or_end().await, None);
    let late = internet.book().recipient("late@one.example").expect("a page");
    assert_eq!(late.refused_as(), Some(Category::RateLimited));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.send("late@one.example").await.0, 250);
}

#[tokio::test]
async fn a_421_in_a_pipeline_reaches_a_client_that_talks_on() {
    let internet = one("style = \"gmail\"\nlimits = { rate_per_s = 0.1, burst = 1 }").await;
    let mut client = Client::hello(&internet).await;
    let talk = "MAIL FROM:<a@b.example>\r\nRCPT TO:<x@one.example>\r\nRCPT TO:<y@one.example>\r\n\
                DATA\r\nNOOP\r\n";
    client.write(talk.as_bytes()).await;
    for code in [250, 250, 421] {
        assert_eq!(client.reply().await.0, code);
    }
    assert_eq!(client.reply_or_end().await, None);
}

#[tokio::test]
async fn a_connection_carries_so_many_messages_and_no_more() {
    let internet = one("style = \"yahoo\"\nlimits = { messages_per_connection = 2 }").await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.send("a@one.example").await.0, 250);
    assert_eq!(client.send("b@one.example").await.0, 250);
    let (code, text) = client.send("c@one.example").await;
    assert_eq!(code, 421);
    assert!(text.contains("Max message per connection"), "{text}");
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.send("c@one.example").await.0, 250);
}

#[tokio::test]
async fn some_close_at_that_limit_without_a_word() {
    let internet = one("limits = { messages_per_connection = 1, silent_close = true }").await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.send("a@one.example").await.0, 250);
    client.write(b"MAIL FROM:<a@b.example>\r\n").await;
    assert_eq!(client.reply_or_end().await, None);
}

#[tokio::test]
async fn a_slow_banner_is_slow() {
    let internet = one("delays = { banner_ms = 300 }").await;
    let started = Instant::now();
    let mut client = Client::connect(&internet).await;
    assert_eq!(client.reply().await.0, 220);
    assert!(started.elapsed() >= Duration::from_millis(300));
}
