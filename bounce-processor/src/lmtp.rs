//! The door for mail servers of this house.

use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt as _;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::LmtpPlace;

#[derive(Debug)]
pub(crate) enum LmtpDoor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl LmtpDoor {
    /// A socket that nobody listens at any more is left by a process that ended: it is replaced.
    pub(crate) async fn bind(place: &LmtpPlace) -> std::io::Result<Self> {
        match place {
            LmtpPlace::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            LmtpPlace::Unix(path) => {
                let is_socket =
                    path.symlink_metadata().is_ok_and(|about| about.file_type().is_socket());
                if is_socket && is_left(UnixStream::connect(path).await) {
                    std::fs::remove_file(path)?;
                }
                Ok(Self::Unix(UnixListener::bind(path)?))
            }
        }
    }
}

/// Whether nobody listens at a socket.
fn is_left(connected: std::io::Result<UnixStream>) -> bool {
    connected.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Who came in by it.
pub(crate) enum Neighbour {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

/// Never, where there is no such door.
pub(crate) async fn accept_lmtp(door: Option<&LmtpDoor>) -> std::io::Result<Neighbour> {
    match door {
        None => std::future::pending().await,
        Some(LmtpDoor::Tcp(listener)) => {
            listener.accept().await.map(|(stream, client)| Neighbour::Tcp(stream, client.ip()))
        }
        Some(LmtpDoor::Unix(listener)) => {
            listener.accept().await.map(|(stream, _)| Neighbour::Unix(stream))
        }
    }
}
