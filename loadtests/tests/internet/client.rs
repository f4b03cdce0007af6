//! A small SMTP client that does exactly what a test tells it, and scenarios to talk to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use loadtests::{Internet, Listen, Scenario};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longer than anything here takes, short enough for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 21);

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A pretend internet with one provider, `one.example` on 127.0.0.21, behaving as told.
pub(crate) async fn one(manner: &str) -> Internet {
    start(&format!("[manner.one]\n{manner}")).await
}

/// The same, with top-level keys and the manner's table written out.
pub(crate) async fn start(text: &str) -> Internet {
    let text = format!(
        "name = \"test\"\n{text}\n[[provider]]\nname = \"one\"\ndomains = [\"one.example\"]\n\
         mx = [{{ host = \"mx.one.example\", address = \"{HOST}\" }}]\nmanner = \"one\"\n"
    );
    let scenario = Scenario::parse(&text).expect("a scenario");
    Internet::start(scenario, Listen::default()).await.expect("the internet starts")
}

pub(crate) struct Client {
    stream: Box<dyn Duplex>,
    input: Vec<u8>,
}

impl Client {
    /// Connects and reads the banner.
    pub(crate) async fn hello(internet: &Internet) -> Self {
        let mut client = Self::connect(internet).await;
        assert_eq!(client.reply().await.0, 220);
        client.ehlo().await;
        client
    }

    pub(crate) async fn connect(internet: &Internet) -> Self {
        Self::connect_from(internet, Ipv4Addr::LOCALHOST).await
    }

    /// Connects to any mail exchanger; `None` when nobody listens.
    pub(crate) async fn connect_to(to: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(to).await.ok()?;
        Some(Self { stream: Box::new(stream), input: Vec::new() })
    }

    /// A command and its reply, or `None` when the connection ends first.
    pub(crate) async fn ask(&mut self, octets: &[u8]) -> Option<u16> {
        self.stream.write_all(octets).await.ok()?;
        self.reply_or_end().await.map(|(code, _)| code)
    }

    pub(crate) async fn connect_from(internet: &Internet, from: Ipv4Addr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((from, 0))).expect("a loopback address");
        let to = SocketAddr::new(IpAddr::V4(HOST), internet.smtp_port());
        let stream = timeout(PATIENCE, socket.connect(to)).await.expect("in time");
        Self { stream: Box::new(stream.expect("a connection")), input: Vec::new() }
    }

    pub(crate) async fn ehlo(&mut self) -> String {
        let (code, text) = self.command("EHLO client.example").await;
        assert_eq!(code, 250, "{text}");
        text
    }

    /// Turns to TLS; only a certificate of this authority will do.
    pub(crate) async fn encrypt(internet: &Internet, authority: &CertificateDer<'static>) -> Self {
        let to = SocketAddr::new(IpAddr::V4(HOST), internet.smtp_port());
        let stream = TcpStream::connect(to).await.expect("a connection");
        let (mut read, mut write) = stream.into_split();
        let mut line = [0u8; 1024];
        for command in [None, Some("EHLO client.example\r\n"), Some("STARTTLS\r\n")] {
            if let Some(command) = command {
                write.write_all(command.as_bytes()).await.expect("written");
            }
            let n = read.read(&mut line).await.expect("a reply");
            assert_eq!(line[0], b'2', "{}", String::from_utf8_lossy(&line[..n]));
        }
        let stream = read.reunite(write).expect("the same stream");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("mx.one.example").expect("a name");
        let tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        Self { stream: Box::new(tls.expect("a handshake")), input: Vec::new() }
    }

    pub(crate) async fn write(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.expect("written");
        self.stream.flush().await.expect("flushed");
    }

    pub(crate) async fn command(&mut self, line: &str) -> (u16, String) {
        self.write(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// The next reply; panics when the server closes instead.
    pub(crate) async fn reply(&mut self) -> (u16, String) {
        self.reply_or_end().await.expect("a reply, not the end of the connection")
    }

    /// The next reply, or `None` when the connection ends first.
    pub(crate) async fn reply_or_end(&mut self) -> Option<(u16, String)> {
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            text.push_str(line.get(4..).unwrap_or(""));
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some((line[..3].parse().expect("a code"), text));
            }
            text.push('\n');
        }
    }

    /// Whatever comes until the end of the connection, as text.
    pub(crate) async fn reply_or_end_raw(&mut self) -> String {
        let mut text = String::new();
        while let Some(line) = self.line().await {
            text.push_str(&line);
        }
        text
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.input.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.input.drain(..=at).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            if !matches!(read.expect("an answer in time"), Ok(1..)) {
                return None;
            }
        }
    }

    /// MAIL and RCPT, one after the other; the reply to RCPT.
    pub(crate) async fn envelope(&mut self, to: &str) -> (u16, String) {
        let (code, text) = self.command("MAIL FROM:<bounce-1@back.example> SIZE=100").await;
        if code != 250 {
            return (code, text);
        }
        self.command(&format!("RCPT TO:<{to}>")).await
    }

    /// A whole message; the reply to RCPT when that is a refusal, else to the final dot.
    pub(crate) async fn send(&mut self, to: &str) -> (u16, String) {
        let refused = self.envelope(to).await;
        if refused.0 != 250 {
            return refused;
        }
        self.body(MESSAGE).await
    }

    /// DATA and a body, final dot included; the reply to it.
    pub(crate) async fn body(&mut self, body: &[u8]) -> (u16, String) {
        let (code, text) = self.command("DATA").await;
        assert_eq!(code, 354, "{text}");
        self.write(body).await;
        self.reply().await
    }
}

pub(crate) const MESSAGE: &[u8] = b"From: a@news.example\r\nSubject: hello\r\n\
    Message-ID: <1@news.example>\r\n\r\nGood morning\r\n.\r\n";
