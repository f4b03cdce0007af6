//! What came of TLS stands in each event, however far the conversation came: a smart host that
//! turns us away once the session is encrypted.

use std::net::SocketAddr;
use std::path::Path;

use mail::event::EventKind;
use relay::{Auth, HopTls, Route, SmartHost};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::relay::refusals::{first, sentence};
use crate::relay::support::World;
use crate::relay::web::acceptor;

/// Where the server has had enough.
#[derive(Clone, Copy, PartialEq)]
enum Refuses {
    Ehlo,
    Auth,
    Mail,
}

async fn server(refuses: Refuses) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, refuses));
        }
    });
    addr
}

async fn converse(stream: TcpStream, refuses: Refuses) -> std::io::Result<()> {
    let mut plain = BufReader::new(stream);
    plain.write_all(b"220 smart.example\r\n").await?;
    for answer in ["250-smart.example\r\n250 STARTTLS\r\n", "220 go\r\n"] {
        plain.read_line(&mut String::new()).await?;
        plain.write_all(answer.as_bytes()).await?;
    }
    let tls = acceptor(&["smart.example"]).0.accept(plain.into_inner()).await?;
    let mut stream = BufReader::new(tls);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.split([' ', '\r']).next().unwrap_or_default() {
            "EHLO" if refuses == Refuses::Ehlo => "550 5.7.1 not you",
            "EHLO" => "250-smart.example\r\n250 AUTH PLAIN",
            "AUTH" if refuses == Refuses::Auth => "535 5.7.8 wrong password",
            "AUTH" => "235 2.7.0 welcome",
            "MAIL" => "530 5.7.0 not for you",
            _ => "250 2.0.0 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        stream.flush().await?;
    }
}

fn smart_host(addr: SocketAddr, secret: &Path) -> SmartHost {
    SmartHost {
        host: addr.ip().to_string(),
        port: addr.port(),
        tls: HopTls::StartTls,
        verify: false,
        auth: Auth::Plain,
        user: "tim".into(),
        secret_file: secret.to_owned(),
        secret_env: String::new(),
        oauth: None,
        pool: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_turned_away_after_the_handshake_is_told_with_its_tls() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "right").unwrap();
    for refuses in [Refuses::Ehlo, Refuses::Auth, Refuses::Mail] {
        let mut world = World::start().await;
        let smart = smart_host(server(refuses).await, &secret);
        world.relay("relay-a", |config| {
            config.routes = vec![Route {
                recipient_domain: "a.pretend.example".into(),
                sender_domain: "*.malleposte.test".into(),
                tenant: String::new(),
                to: "smart".into(),
            }];
            config.smart_hosts.insert("smart".into(), smart);
        });
        world.campaign("t", &["u@a.pretend.example"], false).await;
        let event = first(&world, EventKind::Deferred, "u@a.pretend.example").await;
        assert!(
            event.tls.starts_with("TLSv1.3 ") && event.tls.ends_with(" unverified"),
            "{event:?}"
        );
        assert!(sentence(&event).contains("hand this mail to"), "{event:?}");
        if refuses == Refuses::Mail {
            assert!(event.mx.ends_with(" [127.0.0.1]") && event.bytes > 0, "{event:?}");
        }
        world.stop().await;
    }
}
