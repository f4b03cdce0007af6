//! A mail server of a test's own: it takes everything, offers what it is told to offer, and keeps
//! each line that it was told with where it came from and how. What the pretend internet's servers
//! cannot do: fail in odd ways, lie at an IPv6 address, take passwords, know the name asked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A line that a client said, or `(connected)`, or `(encrypted NAME)` with the name it asked for.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) from: IpAddr,
    pub(crate) is_encrypted: bool,
    pub(crate) line: String,
}

/// What it does about encryption.
#[derive(Clone, Default)]
pub(crate) enum Tls {
    #[default]
    None,
    /// STARTTLS.
    Offered(TlsAcceptor),
    /// From the first octet.
    Implicit(TlsAcceptor),
    /// Offers STARTTLS, and then talks nonsense.
    Broken,
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// At this address, with these words of EHLO. CHUNKING is offered and not known.
    pub(crate) async fn start(at: SocketAddr, offers: &'static [&'static str], tls: Tls) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let (addr, heard) = (listener.local_addr().unwrap(), Arc::default());
        let book = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let client = Client { from: from.ip(), offers, heard: Arc::clone(&book) };
                // A client that leaves is no news.
                tokio::spawn(client.serve(stream, tls.clone()));
            }
        });
        Self { addr, heard, task }
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// The lines that begin with this.
    pub(crate) fn lines(&self, begin: &str) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| heard.line.starts_with(begin)).collect()
    }
}

struct Client {
    from: IpAddr,
    offers: &'static [&'static str],
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Client {
    fn note(&self, is_encrypted: bool, line: impl Into<String>) {
        let heard = Heard { from: self.from, is_encrypted, line: line.into() };
        self.heard.lock().unwrap().push(heard);
    }

    async fn serve(self, stream: TcpStream, tls: Tls) -> std::io::Result<()> {
        self.note(false, "(connected)");
        let (acceptor, stream) = match &tls {
            Tls::Implicit(acceptor) => (acceptor, stream),
            Tls::None | Tls::Offered(_) | Tls::Broken => {
                let mut stream = BufReader::new(stream);
                let offered = !matches!(tls, Tls::None);
                stream.write_all(b"220 mx.test.example\r\n").await?;
                if !self.converse(&mut stream, false, offered).await? {
                    return Ok(());
                }
                let Tls::Offered(acceptor) = &tls else {
                    return stream.write_all(b"this is no handshake\r\n").await;
                };
                (acceptor, stream.into_inner())
            }
        };
        let mut stream = acceptor.accept(stream).await?;
        let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
        self.note(true, format!("(encrypted {name})"));
        if matches!(tls, Tls::Implicit(_)) {
            stream.write_all(b"220 mx.test.example\r\n").await?;
        }
        self.converse(&mut BufReader::new(stream), true, false).await?;
        Ok(())
    }

    /// Until the client leaves, or says STARTTLS.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        is_encrypted: bool,
        offers_tls: bool,
    ) -> std::io::Result<bool> {
        let (mut line, mut in_body, mut answers) = (String::new(), false, 0);
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(false);
            }
            let said = line.trim_end();
            if in_body && said != "." {
                continue;
            }
            self.note(is_encrypted, said);
            let word = said.split(' ').next().unwrap_or_default();
            let answer = match word {
                "EHLO" => self.greeting(offers_tls),
                "STARTTLS" => {
                    stream.write_all(b"220 2.0.0 go\r\n").await?;
                    return Ok(true);
                }
                "DATA" => "354 go\r\n".to_owned(),
                "BDAT" => {
                    let octets = said.split(' ').nth(1).and_then(|n| n.parse().ok());
                    let mut chunk = vec![0; octets.unwrap_or_default()];
                    stream.read_exact(&mut chunk).await?;
                    "500 5.5.2 what is that\r\n".to_owned()
                }
                "AUTH" if said == "AUTH LOGIN" => {
                    answers = 2;
                    "334 VXNlcm5hbWU6\r\n".to_owned()
                }
                "AUTH" => "235 2.7.0 welcome\r\n".to_owned(),
                _ if answers > 0 => {
                    answers -= 1;
                    ["235 2.7.0 welcome\r\n", "334 UGFzc3dvcmQ6\r\n"][answers].to_owned()
                }
                _ => "250 2.0.0 ok\r\n".to_owned(),
            };
            in_body = word == "DATA";
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
    }

    fn greeting(&self, offers_tls: bool) -> String {
        let tls = offers_tls.then_some("STARTTLS");
        let offers = self.offers.iter().copied().chain(tls);
        let lines: String = offers.map(|word| format!("250-{word}\r\n")).collect();
        format!("250-mx.test.example\r\n{lines}250 8BITMIME\r\n")
    }
}

/// An address that swallows packets: a listener whose queue is full answers no more.
pub(crate) async fn silence(at: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    socket.bind(at).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    for _ in 0..20 {
        let connected = TcpStream::connect(at);
        match tokio::time::timeout(std::time::Duration::from_millis(300), connected).await {
            Ok(stream) => queue.push(stream.unwrap()),
            Err(_) => return (listener, queue),
        }
    }
    panic!("this system's queues have no end");
}
