//! Mail that goes by a smart host instead of its domain's exchangers: which does, how it logs in,
//! and that a wrong password hurts no recipient and is not tried over and over.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use mail::event::EventKind;
use relay::{Auth, HopTls, OAuth, Route, SmartHost};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::relay::support::World;
use crate::relay::web::Web;

/// A server that takes everything from whoever knows the password `right`.
struct Server {
    addr: SocketAddr,
    logins: Arc<AtomicUsize>,
}

/// AUTH PLAIN of tim with `right`.
const RIGHT: &str = "AUTH PLAIN AHRpbQByaWdodA==";

/// AUTH XOAUTH2 of tim with the first token that is given out, which is good once, and the second.
const FIRST: &str = "AUTH XOAUTH2 dXNlcj10aW0BYXV0aD1CZWFyZXIgdG9rZW4tMQEB";
const SECOND: &str = "AUTH XOAUTH2 dXNlcj10aW0BYXV0aD1CZWFyZXIgdG9rZW4tMgEB";

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { addr: listener.local_addr().unwrap(), logins: Arc::default() };
        let logins = server.logins.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, logins.clone()));
            }
        });
        server
    }

    fn config(&self, secret: std::path::PathBuf) -> SmartHost {
        SmartHost {
            host: self.addr.ip().to_string(),
            port: self.addr.port(),
            tls: HopTls::None,
            verify: true,
            auth: Auth::Plain,
            user: "tim".into(),
            secret_file: secret,
            secret_env: String::new(),
            oauth: None,
            pool: String::new(),
        }
    }
}

async fn converse(stream: TcpStream, logins: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut known, mut in_body) = (false, false);
    stream.write_all(b"220 smart.example\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let answer = match line.split(' ').next().unwrap_or_default() {
            _ if in_body && line != "." => continue,
            "." => "250 2.0.0 taken",
            "EHLO" => "250-relay.malleposte.test\r\n250-AUTH PLAIN XOAUTH2\r\n250 8BITMIME",
            "AUTH" => {
                let nth = logins.fetch_add(1, Ordering::Relaxed);
                known = line == RIGHT || line == SECOND || (line == FIRST && nth == 0);
                if known { "235 2.7.0 welcome" } else { "535 5.7.8 wrong password" }
            }
            "MAIL" if !known => "530 5.7.0 who are you",
            "DATA" => "354 go",
            "QUIT" => "221 bye",
            _ => "250 2.0.0 ok",
        };
        in_body = line == "DATA";
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

pub(crate) fn route(recipient_domain: &str, tenant: &str, to: &str) -> Route {
    Route {
        recipient_domain: recipient_domain.into(),
        sender_domain: "*.malleposte.test".into(),
        tenant: tenant.into(),
        to: to.into(),
    }
}

fn people(n: usize, domain: &str) -> Vec<String> {
    (0..n).map(|i| format!("u{i}@{domain}")).collect()
}

async fn send(world: &World, tenant: &str, to: &[String], own_lane: bool) -> mail::CampaignId {
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    world.campaign(tenant, &to, own_lane).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_route_names_goes_by_the_smart_host_and_nothing_else() {
    let (mut world, server) = (World::start().await, Server::start().await);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "right\n").unwrap();
    world.relay("relay-a", |config| {
        config.allow_private = true;
        config.routes = vec![
            route("b.pretend.example", "", "mx"),
            route("*", "acme", "smart"),
            route("nowhere.example", "", "smart"),
        ];
        config.smart_hosts.insert("smart".into(), server.config(secret));
    });
    for own_lane in [true, false] {
        for (tenant, domain, site) in [
            ("acme", "a.pretend.example", "smart"),
            ("acme", "b.pretend.example", "mx.b.pretend.test"),
            ("other", "a.pretend.example", "mx.a.pretend.test"),
            // Nobody asks DNS about it.
            ("other", "nowhere.example", "smart"),
        ] {
            let campaign = send(&world, tenant, &people(30, domain), own_lane).await;
            world.until(campaign, 20, |n| n.delivered == 30).await;
            let told = world.told(EventKind::Delivered).await;
            let own = told.iter().filter(|e| e.campaign == Some(campaign));
            assert!(own.clone().all(|e| e.site == site), "{tenant} {domain}");
            assert_eq!(own.count(), 30);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_puts_mail_off_in_clear_words_and_a_new_one_is_tried_at_once() {
    let (mut world, server) = (World::start().await, Server::start().await);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "left").unwrap();
    let path = secret.clone();
    world.relay("relay-a", |config| {
        config.routes = vec![route("a.pretend.example", "", "smart")];
        config.smart_hosts.insert("smart".into(), server.config(path));
        config.retry.lifetime_s = 3600;
        config.retry.max_s = 2;
    });
    let held = send(&world, "acme", &people(60, "a.pretend.example"), true).await;
    let mixed = send(&world, "acme", &people(60, "a.pretend.example"), false).await;
    let others = send(&world, "acme", &people(30, "b.pretend.example"), true).await;
    world.until(others, 20, |n| n.delivered == 30).await;
    // Whichever was tried first; the other waits without having been tried at all.
    let start = Instant::now();
    while world.counters(held).await.deferrals + world.counters(mixed).await.deferrals == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody was put off");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let tried = server.logins.load(Ordering::Relaxed);
    // Connections that were opened at the same time; then nobody for a minute.
    assert!((1..=10).contains(&tried), "{tried} logins");
    for campaign in [held, mixed] {
        let n = world.counters(campaign).await;
        assert_eq!((n.waiting, n.failed, n.delivered), (60, 0, 0), "{n:?}");
    }
    let event = world.told(EventKind::Deferred).await.remove(0);
    let note = "the smart host \"smart\" does not let us in: AUTH PLAIN as \"tim\" was answered \
                \"535 5.7.8 wrong password\"; an operator must act";
    assert_eq!((event.note.as_str(), event.hygiene), (note, Some(mail::Hygiene::None)));
    assert_eq!((event.site.as_str(), event.reply), ("smart", None));

    std::fs::write(&secret, "right").unwrap();
    let later = SystemTime::now() + Duration::from_secs(5);
    std::fs::File::options().write(true).open(&secret).unwrap().set_modified(later).unwrap();
    let new = send(&world, "acme", &people(10, "a.pretend.example"), true).await;
    world.until(new, 20, |n| n.delivered == 10).await;
    for campaign in [held, mixed] {
        world.store.expedite(campaign).await.unwrap();
        world.until(campaign, 20, |n| n.delivered == 60).await;
    }
    world.stop().await;
}

/// Gives out tokens, the second time another one, and each time another refresh token; and keeps
/// the forms that it was asked with.
async fn token_server() -> (Web, Arc<Mutex<Vec<String>>>) {
    let forms: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = forms.clone();
    let web = Web::start(&["tokens.pretend.test"], move |head, form| {
        assert!(head.starts_with("POST /token?for=mail HTTP/1.1\r\n"), "{head}");
        let mut forms = kept.lock().unwrap();
        forms.push(String::from_utf8(form.to_vec()).unwrap());
        let body = format!(
            "{{\"access_token\":\"token-{}\",\"token_type\":\"Bearer\",\"expires_in\":3600,\
              \"refresh_token\":\"refresh-{}\"}}",
            forms.len().min(2),
            forms.len() + 1
        );
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
    })
    .await;
    (web, forms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_fetched_used_until_it_is_refused_and_its_refresh_token_kept() {
    let (mut world, server) = (World::start().await, Server::start().await);
    let (tokens, forms) = token_server().await;
    world.internet.zone().add_a("tokens.pretend.test", std::net::Ipv4Addr::LOCALHOST);
    let folder = tempfile::tempdir().unwrap();
    let (secret, refresh) = (folder.path().join("client"), folder.path().join("refresh"));
    std::fs::write(&secret, "s&cret\n").unwrap();
    std::fs::write(&refresh, "refresh-1\n").unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, &tokens.certificate).unwrap();
    let smart = SmartHost {
        auth: Auth::XOAuth2,
        secret_file: PathBuf::new(),
        oauth: Some(OAuth {
            token_url: format!("https://tokens.pretend.test:{}/token?for=mail", tokens.port),
            client_id: "app 1".into(),
            scope: "https://mail.example/.default".into(),
            client_secret_file: secret,
            refresh_token_file: refresh.clone(),
        }),
        ..server.config(PathBuf::new())
    };
    world.relay("relay-a", |config| {
        config.routes = vec![route("a.pretend.example", "", "smart")];
        config.smart_hosts.insert("smart".into(), smart);
        config.authorities = authority.display().to_string();
        config.pace.messages_per_connection_max = 50;
    });
    // The next connection's login finds that the first token has been withdrawn.
    let campaign = send(&world, "acme", &people(200, "a.pretend.example"), true).await;
    world.until(campaign, 30, |n| n.delivered == 200).await;
    let forms = forms.lock().unwrap().clone();
    let form = |refresh: u32| {
        format!(
            "grant_type=refresh_token&client_id=app+1&scope=https%3A%2F%2Fmail.example%2F.default&\
             client_secret=s%26cret&refresh_token=refresh-{refresh}"
        )
    };
    assert_eq!(forms, [form(1), form(2)]);
    assert_eq!(std::fs::read_to_string(&refresh).unwrap(), "refresh-3\n");
    world.stop().await;
}

/// What a server says or does to each connection's first message, over and over.
async fn stubborn(banner: &'static str, to_mail: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(banner.as_bytes()).await?;
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while banner.starts_with('2') && stream.read_line(&mut line).await? > 0 {
                    let is_ehlo = line.starts_with("EHLO");
                    line.clear();
                    if is_ehlo {
                        stream.write_all(b"250 stubborn.example\r\n").await?;
                    }
                    match to_mail {
                        Some(_) if is_ehlo => {}
                        Some(words) => stream.write_all(words.as_bytes()).await?,
                        None => break,
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    addr
}

/// What is tried again at once is tried for ever, if the server never changes its mind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stubborn_server_is_left_alone_for_a_while_and_somebody_hears_of_it() {
    let cases = [
        ("220 stubborn.example\r\n", None),
        ("220 stubborn.example\r\n", Some("421 4.7.0 user session limit reached\r\n")),
        ("421 4.7.0 too many connections from your address\r\n", None),
        ("554 5.7.1 We do not accept connections from your network\r\n", None),
    ];
    for (banner, to_mail) in cases {
        let mut world = World::start().await;
        let addr = stubborn(banner, to_mail).await;
        let smart = SmartHost {
            host: addr.ip().to_string(),
            port: addr.port(),
            auth: Auth::None,
            user: String::new(),
            secret_file: PathBuf::new(),
            ..Server::start().await.config(PathBuf::new())
        };
        world.relay("relay-a", |config| {
            config.routes = vec![route("a.pretend.example", "", "smart")];
            config.smart_hosts.insert("smart".into(), smart);
            config.retry.lifetime_s = 600;
        });
        let campaign = send(&world, "acme", &people(5, "a.pretend.example"), true).await;
        let n = world.until(campaign, 20, |n| n.deferrals > 0).await;
        assert_eq!((n.failed, n.delivered), (0, 0), "{banner} {to_mail:?}: {n:?}");
        world.stop().await;
    }
}
