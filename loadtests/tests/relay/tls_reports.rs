//! Reports about TLS (RFC 8460) from the session that went wrong to the report at its place.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use loadtests::internet::{Fault, Kept};
use mail::event::EventKind;
use mail::tlsrpt::{Counts, Day, Failure, Policy, PolicyKind, ResultType};
use mail::{Domain, Timestamp};
use mail_auth::hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::{Value, json};
use store::{TlsCounted, TlsReportState};
use tokio::net::TcpListener;

use crate::relay::support::{SENDER, World, now, parts, relay_config};
use crate::relay::tls::{policy, policy_host};
use crate::relay::web::Web;

const HOUR: Duration = Duration::from_secs(3600);

/// A site for each domain: a session that was opened for one does for the others there, and is
/// counted once. Reports are taken where there is no TLS.
const PROVIDERS: &str = r#"
name = "reports"
record = "identity"

[manner.sink]
tls = "offered"

[manner.plain]
tls = "none"

[[provider]]
name = "trying"
domains = ["trying.pretend.example"]
mx = [{ host = "mx.trying.pretend.test", address = "127.0.0.24" }]
manner = "sink"

[[provider]]
name = "wrong"
domains = ["wrong.pretend.example"]
mx = [{ host = "mx.wrong.pretend.test", address = "127.0.0.26" }]
manner = "sink"

[[provider]]
name = "broken"
domains = ["broken.pretend.example"]
mx = [{ host = "mx.broken.pretend.test", address = "127.0.0.27" }]
manner = "sink"

[[provider]]
name = "free"
domains = ["free.pretend.example"]
mx = [{ host = "mx.free.pretend.test", address = "127.0.0.28" }]
manner = "sink"

[[provider]]
name = "bare"
domains = ["bare.pretend.example", "reports.pretend.example"]
mx = [{ host = "mx.bare.pretend.test", address = "127.0.0.25" }]
manner = "plain"
tail = true
"#;

const BY_MAIL: &str = "mailto:tls@reports.pretend.example";

/// The head of a request, and its body.
type Posted = (String, Vec<u8>);

/// A web server that takes reports.
struct Collector {
    web: Web,
    taken: Arc<Mutex<Vec<Posted>>>,
}

impl Collector {
    async fn start(host: &str) -> Self {
        let taken: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let takes = taken.clone();
        let web = Web::start(&[host], move |head, body| {
            takes.lock().unwrap().push((head.to_owned(), body.to_vec()));
            "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n".to_owned()
        })
        .await;
        Self { web, taken }
    }
}

fn asks(world: &World, domain: &str, rua: &str) {
    let record = format!("v=TLSRPTv1; rua={rua}");
    world.internet.zone().add_txt(&format!("_smtp._tls.{domain}"), &record);
}

/// With reports on.
fn reporting(config: &mut relay::Config) {
    config.tls_reports.from = format!("tls-reports@{SENDER}");
    config.tls_reports.organization = "Malleposte, Tests".into();
}

/// One look for what is due by a relay that is there for nothing else, and that demands TLS.
async fn send(world: &World, authorities: &str, now: Timestamp) -> usize {
    let mut config = relay_config(world.internet.smtp_port());
    reporting(&mut config);
    config.authorities = authorities.into();
    config.tls = relay::smtp::TlsPolicy::Verified;
    let parts = parts(&world.store, world.internet.dns_address());
    relay::send_tls_reports(config, parts, now).await.unwrap()
}

async fn counted(world: &World, day: Day) -> BTreeMap<String, Counts> {
    let domains = world.store.tls_domains(day).await.unwrap();
    let domains: Vec<Domain> = domains.into_iter().map(|(domain, _)| domain).collect();
    let counts = world.store.tls_counts(day, &domains).await.unwrap();
    domains.into_iter().map(|domain| domain.to_string()).zip(counts).collect()
}

/// The kinds of failures and of policies.
fn told(counts: &Counts) -> Vec<(PolicyKind, Vec<ResultType>)> {
    let results = |counts: &mail::tlsrpt::PolicyCounts| {
        counts.failures.keys().map(|failure| failure.result).collect()
    };
    counts.policies().map(|(policy, counts)| (policy.kind, results(counts))).collect()
}

/// The report in a mail, as mail-parser and flate2 find it.
fn read(kept: &Kept) -> Value {
    let message = MessageParser::default().parse(&kept.wire).unwrap();
    let kind = message.content_type().unwrap();
    assert_eq!((kind.subtype(), kind.attribute("report-type")), (Some("report"), Some("tlsrpt")));
    let file = message.attachment(0).unwrap();
    assert_eq!(file.content_type().unwrap().subtype(), Some("tlsrpt+gzip"));
    unzipped(file.contents())
}

fn unzipped(octets: &[u8]) -> Value {
    let mut json = String::new();
    flate2::read::GzDecoder::new(octets).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// Whether the signature is good by what DNS shows.
async fn is_signed(world: &World, kept: &Kept) -> bool {
    let dns = world.internet.dns_address();
    let mut server = NameServerConfig::udp_and_tcp(dns.ip());
    server.connections.iter_mut().for_each(|connection| connection.port = dns.port());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let authenticator = MessageAuthenticator::new(config, ResolverOpts::default()).unwrap();
    let message = AuthenticatedMessage::parse(&kept.wire).unwrap();
    let results = authenticator.verify_dkim(&message).await;
    !results.is_empty() && results.iter().all(|r| matches!(r.result(), DkimResult::Pass))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_wrong_with_tls_is_told_to_those_who_ask() {
    let good = policy("testing", "*.trying.pretend.test");
    let host = policy_host(&[
        ("mta-sts.trying.pretend.example", &good),
        ("mta-sts.wrong.pretend.example", &policy("enforce", "mx.elsewhere.test")),
        ("mta-sts.broken.pretend.example", &policy("sometimes", "*.trying.pretend.test")),
    ])
    .await;
    let collector = Collector::start("collector.pretend.example").await;
    let mut world = World::start_in(PROVIDERS).await;
    world.internet.zone().add_a("collector.pretend.example", Ipv4Addr::LOCALHOST);
    for label in ["trying", "wrong", "broken"] {
        let domain = format!("{label}.pretend.example");
        world.internet.zone().add_mx(&domain, 10, &format!("mx.{label}.pretend.test"));
        world.internet.zone().add_txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=20260101;");
        world.internet.zone().add_a(&format!("mta-sts.{domain}"), Ipv4Addr::LOCALHOST);
    }
    let by_web = format!("https://collector.pretend.example:{}/v1/tls?of=us", collector.web.port);
    asks(&world, "trying.pretend.example", &format!("{BY_MAIL},{by_web}"));
    asks(&world, "wrong.pretend.example", BY_MAIL);
    asks(&world, "broken.pretend.example", BY_MAIL);
    for domain in ["bare", "reports"] {
        let domain = format!("{domain}.pretend.example");
        world.internet.zone().add_mx(&domain, 10, "mx.bare.pretend.test");
        asks(&world, &domain, BY_MAIL);
    }
    // The certificates of the policy host and of the collector, and not that of the exchangers.
    let mut authorities = tempfile::NamedTempFile::new().unwrap();
    write!(authorities, "{}{}", host.certificate, collector.web.certificate).unwrap();
    let authorities = authorities.path().display().to_string();
    let (port, path) = (host.port, authorities.clone());
    world.relay("r1", |config| {
        reporting(config);
        config.https_port = port;
        config.authorities = path;
        config.sources = vec![relay::Source {
            address: Some(Ipv4Addr::LOCALHOST.into()),
            ehlo: "relay.malleposte.test".into(),
            ..relay::Source::named("out1")
        }];
    });
    let day = Day::of(now());
    let mut campaigns = BTreeMap::new();
    for domain in ["trying", "wrong", "broken", "bare", "free"] {
        let to = format!("u@{domain}.pretend.example");
        campaigns.insert(domain, world.campaign("t", &[&to], false).await);
    }
    for domain in ["trying", "broken", "bare", "free"] {
        world.until(campaigns[domain], 30, |c| c.delivered == 1).await;
    }
    world.until(campaigns["wrong"], 30, |c| c.deferrals > 0).await;
    world.stop_relays().await;

    let counts = counted(&world, day).await;
    use ResultType as R;
    let policies = |domain: &str| told(&counts[&format!("{domain}.pretend.example")]);
    assert_eq!(policies("trying"), [(PolicyKind::Sts, vec![R::CertificateNotTrusted])]);
    assert_eq!(policies("wrong"), [(PolicyKind::Sts, vec![R::ValidationFailure])]);
    assert_eq!(
        policies("broken"),
        [(PolicyKind::Sts, vec![R::StsPolicyInvalid]), (PolicyKind::NoPolicyFound, vec![])]
    );
    assert_eq!(policies("bare"), [(PolicyKind::NoPolicyFound, vec![R::StarttlsNotSupported])]);
    assert_eq!(counts.len(), 4, "who does not ask is not counted for: {:?}", counts.keys());
    let delivered = world.told(EventKind::Delivered).await;
    let trying = delivered.iter().find(|e| e.recipient == "u@trying.pretend.example").unwrap();
    assert!(trying.tls.ends_with(" unverified"), "{trying:?}");

    world.internet.keep_messages(100);
    assert_eq!(send(&world, &authorities, day.end()).await, 0, "too early");
    assert_eq!(send(&world, &authorities, day.end() + 6 * HOUR).await, 4);
    assert_eq!(send(&world, &authorities, day.end() + 7 * HOUR).await, 0, "each goes once");
    let kept = world.internet.take_kept();
    assert_eq!(kept.len(), 4);
    for mail in &kept {
        assert_eq!(mail.from, format!("tls-reports@{SENDER}"));
        assert_eq!(mail.to, "tls@reports.pretend.example");
        assert!(is_signed(&world, mail).await);
        let text = String::from_utf8_lossy(&mail.wire);
        assert!(text.contains("\r\nTLS-Required: No\r\n"), "{text}");
        assert!(text.contains(&format!("\r\nTLS-Report-Submitter: {SENDER}\r\n")), "{text}");
    }
    let reports: Vec<Value> = kept.iter().map(read).collect();
    let is_about = |report: &&Value| {
        report["policies"][0]["policy"]["policy-domain"] == "trying.pretend.example"
    };
    let report = reports.iter().find(is_about).unwrap();
    let expected = json!({
        "organization-name": "Malleposte, Tests",
        "date-range": {
            "start-datetime": format!("{day}T00:00:00Z"),
            "end-datetime": format!("{day}T23:59:59Z"),
        },
        "contact-info": format!("tls-reports@{SENDER}"),
        "report-id": format!("{day}.trying.pretend.example@{SENDER}"),
        "policies": [{
            "policy": {
                "policy-type": "sts",
                "policy-string": [
                    "version: STSv1", "mode: testing", "mx: *.trying.pretend.test", "max_age: 86400"
                ],
                "policy-domain": "trying.pretend.example",
                "mx-host": ["*.trying.pretend.test"],
            },
            "summary": {
                "total-successful-session-count": 0,
                "total-failure-session-count": 1,
            },
            "failure-details": [{
                "result-type": "certificate-not-trusted",
                "sending-mta-ip": "127.0.0.1",
                "receiving-mx-hostname": "mx.trying.pretend.test",
                "receiving-ip": "127.0.0.24",
                "failed-session-count": 1,
                "failure-reason-code": "no authority that is known here gave it its certificate",
            }],
        }],
    });
    assert_eq!(*report, expected);
    let taken = std::mem::take(&mut *collector.taken.lock().unwrap());
    let [(head, body)] = taken.as_slice() else { panic!("{taken:?}") };
    assert!(head.starts_with("POST /v1/tls?of=us HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/tlsrpt+gzip\r\n"), "{head}");
    assert_eq!(unzipped(body), expected);

    // Nobody is told of the sessions that brought the reports, though they had no TLS.
    let after = counted(&world, day).await;
    assert_eq!(after, counts);
    let (_, state) = &world.store.tls_domains(day).await.unwrap()[2];
    assert_eq!(state.sent.keys().collect::<Vec<_>>(), [&by_web, BY_MAIL]);
    assert_eq!((state.attempts, state.ended_at), (1, Some(day.end() + 6 * HOUR)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_counted_where_reports_are_off() {
    let mut world = World::start_in(PROVIDERS).await;
    let day = Day::of(now());
    world.internet.zone().add_mx("trying.pretend.example", 10, "mx.trying.pretend.test");
    asks(&world, "trying.pretend.example", BY_MAIL);
    world.relay("r1", |config| config.mta_sts = false);
    let campaign = world.campaign("t", &["u@trying.pretend.example"], false).await;
    world.until(campaign, 20, |c| c.delivered == 1).await;
    world.stop_relays().await;
    assert!(counted(&world, day).await.is_empty());
    // The same with reports: what was missing is the setting alone.
    world.relay("r2", reporting);
    let campaign = world.campaign("t", &["v@trying.pretend.example"], false).await;
    world.until(campaign, 20, |c| c.delivered == 1).await;
    world.stop_relays().await;
    assert_eq!(counted(&world, day).await.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_that_is_silent_about_reports_holds_up_neither_mail_nor_the_end() {
    let mut world = World::start_in(PROVIDERS).await;
    world.internet.zone().add_mx("trying.pretend.example", 10, "mx.trying.pretend.test");
    world.internet.zone().add_fault("_smtp._tls.trying.pretend.example", Fault::Silent);
    world.relay("r1", |config| {
        reporting(config);
        config.mta_sts = false;
    });
    let campaign = world.campaign("t", &["u@trying.pretend.example"], false).await;
    world.until(campaign, 20, |c| c.delivered == 1).await;
    let ending = Instant::now();
    world.stop_relays().await;
    assert!(ending.elapsed() < Duration::from_secs(10), "{:?}", ending.elapsed());
    assert!(counted(&world, Day::of(now())).await.is_empty());
    world.stop().await;
}

async fn count(world: &World, day: Day, domain: &str) -> Domain {
    let domain: Domain = domain.parse().unwrap();
    let mut counts = Counts::default();
    let failure = Failure::bare(ResultType::CertificateExpired);
    counts.count(Policy::bare(PolicyKind::NoPolicyFound), Some(failure));
    let due = day.end();
    let counted = TlsCounted { day, domain: &domain, counts: &counts, due };
    assert!(world.store.count_tls(&[counted]).await.remove(0).unwrap());
    domain
}

async fn state(world: &World, day: Day, domain: &Domain) -> TlsReportState {
    world.store.tls_day(day, domain).await.unwrap().unwrap().state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_does_not_arrive_is_tried_again_for_a_day() {
    let world = World::start_in(PROVIDERS).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    world.internet.zone().add_a("collector.pretend.example", Ipv4Addr::LOCALHOST);
    let nowhere = format!("https://collector.pretend.example:{closed}/");
    let nobody = "mailto:tls@nxdomain.fault.test";
    asks(&world, "trying.pretend.example", &format!("{nowhere},{BY_MAIL},{nobody}"));
    let day = Day::of(now()).before();
    let domain = count(&world, day, "trying.pretend.example").await;
    world.internet.keep_messages(100);
    let mut at = day.end();
    assert_eq!(send(&world, "", at).await, 1);
    let first = state(&world, day, &domain).await;
    assert!(first.failed[&nowhere].contains("does not answer"), "{first:?}");
    assert!(first.refused.contains_key(nobody) && first.sent.contains_key(BY_MAIL), "{first:?}");
    assert_eq!(first.next_at, Some(at + Duration::from_secs(600)));
    let mut tries = 1;
    while let Some(next) = state(&world, day, &domain).await.next_at {
        assert_eq!(send(&world, "", next - Duration::from_secs(1)).await, 0);
        assert_eq!(send(&world, "", next).await, 1);
        (at, tries) = (next, tries + 1);
    }
    assert!(at > day.end() + 12 * HOUR && at <= day.end() + 24 * HOUR, "{at}");
    let last = state(&world, day, &domain).await;
    assert_eq!((last.attempts, last.ended_at), (tries, Some(at)));
    assert_eq!(world.internet.take_kept().len(), 1, "what has arrived is not sent again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_runs_sends_what_is_due_by_itself() {
    let mut world = World::start_in(PROVIDERS).await;
    asks(&world, "trying.pretend.example", BY_MAIL);
    let day = Day(Day::of(now()).0 - 2);
    let domain = count(&world, day, "trying.pretend.example").await;
    world.internet.keep_messages(100);
    world.relay("r1", reporting);
    world.relay("r2", reporting);
    let start = Instant::now();
    while state(&world, day, &domain).await.ended_at.is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "no report");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.stop_relays().await;
    let kept = world.internet.take_kept();
    assert_eq!(kept.len(), 1, "of two relays one sends it");
    let report = read(&kept[0]);
    assert_eq!(report["policies"][0]["summary"]["total-failure-session-count"], 1);
    world.stop().await;
}
