//! Connecting to a host that has several addresses without standing still: the next one is
//! begun when one has failed, or beside it when it has not answered for a while, and the first
//! that answers is taken (RFC 8305, "Happy Eyeballs", 5).

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

/// What an attempt has for itself before the next begins beside it. RFC 8305 gives 250 ms, for
/// people who wait; a mail server that is only busy shall not be connected to for nothing.
const ALONE: Duration = Duration::from_secs(1);

/// What comes of the first address that answers, which one that is, and those that were begun
/// besides and did not.
///
/// # Errors
/// What went wrong last, or first in a way that is hopeless everywhere; nothing if there was no
/// address.
pub async fn race<T, E, F: Future<Output = Result<T, E>>>(
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
