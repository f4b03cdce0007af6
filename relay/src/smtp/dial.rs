//! Connecting to a host that has several addresses without standing still: the next one is
//! begun when one has failed, or beside it when it has not answered for a while, and the first
//! that answers is taken (RFC 8305, "Happy Eyeballs", 5).

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mail::Phase;
use mail_send::SmtpClient;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::reply::Trouble;
use super::session::{SessionError, Target};

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
    let mut begun = Vec::new();
    let mut under_way = FuturesUnordered::new();
    let mut left = target.addrs.iter().copied().peekable();
    let mut last = Trouble::Io(std::io::Error::other("the host has no address"));
    loop {
        if let Some(addr) = left.next() {
            begun.push(addr);
            under_way.push(async move { (addr, connect(target, addr).await) });
        }
        let answer = match left.peek() {
            None => Ok(under_way.next().await),
            Some(_) => timeout(ALONE, under_way.next()).await,
        };
        match answer {
            Ok(Some((addr, Ok(stream)))) => {
                begun.retain(|other| *other != addr);
                return Ok(Dialled { stream, addr, silent: begun });
            }
            Ok(Some((_, Err(trouble)))) => last = trouble,
            Ok(None) => return Err(SessionError::trouble(Phase::Connect, last)),
            // Silence: the next one, beside it.
            Err(_) => {}
        }
    }
}

async fn connect(target: &Target<'_>, addr: SocketAddr) -> Result<TcpStream, Trouble> {
    let wait = target.timeouts.of(Phase::Connect);
    let connected = match target.local_ip {
        Some(ip) => SmtpClient::connect_using(ip, addr, wait).await,
        None => SmtpClient::connect(addr, wait).await,
    };
    let stream = connected
        .map_err(|error| match error {
            mail_send::Error::Timeout => Trouble::Timeout,
            mail_send::Error::Io(error) => Trouble::Io(error),
            other => Trouble::Garbage(other.to_string()),
        })?
        .stream;
    // Each write is a whole thought; waiting for more to send would only cost time.
    stream.set_nodelay(true)?;
    Ok(stream)
}
