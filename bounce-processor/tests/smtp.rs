//! The port against everything that may be said to it.

use std::process::Command;
use std::time::{Duration, Instant};

use bounce_processor::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::others;
use crate::support::{ANN, Client, DOMAIN, Platform, dsn};

#[tokio::test]
async fn it_relays_for_nobody() {
    let p = Platform::start().await;
    let mut client = p.client().await;
    assert!(client.say("MAIL FROM:<spammer@example.com>").await.starts_with("250 "));
    let path = p.path();
    let (local, _) = path.split_once('@').unwrap();
    for to in [
        "victim@example.com".to_owned(),
        format!("{local}@example.com"),
        format!("victim%example.com@{DOMAIN}.example.com"),
        "victim@[127.0.0.1]".to_owned(),
        format!("victim@sub.{DOMAIN}"),
        format!("@{DOMAIN}:victim@example.com"),
        format!("\"victim@{DOMAIN}\"@example.com"),
    ] {
        let answer = client.say(&format!("RCPT TO:<{to}>")).await;
        assert!(answer.starts_with("550 5.7.1"), "{to}: {answer}");
    }
    for to in ["somebody", "victim%example.com", "victim!example.com", "\"victim@example.com\""] {
        let answer = client.say(&format!("RCPT TO:<{to}@{DOMAIN}>")).await;
        assert!(answer.starts_with("550 5.1.1"), "{to}: {answer}");
    }
    assert!(client.say("RCPT TO:<somebody>").await.starts_with("550 5.1.1"));
    assert!(client.say("DATA").await.starts_with("503 5.5.1"));
    drop(client);
    p.stop().await;
}

#[tokio::test]
async fn commands_are_answered_in_order_and_by_the_book() {
    let p = Platform::start().await;
    let mut client = Client(TcpStream::connect(p.address).await.unwrap());
    assert!(client.answer().await.starts_with("220 bounces."));
    for (line, answer) in [
        ("MAIL FROM:<>", "503 5.5.1"),
        ("EHLO", "501 5.5.4"),
        ("HELO mx.example.net", "250 "),
        ("DATA", "503 5.5.1"),
        ("RCPT TO:<postmaster>", "503 5.5.1"),
        ("mail from:<> size=100 body=8BITMIME SMTPUTF8", "250 2.1.0"),
        ("MAIL FROM:<>", "503 5.5.1"),
        ("RSET", "250 2.0.0"),
        ("MAIL FROM:<> SIZE=999999999999", "552 5.3.4"),
        ("MAIL FROM:<> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<> RET=FULL", "555 5.5.4"),
        ("MAIL FROM:nobody", "501 5.5.4"),
        ("STARTTLS", "502 5.5.1"),
        ("AUTH PLAIN", "502 5.5.1"),
        ("VRFY postmaster", "252 2.5.0"),
        ("NOOP", "250 2.0.0"),
        ("GET / HTTP/1.1", "500 5.5.1"),
        ("QUIT", "221 2.0.0"),
    ] {
        let said = client.say(line).await;
        assert!(said.starts_with(answer), "{line}: {said}");
    }
    assert_eq!(client.answer().await, "");
    p.stop().await;
}

#[tokio::test]
async fn pipelined_mails_are_all_taken() {
    let p = Platform::start().await;
    let mut client = p.client().await;
    let path = p.path();
    client
        .raw(
            format!("MAIL FROM:<>\r\nRCPT TO:<nobody@{DOMAIN}>\r\nRCPT TO:<{path}>\r\nDATA\r\n")
                .as_bytes(),
        )
        .await;
    for start in ["250 2.1.0", "550 5.1.1", "250 2.1.5", "354"] {
        assert!(client.answer().await.starts_with(start));
    }
    let mail = dsn(ANN, "5.1.1", "550 5.1.1 user unknown");
    client
        .raw(format!("{mail}.\r\nMAIL FROM:<>\r\nRCPT TO:<abuse@{DOMAIN}>\r\nDATA\r\n").as_bytes())
        .await;
    for start in ["250 2.0.0", "250 2.1.0", "250 2.1.5", "354"] {
        assert!(client.answer().await.starts_with(start));
    }
    client.raw(b"Subject: hello\r\n\r\nhello\r\n.\r\nQUIT\r\n").await;
    for start in ["250 2.0.0", "221 2.0.0"] {
        assert!(client.answer().await.starts_with(start));
    }
    assert!(p.suppressed(ANN).await.is_some());
    assert_eq!(p.kept().len(), 1);
    p.stop().await;
}

/// A client past DATA.
async fn in_data(p: &Platform) -> Client {
    let mut client = p.client().await;
    assert!(client.say("MAIL FROM:<eve@example.com>").await.starts_with("250"));
    assert!(client.say(&format!("RCPT TO:<abuse@{DOMAIN}>")).await.starts_with("250"));
    assert!(client.say("DATA").await.starts_with("354"));
    client
}

#[tokio::test]
async fn nothing_is_smuggled_behind_a_wrong_end() {
    let p = Platform::start().await;
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\n\0.\r\n", "\r.\r\n"] {
        let mut client = in_data(&p).await;
        let smuggled = format!("MAIL FROM:<>\r\nRCPT TO:<{}>\r\nDATA\r\n", p.path());
        let mail = dsn(ANN, "5.1.1", "550 5.1.1 user unknown");
        client.raw(format!("Subject: a\r\n\r\nb{end}{smuggled}{mail}\r\n.\r\n").as_bytes()).await;
        let answer = client.answer().await;
        if end.contains('\0') {
            assert!(answer.starts_with("250 "), "a NUL ends nothing: {answer}");
            continue;
        }
        assert!(answer.starts_with("550 5.6.0"), "{end:?}: {answer}");
        assert_eq!(client.answer().await, "", "{end:?}: the connection is closed");
    }
    for line in ["NOOP\nQUIT\r\n", "NOOP\rQUIT\r\n", "NOOP\0\r\n"] {
        let mut client = p.client().await;
        client.raw(line.as_bytes()).await;
        assert!(client.answer().await.starts_with("500 5.5.2"), "{line:?}");
        assert_eq!(client.answer().await, "");
    }
    assert_eq!(p.suppressed(ANN).await, None);
    p.stop().await;
}

fn small(config: Config) -> Config {
    Config { bytes_max: 1024 * 1024, line_bytes_max: 2000, mailbox_bytes_max: 1 << 22, ..config }
}

#[tokio::test]
async fn what_is_too_large_or_too_long_is_refused_with_its_reason() {
    let p = Platform::start_with(small).await;
    let mut client = in_data(&p).await;
    client.raw("a line\r\n".repeat(200_000).as_bytes()).await;
    assert!(client.say(".").await.starts_with("552 5.3.4"));
    // The connection is still good.
    assert!(client.say("MAIL FROM:<>").await.starts_with("250"));
    drop(client);

    let mut client = in_data(&p).await;
    client.raw(&[b'x'; 5000]).await;
    assert!(client.say("\r\n.").await.starts_with("500 5.6.0"));

    let mut client = p.client().await;
    client.raw(&[b'x'; 5000]).await;
    assert!(client.answer().await.starts_with("500 5.5.6"));
    assert!(p.kept().is_empty());
    p.stop().await;
}

#[tokio::test]
async fn a_crowd_of_large_mails_is_put_off() {
    let p = Platform::start().await;
    let piece = "a line of no importance\r\n".repeat(30_000);
    let mut crowd = Vec::new();
    for _ in 0..9 {
        let mut client = in_data(&p).await;
        client.raw(piece.as_bytes()).await;
        // It has been heard out when the connection takes more.
        crowd.push(client);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut answers = Vec::new();
    for client in &mut crowd {
        answers.push(client.say(".").await[..9].to_owned());
    }
    answers.sort_unstable();
    assert_eq!(answers[..8], ["250 2.0.0"; 8]);
    assert_eq!(answers[8], "452 4.3.1");
    drop(crowd);
    p.stop().await;
}

/// Pours octets in until the other side has had enough; answers what it said and how much it took.
async fn pour(mut client: Client, piece: &[u8], octets: usize) -> (String, usize) {
    let (mut from, mut to) = client.0.split();
    let mut poured = 0;
    let mut said = String::new();
    let mut heard = [0; 512];
    let deadline = Instant::now() + Duration::from_secs(60);
    while poured < octets && Instant::now() < deadline {
        tokio::select! {
            biased;
            n = from.read(&mut heard) => match n {
                Ok(n) if n > 0 => { said.push_str(&String::from_utf8_lossy(&heard[..n])); break; }
                _ => break,
            },
            written = to.write(piece) => match written {
                Ok(n) => poured += n,
                Err(_) => break,
            },
        }
    }
    if said.is_empty() {
        said = client.answer().await;
    }
    (said, poured)
}

#[tokio::test]
async fn a_hundred_megabytes_and_an_endless_line_are_cut_off() {
    let p = Platform::start_with(small).await;
    let line = "0123456789abcdef\r\n".repeat(4000);
    for (piece, code) in [(line.as_bytes(), "552 5.3.4"), (&[b'x'; 65536][..], "500 5.6.0")] {
        let client = in_data(&p).await;
        let (said, poured) = pour(client, piece, 100_000_000).await;
        assert!(said.starts_with(code), "{code}: {said:?} after {poured}");
        assert!(poured < 20_000_000, "{poured} octets were read");
    }
    let client = p.client().await;
    let (said, poured) = pour(client, &[b'x'; 65536], 100_000_000).await;
    assert!(said.starts_with("500 5.5.6"), "{said:?}");
    assert!(poured < 20_000_000, "{poured} octets were read");
    // Noise of every value, from a fixed sequence.
    let mut state = 42u64;
    let noise: Vec<u8> = (0..50_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let (said, _) = pour(p.client().await, &noise, 1_000_000).await;
    assert!(said.starts_with("500 5.5"), "{said:?}");
    // Everybody else is served as before.
    assert!(
        p.send(&p.path(), &dsn(ANN, "5.1.1", "550 5.1.1 user unknown")).await.starts_with("250 ")
    );
    p.stop().await;
}

#[tokio::test]
async fn who_dawdles_is_sent_away() {
    let p = Platform::start_with(|c| Config { command_timeout_s: 1, data_timeout_s: 1, ..c }).await;
    let start = Instant::now();
    let mut silent = p.client().await;
    let mut drip = p.client().await;
    let mut data = in_data(&p).await;
    let dripping = async {
        for octet in b"NOOP NOOP NOOP NOOP NOOP NOOP NOOP NOOP".chunks(1) {
            if drip.0.write_all(octet).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drip.answer().await
    };
    let slow = async {
        for _ in 0..30 {
            if data.0.write_all(b"a\r\n").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        data.answer().await
    };
    let (silent, drip, slow) = tokio::join!(silent.answer(), dripping, slow);
    for answer in [silent, drip, slow] {
        assert!(answer.starts_with("421 4.4.2"), "{answer:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(15));
    p.stop().await;
}

#[tokio::test]
async fn nobody_gets_more_than_a_share_of_the_connections() {
    let p = Platform::start_with(|c| Config { connections_per_client_max: 3, ..c }).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(p.client().await);
    }
    let mut fourth = Client(TcpStream::connect(p.address).await.unwrap());
    assert!(fourth.answer().await.starts_with("421 4.7.0"));
    assert_eq!(fourth.answer().await, "");
    assert!(open.remove(0).say("QUIT").await.starts_with("221"));
    let start = Instant::now();
    loop {
        let mut again = Client(TcpStream::connect(p.address).await.unwrap());
        if again.answer().await.starts_with("220") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "the place was never given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(open);
    p.stop().await;
}

#[tokio::test]
async fn strays_are_counted_and_mails_are_not() {
    let p = Platform::start().await;
    let mut client = p.client().await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        client.0.write_all(b"NOOP\r\n").await.unwrap();
        let answer = client.answer().await;
        answers.push(answer.clone());
        if !answer.starts_with("250") {
            break;
        }
    }
    answers.push(client.answer().await);
    assert!(answers.len() < 30);
    assert!(answers.iter().any(|a| a.starts_with("421 4.7.0")), "{answers:?}");
    p.stop().await;
}

#[tokio::test]
async fn a_mail_under_way_is_finished_when_it_stops() {
    let p = Platform::start().await;
    let mut idle = p.client().await;
    let mut client = in_data(&p).await;
    client.raw(b"Subject: hello\r\n\r\nhel").await;
    p.cancel();
    assert!(idle.answer().await.starts_with("421 4.3.2"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(client.say("lo\r\n.").await.starts_with("250 "));
    assert!(client.answer().await.starts_with("421 4.3.2"));
    assert_eq!(p.kept().len(), 1);
    assert!(TcpStream::connect(p.address).await.is_err());
    p.stop().await;
}

#[tokio::test]
async fn another_client_than_ours_gets_its_mail_through() {
    let Some(swaks) = others::program_or_skip("swaks") else { return };
    let p = Platform::start().await;
    let (address, path) = (p.address, p.path());
    let body = dsn(ANN, "5.1.1", "550 5.1.1 user unknown");
    let swaks = tokio::task::spawn_blocking(move || {
        Command::new(swaks)
            .args(["--server", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--pipeline", "--from", "<>", "--to", &path, "--data", &body])
            .output()
            .unwrap()
    });
    let output = swaks.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("no-mailbox"), "{said}");
    p.stop().await;
}
