//! Envelope and message in one write: CHUNKING beside PIPELINING.

use mail::Phase;
use relay::smtp::{Outcome, Session, Target, TlsClient, TlsPolicy, Trouble};
use rustls::RootCertStore;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::smtp::peer::*;

const OFFER: &str = "PIPELINING CHUNKING";

/// Reads MAIL, RCPT and the chunk, all of which must be there before anything is answered.
async fn whole(peer: &mut Peer<TcpStream>) -> String {
    peer.expect("MAIL FROM:<b-1@example.org>").await;
    peer.expect("RCPT TO:<ann@example.com>").await;
    let chunk = peer.line().await;
    let octets = chunk.strip_prefix("BDAT ").and_then(|c| c.strip_suffix(" LAST"));
    let octets = octets.unwrap_or_else(|| panic!("{chunk:?} is not BDAT")).parse();
    let mut body = vec![0; octets.expect("a number")];
    peer.0.read_exact(&mut body).await.expect("the chunk");
    String::from_utf8(body).expect("utf-8")
}

#[tokio::test]
async fn messages_go_whole_and_their_dots_stay_as_they_are() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet(OFFER).await;
        for _ in 0..2 {
            assert_eq!(whole(&mut peer).await.as_bytes(), MESSAGE);
            peer.say("250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.0.0 queued as 7\r\n").await;
        }
        peer.expect("QUIT").await;
    })
    .await;
    let mut session = connect(addr).await;
    for _ in 0..2 {
        let done = send(&mut session).await;
        assert!(matches!(done.outcome, Outcome::Accepted) && done.dot_written, "{done:?}");
        assert_eq!(done.reply.expect("a reply").to_string(), "250 2.0.0 queued as 7");
    }
    session.quit().await;
    peer.await.expect("peer");
}

#[tokio::test]
async fn after_a_refused_recipient_the_next_is_asked_for_first() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet(OFFER).await;
        whole(&mut peer).await;
        peer.say("250 ok\r\n550 5.1.1 no such user\r\n503 5.5.1 no recipient\r\n").await;
        peer.expect("RSET").await;
        peer.pipeline("250 reset\r\n250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await.expect("a body");
        peer.say("250 ok\r\n").await;
        // That one was taken: whole again.
        whole(&mut peer).await;
        peer.say("250 ok\r\n250 ok\r\n452 4.3.1 no room\r\n").await;
        peer.expect("RSET").await;
        whole(&mut peer).await;
        peer.say("250 reset\r\n250 ok\r\n250 ok\r\n250 ok\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Refused));
    assert_eq!((done.phase, done.reply.as_ref().expect("a reply").code), (Phase::Rcpt, 550));
    assert_eq!(told(&done), ["mail 250", "rcpt 550", "dot 503"]);
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Refused));
    assert_eq!((done.phase, done.reply.as_ref().expect("a reply").code), (Phase::Dot, 452));
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}");
    assert_eq!(told(&done), ["mail 250", "mail 250", "rcpt 250", "dot 250"]);
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_server_that_does_not_know_what_it_offers_refuses_nobody() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet(OFFER).await;
        whole(&mut peer).await;
        peer.say("250 ok\r\n250 ok\r\n502 5.5.2 command not recognized\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Failed(Trouble::OutOfPlace(_))), "{done:?}");
    assert!(session.is_chunking_broken() && !session.is_usable());
    peer.await.expect("peer");

    let (addr, peer) = server(|mut peer| async move {
        peer.greet(OFFER).await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await.expect("a body");
        peer.say("250 ok\r\n").await;
    })
    .await;
    let (addrs, timeouts) = ([addr], timeouts());
    let known = Target { unchunked: &addrs, ..target(&addrs, &timeouts, TlsPolicy::Never) };
    let client = TlsClient::new(RootCertStore::empty()).expect("tls");
    let mut session = Session::connect(&known, &client).await.expect("a session");
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    assert!(!session.is_chunking_broken());
    peer.await.expect("peer");
}

/// What it makes of the octets would be taken for answers to the next message.
#[tokio::test]
async fn a_refused_recipient_does_not_hide_that_chunks_are_unknown() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet(OFFER).await;
        whole(&mut peer).await;
        peer.say("250 ok\r\n550 5.1.1 no such user\r\n500 5.5.2 unknown command\r\n").await;
        peer.say("500 5.5.2 unknown command\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    let done = send(&mut session).await;
    assert_eq!((done.phase, done.reply.as_ref().expect("a reply").code), (Phase::Rcpt, 550));
    assert!(session.is_chunking_broken() && !session.is_usable());
    peer.await.expect("peer");
}

#[tokio::test]
async fn what_rset_comes_to_says_nothing_of_a_message_that_was_taken() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet(OFFER).await;
        whole(&mut peer).await;
        peer.say("250 ok\r\n250 ok\r\n452 4.3.1 no room\r\n").await;
        peer.expect("RSET").await;
        whole(&mut peer).await;
        peer.say("502 5.5.1 what\r\n250 ok\r\n250 ok\r\n250 ok\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    assert!(matches!(send(&mut session).await.outcome, Outcome::Refused));
    let done = send(&mut session).await;
    assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}");
    peer.await.expect("peer");
}

#[tokio::test]
async fn replies_that_never_come_leave_it_open_and_a_refusal_decides() {
    // What the server says, and whether it may have the message.
    let cases: [(&str, Phase, Option<u16>); 6] = [
        ("", Phase::Mail, None),
        ("250 ok\r\n", Phase::Rcpt, None),
        ("250 ok\r\n250 ok\r\n", Phase::Dot, None),
        ("250 ok\r\n550 5.1.1 no\r\n", Phase::Rcpt, Some(550)),
        ("421 4.7.0 bye\r\n", Phase::Mail, Some(421)),
        ("250 ok\r\n250 ok\r\n421 4.7.0 bye\r\n", Phase::Dot, Some(421)),
    ];
    for (answer, phase, code) in cases {
        let (addr, peer) = server(move |mut peer| async move {
            peer.greet(OFFER).await;
            whole(&mut peer).await;
            peer.say(answer).await;
        })
        .await;
        let mut session = connect(addr).await;
        let done = send(&mut session).await;
        assert_eq!((done.phase, done.reply.as_ref().map(|r| r.code)), (phase, code), "{answer:?}");
        let is_open = matches!(done.outcome, Outcome::NoReplyAfterDot(_));
        assert_eq!(is_open, code.is_none(), "{answer:?}: {done:?}");
        assert!(!session.is_usable());
        assert_eq!(session.is_chunking_broken(), answer.is_empty(), "{answer:?}");
        peer.await.expect("peer");
    }
}

#[tokio::test]
async fn large_messages_and_withheld_ones_are_not_sent_whole() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet(OFFER).await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        assert_eq!(peer.body().await.map(|b| b.len()), Some(70_000));
        peer.say("250 ok\r\n").await;
        // The lease is gone: not an octet of the next.
        assert_eq!(peer.line().await, "");
    })
    .await;
    let mut session = connect(addr).await;
    let large = format!("{}\r\n", "x".repeat(998)).repeat(70);
    let done = session.transact(&ENVELOPE, large.as_bytes(), || true).await;
    assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}");
    let done = session.transact(&ENVELOPE, MESSAGE, || false).await;
    assert!(matches!(done.outcome, Outcome::Withheld) && !done.dot_written, "{done:?}");
    drop(session);
    peer.await.expect("peer");
}

#[tokio::test]
async fn bare_line_ends_do_not_go_by_this_way_either() {
    let (addr, _peer) = server(|mut peer| async move {
        peer.greet(OFFER).await;
        assert_eq!(peer.line().await, "");
    })
    .await;
    let mut session = connect_with(addr, TlsPolicy::Never).await.expect("a session");
    for message in ["a\nb\r\n", "a\r\n.\n.\r\n", "a\rb\r\n", "a"] {
        let done = session.transact(&ENVELOPE, message.as_bytes(), || true).await;
        assert!(matches!(done.outcome, Outcome::Malformed(_)) && !done.began, "{message:?}");
    }
}
