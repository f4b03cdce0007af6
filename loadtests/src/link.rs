//! A network link that can be bad: a TCP proxy on loopback between a service and Redis. It
//! delays, throttles, swallows and cuts, and heals when it is told to. What is swallowed is
//! not lost: TCP would send it again, so it comes late, after the healing, like in real life.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Octets on their way at a time: with a delay, few enough that a pipeline of commands
/// takes several trips, as it would on a long line.
const PIECE_OCTETS: usize = 16 * 1024;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// As if it were not there.
    Fair,
    /// Each piece takes so long, and no more octets a second pass in each direction.
    Slow {
        /// Of each direction.
        delay: Duration,
        /// Of each direction.
        octets_per_s: u64,
    },
    /// Nothing passes and nobody is told: a cable is out, a firewall drops.
    Silent,
    /// Connections are reset and new ones end at once: the network is down and says so.
    Cut,
}

/// A link from a TCP address of its own to a server's unix socket. Dropped, it is gone.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    _serving: AbortOnDropHandle<()>,
}

impl Link {
    /// Listens, and leads to the socket.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn new(listen: SocketAddr, to: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let weather = watch::Sender::new(Weather::Fair);
        let serving = tokio::spawn(serve(listener, to.to_owned(), weather.subscribe()));
        Ok(Self { address, weather, _serving: AbortOnDropHandle::new(serving) })
    }

    /// Where clients reach the server through it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, for connections that are there and those to come.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// Owns its connections: they end with it.
async fn serve(listener: TcpListener, to: PathBuf, weather: watch::Receiver<Weather>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        connections.spawn(carry(client, to.clone(), weather.clone()));
    }
}

async fn carry(mut client: TcpStream, to: PathBuf, mut weather: watch::Receiver<Weather>) {
    let mut now = weather.clone();
    let both = async {
        // A silent line does not even let a connection come about.
        let _ = now.wait_for(|now| *now != Weather::Silent).await;
        let server = UnixStream::connect(&to).await?;
        client.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            ended = forward(from_client, to_server, now.clone()) => ended,
            ended = forward(from_server, to_client, now.clone()) => ended,
        }
    };
    let is_cut = tokio::select! {
        _ended = both => false,
        _now = weather.wait_for(|now| *now == Weather::Cut) => true,
    };
    if is_cut {
        let _ = client.set_zero_linger();
    }
}

/// One direction until its end. Reading goes on only when what was read has passed.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_OCTETS];
    loop {
        let n = from.read(&mut piece).await?;
        if n == 0 {
            return Ok(());
        }
        let now = weather.wait_for(|now| *now != Weather::Silent).await;
        let now = now.map(|now| *now).unwrap_or(Weather::Fair);
        if let Weather::Slow { delay, octets_per_s } = now {
            sleep(delay + Duration::from_secs_f64(n as f64 / octets_per_s as f64)).await;
        }
        to.write_all(&piece[..n]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A server on a unix socket that sends back what it gets, and a link to it.
    async fn echo() -> (tempfile::TempDir, Link) {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("echo");
        let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let link = Link::new(SocketAddr::from(([127, 0, 0, 1], 0)), &socket).await.expect("bound");
        (folder, link)
    }

    async fn say(stream: &mut TcpStream) -> io::Result<Duration> {
        let began = Instant::now();
        stream.write_all(b"hello").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"hello");
        Ok(began.elapsed())
    }

    #[tokio::test]
    async fn a_slow_link_takes_its_time_in_both_directions() {
        let (_folder, link) = echo().await;
        let mut stream = TcpStream::connect(link.address()).await.expect("connected");
        say(&mut stream).await.expect("an answer");
        let delay = Duration::from_millis(60);
        link.set(Weather::Slow { delay, octets_per_s: 1 << 20 });
        assert!(say(&mut stream).await.expect("an answer") >= delay * 2);
    }

    #[tokio::test]
    async fn what_a_silent_link_swallows_comes_when_it_heals() {
        let (_folder, link) = echo().await;
        let mut stream = TcpStream::connect(link.address()).await.expect("connected");
        link.set(Weather::Silent);
        let patience = Duration::from_millis(200);
        assert!(tokio::time::timeout(patience, say(&mut stream)).await.is_err());
        link.set(Weather::Fair);
        let mut late = [0; 5];
        stream.read_exact(&mut late).await.expect("the late answer");
        assert_eq!(&late, b"hello");
    }

    #[tokio::test]
    async fn a_cut_link_ends_what_is_open_and_what_comes_until_it_heals() {
        let (_folder, link) = echo().await;
        let mut open = TcpStream::connect(link.address()).await.expect("connected");
        say(&mut open).await.expect("an answer");
        link.set(Weather::Cut);
        assert!(say(&mut open).await.is_err());
        let mut new = TcpStream::connect(link.address()).await.expect("connected");
        assert!(say(&mut new).await.is_err());
        link.set(Weather::Fair);
        let mut healed = TcpStream::connect(link.address()).await.expect("connected");
        say(&mut healed).await.expect("an answer");
    }
}
