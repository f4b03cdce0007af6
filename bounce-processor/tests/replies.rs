//! What people answer: sent on, told, and never lost.

use std::path::Path;
use std::time::{Duration, Instant};

use bounce_processor::{Config, NextHop, Replies};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::{DELIVERY, DOMAIN, Platform};

const ANSWER: &str = "From: Ann <ann@example.net>\r\nSubject: Re: News\r\n\
    In-Reply-To: <1@news.example.com>\r\n\r\nWhen does the shop open?\r\n..dotted\r\n";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A mail server that says `refusal` to so many mails first, and then takes them: what it took.
async fn next_hop(refusals: usize) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, mails) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut refusals = refusals;
        while let Ok((stream, _)) = listener.accept().await {
            if let Some(mail) = one_mail(stream, &mut refusals).await {
                let _ = taken.send(mail);
            }
        }
    });
    (port, mails)
}

async fn one_mail(stream: TcpStream, refusals: &mut usize) -> Option<String> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 tickets.example ESMTP\r\n").await.ok()?;
    let mut envelope = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let answer: &[u8] = match line.get(..4)? {
            "DATA" if *refusals > 0 => {
                *refusals -= 1;
                b"451 4.3.0 later\r\n"
            }
            "DATA" => break,
            _ => b"250 ok\r\n",
        };
        envelope.push_str(&line);
        stream.write_all(answer).await.ok()?;
    }
    stream.write_all(b"354 go\r\n").await.ok()?;
    let mut mail = envelope;
    while !mail.ends_with("\r\n.\r\n") {
        stream.read_line(&mut mail).await.ok()?;
    }
    stream.write_all(b"250 taken\r\n").await.ok()?;
    Some(mail)
}

/// A web service that answers 503 to so many requests first: what it was told.
async fn service(refusals: usize) -> (u16, mpsc::UnboundedReceiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut refusals = refusals;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut octets = Vec::new();
            let (head, body) = loop {
                let mut piece = [0; 4096];
                let n = stream.read(&mut piece).await.unwrap();
                octets.extend_from_slice(&piece[..n]);
                let text = String::from_utf8_lossy(&octets).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.to_lowercase();
                let length = length.split("content-length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                if body.len() >= length {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let status = if refusals > 0 { "503 Later" } else { "204 Taken" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            if refusals > 0 {
                refusals -= 1;
            } else {
                taken.send((head, body)).unwrap();
            }
        }
    });
    (port, told)
}

fn ways(folder: &Path, mail: Option<u16>, hook: Option<u16>) -> Replies {
    let webhook_secret_file = folder.join("secret");
    std::fs::write(&webhook_secret_file, SECRET).unwrap();
    Replies {
        forward_to: mail.map(|_| "tickets@example.com".to_owned()).unwrap_or_default(),
        next_hop: NextHop { port: mail.unwrap_or(25), ..NextHop::default() },
        webhook: hook.map(|port| format!("http://127.0.0.1:{port}/in?team=1")).unwrap_or_default(),
        webhook_secret_file,
        ..Replies::default()
    }
}

async fn soon<T>(told: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), told.recv()).await.unwrap().unwrap()
}

async fn until_passed(p: &Platform, count: usize) {
    let began = Instant::now();
    loop {
        let cur = std::fs::read_dir(p.mailbox.join(".Replies/cur")).unwrap();
        let passed =
            cur.filter(|f| f.as_ref().unwrap().file_name().to_str().unwrap().ends_with(":2,P"));
        if passed.count() == count && p.kept_in(".Replies").is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it was not marked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_answer_goes_to_the_next_hop_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let (port, mut mails) = next_hop(0).await;
    let replies = ways(folder.path(), Some(port), None);
    let p = Platform::start_with(|c| Config { replies, ..c }).await;
    assert!(p.send_from("ann@example.net", &p.path(), ANSWER).await.starts_with("250 "));
    let mail = soon(&mut mails).await;
    assert!(mail.contains(&format!("MAIL FROM:<postmaster@{DOMAIN}>")), "{mail}");
    assert!(mail.contains("RCPT TO:<tickets@example.com>"), "{mail}");
    assert!(!mail.contains("Return-Path:"), "{mail}");
    assert!(mail.contains(&format!("X-Malleposte-Delivery: {DELIVERY}\r\n")), "{mail}");
    assert!(mail.ends_with("When does the shop open?\r\n..dotted\r\n\r\n.\r\n"), "{mail}");
    until_passed(&p, 1).await;

    // Who writes to an address for answers by himself is as good.
    let to = format!("Replies@{DOMAIN}");
    assert!(p.send_from("bob@example.net", &to, ANSWER).await.starts_with("250 "));
    assert!(soon(&mut mails).await.contains("X-Delivered-To: replies\r\n"));
    until_passed(&p, 2).await;
    p.stop().await;
}

#[tokio::test]
async fn an_answer_is_told_to_a_web_service_that_can_prove_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (port, mut told) = service(0).await;
    let replies = ways(folder.path(), None, Some(port));
    let p = Platform::start_with(|c| Config { replies, ..c }).await;
    assert!(p.send_from("ann@example.net", &p.path(), ANSWER).await.starts_with("250 "));
    let (head, body) = soon(&mut told).await;
    assert!(head.starts_with("POST /in?team=1 HTTP/1.1\r\n"), "{head}");
    let field = |name: &str| {
        let line = head.split("\r\n").find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
    };
    let (id, at) = (field("webhook-id: "), field("webhook-timestamp: "));
    let secret: web::Secret = SECRET.parse().unwrap();
    let signature = secret.sign(&id, at.parse().unwrap(), body.as_bytes());
    assert_eq!(field("webhook-signature: "), signature);
    let ticket: Value = serde_json::from_str(&body).unwrap();
    let data = &ticket["data"];
    assert_eq!(data["campaign"], p.campaign.to_string());
    assert_eq!((&data["from"], &data["id"]), (&"ann@example.net".into(), &id.as_str().into()));
    assert!(data["text"].as_str().unwrap().starts_with("When does the shop open?"));
    until_passed(&p, 1).await;
    p.stop().await;
}

#[tokio::test]
async fn what_one_way_does_not_take_waits_and_the_other_is_not_told_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (port, mut mails) = next_hop(1).await;
    let (web, mut told) = service(0).await;
    let replies = ways(folder.path(), Some(port), Some(web));
    let p = Platform::start_with(|c| Config { replies, ..c }).await;
    assert!(p.send_from("ann@example.net", &p.path(), ANSWER).await.starts_with("250 "));
    soon(&mut told).await;
    let began = Instant::now();
    soon(&mut mails).await;
    assert!(began.elapsed() > Duration::from_secs(3), "it is not asked again at once");
    until_passed(&p, 1).await;
    assert!(told.try_recv().is_err(), "told twice");
    p.stop().await;
}

#[tokio::test]
async fn what_was_kept_before_goes_when_there_is_a_way() {
    let p = Platform::start().await;
    assert!(p.send_from("ann@example.net", &p.path(), ANSWER).await.starts_with("250 "));
    // Somebody has looked at it meanwhile.
    let name = std::fs::read_dir(p.mailbox.join(".Replies/new")).unwrap().next().unwrap().unwrap();
    let read = format!("{}:2,S", name.file_name().to_str().unwrap());
    std::fs::rename(name.path(), p.mailbox.join(".Replies/cur").join(read)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (port, mut mails) = next_hop(0).await;
    let (mailbox, replies) = (p.mailbox.clone(), ways(folder.path(), Some(port), None));
    let after = Platform::start_with(|c| Config { mailbox, replies, ..c }).await;
    assert!(soon(&mut mails).await.contains("When does the shop open?"));
    let passed = || {
        let mut cur = std::fs::read_dir(p.mailbox.join(".Replies/cur")).unwrap();
        cur.any(|f| f.unwrap().file_name().to_str().unwrap().ends_with(":2,PS"))
    };
    let began = Instant::now();
    while !passed() {
        assert!(began.elapsed() < Duration::from_secs(30), "it was not marked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    after.stop().await;
    p.stop().await;
}
