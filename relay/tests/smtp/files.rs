//! Messages that share their files: on the wire they are what they would be in one piece.

use mail::{DeliveryId, ShardId, Timestamp};
use message::{Content, Envelope as Added, FileHead, Mailbox, Message, Recipient, Template};
use relay::smtp::{LineEndError, Outcome};
use tokio::io::AsyncReadExt;

use crate::smtp::peer::*;

/// A message whose own lines begin with dots before and after what it shares: an inline image of
/// so many octets, and a file.
fn message(image: usize) -> Message {
    let content = Content {
        from: Mailbox { name: None, address: "news@example.org".parse().expect("an address") },
        reply_to: None,
        subject: "x".into(),
        text: Some(".\n..dots\n".into()),
        html: Some(".<img src=\"cid:logo\">\n".into()),
        derive_text: false,
        headers: vec![],
        fields: vec![],
    };
    let template = Template::compile(&content).expect("a template");
    let logo = FileHead::new("logo.png", "image/png", Some("logo")).expect("a file");
    let list = FileHead::new("list.txt", "text/plain", None).expect("a file");
    let octets = vec![b'.'; image];
    let files = [(&logo, octets.as_slice()), (&list, b".\r\n.\r\n")];
    let mut builder =
        template.encode_files(files.map(|(head, octets)| (head, octets.len() as u64)));
    for (head, octets) in files {
        builder.add(head, [Ok::<_, ()>(octets)]).expect("octets");
    }
    let files = builder.finish().expect("clean");
    let added = Added {
        delivery: DeliveryId { shard: ShardId(1), seq: 1 },
        message_id: "1@example.org",
        date: Timestamp(1_709_210_096_007),
        unsubscribe_url: None,
        unsubscribe_mailto: None,
        feedback_id: None,
    };
    let ann = "ann@example.com".parse().expect("an address");
    let recipient = Recipient { address: &ann, name: None, values: &[] };
    let mut message = Message::default();
    template.render(&recipient, &added, Some(&files), &mut message).expect("a message");
    assert_eq!(message.pieces().iter().count(), 4, "own, image, own, file");
    message
}

/// As a server reads it (RFC 5321, 4.5.2).
fn unstuffed(wire: &str) -> String {
    wire.split_inclusive('\n').map(|line| line.strip_prefix('.').unwrap_or(line)).collect()
}

#[tokio::test]
async fn a_server_reads_a_message_in_pieces_as_one() {
    for image in [10, 300_000] {
        let (addr, peer) = server(|mut peer| async move {
            peer.greet("PIPELINING SIZE_0").await;
            let mut bodies = Vec::new();
            for _ in 0..2 {
                peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
                bodies.push(peer.body().await.expect("a body"));
                peer.say("250 ok\r\n").await;
            }
            peer.expect("QUIT").await;
            bodies
        })
        .await;
        let mut session = connect(addr).await;
        let message = message(image);
        for _ in 0..2 {
            let done = session.transact(&ENVELOPE, &message, || true).await;
            assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}");
        }
        session.quit().await;
        let joined = String::from_utf8(message.joined()).expect("ascii");
        for body in peer.await.expect("peer") {
            assert!(body.contains("\r\n..\r\n...dots\r\n") && body.contains("\r\n..<img"));
            assert_eq!(unstuffed(&body), joined);
        }
    }
}

#[tokio::test]
async fn small_files_go_with_the_envelope_and_large_ones_after_it() {
    let (small, large) = (message(20_000), message(60_000));
    let (octets, joined) = (small.len(), String::from_utf8(small.joined()).expect("ascii"));
    let (addr, peer) = server(move |mut peer| async move {
        peer.greet("PIPELINING CHUNKING").await;
        peer.expect("MAIL FROM:<b-1@example.org>").await;
        peer.expect("RCPT TO:<ann@example.com>").await;
        peer.expect(&format!("BDAT {octets} LAST")).await;
        let mut body = vec![0; octets];
        peer.0.read_exact(&mut body).await.expect("the chunk");
        peer.say("250 ok\r\n250 ok\r\n250 ok\r\n").await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        let after = peer.body().await.expect("a body");
        peer.say("250 ok\r\n").await;
        (String::from_utf8(body).expect("ascii"), unstuffed(&after))
    })
    .await;
    let mut session = connect(addr).await;
    for message in [&small, &large] {
        let done = session.transact(&ENVELOPE, message, || true).await;
        assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}");
    }
    session.quit().await;
    let (chunk, after) = peer.await.expect("peer");
    assert_eq!(chunk, joined);
    assert_eq!(after.as_bytes(), large.joined());
}

#[tokio::test]
async fn the_rest_of_a_file_is_withheld_when_the_lease_ends_on_the_way() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await
    })
    .await;
    let mut session = connect(addr).await;
    let asked = std::cell::Cell::new(0);
    // The first block is the message's own; the second is of the image, and not all of it.
    let is_ours = || asked.replace(asked.get() + 1) < 2;
    let done = session.transact(&ENVELOPE, &message(20_000_000), is_ours).await;
    assert!(matches!(done.outcome, Outcome::Withheld), "{:?}", done.outcome);
    assert!(!done.dot_written && !session.is_usable());
    session.quit().await;
    assert_eq!(peer.await.expect("peer"), None);
}

#[tokio::test]
async fn files_count_when_a_server_says_how_much_it_takes() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("PIPELINING SIZE_100000").await;
        let nothing = peer.line().await;
        assert!(nothing.is_empty() || nothing == "QUIT", "{nothing:?} was said");
    })
    .await;
    let mut session = connect(addr).await;
    let message = message(90_000);
    let done = session.transact(&ENVELOPE, &message, || panic!("asked")).await;
    assert!(message.len() > 100_000 && !done.began, "{done:?}");
    assert!(matches!(done.outcome, Outcome::TooBig { octets_max: 100_000 }), "{done:?}");
    session.quit().await;
    peer.await.expect("peer");
}

#[tokio::test]
async fn what_is_not_shared_is_looked_at_as_ever() {
    let (addr, _peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.line().await
    })
    .await;
    let mut session = connect(addr).await;
    let bare = Message::from(b"a\r\nb\nc\r\n".to_vec());
    let done = session.transact(&ENVELOPE, &bare, || panic!("asked")).await;
    assert!(matches!(done.outcome, Outcome::Malformed(LineEndError::Bare(4))), "{done:?}");
}
