//! A web server over TLS, for what relays ask of the web.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// One that answers each request with what a function makes of its head and its body.
pub(crate) struct Web {
    pub(crate) port: u16,
    /// Its certificate (PEM), under all of its names.
    pub(crate) certificate: String,
    /// Connections so far, whatever became of them.
    pub(crate) connections: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Web {
    pub(crate) async fn start(
        names: &[&str],
        answer: impl Fn(&str, &[u8]) -> String + Send + Sync + 'static,
    ) -> Self {
        let (acceptor, certificate) = acceptor(names);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, answer) = (Arc::new(AtomicU32::new(0)), Arc::new(answer));
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move { converse(stream, &acceptor, answer.as_ref()).await });
            }
        });
        Self { port, certificate, connections, task }
    }
}

/// A server's side of TLS under these names, and its certificate (PEM).
pub(crate) fn acceptor(names: &[&str]) -> (TlsAcceptor, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

async fn converse(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    answer: &(impl Fn(&str, &[u8]) -> String + Sync),
) -> std::io::Result<()> {
    let mut tls = acceptor.accept(stream).await?;
    let mut octets = Vec::new();
    let end = loop {
        if let Some(end) = octets.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(tls.read_buf(&mut octets).await? > 0, "a request was cut off");
    };
    let head = String::from_utf8(octets.drain(..end).collect()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while octets.len() < length {
        assert!(tls.read_buf(&mut octets).await? > 0, "a body was cut off");
    }
    tls.write_all(answer(&head, &octets).as_bytes()).await?;
    tls.shutdown().await
}
