//! A smart host's encryption: a password goes to no server whose certificate is not good unless an
//! operator says so, and to none in the clear.

use std::net::{Ipv4Addr, SocketAddr};

use mail::event::EventKind;
use relay::{Auth, HopTls, SmartHost};

use crate::relay::server::{Server, Tls};
use crate::relay::smart_hosts::route;
use crate::relay::support::World;
use crate::relay::web::acceptor;

const HOST: &str = "good.smart.test";

/// AUTH PLAIN of tim, and what he answers to AUTH LOGIN.
const PLAIN: &[&str] = &["AUTH PLAIN AHRpbQBvcGVu"];
const LOGIN: &[&str] = &["AUTH LOGIN", "dGlt", "b3Blbg=="];

/// A server, how it is to be spoken to, and what should come of it: how the session is told, if
/// there is one.
struct Case {
    name: &'static str,
    server: Tls,
    tls: HopTls,
    verify: bool,
    auth: Auth,
    delivers: Option<&'static str>,
}

fn cases(good: &Tls, good_implicit: &Tls, bad: &Tls, bad_implicit: &Tls) -> Vec<Case> {
    use Auth::{Login, Plain};
    use HopTls::{Implicit, StartTls};
    let none = &Tls::None;
    [
        ("good", good, StartTls, true, Login, Some(" verified")),
        ("good-implicit", good_implicit, Implicit, true, Plain, Some(" verified")),
        ("bad", bad, StartTls, true, Plain, None),
        ("bad-implicit", bad_implicit, Implicit, true, Login, None),
        ("clear", none, StartTls, true, Login, None),
        ("clear-trusting", none, StartTls, false, Plain, None),
        ("trusting", bad, StartTls, false, Plain, Some(" unverified")),
        ("trusting-implicit", bad_implicit, Implicit, false, Login, Some(" unverified")),
    ]
    .map(|(name, server, tls, verify, auth, delivers)| {
        let server = server.clone();
        Case { name, server, tls, verify, auth, delivers }
    })
    .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_goes_to_no_server_that_is_not_proved_and_to_none_in_the_clear() {
    let mut world = World::start().await;
    world.internet.zone().add_a(HOST, Ipv4Addr::LOCALHOST);
    let folder = tempfile::tempdir().unwrap();
    let (secret, authority) = (folder.path().join("secret"), folder.path().join("authority.pem"));
    std::fs::write(&secret, "open").unwrap();
    let (good, certificate) = acceptor(&[HOST]);
    std::fs::write(&authority, certificate).unwrap();
    // The same name, by nobody whom anybody knows.
    let (bad, _) = acceptor(&[HOST]);
    let cases = cases(
        &Tls::Offered(good.clone()),
        &Tls::Implicit(good),
        &Tls::Offered(bad.clone()),
        &Tls::Implicit(bad),
    );
    let mut servers = Vec::new();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for case in &cases {
        servers.push(Server::start(anywhere, &["AUTH PLAIN LOGIN"], case.server.clone()).await);
    }
    world.relay("relay-a", |config| {
        config.authorities = authority.display().to_string();
        for (case, server) in cases.iter().zip(&servers) {
            config.routes.push(route(&format!("{}.example", case.name), "", case.name));
            let smart = SmartHost {
                host: HOST.into(),
                port: server.addr.port(),
                tls: case.tls,
                verify: case.verify,
                auth: case.auth,
                user: "tim".into(),
                secret_file: secret.clone(),
                secret_env: String::new(),
                oauth: None,
                pool: String::new(),
            };
            config.smart_hosts.insert(case.name.into(), smart);
        }
    });
    for (case, server) in cases.iter().zip(&servers) {
        let name = case.name;
        let campaign = world.campaign("t", &[&format!("ann@{name}.example")], true).await;
        let n = world.until(campaign, 20, |n| n.delivered + n.deferrals > 0).await;
        assert_eq!(n.delivered > 0, case.delivers.is_some(), "{name}: {n:?}");
        let heard = server.heard();
        let said = |line: &&str| heard.iter().any(|h| h.line == *line && h.is_encrypted);
        let Some(session) = case.delivers else {
            // Neither a login nor a message, whatever it offers.
            for word in ["AUTH", "dGlt", "b3Blbg", "MAIL"] {
                assert!(server.lines(word).is_empty(), "{name}: {heard:?}");
            }
            continue;
        };
        let login = if case.auth == Auth::Login { LOGIN } else { PLAIN };
        assert!(login.iter().all(said), "{name}: {heard:?}");
        assert!(server.lines("AUTH").iter().all(|h| h.is_encrypted), "{name}: {heard:?}");
        let told = world.told(EventKind::Delivered).await;
        let event = told.iter().find(|e| e.campaign == Some(campaign)).unwrap();
        assert!(event.tls.ends_with(session), "{name}: {event:?}");
    }
    world.stop().await;
}
