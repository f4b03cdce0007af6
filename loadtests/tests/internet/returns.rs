//! What comes back by mail, and how it is handed in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loadtests::Internet;
use loadtests::internet::End;
use mail::Report;
use mail_parser::{MessageParser, MimeHeaders};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;

use crate::internet::client::{Client, one};

/// A bounce processor that keeps what it takes, after refusing `refusals` times with 451.
pub(crate) struct Keeper {
    pub(crate) at: SocketAddr,
    kept: Arc<Mutex<Vec<(String, String)>>>,
}

impl Keeper {
    pub(crate) async fn start(mut refusals: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let refuse = refusals > 0;
                refusals = refusals.saturating_sub(1);
                let keep = Arc::clone(&keep);
                tokio::spawn(async move {
                    let mut line = BufStream::new(stream);
                    let _cut_short = take(&mut line, refuse, &keep).await;
                });
            }
        });
        Self { at, kept }
    }

    async fn letters(&self, n: usize) -> Vec<(String, String)> {
        for _ in 0..200 {
            let kept = self.kept.lock().expect("no panic").clone();
            if kept.len() >= n {
                return kept;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} of {n} letters", self.kept.lock().expect("no panic").len());
    }
}

async fn take(
    line: &mut BufStream<tokio::net::TcpStream>,
    refuse: bool,
    keep: &Mutex<Vec<(String, String)>>,
) -> std::io::Result<()> {
    let mut to = String::new();
    let mut text = String::new();
    let mut in_body = false;
    line.write_all(b"220-hello\r\n220 here\r\n").await?;
    loop {
        line.flush().await?;
        let mut next = String::new();
        if line.read_line(&mut next).await? == 0 {
            return Ok(());
        }
        if in_body {
            if next == ".\r\n" {
                keep.lock().expect("no panic").push((to.clone(), std::mem::take(&mut text)));
                in_body = false;
                line.write_all(b"250 thanks\r\n").await?;
            } else {
                text.push_str(next.strip_prefix('.').unwrap_or(&next));
            }
        } else if next.starts_with("DATA") {
            in_body = !refuse;
            let reply: &[u8] = if refuse { b"451 not now\r\n" } else { b"354 go\r\n" };
            line.write_all(reply).await?;
        } else {
            if let Some(path) = next.strip_prefix("RCPT TO:") {
                to = path.trim().to_owned();
            }
            line.write_all(b"250 ok\r\n").await?;
        }
    }
}

const QUICK: &str = "[manner.one]\nstyle = \"gmail\"\nfates";

async fn quick(fates: &str) -> Internet {
    crate::internet::client::start(&format!(
        "returns = {{ delay_ms = 10, spread_ms = 20 }}\n{QUICK} = {{ {fates} }}"
    ))
    .await
}

async fn only_letter(fates: &str) -> (Internet, String, String) {
    let internet = quick(fates).await;
    let keeper = Keeper::start(0).await;
    internet.send_returns_to(keeper.at);
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.send("ann@one.example").await.0, 250);
    let (to, text) = keeper.letters(1).await.remove(0);
    (internet, to, text)
}

#[tokio::test]
async fn a_failure_report_follows_rfc_3464() {
    let (internet, to, text) = only_letter("bounce_no_mailbox = 1.0").await;
    assert_eq!(to, "<bounce-1@back.example>");
    let message = MessageParser::default().parse(&text).expect("a message");
    let outer = message.content_type().expect("a type");
    assert_eq!(outer.attribute("report-type"), Some("delivery-status"));
    assert!(text.contains("Final-Recipient: rfc822; ann@one.example\r\nAction: failed\r\n"));
    assert!(text.contains("Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 "), "{text}");
    assert_eq!(internet.meant("ann@one.example").end, End::Returned(mail::Category::NoMailbox));
    let ann = internet.book().recipient("ann@one.example").expect("a page");
    assert_eq!(ann.taken, 1);
}

#[tokio::test]
async fn a_delay_notice_is_no_failure() {
    let (_internet, _, text) = only_letter("delay_notice = 1.0").await;
    assert!(text.contains("Action: delayed\r\nStatus: 4."), "{text}");
}

#[tokio::test]
async fn a_complaint_follows_rfc_5965() {
    let (internet, _, text) = only_letter("complain = 1.0").await;
    let message = MessageParser::default().parse(&text).expect("a message");
    let kinds: Vec<_> = message
        .parts
        .iter()
        .filter_map(|part| part.content_type()?.subtype().map(str::to_owned))
        .collect();
    assert_eq!(kinds, ["report", "plain", "feedback-report", "rfc822"]);
    for field in ["Feedback-Type: abuse", "Original-Rcpt-To: <ann@one.example>"] {
        assert!(text.contains(&format!("\r\n{field}\r\n")), "{text}");
    }
    assert!(text.contains("Original-Mail-From: <bounce-1@back.example>\r\n"));
    assert!(text.contains("\r\n\r\nFrom: a@news.example\r\nSubject: hello\r\n"));
    assert_eq!(internet.meant("ann@one.example").report, Some(Report::Complaint));
}

#[tokio::test]
async fn an_absence_notice_says_that_it_is_automatic() {
    let (_internet, to, text) = only_letter("out_of_office = 1.0").await;
    assert_eq!(to, "<bounce-1@back.example>");
    assert!(text.contains("From: <ann@one.example>\r\n"), "{text}");
    assert!(text.contains("Auto-Submitted: auto-replied\r\nIn-Reply-To: <1@news.example>"));
}

#[tokio::test]
async fn reports_wait_for_the_bounce_processor_and_are_tried_again() {
    let internet = quick("bounce_full = 1.0").await;
    let mut client = Client::hello(&internet).await;
    for n in 0..20 {
        assert_eq!(client.send(&format!("r{n}@one.example")).await.0, 250);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(internet.returns_waiting(), 20);
    let keeper = Keeper::start(3).await;
    internet.send_returns_to(keeper.at);
    assert_eq!(keeper.letters(20).await.len(), 20);
    for _ in 0..100 {
        if internet.returns_waiting() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let sum = internet.book().summary();
    assert_eq!((sum.reports, sum.reports_waiting), (20, 0));
    let one = internet.book().recipient("r7@one.example").expect("a page");
    assert_eq!(one.reports, vec![Report::Failure]);
    internet.stop().await;
}

#[tokio::test]
async fn a_message_with_the_empty_return_path_brings_nothing_back() {
    let internet = one("fates = { bounce_full = 1.0 }").await;
    let mut client = Client::hello(&internet).await;
    assert_eq!(client.command("MAIL FROM:<>").await.0, 250);
    assert_eq!(client.command("RCPT TO:<ann@one.example>").await.0, 250);
    assert_eq!(client.body(b"Subject: x\r\n\r\n.\r\n").await.0, 250);
    assert_eq!(internet.returns_waiting(), 0);
}
