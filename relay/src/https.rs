//! One request to one web server, for what the standards of mail ask of the web: MTA-STS policies.
//! Names are resolved as for mail, private addresses refused, the certificate
//! must be good, nothing is redirected, and an answer has a bound in size and in time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dns::Resolver;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An address that does not answer in this time is passed over.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;

/// A client for all of a relay's requests.
pub(crate) struct Https {
    resolver: Arc<Resolver>,
    connector: TlsConnector,
    port: u16,
    allow_private: bool,
}

/// What is asked.
pub(crate) struct Question<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    /// Octets that are taken of the answer.
    pub(crate) octets_max: usize,
    pub(crate) within: Duration,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lower case, without parameters.
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// Why there is no answer. The words say which step failed: reports tell them apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpsError {
    #[error("{0} has no usable address: {1}")]
    Address(String, String),
    #[error("{0} does not answer: {1}")]
    Connect(String, std::io::Error),
    #[error("TLS with {0} failed: {1}")]
    Tls(String, std::io::Error),
    #[error("{0} answers with what is no HTTP: {1}")]
    Http(String, hyper::Error),
    #[error("{0} sends an answer that is cut off or has more than {1} octets")]
    Body(String, usize),
    #[error("{0} has not answered within {1} seconds")]
    Late(String, u64),
    #[error("{0:?} cannot be asked for")]
    Question(String),
}

impl Https {
    pub(crate) fn new(
        resolver: Arc<Resolver>,
        roots: RootCertStore,
        port: u16,
        allow_private: bool,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { resolver, connector: TlsConnector::from(Arc::new(config)), port, allow_private })
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<Answer, HttpsError> {
        let late = || HttpsError::Late(question.host.to_owned(), question.within.as_secs());
        timeout(question.within, self.converse(&question)).await.map_err(|_| late())?
    }

    async fn converse(&self, question: &Question<'_>) -> Result<Answer, HttpsError> {
        let host = || question.host.to_owned();
        let stream = TokioIo::new(self.connect(question).await?);
        let (mut sender, connection) =
            http1::handshake(stream).await.map_err(|e| HttpsError::Http(host(), e))?;
        let answer = async {
            let request = request(question)?;
            let sent = sender.send_request(request).await;
            read(question, sent.map_err(|e| HttpsError::Http(host(), e))?).await
        };
        // Both sides of one conversation in one task: when the answer is there or the time is over,
        // nothing of it is left.
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection's end comes before its last octets are read.
            _ = &mut connection => answer.await,
        }
    }

    async fn connect(&self, question: &Question<'_>) -> Result<TlsStream<TcpStream>, HttpsError> {
        let host = question.host;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| HttpsError::Question(host.to_owned()))?;
        let mut last = std::io::Error::other("it has no address");
        for ip in self.addresses(host).await? {
            let addr = SocketAddr::new(ip, self.port);
            match timeout(CONNECT, TcpStream::connect(addr)).await {
                Ok(Ok(stream)) => {
                    let secured = self.connector.connect(name, stream).await;
                    return secured.map_err(|e| HttpsError::Tls(host.to_owned(), e));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = std::io::ErrorKind::TimedOut.into(),
            }
        }
        Err(HttpsError::Connect(host.to_owned(), last))
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, HttpsError> {
        let none = |why: String| HttpsError::Address(host.to_owned(), why);
        let found = self.resolver.addresses(host).await.map_err(|why| none(why.to_string()))?;
        let usable = found.iter().copied().filter(|ip| self.allow_private || dns::is_public(*ip));
        let usable: Vec<IpAddr> = usable.take(ADDRESSES_MAX).collect();
        if usable.is_empty() {
            return Err(none("it lies in private address space".to_owned()));
        }
        Ok(usable)
    }
}

fn request(question: &Question<'_>) -> Result<Request<Empty<Bytes>>, HttpsError> {
    let request = Request::get(question.path)
        .header(HOST, question.host)
        .header(USER_AGENT, concat!("malleposte/", env!("CARGO_PKG_VERSION")));
    request.body(Empty::new()).map_err(|_| HttpsError::Question(question.path.to_owned()))
}

async fn read(question: &Question<'_>, answer: Response<Incoming>) -> Result<Answer, HttpsError> {
    let (head, body) = answer.into_parts();
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    let body = Limited::new(body, question.octets_max).collect().await;
    let cut = || HttpsError::Body(question.host.to_owned(), question.octets_max);
    Ok(Answer {
        status: head.status.as_u16(),
        content_type: kind.trim().to_ascii_lowercase(),
        body: body.map_err(|_| cut())?.to_bytes(),
    })
}
