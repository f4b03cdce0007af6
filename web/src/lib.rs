//! One request to one web server: MTA-STS policies, reports about TLS, tokens to log in with, hooks.
//! Names are resolved as for mail, private addresses refused unless they are allowed, the
//! certificate must be good, nothing is redirected, and an answer has a bound in size and in time.

mod hook;
mod race;
mod roots;

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
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use hook::{Hook, HookError, HookSetting, Secret};
pub use hyper::Uri;
pub use race::race;
pub use roots::{tls_client, trusted_roots};

/// An address that does not answer in this time is passed over.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;

/// A client for all of a service's requests.
pub struct Https {
    resolver: Arc<Resolver>,
    connector: TlsConnector,
    port: u16,
    allow_private: bool,
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").field("port", &self.port).finish_non_exhaustive()
    }
}

/// What is asked.
pub struct Question<'a> {
    /// Whom.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Octets that are taken of the answer.
    pub octets_max: usize,
    /// How long all of it may take.
    pub within: Duration,
}

/// What is handed in.
pub struct Posting<'a> {
    /// To whom.
    pub host: &'a str,
    /// Where it is not the usual one.
    pub port: Option<u16>,
    /// Path and query.
    pub path: &'a str,
    /// What it is.
    pub media_type: &'static str,
    /// Headers beside those that every request has.
    pub headers: &'a [(&'static str, String)],
    /// It.
    pub body: Bytes,
    /// Octets that are taken of the answer; 0: nothing but its status.
    pub octets_max: usize,
    /// How long all of it may take.
    pub within: Duration,
    /// Without TLS: only where the operator says so.
    pub in_the_clear: bool,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status (RFC 9110, 15).
    pub status: u16,
    /// Lower case, without parameters.
    pub content_type: String,
    /// What it says.
    pub body: Bytes,
}

/// Why there is no answer. The words say which step failed: reports tell them apart.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// No address of the host can be used.
    #[error("{0} has no usable address: {1}")]
    Address(String, String),
    /// None of them answers.
    #[error("{0} does not answer: {1}")]
    Connect(String, std::io::Error),
    /// The certificate is not good, or there is no TLS.
    #[error("TLS with {0} failed: {1}")]
    Tls(String, std::io::Error),
    /// What answers is no web server.
    #[error("{0} answers with what is no HTTP: {1}")]
    Http(String, hyper::Error),
    /// The answer ends too early, or not in time.
    #[error("{0} sends an answer that is cut off or has more than {1} octets")]
    Body(String, usize),
    /// It took too long.
    #[error("{0} has not answered within {1} seconds")]
    Late(String, u64),
    /// The question itself cannot be asked.
    #[error("{0:?} cannot be asked for")]
    Question(String),
}

impl Https {
    /// A client that asks at `port` where nothing else is said, in private address space only if
    /// that is allowed.
    ///
    /// # Errors
    /// When there is no TLS to be had with these roots.
    pub fn new(
        resolver: Arc<Resolver>,
        roots: RootCertStore,
        port: u16,
        allow_private: bool,
    ) -> Result<Self, rustls::Error> {
        let mut config = tls_client(roots)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { resolver, connector: TlsConnector::from(Arc::new(config)), port, allow_private })
    }

    /// A client for hooks: a web service of one's own may well lie in private address space.
    ///
    /// # Errors
    /// When this host trusts nobody, or there is no TLS to be had.
    pub fn for_hooks(resolver: &Arc<Resolver>) -> Result<Self, String> {
        let roots = trusted_roots("")?;
        Self::new(Arc::clone(resolver), roots, 443, true).map_err(|e| e.to_string())
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When none comes, by the step that failed.
    pub async fn ask(&self, question: Question<'_>) -> Result<Answer, HttpsError> {
        let late = || HttpsError::Late(question.host.to_owned(), question.within.as_secs());
        let request = Request::get(question.path).header(HOST, question.host);
        let request = finish(request, question.path, Bytes::new())?;
        let read = async |answer| read(question.host, question.octets_max, answer).await;
        let asked = async {
            let stream = self.secured(question.host, self.port).await?;
            converse(question.host, stream, request, read).await
        };
        timeout(question.within, asked).await.map_err(|_| late())?
    }

    /// Hands something in, and waits for the answer.
    ///
    /// # Errors
    /// When none comes, by the step that failed.
    pub async fn post(&self, posting: Posting<'_>) -> Result<Answer, HttpsError> {
        let late = || HttpsError::Late(posting.host.to_owned(), posting.within.as_secs());
        let place = match posting.port {
            Some(port) => format!("{}:{port}", posting.host),
            None => posting.host.to_owned(),
        };
        let mut request = Request::post(posting.path)
            .header(HOST, place)
            .header(CONTENT_TYPE, posting.media_type)
            .header(CONTENT_LENGTH, posting.body.len());
        for (name, value) in posting.headers {
            request = request.header(*name, value);
        }
        let request = finish(request, posting.path, posting.body)?;
        let (host, port) = (posting.host, posting.port.unwrap_or(self.port));
        let read = async |answer| read(host, posting.octets_max, answer).await;
        let posted = async {
            if posting.in_the_clear {
                let stream = self.connect(host, port).await?;
                return converse(host, stream, request, read).await;
            }
            let stream = self.secured(host, port).await?;
            converse(host, stream, request, read).await
        };
        timeout(posting.within, posted).await.map_err(|_| late())?
    }

    async fn secured(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, HttpsError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| HttpsError::Question(host.to_owned()))?;
        let stream = self.connect(host, port).await?;
        let secured = self.connector.connect(name, stream).await;
        secured.map_err(|e| HttpsError::Tls(host.to_owned(), e))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, HttpsError> {
        let attempt = |addr| async move {
            let connected = timeout(CONNECT, TcpStream::connect(addr)).await;
            connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        };
        let addrs = self.addresses(host, port).await?;
        let raced = race(&addrs, attempt, |_| false).await;
        raced.map(|(stream, ..)| stream).map_err(|error| {
            let error = error.unwrap_or_else(|| std::io::Error::other("it has no address"));
            HttpsError::Connect(host.to_owned(), error)
        })
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpsError> {
        let none = |why: String| HttpsError::Address(host.to_owned(), why);
        let found = match host.trim_matches(['[', ']']).parse() {
            Ok(ip) => vec![ip],
            Err(_) => {
                let found = self.resolver.addresses(host).await;
                found.map_err(|why| none(why.to_string()))?.to_vec()
            }
        };
        let usable = found.iter().copied().filter(|ip| self.allow_private || dns::is_public(*ip));
        let usable: Vec<SocketAddr> =
            usable.take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port)).collect();
        if usable.is_empty() {
            return Err(none("it lies in private address space".to_owned()));
        }
        Ok(usable)
    }
}

/// One request over a connection, and what is read of its answer.
async fn converse<T>(
    host: &str,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, HttpsError>,
) -> Result<T, HttpsError> {
    let strange = |e| HttpsError::Http(host.to_owned(), e);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(strange)?;
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
    let cut = || HttpsError::Body(host.to_owned(), octets_max);
    let body = match octets_max {
        0 => Bytes::new(),
        _ => {
            let body = Limited::new(body, octets_max).collect().await;
            body.map_err(|_| cut())?.to_bytes()
        }
    };
    Ok(Answer {
        status: head.status.as_u16(),
        content_type: kind.trim().to_ascii_lowercase(),
        body,
    })
}
