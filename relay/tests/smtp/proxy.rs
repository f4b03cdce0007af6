//! Sessions by way of a proxy: SOCKS5 and HAProxy, played here, and HAProxy itself where it is
//! installed. What goes wrong at the proxy is told apart from what goes wrong behind it.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mail::Phase;
use relay::smtp::{
    Outcome, SecretFrom, Session, SessionError, Target, TlsClient, TlsPolicy, Trouble, Via,
};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::others::program_or_skip;
use crate::smtp::peer::*;

const SOURCE: &str = "127.0.0.9";

async fn by_way_of(via: &Via, addr: SocketAddr) -> Result<Session, SessionError> {
    let client = TlsClient::new(RootCertStore::empty()).expect("tls");
    let (addrs, timeouts) = ([addr], timeouts());
    let local_ip = Some(SOURCE.parse::<IpAddr>().expect("ip"));
    let target = target(&addrs, &timeouts, TlsPolicy::Never);
    Session::connect(&Target { via: Some(via), local_ip, ..target }, &client).await
}

async fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut octets = [0; N];
    stream.read_exact(&mut octets).await.expect("octets");
    octets
}

/// Takes one message.
async fn takes_a_message(mut peer: Peer<TcpStream>) {
    peer.greet("PIPELINING").await;
    peer.pipeline("250 ok\r\n250 ok\r\n354 go\r\n").await;
    peer.body().await.expect("a body");
    peer.say("250 taken\r\n").await;
    peer.expect("QUIT").await;
}

/// A SOCKS5 server for one connection: wants this login, if any, and gives this answer.
async fn socks(login: Option<(&'static str, &'static str)>, said: u8) -> (Via, JoinHandle<()>) {
    let (listener, addr) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        if let Some((user, password)) = login {
            assert_eq!(read::<4>(&mut stream).await, [5, 2, 0, 2]);
            stream.write_all(&[5, 2]).await.expect("written");
            let [version, length] = read::<2>(&mut stream).await;
            let mut words = vec![0; usize::from(length)];
            stream.read_exact(&mut words).await.expect("a user");
            assert_eq!((version, words.as_slice()), (1, user.as_bytes()));
            let [length] = read::<1>(&mut stream).await;
            let mut words = vec![0; usize::from(length)];
            stream.read_exact(&mut words).await.expect("a password");
            let right = words == password.as_bytes();
            stream.write_all(&[1, u8::from(!right)]).await.expect("written");
            if !right {
                return;
            }
        } else {
            assert_eq!(read::<3>(&mut stream).await, [5, 1, 0]);
            stream.write_all(&[5, 0]).await.expect("written");
        }
        // An address, never a name.
        assert_eq!(read::<4>(&mut stream).await, [5, 1, 0, 1]);
        let (ip, port) = (read::<4>(&mut stream).await, read::<2>(&mut stream).await);
        let to = SocketAddr::from((ip, u16::from_be_bytes(port)));
        // It need not tell from where; a name is allowed.
        stream.write_all(&[5, said, 0, 3, 2, b'm', b'x', 0, 25]).await.expect("written");
        if said == 0 {
            let mut onward = TcpStream::connect(to).await.expect("the server");
            copy_bidirectional(&mut stream, &mut onward).await.ok();
        }
    });
    (format!("socks5://{addr}").parse().expect("a proxy"), server)
}

fn with_login(via: Via, path: &std::path::Path) -> Via {
    Via { login: Some(("ann".into(), SecretFrom::File(path.to_owned()))), ..via }
}

#[tokio::test]
async fn a_message_goes_through_socks_with_and_without_a_login() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "open sesame\n").expect("written");
    for login in [None, Some(("ann", "open sesame"))] {
        let (addr, peer) = server(takes_a_message).await;
        let (via, proxy) = socks(login, 0).await;
        let via = if login.is_some() { with_login(via, &path) } else { via };
        let mut session = by_way_of(&via, addr).await.expect("a session");
        assert_eq!(session.peer(), addr, "the server's address, not the proxy's");
        assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
        session.quit().await;
        peer.await.expect("the script");
        proxy.await.expect("the proxy");
    }
}

#[tokio::test]
async fn a_wrong_password_is_the_sources_trouble_and_is_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "open barley\n").expect("written");
    let (via, _proxy) = socks(Some(("ann", "open sesame")), 0).await;
    let error = by_way_of(&with_login(via, &path), SocketAddr::from(([192, 0, 2, 1], 25))).await;
    let error = error.expect_err("not let in");
    assert!(matches!(error.trouble, Some(Trouble::Source(_))), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("user \"ann\"") && !shown.contains("barley"), "{shown}");
}

#[tokio::test]
async fn what_is_behind_the_proxy_is_told_apart_from_the_way_there() {
    for (said, is_servers, words) in [
        (1, false, "general failure"),
        (2, false, "its rules forbid it"),
        (3, true, "network is unreachable"),
        (4, true, "host is unreachable"),
        (5, true, "connection refused"),
        (6, true, "time to live exceeded"),
        (8, false, "it knows no such address"),
        (77, false, "answer 77"),
    ] {
        let (via, _proxy) = socks(None, said).await;
        let error = by_way_of(&via, SocketAddr::from(([192, 0, 2, 1], 25))).await;
        let error = error.expect_err("no connection");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!((error.phase, error.peer), (Phase::Connect, None));
        match error.trouble {
            Some(Trouble::Io(_)) => assert!(is_servers, "{said}"),
            Some(Trouble::NoWay(_)) => assert!(!is_servers, "{said}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_none_is_the_sources_trouble() {
    let closed = listen().await.1;
    let (talker, _script) = server(|mut peer| async move {
        peer.say("220 I am a mail server\r\n").await;
        peer.line().await;
    })
    .await;
    let (closer, _script) = server(|peer| async move { drop(peer) }).await;
    for (addr, words) in [(closed, "refused"), (talker, "does not speak SOCKS5"), (closer, "")] {
        let via: Via = format!("socks5://{addr}").parse().expect("a proxy");
        let error = by_way_of(&via, SocketAddr::from(([192, 0, 2, 1], 25))).await;
        let error = error.expect_err("no proxy");
        assert!(matches!(error.trouble, Some(Trouble::Source(_))), "{error}");
        assert!(error.to_string().contains(&format!("the proxy {via}: ")), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn haproxy_is_told_both_ends_before_anything_else() {
    let (proxy, script) = server(|mut peer| async move {
        let mut header = [0; 28];
        peer.0.read_exact(&mut header).await.expect("a header");
        takes_a_message(peer).await;
        header
    })
    .await;
    let via: Via = format!("haproxy://{proxy}").parse().expect("a proxy");
    let mut session = by_way_of(&via, SocketAddr::from(([192, 0, 2, 1], 25))).await.expect("ok");
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    session.quit().await;
    let header = script.await.expect("the script");
    assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(header[12..], [0x21, 0x11, 0, 12, 127, 0, 0, 9, 192, 0, 2, 1, 0, 0, 0, 25]);
}

/// HAProxy as a process, killed with the test.
struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One that connects to wherever it is told, from 127.0.0.7.
async fn haproxy(folder: &std::path::Path) -> Option<(HaProxy, SocketAddr)> {
    let program = program_or_skip("haproxy")?;
    let addr = listen().await.1;
    let config = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         listen out\n bind {addr} accept-proxy\n server mx 0.0.0.0:0 source 127.0.0.7\n"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).expect("written");
    let mut command = Command::new(program);
    let child = command.arg("-db").arg("-f").arg(&file).stderr(Stdio::inherit()).spawn();
    let haproxy = HaProxy(child.expect("haproxy"));
    let began = Instant::now();
    while TcpStream::connect(addr).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "haproxy does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some((haproxy, addr))
}

#[tokio::test]
async fn haproxy_itself_carries_messages_to_where_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((_haproxy, proxy)) = haproxy(folder.path()).await else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    let script = tokio::spawn(async move {
        let (stream, from) = listener.accept().await.expect("haproxy");
        takes_a_message(Peer(tokio::io::BufReader::new(stream))).await;
        from
    });
    let via: Via = format!("haproxy://{proxy}").parse().expect("a proxy");
    let mut session = by_way_of(&via, addr).await.expect("a session");
    assert!(matches!(send(&mut session).await.outcome, Outcome::Accepted));
    session.quit().await;
    let from = script.await.expect("the script");
    assert_eq!(from.ip(), "127.0.0.7".parse::<IpAddr>().expect("ip"));
}
