//! The relay's sessions with mail servers that others wrote, out of Debian's packages: what
//! arrives is what was sent, octet by octet, and what is refused is told apart. Each server is
//! started by its test. `ops/install.sh --tests` installs them; in CI none may be missing.

mod aiosmtpd;
mod exim;
mod missing;
mod postfix;
mod sink;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use relay::smtp::{
    Envelope, Hop, Outcome, Session, Target, Timeouts, TlsClient, TlsPolicy, Transaction,
};
use rustls::RootCertStore;
use tokio::process::{Child, Command};

use crate::others::is_here;

/// What a server may take to come up, or to store what it has taken.
const PATIENCE: Duration = Duration::from_secs(20);

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether such a server can be started; loud where not, and a failure in CI.
fn is_startable(is_installed: bool, what: &str) -> bool {
    is_here(is_installed, &format!("{what} (ops/install.sh --tests)"))
        && is_here(is_root(), &format!("root, as whom alone {what} starts"))
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn await_port(at: SocketAddr) {
    let began = Instant::now();
    while tokio::net::TcpStream::connect(at).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "nobody listens at {at}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server as a child of this test, which it does not outlive.
async fn serve(command: &mut Command, at: SocketAddr) -> Child {
    let child = command.kill_on_drop(true).stderr(Stdio::null()).spawn().unwrap();
    await_port(at).await;
    child
}

/// A certificate for `mx.example` and its key, as PEM files, and who trusts it.
fn certificate(folder: &Path) -> (PathBuf, PathBuf, TlsClient) {
    let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (cert, key, TlsClient::new(roots).unwrap())
}

fn stranger() -> TlsClient {
    TlsClient::new(RootCertStore::empty()).unwrap()
}

async fn connect(at: SocketAddr, tls: TlsPolicy, client: &TlsClient, chunking: bool) -> Session {
    let (addrs, timeouts) = ([at], Timeouts::default());
    let target = Target {
        addrs: &addrs,
        plain: &[],
        unchunked: if chunking { &[] } else { &addrs },
        host: "mx.example",
        local_ip: None,
        via: None,
        ehlo_name: "relay.example",
        tls,
        timeouts: &timeouts,
        hop: Hop::default(),
    };
    Session::connect(&target, client).await.unwrap()
}

/// Messages that go wrong where dots, lengths or line ends are not what they should be.
fn messages() -> Vec<String> {
    let long = "x".repeat(998);
    let bodies = [
        "one line\r\n".to_owned(),
        String::new(),
        ".\r\n".to_owned(),
        "..\r\n.\r\n...\r\n".to_owned(),
        ".a\r\n.b\r\n\r\n.\r\n\r\n\r\n".to_owned(),
        "QUIT\r\nRSET\r\nMAIL FROM:<evil@example.org>\r\nDATA\r\n".to_owned(),
        format!("{long}\r\n.{}\r\n", &long[1..]),
        "From here\r\n>From there\r\n".to_owned(),
        "a line of an ordinary length\r\n".repeat(300),
        "a message larger than what goes in one write\r\n".repeat(3_000),
    ];
    let whole = |(n, body): (usize, &String)| {
        format!(
            "X-Number: {n}\r\nFrom: a@example.org\r\nTo: b@peer.example\r\nSubject: {n}\r\n\
             Date: Thu, 29 Feb 2024 12:34:56 +0000\r\nMessage-ID: <{n}@example.org>\r\n\r\n{body}"
        )
    };
    bodies.iter().enumerate().map(whole).collect()
}

fn envelope<'a>(rcpt_to: &'a str) -> Envelope<'a> {
    Envelope {
        mail_from: "bounce-1@example.org",
        rcpt_to,
        smtputf8: !rcpt_to.is_ascii(),
        envelope_id: "s3.12",
        require_tls: false,
    }
}

/// A message with an image of so many octets and a file, between lines that begin with dots.
fn with_files(n: usize, image: usize) -> message::Message {
    let content = message::Content {
        from: message::Mailbox { name: None, address: "a@example.org".parse().unwrap() },
        reply_to: None,
        subject: n.to_string(),
        text: Some(".\n..\n".into()),
        html: Some(".<img src=\"cid:logo\">\n".into()),
        derive_text: false,
        headers: vec![("X-Number".into(), n.to_string())],
        fields: vec![],
    };
    let template = message::Template::compile(&content).unwrap();
    let octets: Vec<u8> = (0..image).map(|n| (n * n % 251) as u8).collect();
    let files = [
        ("logo.png", "image/png", Some("logo"), octets.as_slice()),
        ("é .txt", "text/plain", None, b".\r\n"),
    ];
    let heads = files.map(|(name, kind, id, _)| message::FileHead::new(name, kind, id).unwrap());
    let mut builder =
        template.encode_files(heads.iter().zip(&files).map(|(h, f)| (h, f.3.len() as u64)));
    for (head, file) in heads.iter().zip(&files) {
        builder.add(head, [Ok::<_, ()>(file.3)]).unwrap();
    }
    let files = builder.finish().unwrap();
    let added = message::Envelope {
        delivery: mail::DeliveryId { shard: mail::ShardId(1), seq: n as u64 },
        message_id: "1@example.org",
        date: mail::Timestamp(1_709_210_096_007),
        unsubscribe_url: None,
        unsubscribe_mailto: None,
        feedback_id: None,
    };
    let to = "b@peer.example".parse().unwrap();
    let recipient = message::Recipient { address: &to, name: None, values: &[] };
    let mut message = message::Message::default();
    template.render(&recipient, &added, Some(&files), &mut message).unwrap();
    message
}

async fn send(session: &mut Session, to: &str, message: &str) -> Transaction {
    session.transact(&envelope(to), message.as_bytes(), || true).await
}

/// Sends all messages, each of which must be taken.
async fn send_all(session: &mut Session, to: &str) {
    for message in messages() {
        let done = send(session, to, &message).await;
        assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}");
    }
}

/// What is stored, from our first header on, with CRLF; waits until there is so much of it.
async fn stored(folder: &Path, count: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let files: Vec<PathBuf> = std::fs::read_dir(folder)
            .map(|dir| dir.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        if files.len() >= count {
            let mut found: Vec<String> = files.iter().map(|file| ours(file)).collect();
            found.sort();
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{} of {count} in {folder:?}", files.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn ours(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap().replace("\r\n", "\n");
    let at = text.find("X-Number: ").unwrap_or_else(|| panic!("not ours: {text}"));
    text[at..].replace('\n', "\r\n")
}

/// Each message so many times, and nothing else.
fn assert_all(mut found: Vec<String>, times: usize) {
    let mut wanted: Vec<String> = messages().iter().flat_map(|m| vec![m.clone(); times]).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
}
