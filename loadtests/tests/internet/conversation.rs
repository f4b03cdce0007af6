//! Plain conversations: what is taken, what is refused, what the book says of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loadtests::internet::{End, Fate};
use mail::{Category, Phase};

use crate::internet::client::{Client, MESSAGE, one, start};

#[tokio::test]
async fn a_message_is_taken_and_written_down() {
    let internet = one("").await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.send("ann@one.example").await.0, 250);
    assert_eq!(client.command("QUIT").await.0, 221);
    let book = internet.book();
    let ann = book.recipient("ann@one.example").expect("a page");
    assert_eq!((ann.attempts, ann.dots, ann.taken, ann.accepted), (1, 1, 1, 1));
    assert_eq!(ann.return_path.first.as_deref(), Some("bounce-1@back.example"));
    assert_eq!(ann.message_id.first.as_deref(), Some("<1@news.example>"));
    assert_eq!(ann.last.map(|g| (g.phase, g.code)), Some((Phase::Dot, 250)));
    assert!(book.recipient("bob@one.example").is_none());
    let sum = book.summary();
    assert_eq!((sum.recipients, sum.delivered, sum.duplicates, sum.unstable), (1, 1, 0, 0));
    assert_eq!(book.live()["one"].delivered, 1);
    internet.stop().await;
}

#[tokio::test]
async fn pipelined_envelopes_and_bodies_are_answered_in_order() {
    let internet = one("").await;
    let mut client = Client::hello(&internet).await;
    let envelope =
        |n| format!("MAIL FROM:<b@back.example>\r\nRCPT TO:<p{n}@one.example>\r\nDATA\r\n");
    client.write(envelope(0).as_bytes()).await;
    for n in 1..=50 {
        for code in [250, 250, 354] {
            assert_eq!(client.reply().await.0, code);
        }
        let next = [MESSAGE, envelope(n).as_bytes()].concat();
        client.write(&next).await;
        assert_eq!(client.reply().await.0, 250);
    }
    assert_eq!(internet.book().summary().delivered, 50);
}

#[tokio::test]
async fn chunks_are_taken_and_their_dots_are_their_own() {
    let internet = start("strict.lines = true\n[manner.one]\nchunking = true\n").await;
    let mut client = Client::hello(&internet).await;
    let message = [MESSAGE.strip_suffix(b".\r\n").expect("a dot"), b".a\r\n.\r\n"].concat();
    for n in 0..3 {
        let envelope = format!("MAIL FROM:<b@back.example>\r\nRCPT TO:<p{n}@one.example>\r\n");
        let chunk = format!("BDAT {} LAST\r\n", message.len());
        client.write(&[envelope.as_bytes(), chunk.as_bytes(), &message].concat()).await;
        for code in [250, 250, 250] {
            assert_eq!(client.reply().await.0, code);
        }
    }
    // Nobody to have it: it is read, and not taken for commands.
    client.write(b"BDAT 12 LAST\r\nRCPT TO:<a>\nNOOP\r\n").await;
    assert_eq!((client.reply().await.0, client.reply().await.0), (503, 250));
    assert_eq!(internet.book().summary().delivered, 3);
    assert_eq!(internet.book().violations().len(), 0);
}

#[tokio::test]
async fn a_body_in_small_pieces_ends_where_it_ends() {
    let internet = one("").await;
    let mut client = Client::hello(&internet).await;
    for size in 1..=7 {
        assert_eq!(client.envelope("ann@one.example").await.0, 250);
        assert_eq!(client.command("DATA").await.0, 354);
        let (start, end) = MESSAGE.split_at(MESSAGE.len() - 12);
        client.write(start).await;
        for piece in end.chunks(size) {
            tokio::time::sleep(Duration::from_millis(2)).await;
            client.write(piece).await;
        }
        assert_eq!(client.reply().await.0, 250);
    }
    // An empty body is a body.
    assert_eq!(client.envelope("bob@one.example").await.0, 250);
    assert_eq!(client.body(b".\r\n").await.0, 250);
    assert_eq!(internet.book().live()["one"].octets, 7 * (MESSAGE.len() as u64 - 3));
}

#[tokio::test]
async fn too_large_a_body_is_read_to_its_end_and_refused() {
    let internet = start("message_octets_max = 100000\n[manner.one]").await;
    let mut client = Client::hello(&internet).await;
    let declared = client.command("MAIL FROM:<b@back.example> SIZE=100001").await;
    assert_eq!(declared.0, 552);
    assert_eq!(client.envelope("ann@one.example").await.0, 250);
    let body = [b"x\r\n".repeat(300_000), b".\r\n".to_vec()].concat();
    assert_eq!(client.body(&body).await.0, 552);
    assert_eq!(client.send("bob@one.example").await.0, 250);
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    assert_eq!((ann.taken, ann.refused_as()), (0, Some(Category::TooBig)));
}

#[tokio::test]
async fn nonsense_is_answered_and_bounded() {
    let internet = one("").await;
    let mut client = Client::connect(&internet).await;
    client.reply().await;
    assert_eq!(client.command("MAIL FROM:<a@b.example>").await.0, 503);
    client.ehlo().await;
    assert_eq!(client.command("RCPT TO:<a@one.example>").await.0, 503);
    assert_eq!(client.command("DATA").await.0, 554);
    assert_eq!(client.command("MAIL FROM:nobody").await.0, 501);
    assert_eq!(client.command("MÄIL").await.0, 502);
    assert_eq!(client.command("RCPT TO").await.0, 501);
    client.write(&[b'x'; 10_000]).await;
    assert_eq!(client.reply().await.0, 500);
    assert_eq!(client.reply_or_end().await, None);
}

#[tokio::test]
async fn garbage_is_survived() {
    // A conversation that panics ends like one that is over: only a hook tells.
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let ours = panic.location().is_some_and(|at| at.file().contains("src/internet/"));
        PANICS.fetch_add(usize::from(ours), Ordering::Relaxed);
        before(panic);
    }));
    let internet = start("idle_ms = 200\nmessage_octets_max = 1000\n[manner.one]").await;
    let words: [&[u8]; 8] = [
        b"MAIL FROM:<",
        b"RCPT TO:<\xff@",
        b"DATA\r\n",
        b"\r\n.\r\n",
        b"EHLO x\r\n",
        b"\0",
        b"\n",
        b"STARTTLS\r\n",
    ];
    let mut state = 1u64;
    for _ in 0..60 {
        let mut client = Client::connect(&internet).await;
        let mut garbage = Vec::new();
        while garbage.len() < 3_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let word = words[(state >> 60) as usize & 7];
            garbage.extend_from_slice(word);
            garbage.extend_from_slice(&state.to_be_bytes()[..(state >> 33) as usize & 7]);
        }
        client.write(&garbage).await;
        client.reply_or_end_raw().await;
    }
    assert_eq!(Client::hello(&internet).await.send("ann@one.example").await.0, 250);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn fates_are_known_beforehand_and_come_true() {
    let internet = one(
        "style = \"gmail\"\nfates = { no_mailbox = 0.2, full = 0.2, content = 0.2, busy = 0.2 }",
    )
    .await;
    let mut client = Client::hello(&internet).await;
    let mut seen = std::collections::HashSet::new();
    for n in 0..100 {
        let to = format!("r{n}@one.example");
        let fate = internet.fate(&to).expect("a fate");
        let meant = internet.meant(&to);
        seen.insert(fate);
        let first = client.send(&to).await;
        let entry = internet.book().recipient(&to).expect("a page");
        match (fate, meant.end) {
            (Fate::Accept, End::Delivered) => assert_eq!((first.0, entry.taken), (250, 1)),
            (Fate::Later(said), End::Delivered) => {
                assert_eq!(entry.refused_as(), Some(said.category()));
                assert_eq!((first.0, client.send(&to).await.0), (450, 250));
            }
            (Fate::RefuseRcpt(_) | Fate::RefuseDot(_), End::Failed(category)) => {
                assert!(first.0 >= 550, "{first:?}");
                assert_eq!((entry.refused_as(), entry.taken), (Some(category), 0));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    let nobody = internet.meant("x@nowhere.example");
    assert_eq!(nobody.end, End::Failed(Category::NoDomain));
}

#[tokio::test]
async fn greylisting_lets_through_after_its_delay_only() {
    let internet = one("greylist = { share = 1.0, delay_ms = 300 }").await;
    let mut client = Client::hello(&internet).await;
    let (code, text) = client.send("ann@one.example").await;
    assert_eq!(code, 450);
    assert!(text.contains("Greylisted"), "{text}");
    assert_eq!(client.send("ann@one.example").await.0, 450);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(client.send("ann@one.example").await.0, 250);
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    let codes: Vec<u16> = ann.given.iter().map(|g| g.code).collect();
    assert_eq!((ann.attempts, codes), (3, vec![450, 450, 250]));
}

#[tokio::test]
async fn a_changed_message_id_or_return_path_shows() {
    let internet = one("").await;
    let mut client = Client::hello(&internet).await;
    client.send("ann@one.example").await;
    client.envelope("ann@one.example").await;
    client.body(b"Message-ID: <2@news.example>\r\n\r\n\r\n.\r\n").await;
    let book = internet.book();
    assert_eq!(book.summary().unstable, 1);
    assert_eq!(book.duplicates(), vec![("ann@one.example".to_owned(), 2)]);
    let ann = book.recipient("ann@one.example").expect("a page");
    assert_eq!((ann.message_id.changes, ann.return_path.changes), (1, 0));
}

#[tokio::test]
async fn a_block_begins_and_ends() {
    let internet = one("style = \"outlook\"\nblocks = [{ after_ms = 0, for_ms = 400 }]").await;
    let mut client = Client::hello(&internet).await;
    let (code, text) = client.send("ann@one.example").await;
    assert_eq!(code, 550);
    assert!(text.contains("S3150") && text.contains("127.0.0.1"), "{text}");
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(client.send("ann@one.example").await.0, 250);
}

#[tokio::test]
async fn starttls_works_with_the_certificate_that_it_shows() {
    let internet = one("tls = \"required\"").await;
    let mut plain = Client::hello(&internet).await;
    assert_eq!(plain.envelope("ann@one.example").await.0, 530);
    let mut client = Client::encrypt(&internet, internet.authority()).await;
    let extensions = client.ehlo().await;
    assert!(!extensions.contains("STARTTLS"), "{extensions}");
    assert_eq!(client.send("ann@one.example").await.0, 250);
    assert_eq!(internet.book().live()["one"].encrypted, 1);
}

#[tokio::test]
async fn a_broken_handshake_is_broken() {
    let internet = one("tls = \"broken\"").await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.command("STARTTLS").await.0, 220);
    client.write(b"\x16\x03\x01\x00\x05hello").await;
    let after = client.reply_or_end_raw().await;
    assert!(after.starts_with("this is no handshake"), "{after:?}");
}

#[tokio::test]
async fn own_words_replace_the_styles() {
    let internet =
        one("fates = { no_mailbox = 1.0 }\nreplies = { no-mailbox = \"550 gone: {recipient}\" }")
            .await;
    let mut client = Client::hello(&internet).await;
    let reply = client.send("ann@one.example").await;
    assert_eq!(reply, (550, "gone: ann@one.example".to_owned()));
}
