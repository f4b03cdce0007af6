//! What recipients' domains demand of TLS is done, and what cannot be had is said.

use std::collections::HashMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use mail::CampaignId;
use mail::event::EventKind;
use mail::{Category, Event, Phase};
use tokio::net::TcpListener;

use crate::relay::refusals::sentence;
use crate::relay::server::silence;
use crate::relay::support::World;
use crate::relay::web::Web;

/// A provider with one exchanger for three domains, whose TLS is good, and one without TLS.
const PROVIDERS: &str = r#"
name = "tls"
record = "identity"

[manner.sink]
tls = "offered"

[manner.plain]
tls = "none"

[[provider]]
name = "good"
domains = ["strict.pretend.example", "wrong.pretend.example", "trying.pretend.example", "free.pretend.example"]
mx = [{ host = "mx.good.pretend.test", address = "127.0.0.21" }]
manner = "sink"

[[provider]]
name = "bare"
domains = ["bare.pretend.example"]
mx = [{ host = "mx.bare.pretend.test", address = "127.0.0.22" }]
manner = "plain"
tail = true
"#;

/// A policy host for all domains: the answers by host name.
pub(crate) async fn policy_host(policies: &[(&str, &str)]) -> Web {
    let names: Vec<&str> = policies.iter().map(|(host, _)| *host).collect();
    let answers: HashMap<String, String> =
        policies.iter().map(|(host, text)| ((*host).to_owned(), (*text).to_owned())).collect();
    Web::start(&names, move |head, _| {
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"));
        let host = head.split("host: ").nth(1).and_then(|h| h.lines().next());
        answers.get(host.unwrap_or_default()).cloned().unwrap_or_default()
    })
    .await
}

pub(crate) fn policy(mode: &str, mx: &str) -> String {
    let body = format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n");
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// The certificates of the pretend exchangers and of the policy host, as a file of authorities.
pub(crate) fn authorities(world: &World, host: &Web) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let encoded = pem(world.internet.authority());
    file.write_all(format!("{encoded}\n{}", host.certificate).as_bytes()).unwrap();
    file
}

fn pem(certificate: &[u8]) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n")
}

/// Says that these domains have a policy, and where its host is. A name with others below it has
/// the records that are added, and no others.
fn announce(world: &World, domains: &[&str]) {
    for domain in domains {
        let of = if domain.starts_with("bare.") { "bare" } else { "good" };
        world.internet.zone().add_mx(domain, 10, &format!("mx.{of}.pretend.test"));
        world.internet.zone().add_txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=20260101;");
        world.internet.zone().add_a(&format!("mta-sts.{domain}"), Ipv4Addr::LOCALHOST);
    }
}

pub(crate) fn relay(
    world: &mut World,
    name: &str,
    host: &Web,
    authorities: &tempfile::NamedTempFile,
) {
    let (port, path) = (host.port, authorities.path().display().to_string());
    world.relay(name, |config| {
        config.https_port = port;
        config.authorities = path;
    });
}

async fn about(world: &World, campaign: CampaignId, kind: EventKind) -> Vec<Event> {
    let told = world.told(kind).await;
    told.into_iter().filter(|event| event.campaign == Some(campaign)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_kept_to_and_holds_for_its_domain_alone() {
    let good = "mx.good.pretend.test";
    let host = policy_host(&[
        ("mta-sts.strict.pretend.example", &policy("enforce", "*.good.pretend.test")),
        ("mta-sts.wrong.pretend.example", &policy("enforce", "mx.elsewhere.test")),
        ("mta-sts.trying.pretend.example", &policy("testing", "mx.elsewhere.test")),
        ("mta-sts.bare.pretend.example", &policy("enforce", "mx.bare.pretend.test")),
    ])
    .await;
    let mut world = World::start_in(PROVIDERS).await;
    announce(
        &world,
        &[
            "strict.pretend.example",
            "wrong.pretend.example",
            "trying.pretend.example",
            "bare.pretend.example",
        ],
    );
    let authorities = authorities(&world, &host);
    relay(&mut world, "r1", &host, &authorities);
    let mut campaigns = HashMap::new();
    for domain in ["strict", "wrong", "trying", "bare", "free"] {
        let to: Vec<String> = (0..3).map(|n| format!("u{n}@{domain}.pretend.example")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        campaigns.insert(domain, world.campaign("t", &to, false).await);
    }
    for domain in ["strict", "trying", "free"] {
        world.until(campaigns[domain], 30, |c| c.delivered == 3).await;
    }
    for event in about(&world, campaigns["strict"], EventKind::Delivered).await {
        assert!(event.tls.ends_with(" mta-sts") && event.mx.starts_with(good), "{event:?}");
    }
    for domain in ["trying", "free"] {
        for event in about(&world, campaigns[domain], EventKind::Delivered).await {
            assert!(event.tls.ends_with(" verified"), "{event:?}");
        }
    }
    for (domain, why) in [
        (
            "wrong",
            "the domain's MTA-STS policy wants one of mx.elsewhere.test as exchanger, \
             and mx.good.pretend.test is none of them",
        ),
        (
            "bare",
            "the domain's MTA-STS policy wants TLS with a good certificate of \
             mx.bare.pretend.test: STARTTLS is not offered",
        ),
    ] {
        let start = std::time::Instant::now();
        let deferred = loop {
            let deferred = about(&world, campaigns[domain], EventKind::Deferred).await;
            if deferred.len() >= 3 {
                break deferred;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{domain} is not deferred");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        for event in deferred {
            assert!(event.note.starts_with(why), "{event:?}");
            assert_eq!((event.phase, event.category), (Some(Phase::Tls), Some(Category::Network)));
            assert!(sentence(&event).contains("proved to be safe"), "{event:?}");
        }
        let counters = world.counters(campaigns[domain]).await;
        assert_eq!((counters.delivered, counters.failed), (0, 0), "{domain}");
    }
    assert_eq!(host.connections.load(Ordering::Relaxed), 4, "each policy is fetched once");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_outlives_the_relay_that_fetched_it_and_the_record_that_told_of_it() {
    let domain = "wrong.pretend.example";
    let host =
        policy_host(&[("mta-sts.wrong.pretend.example", &policy("enforce", "mx.elsewhere.test"))])
            .await;
    let mut world = World::start_in(PROVIDERS).await;
    announce(&world, &[domain]);
    let authorities = authorities(&world, &host);
    relay(&mut world, "r1", &host, &authorities);
    let first = world.campaign("t", &["u1@wrong.pretend.example"], false).await;
    world.until(first, 20, |c| c.deferrals > 0).await;
    world.stop_relays().await;
    world.internet.zone().remove(&format!("_mta-sts.{domain}"));
    relay(&mut world, "r2", &host, &authorities);
    let second = world.campaign("t", &["u2@wrong.pretend.example"], false).await;
    world.until(second, 20, |c| c.deferrals > 0).await;
    assert_eq!(world.counters(second).await.delivered, 0);
    assert_eq!(host.connections.load(Ordering::Relaxed), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_host_that_never_answers_holds_up_nobody_else() {
    let host = policy_host(&[("mta-sts.strict.pretend.example", "")]).await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut world = World::start_in(PROVIDERS).await;
    announce(&world, &["strict.pretend.example"]);
    let (port, authorities) = (silent.local_addr().unwrap().port(), authorities(&world, &host));
    let path = authorities.path().display().to_string();
    world.relay("r1", |config| {
        config.https_port = port;
        config.authorities = path;
    });
    let slow = world.campaign("t", &["u@strict.pretend.example"], false).await;
    let free = world.campaign("t", &["u@free.pretend.example"], false).await;
    world.until(free, 20, |c| c.delivered == 1).await;
    let counters = world.counters(slow).await;
    assert_eq!((counters.waiting, counters.deferrals), (1, 0), "it waits without an attempt");
    world.stop().await;
}

/// One after the other they would take ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_host_is_reached_past_addresses_that_are_silent() {
    let domain = "strict.pretend.example";
    let host = policy_host(&[(
        "mta-sts.strict.pretend.example",
        &policy("enforce", "*.good.pretend.test"),
    )])
    .await;
    let mut world = World::start_in(PROVIDERS).await;
    let mut silent = Vec::new();
    for address in [Ipv4Addr::new(127, 0, 0, 41), Ipv4Addr::new(127, 0, 0, 42)] {
        silent.push(silence((address, host.port).into()).await);
        world.internet.zone().add_a("mta-sts.strict.pretend.example", address);
    }
    announce(&world, &[domain]);
    let authorities = authorities(&world, &host);
    relay(&mut world, "r1", &host, &authorities);
    let campaign = world.campaign("t", &["u@strict.pretend.example"], false).await;
    world.until(campaign, 9, |c| c.delivered == 1).await;
    assert_eq!(host.connections.load(Ordering::Relaxed), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sites_rule_wants_more_or_less_than_what_is_common() {
    let mut world = World::start_in(PROVIDERS).await;
    world.relay("r1", |config| {
        let rules = |tls| relay::SiteRules { tls: Some(tls), ..Default::default() };
        config.tls = relay::smtp::TlsPolicy::Required;
        config.sites.insert("good.pretend.test".into(), rules(relay::smtp::TlsPolicy::Never));
    });
    let good = world.campaign("t", &["u@free.pretend.example"], false).await;
    let bare = world.campaign("t", &["u@bare.pretend.example"], false).await;
    world.until(good, 20, |c| c.delivered == 1).await;
    world.until(bare, 20, |c| c.deferrals > 0).await;
    let delivered = about(&world, good, EventKind::Delivered).await;
    assert_eq!(delivered[0].tls, "");
    let deferred = about(&world, bare, EventKind::Deferred).await;
    assert_eq!(deferred[0].note, "STARTTLS is not offered");
    assert!(sentence(&deferred[0]).contains("Our operators want"), "{:?}", deferred[0]);
    world.stop().await;
}
