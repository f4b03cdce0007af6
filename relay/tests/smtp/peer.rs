//! The server's end of a conversation, step by step, and sessions with it.

use std::net::SocketAddr;
use std::time::Duration;

use relay::smtp::{
    Envelope, Hop, Session, SessionError, Target, Timeouts, TlsClient, TlsPolicy, Transaction,
};
use rustls::RootCertStore;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n";
pub(crate) const ENVELOPE: Envelope<'static> = Envelope {
    mail_from: "b-1@example.org",
    rcpt_to: "ann@example.com",
    smtputf8: false,
    envelope_id: "",
    require_tls: false,
};

/// The server's end.
pub(crate) struct Peer<S>(pub(crate) BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) async fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.expect("write");
        self.0.get_mut().flush().await.expect("flush");
    }

    /// The next line without its end; empty when the client has gone.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        // A client that has left with a reset has gone all the same.
        if self.0.read_line(&mut line).await.is_err() {
            return String::new();
        }
        assert!(line.is_empty() || line.ends_with("\r\n"), "{line:?}");
        line.trim_end().to_owned()
    }

    pub(crate) async fn expect(&mut self, command: &str) {
        let line = self.line().await;
        assert!(line.starts_with(command), "{line:?} is not {command:?}");
    }

    pub(crate) async fn lines(&mut self, n: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..n {
            lines.push(self.line().await);
        }
        lines
    }

    /// Everything up to the final dot, as it was on the wire; `None` when it never comes.
    pub(crate) async fn body(&mut self) -> Option<String> {
        let mut body = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.unwrap_or(0) == 0 {
                return None;
            }
            if line == ".\r\n" {
                return Some(body);
            }
            body.push_str(&line);
        }
    }

    pub(crate) async fn greet(&mut self, extensions: &str) {
        self.say("220 mx.example ESMTP\r\n").await;
        self.expect("EHLO relay.example").await;
        let lines: Vec<&str> = extensions.split_whitespace().collect();
        let mut answer = String::from("250-mx.example\r\n");
        for line in &lines {
            answer.push_str(&format!("250-{}\r\n", line.replace('_', " ")));
        }
        answer.push_str("250 ENHANCEDSTATUSCODES\r\n");
        self.say(&answer).await;
    }

    /// Reads MAIL, RCPT and DATA and answers them at once.
    pub(crate) async fn pipeline(&mut self, answer: &str) {
        self.expect("MAIL FROM:<b-1@example.org>").await;
        self.expect("RCPT TO:<ann@example.com>").await;
        self.expect("DATA").await;
        self.say(answer).await;
    }
}

/// A server for as many connections as there are scripts, one after the other.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    (listener, addr)
}

pub(crate) async fn accept(listener: &TcpListener) -> Peer<TcpStream> {
    Peer(BufReader::new(listener.accept().await.expect("accept").0))
}

pub(crate) async fn server<F, R>(script: F) -> (SocketAddr, JoinHandle<R::Output>)
where
    F: FnOnce(Peer<TcpStream>) -> R + Send + 'static,
    R: Future + Send,
    R::Output: Send + 'static,
{
    let (listener, addr) = listen().await;
    (addr, tokio::spawn(async move { script(accept(&listener).await).await }))
}

pub(crate) fn timeouts() -> Timeouts {
    Timeouts {
        connect_s: 2,
        banner_s: 2,
        ehlo_s: 2,
        tls_s: 2,
        mail_s: 2,
        rcpt_s: 2,
        data_s: 2,
        block_s: 2,
        dot_s: 2,
        quit_s: 1,
    }
}

pub(crate) async fn connect_with(
    addr: SocketAddr,
    tls: TlsPolicy,
) -> Result<Session, SessionError> {
    let client = TlsClient::new(RootCertStore::empty()).expect("tls");
    connect_as(addr, tls, &client).await
}

pub(crate) async fn connect_as(
    addr: SocketAddr,
    tls: TlsPolicy,
    client: &TlsClient,
) -> Result<Session, SessionError> {
    Session::connect(&target(&[addr], &timeouts(), tls), client).await
}

pub(crate) fn target<'a>(
    addrs: &'a [SocketAddr],
    timeouts: &'a Timeouts,
    tls: TlsPolicy,
) -> Target<'a> {
    Target {
        addrs,
        plain: &[],
        unchunked: &[],
        host: "mx.example",
        local_ip: Some("127.0.0.2".parse().expect("an address")),
        via: None,
        ehlo_name: "relay.example",
        tls,
        timeouts,
        hop: Hop::default(),
    }
}

pub(crate) async fn connect(addr: SocketAddr) -> Session {
    connect_with(addr, TlsPolicy::Opportunistic).await.expect("a session")
}

pub(crate) async fn send(session: &mut Session) -> Transaction {
    session.transact(&ENVELOPE, MESSAGE, || true).await
}

pub(crate) fn told(transaction: &Transaction) -> Vec<String> {
    transaction.replies.iter().map(|(phase, reply)| format!("{phase} {}", reply.code)).collect()
}

/// An address that swallows packets: a listener whose queue is full answers no more.
pub(crate) async fn silence() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
    let listener = socket.listen(1).expect("listen");
    let addr = listener.local_addr().expect("address");
    let mut queue = Vec::new();
    for _ in 0..20 {
        let connected = TcpStream::connect(addr);
        match tokio::time::timeout(Duration::from_millis(300), connected).await {
            Ok(stream) => queue.push(stream.expect("a connection")),
            Err(_) => return (addr, listener, queue),
        }
    }
    panic!("this system's queues have no end");
}
