//! Encryption: certificates judged, sessions resumed, policies kept, failures survived.

use std::sync::Arc;

use mail::Phase;
use relay::smtp::{Envelope, Outcome, Session, Target, TlsClient, TlsPolicy};
use rustls::RootCertStore;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};

use crate::smtp::peer::*;

/// A certificate for `name` by an authority of its own, and that authority.
pub(crate) fn certificate(name: &str) -> (Arc<rustls::ServerConfig>, RootCertStore) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
    (Arc::new(config), roots)
}

pub(crate) type TlsPeer = Peer<tokio_rustls::server::TlsStream<TcpStream>>;

async fn starttls(mut peer: Peer<TcpStream>, config: Arc<rustls::ServerConfig>) -> TlsPeer {
    peer.greet("STARTTLS PIPELINING").await;
    peer.expect("STARTTLS").await;
    peer.say("220 go\r\n").await;
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    Peer(BufReader::new(acceptor.accept(peer.0.into_inner()).await.expect("a handshake")))
}

async fn tls_conversation(listener: &TcpListener, config: Arc<rustls::ServerConfig>) {
    let mut peer = starttls(accept(listener).await, config).await;
    peer.expect("EHLO").await;
    peer.say("250-mx.example\r\n250 PIPELINING\r\n").await;
    peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
    peer.body().await.expect("a body");
    peer.say("250 ok\r\n").await;
    peer.expect("QUIT").await;
}

#[tokio::test]
async fn certificates_are_judged_and_sessions_resumed() {
    let (config, roots) = certificate("mx.example");
    let (listener, addr) = listen().await;
    let peer = tokio::spawn(async move {
        for _ in 0..3 {
            tls_conversation(&listener, config.clone()).await;
        }
    });
    let knowing = TlsClient::new(roots).expect("tls");
    for resumed in [false, true] {
        let mut session = connect_as(addr, TlsPolicy::Verified, &knowing).await.expect("a session");
        assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
        let facts = session.tls().expect("tls").clone();
        assert_eq!((facts.verified, facts.resumed), (Ok(()), resumed));
        assert_eq!(facts.version, "TLSv1.3");
        session.quit().await;
    }
    // A stranger to the authority encrypts all the same, and says so.
    let mut session = connect(addr).await;
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    assert!(session.tls().expect("tls").verified.is_err());
    session.quit().await;
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_message_that_demands_tls_all_the_way_goes_where_it_is_promised_and_nowhere_else() {
    let (config, roots) = certificate("mx.example");
    let (listener, addr) = listen().await;
    let peer = tokio::spawn(async move {
        let mut peer = starttls(accept(&listener).await, config.clone()).await;
        peer.expect("EHLO").await;
        peer.say("250-mx.example\r\n250-REQUIRETLS\r\n250 PIPELINING\r\n").await;
        assert_eq!(peer.line().await, "MAIL FROM:<b-1@example.org> REQUIRETLS");
        assert_eq!(peer.lines(2).await, ["RCPT TO:<ann@example.com>", "DATA"]);
        peer.say("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await.expect("a body");
        peer.say("250 ok\r\n").await;
        // Who is not known promises nothing; nor does one that does not offer it.
        for offered in ["250 REQUIRETLS", "250 PIPELINING"] {
            let mut peer = starttls(accept(&listener).await, config.clone()).await;
            peer.expect("EHLO").await;
            peer.say(&format!("250-mx.example\r\n{offered}\r\n")).await;
            assert_eq!(peer.line().await, "QUIT");
        }
    });
    let knowing = TlsClient::new(roots).expect("tls");
    let stranger = TlsClient::new(RootCertStore::empty()).expect("tls");
    let envelope = Envelope { require_tls: true, ..ENVELOPE };
    for (client, knows, goes) in
        [(&knowing, true, true), (&stranger, false, false), (&knowing, true, false)]
    {
        let mut session =
            connect_as(addr, TlsPolicy::Opportunistic, client).await.expect("a session");
        let done = session.transact(&envelope, MESSAGE, || true).await;
        match done.outcome {
            Outcome::Accepted => assert!(goes),
            Outcome::TlsNotAssured { is_verified } => {
                assert!(!goes && !done.began && is_verified == knows);
            }
            other => panic!("{other:?}"),
        }
        session.quit().await;
    }
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_policy_that_wants_tls_gets_it_or_nothing() {
    let (addr, _peer) = server(|mut peer| async move {
        peer.greet("PIPELINING").await;
        peer.line().await
    })
    .await;
    let error = connect_with(addr, TlsPolicy::Required).await.expect_err("no tls");
    assert_eq!(error.to_string(), "tls: STARTTLS is not offered");

    let (config, roots) = certificate("other.example");
    let (listener, addr) = listen().await;
    let peer = tokio::spawn(async move {
        starttls(accept(&listener).await, config).await;
    });
    let client = TlsClient::new(roots).expect("tls");
    let error = connect_as(addr, TlsPolicy::Verified, &client).await.expect_err("another's name");
    assert_eq!(error.phase, Phase::Tls);
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_failed_handshake_is_followed_by_plain_text_once() {
    let (listener, addr) = listen().await;
    let peer = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.greet("STARTTLS").await;
        peer.expect("STARTTLS").await;
        peer.say("220 go\r\nthis is no handshake\r\n").await;
        drop(peer);
        let mut peer = accept(&listener).await;
        peer.greet("STARTTLS PIPELINING").await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await.expect("a body");
        peer.say("250 ok\r\n").await;
    });
    let mut session = connect(addr).await;
    assert!(session.tls().is_none());
    assert!(session.plain_because().expect("a reason").starts_with("handshake failed: "));
    assert!(session.is_tls_broken());
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_handshake_that_breaks_is_followed_by_plain_text_too() {
    let (listener, addr) = listen().await;
    let peer = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.greet("STARTTLS").await;
        peer.expect("STARTTLS").await;
        peer.say("220 go\r\n").await;
        drop(peer);
        accept(&listener).await.greet("STARTTLS").await;
    });
    assert!(connect(addr).await.plain_because().is_some());
    peer.await.expect("peer");
}

#[tokio::test]
async fn where_tls_failed_of_late_an_opportunistic_session_does_without_and_no_other() {
    let (listener, addr) = listen().await;
    let peer = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.greet("STARTTLS").await;
        peer.expect("QUIT").await;
        drop(peer);
        let mut peer = accept(&listener).await;
        peer.greet("STARTTLS").await;
        peer.expect("STARTTLS").await;
    });
    let client = TlsClient::new(RootCertStore::empty()).expect("tls");
    let (addrs, timeouts) = ([addr], timeouts());
    let known = Target { plain: &addrs, ..target(&addrs, &timeouts, TlsPolicy::Opportunistic) };
    let session = Session::connect(&known, &client).await.expect("a session");
    assert_eq!(session.plain_because(), Some("TLS failed here not long ago"));
    assert!(!session.is_tls_broken(), "that is known already");
    session.quit().await;
    let required = Target { tls: TlsPolicy::Required, ..known };
    assert!(Session::connect(&required, &client).await.is_err());
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_refused_starttls_leaves_the_session_as_it_was() {
    let (addr, peer) = server(|mut peer| async move {
        peer.greet("STARTTLS PIPELINING").await;
        peer.expect("STARTTLS").await;
        peer.say("454 4.7.0 not now\r\n").await;
        peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.body().await.expect("a body");
        peer.say("250 ok\r\n").await;
    })
    .await;
    let mut session = connect(addr).await;
    assert_eq!(session.plain_because(), Some("tls: 454 4.7.0 not now"));
    assert!(!session.is_tls_broken());
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    peer.await.expect("peer");
}

#[tokio::test]
async fn a_server_that_refuses_us_after_the_handshake_is_told_with_its_tls() {
    for said in ["550 5.7.1 not you\r\n", "421 4.3.2 closing\r\n", "garbage\r\n", ""] {
        let (config, roots) = certificate("mx.example");
        let (listener, addr) = listen().await;
        let peer = tokio::spawn(async move {
            let mut peer = starttls(accept(&listener).await, config).await;
            peer.expect("EHLO").await;
            peer.say(said).await;
        });
        let client = TlsClient::new(roots).expect("tls");
        let error = connect_as(addr, TlsPolicy::Opportunistic, &client).await.expect_err("refused");
        assert_eq!(error.phase, Phase::Ehlo, "{said:?}");
        assert!(error.tls.starts_with("TLSv1.3 ") && error.tls.ends_with(" verified"), "{error:?}");
        peer.await.expect("peer");
    }
}

#[tokio::test]
async fn a_421_to_starttls_ends_the_session_and_no_other_is_begun() {
    let (listener, addr) = listen().await;
    let peer = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.greet("STARTTLS").await;
        peer.expect("STARTTLS").await;
        peer.say("421 4.3.2 going down\r\n").await;
        assert_eq!(peer.line().await, "", "nothing is said after a 421");
        let again = listener.accept();
        assert!(tokio::time::timeout(std::time::Duration::from_millis(200), again).await.is_err());
    });
    let error = connect_with(addr, TlsPolicy::Opportunistic).await.expect_err("421");
    assert_eq!((error.phase, error.reply.as_ref().map(|r| r.code)), (Phase::Tls, Some(421)));
    peer.await.expect("peer");
}

#[tokio::test]
async fn what_was_said_before_the_handshake_is_never_taken_for_encrypted() {
    let (addr, _peer) = server(|mut peer| async move {
        peer.greet("STARTTLS").await;
        peer.expect("STARTTLS").await;
        peer.say("220 go\r\n250-injected\r\n250 PIPELINING\r\n").await;
        peer.line().await
    })
    .await;
    let error = connect_with(addr, TlsPolicy::Required).await.expect_err("injected");
    assert_eq!(error.to_string(), "tls: handshake failed: octets after the answer to STARTTLS");
}
