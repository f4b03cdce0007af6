//! Logging in to a smart host: each mechanism, each way in which it fails, and that no secret is
//! ever shown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mail::Phase;
use relay::smtp::{
    Hop, Login, Mechanism, Outcome, SecretFrom, Session, SessionError, Target, TlsClient,
    TlsPolicy, Trouble,
};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::smtp::peer::*;
use crate::smtp::tls::{TlsPeer, certificate};

const SECRET: &str = "tanstaaftanstaaf";
const PLAIN: &str = "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm";

/// How encryption begins at the server.
#[derive(Clone, Copy, PartialEq)]
enum Begins {
    StartTls,
    Implicit,
}

/// A server with TLS that offers what it is told to; `script` follows its second EHLO answer.
async fn encrypted<F, R>(
    begins: Begins,
    offers: &'static str,
    script: F,
) -> (SocketAddr, TlsClient, JoinHandle<R::Output>)
where
    F: FnOnce(TlsPeer) -> R + Send + 'static,
    R: Future + Send,
    R::Output: Send + 'static,
{
    let (config, roots) = certificate("mx.example");
    let (addr, peer) = server(move |mut peer: Peer<TcpStream>| async move {
        if begins == Begins::StartTls {
            // What is offered before encryption is not to be believed.
            peer.greet("STARTTLS AUTH_PLAIN_LOGIN_XOAUTH2").await;
            peer.expect("STARTTLS").await;
            peer.say("220 go\r\n").await;
        }
        let acceptor = tokio_rustls::TlsAcceptor::from(config as Arc<rustls::ServerConfig>);
        let stream = acceptor.accept(peer.0.into_inner()).await.expect("a handshake");
        let mut peer = Peer(BufReader::new(stream));
        if begins == Begins::Implicit {
            peer.say("220 mx.example ESMTP\r\n").await;
        }
        peer.expect("EHLO relay.example").await;
        peer.say(&format!("250-relay.example\r\n250-{offers}\r\n250 8BITMIME\r\n")).await;
        script(peer).await
    })
    .await;
    (addr, TlsClient::new(roots).expect("tls"), peer)
}

fn secret_in(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("secret");
    std::fs::write(&path, text).expect("written");
    path
}

fn login(mechanism: Mechanism, path: PathBuf) -> Login {
    Login { mechanism, user: "tim".into(), secret: SecretFrom::File(path) }
}

async fn log_in(
    addr: SocketAddr,
    tls: (TlsPolicy, &TlsClient),
    begins: Begins,
    login: &Login,
) -> Result<Session, SessionError> {
    let (addrs, timeouts) = ([addr], timeouts());
    let hop =
        Hop { implicit_tls: begins == Begins::Implicit, login: Some(login), may_be_namesake: true };
    Session::connect(&Target { hop, ..target(&addrs, &timeouts, tls.0) }, tls.1).await
}

/// Why a login fails, and whether that passes; nothing shows the secret.
fn why(result: Result<Session, SessionError>) -> (String, bool) {
    let error = result.expect_err("not let in");
    for shown in [error.to_string(), format!("{error:?}")] {
        let encoded = ["AHRpbQB0YW5zdGFhZnRhbnN0YWFm", "dGFuc3RhYWZ0YW5zdGFhZg=="];
        assert!(!shown.contains(SECRET) && !encoded.iter().any(|e| shown.contains(e)), "{shown}");
    }
    assert_eq!(error.phase, Phase::Ehlo);
    match error.trouble {
        Some(Trouble::Login { why, passing }) => (why, passing),
        other => panic!("{other:?}"),
    }
}

async fn takes_a_message(mut peer: TlsPeer) {
    peer.expect("MAIL").await;
    peer.say("250 ok\r\n").await;
    peer.expect("RCPT").await;
    peer.say("250 ok\r\n").await;
    peer.expect("DATA").await;
    peer.say("354 go\r\n").await;
    peer.body().await.expect("a body");
    peer.say("250 ok\r\n").await;
    peer.expect("QUIT").await;
}

#[tokio::test]
async fn each_mechanism_opens_the_door_over_either_kind_of_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = secret_in(&folder, &format!("{SECRET}\n"));
    let xoauth2 = "AUTH XOAUTH2 dXNlcj10aW0BYXV0aD1CZWFyZXIgdGFuc3RhYWZ0YW5zdGFhZgEB";
    for begins in [Begins::StartTls, Begins::Implicit] {
        for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::XOAuth2] {
            let offers = "AUTH PLAIN LOGIN XOAUTH2";
            let (addr, client, peer) = encrypted(begins, offers, async move |mut peer: TlsPeer| {
                match mechanism {
                    Mechanism::Plain => assert_eq!(peer.line().await, PLAIN),
                    Mechanism::XOAuth2 => assert_eq!(peer.line().await, xoauth2),
                    Mechanism::Login => {
                        assert_eq!(peer.line().await, "AUTH LOGIN");
                        peer.say("334 VXNlcm5hbWU6\r\n").await;
                        assert_eq!(peer.line().await, "dGlt");
                        peer.say("334 UGFzc3dvcmQ6\r\n").await;
                        assert_eq!(peer.line().await, "dGFuc3RhYWZ0YW5zdGFhZg==");
                    }
                }
                peer.say("235 2.7.0 welcome\r\n").await;
                takes_a_message(peer).await;
            })
            .await;
            let login = login(mechanism, path.clone());
            let session = log_in(addr, (TlsPolicy::Verified, &client), begins, &login).await;
            let mut session = session.expect("let in");
            assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
            assert!(session.encryption().ends_with(" verified"), "{}", session.encryption());
            session.quit().await;
            peer.await.expect("the script");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_showing_it_and_a_passing_trouble_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = secret_in(&folder, SECRET);
    for (answer, passes) in [
        ("535 5.7.8 no: AHRpbQB0YW5zdGFhZnRhbnN0YWFm tanstaaftanstaaf", false),
        ("534 5.7.9 Please log in with your web browser", false),
        ("454 4.7.0 Temporary authentication failure", true),
        ("421 4.7.0 try again later", true),
    ] {
        let (addr, client, peer) =
            encrypted(Begins::StartTls, "AUTH PLAIN", async move |mut peer: TlsPeer| {
                assert_eq!(peer.line().await, PLAIN);
                peer.say(&format!("{answer}\r\n")).await;
                assert_eq!(peer.line().await, "", "nothing is sent after it");
            })
            .await;
        let login = login(Mechanism::Plain, path.clone());
        let tls = (TlsPolicy::Verified, &client);
        let refused = log_in(addr, tls, Begins::StartTls, &login).await;
        let tls = refused.as_ref().map_err(|error| error.tls.clone()).expect_err("refused");
        assert!(tls.ends_with(" verified"), "{tls:?}");
        let (why, passing) = why(refused);
        assert!(why.contains("AUTH PLAIN as \"tim\"") && why.contains(&answer[..9]), "{why}");
        assert_eq!(passing, passes, "{answer}");
        peer.await.expect("the script");
    }
}

#[tokio::test]
async fn the_challenge_of_a_refused_token_is_answered_by_an_empty_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let login = login(Mechanism::XOAuth2, secret_in(&folder, SECRET));
    let (addr, client, peer) =
        encrypted(Begins::StartTls, "AUTH XOAUTH2", async |mut peer: TlsPeer| {
            peer.expect("AUTH XOAUTH2 ").await;
            // {"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}
            peer.say("334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIn0=\r\n").await;
            assert_eq!(peer.0.buffer().len(), 0);
            assert_eq!(peer.line().await, "");
            peer.say("535 5.7.8 Username and Password not accepted\r\n").await;
            assert_eq!(peer.line().await, "");
        })
        .await;
    let tls = (TlsPolicy::Verified, &client);
    let (why, passing) = why(log_in(addr, tls, Begins::StartTls, &login).await);
    assert!(why.contains("XOAUTH2") && why.contains("535 5.7.8") && !passing, "{why}");
    peer.await.expect("the script");
}

#[tokio::test]
async fn what_is_offered_before_encryption_or_not_at_all_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let login = login(Mechanism::Plain, secret_in(&folder, SECRET));
    for (offers, told) in [("SIZE 1000", "no AUTH at all"), ("AUTH LOGIN", "LOGIN")] {
        let (addr, client, peer) =
            encrypted(Begins::StartTls, offers, async |mut peer: TlsPeer| {
                assert_eq!(peer.line().await, "");
            })
            .await;
        let tls = (TlsPolicy::Verified, &client);
        let (why, passing) = why(log_in(addr, tls, Begins::StartTls, &login).await);
        assert_eq!(
            (why.as_str(), passing),
            (&*format!("AUTH PLAIN is not offered: {told}"), false)
        );
        peer.await.expect("the script");
    }
}

#[tokio::test]
async fn no_password_goes_to_a_server_that_does_not_prove_its_name_or_does_not_encrypt() {
    let folder = tempfile::tempdir().expect("a folder");
    let login = login(Mechanism::Plain, secret_in(&folder, SECRET));
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("AUTH_PLAIN").await;
        assert_eq!(peer.line().await, "");
    })
    .await;
    let client = TlsClient::new(rustls::RootCertStore::empty()).expect("tls");
    for policy in [TlsPolicy::Verified, TlsPolicy::Required] {
        let error = log_in(addr, (policy, &client), Begins::StartTls, &login).await;
        assert_eq!(error.expect_err("no STARTTLS").phase, Phase::Tls);
        if policy == TlsPolicy::Verified {
            break;
        }
    }
    peer.await.expect("the script");

    // Another's certificate.
    let (config, _) = certificate("mx.example");
    for begins in [Begins::StartTls, Begins::Implicit] {
        let config = config.clone();
        let (addr, peer) = server(move |mut peer| async move {
            if begins == Begins::StartTls {
                peer.greet("STARTTLS").await;
                peer.expect("STARTTLS").await;
                peer.say("220 go\r\n").await;
            }
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            if let Ok(stream) = acceptor.accept(peer.0.into_inner()).await {
                let mut peer = Peer(BufReader::new(stream));
                assert_eq!(peer.line().await, "", "not a word");
            }
        })
        .await;
        let tls = (TlsPolicy::Verified, &client);
        let error = log_in(addr, tls, begins, &login).await.expect_err("a stranger");
        assert!(matches!(error.trouble, Some(Trouble::Tls(_))), "{error}");
        peer.await.expect("the script");
    }
}

#[tokio::test]
async fn a_server_on_this_host_may_be_logged_in_to_without_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let login = login(Mechanism::Plain, secret_in(&folder, SECRET));
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("AUTH_PLAIN").await;
        assert_eq!(peer.line().await, PLAIN);
        peer.say("235 2.7.0 welcome\r\n").await;
        peer.expect("QUIT").await;
    })
    .await;
    let client = TlsClient::new(rustls::RootCertStore::empty()).expect("tls");
    let session = log_in(addr, (TlsPolicy::Never, &client), Begins::StartTls, &login).await;
    session.expect("let in").quit().await;
    peer.await.expect("the script");
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_is_named_by_its_place_and_one_that_changes_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = secret_in(&folder, "");
    let login = login(Mechanism::Plain, path.clone());
    let attempt = async |expected: Option<&'static str>| {
        let (addr, peer) = server(move |mut peer| async move {
            peer.greet("AUTH_PLAIN").await;
            let line = peer.line().await;
            assert_eq!(line, expected.unwrap_or_default());
            if expected.is_some() {
                peer.say("235 welcome\r\n").await;
                peer.expect("QUIT").await;
            }
        })
        .await;
        let client = TlsClient::new(rustls::RootCertStore::empty()).expect("tls");
        let session = log_in(addr, (TlsPolicy::Never, &client), Begins::StartTls, &login).await;
        let session = match expected {
            Some(_) => session.map(Some),
            None => return (why(session).0, peer.await.expect("the script")).0,
        };
        session.expect("let in").expect("a session").quit().await;
        peer.await.expect("the script");
        String::new()
    };
    assert!(attempt(None).await.ends_with("secret\": it is empty"));
    std::fs::write(&path, format!("{SECRET}\nmore")).expect("written");
    assert!(attempt(None).await.ends_with("secret\": more than one line"));
    std::fs::write(&path, SECRET).expect("written");
    attempt(Some(PLAIN)).await;
    std::fs::write(&path, "another\r\n").expect("written");
    attempt(Some("AUTH PLAIN AHRpbQBhbm90aGVy")).await;
    std::fs::remove_file(&path).expect("removed");
    assert!(attempt(None).await.contains("secret\": No such file"));
}
