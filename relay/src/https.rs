//! One request to one web server, for what the standards of mail ask of the web: MTA-STS policies,
//! reports about TLS, tokens to log in with. Names are resolved as for mail, private addresses refused, the certificate
//! must be good, nothing is redirected, and an answer has a bound in size and in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dns::Resolver;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::smtp::race;

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

/// What is handed in.
pub(crate) struct Posting<'a> {
    pub(crate) host: &'a str,
    /// Where it is not the usual one.
    pub(crate) port: Option<u16>,
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) media_type: &'static str,
    pub(crate) body: Bytes,
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
        let request = Request::get(question.path).header(HOST, question.host);
        let request = finish(request, question.path, Bytes::new())?;
        let place = (question.host, self.port);
        let read = async |answer| read(question.host, question.octets_max, answer).await;
        timeout(question.within, self.converse(place, request, read)).await.map_err(|_| late())?
    }

    /// Hands something in, and waits for the answer.
    pub(crate) async fn post(&self, posting: Posting<'_>) -> Result<Answer, HttpsError> {
        let late = || HttpsError::Late(posting.host.to_owned(), posting.within.as_secs());
        let place = match posting.port {
            Some(port) => format!("{}:{port}", posting.host),
            None => posting.host.to_owned(),
        };
        let request = Request::post(posting.path)
            .header(HOST, place)
            .header(CONTENT_TYPE, posting.media_type)
            .header(CONTENT_LENGTH, posting.body.len());
        let request = finish(request, posting.path, posting.body)?;
        let place = (posting.host, posting.port.unwrap_or(self.port));
        let read = async |answer| read(posting.host, posting.octets_max, answer).await;
        timeout(posting.within, self.converse(place, request, read)).await.map_err(|_| late())?
    }

    async fn converse<T>(
        &self,
        (host, port): (&str, u16),
        request: Request<Full<Bytes>>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, HttpsError>,
    ) -> Result<T, HttpsError> {
        let strange = |e| HttpsError::Http(host.to_owned(), e);
        let stream = TokioIo::new(self.connect(host, port).await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(strange)?;
        let answer = async {
            let sent = sender.send_request(request).await;
            read(sent.map_err(strange)?).await
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

    async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, HttpsError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| HttpsError::Question(host.to_owned()))?;
        let attempt = |addr| async move {
            let connected = timeout(CONNECT, TcpStream::connect(addr)).await;
            connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        };
        let addrs = self.addresses(host, port).await?;
        let (stream, ..) = race(&addrs, attempt, |_| false).await.map_err(|error| {
            let error = error.unwrap_or_else(|| std::io::Error::other("it has no address"));
            HttpsError::Connect(host.to_owned(), error)
        })?;
        let secured = self.connector.connect(name, stream).await;
        secured.map_err(|e| HttpsError::Tls(host.to_owned(), e))
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpsError> {
        let none = |why: String| HttpsError::Address(host.to_owned(), why);
        let found = self.resolver.addresses(host).await.map_err(|why| none(why.to_string()))?;
        let usable = found.iter().copied().filter(|ip| self.allow_private || dns::is_public(*ip));
        let usable: Vec<SocketAddr> =
            usable.take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port)).collect();
        if usable.is_empty() {
            return Err(none("it lies in private address space".to_owned()));
        }
        Ok(usable)
    }
}

fn finish(request: Builder, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, HttpsError> {
    let agent = concat!("malleposte/", env!("CARGO_PKG_VERSION"));
    let request = request.header(USER_AGENT, agent).body(Full::new(body));
    request.map_err(|_| HttpsError::Question(path.to_owned()))
}

async fn read(
    host: &str,
    octets_max: usize,
    answer: Response<Incoming>,
) -> Result<Answer, HttpsError> {
    let (head, body) = answer.into_parts();
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    let body = Limited::new(body, octets_max).collect().await;
    let cut = || HttpsError::Body(host.to_owned(), octets_max);
    Ok(Answer {
        status: head.status.as_u16(),
        content_type: kind.trim().to_ascii_lowercase(),
        body: body.map_err(|_| cut())?.to_bytes(),
    })
}
