//! Connecting to a host that has several addresses: to the first of them that answers.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mail::Phase;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use web::race;

use super::failure::SessionError;
use super::reply::Trouble;
use super::session::Target;

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
