//! Sessions with servers whose TLS is bad in every way that there is: what comes of the mail, and
//! what is said of it.

use std::net::SocketAddr;
use std::sync::Arc;

use mail::Phase;
use mail::tlsrpt::ResultType;
use relay::smtp::{Hop, Session, SessionError, Target, Timeouts, TlsClient, TlsPolicy};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const HOST: &str = "mx.example";

/// An authority and what it gives.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        Self::named("The authority of these tests")
    }

    fn named(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        Self(rcgen::CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn client(&self) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an anchor");
        TlsClient::new(roots).expect("a client")
    }

    fn certificate(&self, adjust: impl FnOnce(&mut rcgen::CertificateParams)) -> Served {
        let mut params = rcgen::CertificateParams::new([HOST.to_owned()]).expect("parameters");
        adjust(&mut params);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Served { chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }
}

/// What a server shows.
struct Served {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Served {
    fn acceptor(self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(self.key).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain, key)
            .expect("a certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What a server does after it has said that TLS may begin.
#[derive(Clone)]
enum Tls {
    Served(TlsAcceptor),
    Closes,
    Garbage,
}

/// A server for any number of connections, which ends with the test.
async fn server(tls: Tls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that leaves early is what is tested.
            tokio::spawn(converse(stream, tls.clone()));
        }
    });
    addr
}

async fn converse(stream: TcpStream, tls: Tls) -> std::io::Result<()> {
    let mut plain = BufReader::new(stream);
    plain.write_all(b"220 mx.example ESMTP\r\n").await?;
    let mut line = String::new();
    while plain.read_line(&mut line).await? > 0 {
        let is_starttls = line.starts_with("STARTTLS");
        line.clear();
        if !is_starttls {
            plain.write_all(b"250-mx.example\r\n250 STARTTLS\r\n").await?;
            continue;
        }
        plain.write_all(b"220 go\r\n").await?;
        return match tls {
            Tls::Served(acceptor) => {
                let mut secured = BufReader::new(acceptor.accept(plain.into_inner()).await?);
                secured.read_line(&mut line).await?;
                secured.write_all(b"250 mx.example\r\n").await?;
                secured.read_line(&mut line).await.map(|_| ())
            }
            Tls::Closes => plain.read_exact(&mut [0; 5]).await.map(|_| ()),
            Tls::Garbage => {
                plain.read_exact(&mut [0; 5]).await?;
                plain.write_all(b"500 what is this?\r\n").await
            }
        };
    }
    Ok(())
}

async fn connect(
    addr: SocketAddr,
    tls: TlsPolicy,
    client: &TlsClient,
) -> Result<Session, SessionError> {
    let timeouts = Timeouts { tls_s: 5, banner_s: 5, ehlo_s: 5, ..Timeouts::default() };
    let target = Target {
        addrs: &[addr],
        plain: &[],
        unchunked: &[],
        host: HOST,
        local_ip: None,
        ehlo_name: "relay.example",
        tls,
        timeouts: &timeouts,
        via: None,
        hop: Hop::default(),
    };
    Session::connect(&target, client).await
}

/// Where a good certificate is wanted there is no session, in these words; where any will do there
/// is one, encrypted all the same.
async fn is_refused_where_it_matters(
    served: Served,
    authority: &Authority,
    words: &str,
    result: ResultType,
) {
    let addr = server(Tls::Served(served.acceptor())).await;
    let client = authority.client();
    let error = connect(addr, TlsPolicy::Verified, &client).await.expect_err("refused");
    assert_eq!(error.to_string(), format!("tls: handshake failed: {words}"));
    assert_eq!((error.phase, error.peer), (Phase::Tls, Some(addr)));
    assert_eq!(error.flaw().map(|flaw| flaw.result), Some(result));
    assert!(error.tls.starts_with("TLSv1.3 TLS13_"), "{}", error.tls);
    assert!(error.tls.ends_with(" unverified"), "{}", error.tls);
    for policy in [TlsPolicy::Opportunistic, TlsPolicy::Required] {
        let session = connect(addr, policy, &client).await.expect("a session");
        let flaw = session.tls().expect("tls").verified.clone().expect_err("not good");
        assert_eq!((flaw.why.as_str(), flaw.result), (words, result));
        assert_eq!(session.encryption(), error.tls);
    }
}

/// There is no session where TLS is wanted, in these words, and a plain one where it is not.
async fn is_done_without_where_it_may(tls: Tls, words: &str) {
    let addr = server(tls).await;
    let client = Authority::new().client();
    for policy in [TlsPolicy::Verified, TlsPolicy::Required] {
        let error = connect(addr, policy, &client).await.expect_err("refused");
        assert_eq!(error.to_string(), format!("tls: handshake failed: {words}"));
        assert_eq!((error.phase, error.tls.as_str()), (Phase::Tls, "failed"));
    }
    let session = connect(addr, TlsPolicy::Opportunistic, &client).await.expect("a session");
    let flaw = session.plain_flaw().map(|flaw| flaw.result);
    assert_eq!(flaw, Some(ResultType::ValidationFailure));
    assert_eq!(session.encryption(), "plain");
    assert_eq!(session.plain_because(), Some(format!("handshake failed: {words}").as_str()));
    assert!(session.is_tls_broken());
}

#[tokio::test]
async fn a_good_certificate_is_verified() {
    let authority = Authority::new();
    let addr = server(Tls::Served(authority.certificate(|_| {}).acceptor())).await;
    let session = connect(addr, TlsPolicy::Verified, &authority.client()).await;
    let told = session.expect("a session").encryption();
    assert!(told.ends_with(" verified"), "{told}");
}

#[tokio::test]
async fn an_expired_certificate_is_told_as_such() {
    let authority = Authority::new();
    let expired = authority.certificate(|params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    is_refused_where_it_matters(
        expired,
        &authority,
        "its certificate has expired",
        ResultType::CertificateExpired,
    )
    .await;
}

#[tokio::test]
async fn a_certificate_from_the_future_is_told_as_such() {
    let authority = Authority::new();
    let early =
        authority.certificate(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    is_refused_where_it_matters(
        early,
        &authority,
        "its certificate is not valid yet",
        ResultType::CertificateNotTrusted,
    )
    .await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_as_such() {
    let authority = Authority::new();
    let other = authority.certificate(|params| {
        params.subject_alt_names =
            vec![rcgen::SanType::DnsName("mx.other.example".try_into().expect("a name"))];
    });
    let words = "its certificate is for another name";
    is_refused_where_it_matters(other, &authority, words, ResultType::CertificateHostMismatch)
        .await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_told_as_such() {
    let stranger = Authority::named("A stranger").certificate(|_| {});
    let words = "no authority that is known here gave it its certificate";
    is_refused_where_it_matters(
        stranger,
        &Authority::new(),
        words,
        ResultType::CertificateNotTrusted,
    )
    .await;
}

#[tokio::test]
async fn a_chain_of_a_hundred_thousand_octets_is_not_taken() {
    let authority = Authority::new();
    let mut served = authority.certificate(|_| {});
    let filler = served.chain[0].clone();
    while served.chain.iter().map(|c| c.len()).sum::<usize>() < 100_000 {
        served.chain.push(filler.clone());
    }
    let tls = Tls::Served(served.acceptor());
    is_done_without_where_it_may(tls, "it sends more certificates than anybody needs").await;
}

#[tokio::test]
async fn a_server_that_closes_in_the_handshake_is_told_as_such() {
    let words = "the server closed the connection in the middle of it";
    is_done_without_where_it_may(Tls::Closes, words).await;
}

#[tokio::test]
async fn a_server_that_answers_the_handshake_with_text_is_told_as_such() {
    let words = "it does not speak TLS (received corrupt message of type InvalidContentType)";
    is_done_without_where_it_may(Tls::Garbage, words).await;
}
