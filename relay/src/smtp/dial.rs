//! Connecting to a host that has several addresses without standing still: the next one is
//! begun when one has failed, or beside it when it has not answered for a while, and the first
//! that answers is taken (RFC 8305, "Happy Eyeballs", 5).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mail::Phase;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::failure::SessionError;
use super::reply::Trouble;
use super::session::Target;

/// What an attempt has for itself before the next begins beside it. RFC 8305 gives 250 ms, for
/// people who wait; a mail server that is only busy shall not be connected to for nothing.
const ALONE: Duration = Duration::from_secs(1);

/// A connection, and the addresses that were tried before and did not answer.
pub(super) struct Dialled {
    pub(super) stream: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) silent: Vec<SocketAddr>,
}

/// Connects to the first address of the target that answers.
pub(super) async fn dial(target: &Target<'_>) -> Result<Dialled, SessionError> {
    // Whatever the address: no other one would do better.
    let is_hopeless = |trouble: &Trouble| matches!(trouble, Trouble::Source(_));
    let raced = race(target.addrs, |addr| connect(target, addr), is_hopeless).await;
    let (stream, addr, silent) = raced.map_err(|trouble| {
        let none = || Trouble::Io(io::Error::other("the host has no address"));
        SessionError::trouble(Phase::Connect, trouble.unwrap_or_else(none))
    })?;
    Ok(Dialled { stream, addr, silent })
}

/// What comes of the first address that answers, which one that is, and those that were begun
/// besides and did not.
///
/// # Errors
/// What went wrong last, or first in a way that is hopeless everywhere; nothing if there was no
/// address.
pub(crate) async fn race<T, E, F: Future<Output = Result<T, E>>>(
    addrs: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> F,
    is_hopeless: impl Fn(&E) -> bool,
) -> Result<(T, SocketAddr, Vec<SocketAddr>), Option<E>> {
    let mut begun = Vec::new();
    let mut under_way = FuturesUnordered::new();
    let mut left = addrs.iter().copied().peekable();
    let mut last = None;
    loop {
        if let Some(addr) = left.next() {
            begun.push(addr);
            let attempt = attempt(addr);
            under_way.push(async move { (addr, attempt.await) });
        }
        let answer = match left.peek() {
            None => Ok(under_way.next().await),
            Some(_) => timeout(ALONE, under_way.next()).await,
        };
        match answer {
            Ok(Some((addr, Ok(answered)))) => {
                begun.retain(|other| *other != addr);
                return Ok((answered, addr, begun));
            }
            Ok(Some((_, Err(error)))) if is_hopeless(&error) => return Err(Some(error)),
            Ok(Some((_, Err(error)))) => last = Some(error),
            Ok(None) => return Err(last),
            // Silence: the next one, beside it.
            Err(_) => {}
        }
    }
}

async fn connect(target: &Target<'_>, addr: SocketAddr) -> Result<TcpStream, Trouble> {
    let wait = target.timeouts.of(Phase::Connect);
    if let Some(via) = target.via {
        return via.connect(target.local_ip, addr, wait).await;
    }
    let stream =
        timeout(wait, tcp(target.local_ip, addr)).await.map_err(|_| Trouble::Timeout)??;
    // Each write is a whole thought; waiting for more to send would only cost time.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection from an address of this host. That it is none of ours (any more) is told apart:
/// then it is no fault of the server's.
async fn tcp(from: Option<IpAddr>, to: SocketAddr) -> Result<TcpStream, Trouble> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(ip) = from {
        let lost = |e: io::Error| Trouble::Source(format!("cannot send from {ip}: {}", plain(&e)));
        socket.bind(SocketAddr::new(ip, 0)).map_err(lost)?;
    }
    // As it is: that nobody listens is told so, and not as a connection that was closed.
    socket.connect(to).await.map_err(Trouble::Io)
}

/// What the system says, without its number: "cannot assign requested address".
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_ascii_lowercase()
}
