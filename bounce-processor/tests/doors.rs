//! The doors: STARTTLS, LMTP, and who waits for the greeting.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bounce_processor::{Config, Tls};
use tokio::net::{TcpStream, UnixStream};

use crate::others;
use crate::support::{ANN, Client, DELIVERY, DOMAIN, Platform, dsn};

const UNKNOWN: &str = "550 5.1.1 <ann@example.net>: user unknown";

/// A certificate for this name, and its key, in a folder.
pub(crate) fn certificate(folder: &Path, name: &str) -> Tls {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    Tls { certificate, key }
}

async fn run(program: std::path::PathBuf, args: Vec<String>) -> Output {
    tokio::task::spawn_blocking(move || Command::new(program).args(args).output().unwrap())
        .await
        .unwrap()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn who_says_starttls_hands_its_mail_over_under_tls() {
    let Some(swaks) = others::program_or_skip("swaks") else { return };
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path(), "bounces.example.org");
    let p = Platform::start_with(|c| Config { tls, ..c }).await;
    let (port, path, body) = (p.address.port().to_string(), p.path(), dsn(ANN, "5.1.1", UNKNOWN));
    let mut args = words(&["--server", "127.0.0.1", "--port", &port, "--tls", "--from", "<>"]);
    args.extend(words(&["--to", &path, "--data", &body]));
    let output = run(swaks, args).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("=== TLS started"), "{said}");
    // It is offered once, and the state of before is forgotten.
    assert_eq!(said.matches("250-STARTTLS").count(), 1, "{said}");
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("no-mailbox"), "{said}");
    p.stop().await;
}

#[tokio::test]
async fn nothing_is_smuggled_under_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path(), "bounces.example.org");
    let p = Platform::start_with(|c| Config { tls, ..c }).await;
    let mut client = p.client().await;
    client.raw(b"STARTTLS\r\nMAIL FROM:<>\r\n").await;
    assert!(client.answer().await.starts_with("554 5.5.1"));
    assert_eq!(client.answer().await, "", "the connection is closed");
    let mut client = p.client().await;
    assert!(client.say("STARTTLS now").await.starts_with("501 5.5.4"));
    assert!(client.say("STARTTLS").await.starts_with("220 2.0.0"));
    // Whoever goes on in the clear is talking to nobody.
    client.raw(b"MAIL FROM:<>\r\n").await;
    assert!(!client.answer().await.starts_with("250"));
    p.stop().await;
}

#[tokio::test]
async fn without_a_certificate_nobody_is_offered_tls_and_a_bad_one_is_named() {
    let p = Platform::start().await;
    let mut client = p.client().await;
    let hello = client.say("EHLO mx.example.net").await;
    assert!(!hello.contains("STARTTLS"), "{hello}");
    assert!(client.say("STARTTLS").await.starts_with("502 5.5.1"));
    p.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), "a.example");
    let missing = Tls { certificate: folder.path().join("none.pem"), key: good.key.clone() };
    let swapped = Tls { certificate: good.certificate.clone(), key: good.certificate.clone() };
    let empty = Tls { certificate: folder.path().join("empty.pem"), key: good.key };
    std::fs::write(&empty.certificate, "").unwrap();
    for (tls, setting, file) in [
        (missing, "bounces.tls.certificate", "none.pem"),
        (swapped, "bounces.tls.key", "cert.pem"),
        (empty, "bounces.tls.certificate", "empty.pem"),
    ] {
        let refused = Platform::refused(|c| Config { tls, ..c }).await;
        assert!(refused.contains(setting) && refused.contains(file), "{refused}");
    }
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let p = Platform::start_with(|c| Config { lmtp: "127.0.0.1:0".into(), ..c }).await;
    let mut client = Client::new(TcpStream::connect(p.lmtp.unwrap()).await.unwrap());
    assert!(client.answer().await.contains(" LMTP "));
    assert!(client.say("EHLO mx").await.starts_with("500 5.5.1"));
    assert!(client.say("LHLO mx").await.contains("250 ENHANCEDSTATUSCODES"));
    assert!(client.say("MAIL FROM:<>").await.starts_with("250"));
    assert!(client.say(&format!("RCPT TO:<{}>", p.path())).await.starts_with("250"));
    assert!(client.say(&format!("RCPT TO:<nobody@{DOMAIN}>")).await.starts_with("550 5.1.1"));
    assert!(client.say(&format!("RCPT TO:<abuse@{DOMAIN}>")).await.starts_with("250"));
    assert!(client.say("DATA").await.starts_with("354"));
    let mail = dsn("stranger@example.com", "5.1.1", UNKNOWN);
    std::fs::remove_dir_all(p.mailbox.join(".Unmatched")).unwrap();
    assert!(client.say(&format!("{mail}\r\n.")).await.starts_with("451 4.3.0"));
    assert!(client.answer().await.starts_with("451 4.3.0"), "one answer for each");
    // One of two can be kept: the other comes again alone.
    assert!(client.say("MAIL FROM:<ann@example.net>").await.starts_with("250"));
    assert!(client.say(&format!("RCPT TO:<{}>", p.path())).await.starts_with("250"));
    assert!(client.say(&format!("RCPT TO:<abuse@{DOMAIN}>")).await.starts_with("250"));
    assert!(client.say("DATA").await.starts_with("354"));
    std::fs::remove_dir_all(p.mailbox.join(".Replies")).unwrap();
    client.raw(b"Subject: hello\r\n\r\nWhen do you open?\r\n.\r\n").await;
    assert!(client.answer().await.starts_with("451 4.3.0"));
    assert!(client.answer().await.starts_with("250 2.0.0"));
    assert_eq!(p.kept_in("").len(), 1);
    assert!(client.say("QUIT").await.starts_with("221"));
    p.stop().await;
}

#[tokio::test]
async fn lmtp_over_a_socket_that_somebody_left_behind() {
    let Some(swaks) = others::program_or_skip("swaks") else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("lmtp");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let lmtp = format!("unix:{}", socket.display());
    let p = Platform::start_with(|c| Config { lmtp, ..c }).await;
    let (path, body) = (p.path(), dsn(ANN, "5.1.1", UNKNOWN));
    let mut args = words(&["--socket", socket.to_str().unwrap(), "--protocol", "LMTP"]);
    args.extend(words(&["--from", "<>", "--to", &path, "--data", &body]));
    let output = run(swaks, args).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(p.suppressed(ANN).await.as_deref(), Some("no-mailbox"));
    // One that is in use is left alone.
    let lmtp = format!("unix:{}", socket.display());
    let refused = Platform::refused(|c| Config { lmtp, ..c }).await;
    assert!(refused.contains("bounces.lmtp"), "{refused}");
    assert!(UnixStream::connect(&socket).await.is_ok());
    p.stop().await;
}

#[tokio::test]
async fn strangers_wait_for_the_greeting_and_those_who_do_not_wait_are_sent_away() {
    let p =
        Platform::start_with(|c| Config { greeting_delay_ms: 400, impolite_delay_ms: 1_000, ..c })
            .await;
    let greeted = async || {
        let began = Instant::now();
        let mut client = Client::new(TcpStream::connect(p.address).await.unwrap());
        assert!(client.answer().await.starts_with("220 "));
        began.elapsed()
    };
    assert!(greeted().await >= Duration::from_millis(400), "a stranger waits");
    let mut early = Client::new(TcpStream::connect(p.address).await.unwrap());
    early.raw(b"EHLO spam.example\r\nMAIL FROM:<>\r\n").await;
    assert!(early.answer().await.starts_with("554 5.5.1"));
    assert_eq!(early.answer().await, "");
    // It is remembered when its conversation is over.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(greeted().await >= Duration::from_millis(1_000), "the impolite wait longer");
    let mail = dsn(ANN, "5.1.1", UNKNOWN);
    assert!(p.send(&p.path_of(DELIVERY, ANN), &mail).await.starts_with("250 "));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(greeted().await < Duration::from_millis(400), "who brings mail is let in");
    p.stop().await;
}
