//! Connections cut by the server, at each step.

use crate::internet::client::{Client, MESSAGE, one};

async fn cut_at(step: &str) -> (loadtests::Internet, Client) {
    let internet = one(&format!("hangups = {{ {step} = 1.0 }}")).await;
    let client = Client::connect(&internet).await;
    (internet, client)
}

#[tokio::test]
async fn before_the_banner() {
    let (internet, mut client) = cut_at("connect").await;
    assert_eq!(client.reply_or_end().await, None);
    assert_eq!(internet.book().live()["one"].hung_up, 1);
}

#[tokio::test]
async fn in_the_banner() {
    let (_internet, mut client) = cut_at("banner").await;
    assert_eq!(client.reply_or_end().await, None);
}

#[tokio::test]
async fn at_ehlo() {
    let (_internet, mut client) = cut_at("ehlo").await;
    assert_eq!(client.reply().await.0, 220);
    client.write(b"EHLO client.example\r\n").await;
    assert_eq!(client.reply_or_end().await, None);
}

#[tokio::test]
async fn at_mail() {
    let (internet, _) = cut_at("mail").await;
    let mut client = Client::hello(&internet).await;
    client.write(b"MAIL FROM:<a@b.example>\r\n").await;
    assert_eq!(client.reply_or_end().await, None);
}

#[tokio::test]
async fn at_rcpt() {
    let (internet, _) = cut_at("rcpt").await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.command("MAIL FROM:<a@b.example>").await.0, 250);
    client.write(b"RCPT TO:<ann@one.example>\r\n").await;
    assert_eq!(client.reply_or_end().await, None);
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    assert_eq!((ann.attempts, ann.dots), (1, 0));
}

#[tokio::test]
async fn at_data() {
    let (internet, _) = cut_at("data").await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.envelope("ann@one.example").await.0, 250);
    client.write(b"DATA\r\n").await;
    assert_eq!(client.reply_or_end().await, None);
}

#[tokio::test]
async fn in_the_body() {
    let (internet, _) = cut_at("body").await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.envelope("ann@one.example").await.0, 250);
    assert_eq!(client.command("DATA").await.0, 354);
    client.write(b"From: a@news.example\r\n").await;
    assert_eq!(client.reply_or_end().await, None);
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    assert_eq!((ann.dots, ann.taken), (0, 0));
}

#[tokio::test]
async fn after_the_final_dot_the_message_is_in_the_mailbox_all_the_same() {
    let (internet, _) = cut_at("dot").await;
    for attempt in 1..=3 {
        let mut client = Client::hello(&internet).await;
        assert_eq!(client.envelope("ann@one.example").await.0, 250);
        assert_eq!(client.command("DATA").await.0, 354);
        client.write(MESSAGE).await;
        assert_eq!(client.reply_or_end().await, None);
        let ann = internet.book().recipient("ann@one.example").expect("a page");
        assert_eq!((ann.dots, ann.taken, ann.accepted), (attempt, attempt, 0));
    }
    // The fourth attempt is served, so that a campaign comes to its end.
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.send("ann@one.example").await.0, 250);
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    assert_eq!((ann.taken, ann.accepted), (4, 1));
    assert_eq!(internet.book().summary().duplicates, 3);
}
