//! Connections by way of a proxy, so that several relays can share an address: SOCKS5 (RFC 1928,
//! 1929), or HAProxy, told the two ends by the PROXY protocol, version 2. Addresses are handed on,
//! never names. What goes wrong at the proxy is the egress source's trouble, not the server's.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::plain;
use super::login::SecretFrom;
use super::reply::Trouble;

/// A proxy is next door: one that has not answered by then is not there.
const PROXY_WAIT: Duration = Duration::from_secs(5);

/// Which protocol a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// It is asked to connect, and says what came of it.
    Socks5,
    /// It is told source and destination, and says nothing.
    HaProxy,
}

/// A proxy, as `socks5://host:port` or `haproxy://host:port`, and who logs in to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is, as `host:port`.
    pub at: String,
    /// User and password (RFC 1929), of SOCKS5 alone.
    pub login: Option<(String, SecretFrom)>,
}

/// A text that is no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither socks5://host:port nor haproxy://host:port")]
pub struct ViaError(String);

impl FromStr for Via {
    type Err = ViaError;
    fn from_str(text: &str) -> Result<Self, ViaError> {
        let parse = || {
            let (scheme, at) = text.split_once("://")?;
            let protocol = match scheme {
                "socks5" => Protocol::Socks5,
                "haproxy" => Protocol::HaProxy,
                _ => return None,
            };
            let (host, port) = at.rsplit_once(':')?;
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
            let is_host =
                at.parse::<SocketAddr>().is_ok() || (!host.is_empty() && host.bytes().all(is_name));
            let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
            (is_host && is_port).then(|| Self { protocol, at: at.to_owned(), login: None })
        };
        parse().ok_or_else(|| ViaError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Socks5 => "socks5",
            Protocol::HaProxy => "haproxy",
        };
        write!(f, "{scheme}://{}", self.at)
    }
}

/// What is wrong with the proxy itself.
fn fails(via: &Via, why: impl fmt::Display) -> Trouble {
    Trouble::Source(format!("the proxy {via}: {why}"))
}

impl Via {
    /// A connection with `to` by way of the proxy; `from` is the address that the proxy is to send
    /// from. `wait` is for the server to answer; the proxy has its own, shorter time.
    pub(super) async fn connect(
        &self,
        from: Option<IpAddr>,
        to: SocketAddr,
        wait: Duration,
    ) -> Result<TcpStream, Trouble> {
        let stream = timeout(PROXY_WAIT, TcpStream::connect(&self.at)).await;
        let stream = stream.map_err(|_| fails(self, "no answer in time"))?;
        let mut stream = stream.map_err(|e| fails(self, plain(&e)))?;
        stream.set_nodelay(true)?;
        match self.protocol {
            Protocol::Socks5 => {
                let entered = timeout(PROXY_WAIT, self.enter(&mut stream)).await;
                entered.map_err(|_| fails(self, "no answer in time"))??;
                let asked = timeout(wait, self.ask(&mut stream, to)).await;
                asked.map_err(|_| Trouble::Timeout)??;
            }
            Protocol::HaProxy => {
                let header = from.and_then(|from| header(from, to));
                let header = header.ok_or_else(|| fails(self, "an address of another family"))?;
                stream.write_all(&header).await.map_err(|e| fails(self, plain(&e)))?;
            }
        }
        Ok(stream)
    }

    /// Greets a SOCKS5 server, and logs in if it wants that.
    async fn enter<S>(&self, stream: &mut S) -> Result<(), Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broken = |e: io::Error| fails(self, plain(&e));
        let greeting: &[u8] = match self.login {
            Some(_) => &[5, 2, NO_LOGIN, PASSWORD],
            None => &[5, 1, NO_LOGIN],
        };
        stream.write_all(greeting).await.map_err(broken)?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.map_err(broken)?;
        match (answer, &self.login) {
            ([5, NO_LOGIN], _) => Ok(()),
            ([5, PASSWORD], Some((user, secret))) => self.log_in(stream, user, secret).await,
            ([5, _], Some(_)) => Err(fails(self, "it takes no login by user and password")),
            ([5, _], None) => Err(fails(self, "it wants a login: via_user is not set")),
            _ => Err(fails(self, "it does not speak SOCKS5")),
        }
    }

    async fn log_in<S>(
        &self,
        stream: &mut S,
        user: &str,
        secret: &SecretFrom,
    ) -> Result<(), Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broken = |e: io::Error| fails(self, plain(&e));
        let password =
            secret.read().await.map_err(|why| fails(self, format!("{secret}: {why}")))?;
        let (Ok(of_user), Ok(of_password)) =
            (u8::try_from(user.len()), u8::try_from(password.len()))
        else {
            return Err(fails(self, "user and password have 255 octets at most"));
        };
        let words = [&[1, of_user], user.as_bytes(), &[of_password], password.as_bytes()].concat();
        stream.write_all(&words).await.map_err(broken)?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.map_err(broken)?;
        match answer {
            [_, 0] => Ok(()),
            _ => Err(fails(self, format!("it does not take user {user:?} with this password"))),
        }
    }

    /// Asks a SOCKS5 server for a connection.
    async fn ask<S>(&self, stream: &mut S, to: SocketAddr) -> Result<(), Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broken = |e: io::Error| fails(self, plain(&e));
        let port = to.port().to_be_bytes();
        let request = match to.ip() {
            IpAddr::V4(ip) => [&[5, CONNECT, 0, IPV4][..], &ip.octets(), &port].concat(),
            IpAddr::V6(ip) => [&[5, CONNECT, 0, IPV6][..], &ip.octets(), &port].concat(),
        };
        stream.write_all(&request).await.map_err(broken)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.map_err(broken)?;
        let [version, said, _, kind] = answer;
        if version != 5 {
            return Err(fails(self, "it does not speak SOCKS5"));
        }
        self.judge(said)?;
        // The address that it sends from, which it need not tell.
        let octets = match kind {
            IPV4 => 4,
            IPV6 => 16,
            NAME => usize::from(stream.read_u8().await.map_err(broken)?),
            _ => return Err(fails(self, "it does not speak SOCKS5")),
        };
        let mut bound = [0; 257];
        stream.read_exact(&mut bound[..octets + 2]).await.map_err(broken)?;
        Ok(())
    }

    /// What a SOCKS5 server says of a connection (RFC 1928, 6). Four answers are about the server
    /// that was asked for; the others are about the way there, which another source may have.
    fn judge(&self, said: u8) -> Result<(), Trouble> {
        let server =
            |what: &str| Err(Trouble::Io(io::Error::other(format!("{what}, says {self}"))));
        let way = |what: &str| Err(Trouble::NoWay(format!("the proxy {self} does not: {what}")));
        match said {
            0 => Ok(()),
            1 => way("general failure"),
            2 => way("its rules forbid it"),
            3 => server("network is unreachable"),
            4 => server("host is unreachable"),
            5 => server("connection refused"),
            6 => server("time to live exceeded"),
            7 => way("it cannot connect at all"),
            8 => way("it knows no such address"),
            other => way(&format!("answer {other}")),
        }
    }
}

const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The twelve octets that no other protocol begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header of the PROXY protocol, version 2: command PROXY, TCP, both addresses. The source's
/// port is left to the proxy's host. `None` when the families differ.
fn header(from: IpAddr, to: SocketAddr) -> Option<Vec<u8>> {
    let (family, addresses) = match (from, to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (0x11, [a.octets(), b.octets()].concat()),
        (IpAddr::V6(a), IpAddr::V6(b)) => (0x21, [a.octets(), b.octets()].concat()),
        _ => return None,
    };
    let length = (addresses.len() as u16 + 4).to_be_bytes();
    let ports = [[0, 0], to.port().to_be_bytes()].concat();
    Some([&SIGNATURE[..], &[0x21, family], &length, &addresses, &ports].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_written_as_addresses() {
        for good in ["socks5://10.0.0.1:1080", "haproxy://[fd00::1]:5000", "socks5://egress-1:1080"]
        {
            assert_eq!(good.parse::<Via>().expect(good).to_string(), good);
        }
        for bad in [
            "10.0.0.1:1080",
            "socks4://h:1",
            "socks5://h",
            "socks5://:1080",
            "socks5://h:0",
            "socks5://h:99999",
            "socks5://u:p@h:1",
            "haproxy://fd00::1:5000/",
            "",
        ] {
            let error = bad.parse::<Via>().expect_err(bad).to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    /// Octets by the specification's tables (haproxy.org, PROXY protocol, 2.2).
    #[test]
    fn the_header_is_that_of_the_specification() {
        let v4 = header("203.0.113.9".parse().expect("ip"), "192.0.2.1:25".parse().expect("addr"));
        let mut expected = b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A".to_vec();
        expected.extend([0x21, 0x11, 0, 12, 203, 0, 113, 9, 192, 0, 2, 1, 0, 0, 0, 25]);
        assert_eq!(v4.expect("a header"), expected);
        let (a, b) = ("2001:db8::1", "2001:db8::2");
        let v6 = header(a.parse().expect("ip"), format!("[{b}]:587").parse().expect("addr"));
        let v6 = v6.expect("a header");
        assert_eq!(v6.len(), 16 + 36);
        assert_eq!(v6[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!((v6[16..18].to_vec(), v6[31], v6[47]), (vec![0x20, 0x01], 1, 2));
        assert_eq!(v6[48..], [0, 0, 2, 75]);
        assert_eq!(header("::1".parse().expect("ip"), "192.0.2.1:25".parse().expect("addr")), None);
    }
}
