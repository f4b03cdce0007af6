//! The resolver against a tiny name server of our own, with all its ways to say no.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dns::{
    Config, ConfigError, Dane, Dnssec, Exchanger, Family, NoAddresses, Resolver, Route, Tlsa, Txt,
};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, TLSA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use mail::Domain;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

#[derive(Clone)]
enum Say {
    Records(Vec<RData>),
    /// With the word of this server that DNSSEC proves them.
    Proved(Vec<RData>),
    /// An alias of the first, which has the others.
    Followed(&'static str, Vec<RData>),
    /// The same, with nothing said of the end.
    Alias(&'static str),
    ProvedAlias(&'static str),
    /// The same, with nothing there.
    Dangling(&'static str),
    Nothing,
    NoSuchName,
    Failure,
    Refused,
    Silence,
}

struct NameServer {
    addr: SocketAddr,
    asked: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Zone = HashMap<(&'static str, RecordType), Say>;

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).expect("a name")
}

fn answer(zone: &Zone, question: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let asked = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let key = zone.keys().find(|(name, kind)| *name == asked && *kind == query.query_type());
    let said = key.and_then(|key| zone.get(key)).cloned();
    // What is not said about a known name is "no such record".
    let known = zone.keys().any(|(name, _)| *name == asked);
    let said = said.unwrap_or(if known { Say::Nothing } else { Say::NoSuchName });
    let mut message =
        Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    message.add_query(query.clone());
    let soa = SOA::new(name("ns.example"), name("admin.example"), 1, 60, 60, 60, 60);
    let soa = Record::from_rdata(name("example"), 60, RData::SOA(soa));
    message.metadata.authentic_data = matches!(said, Say::Proved(_) | Say::ProvedAlias(_));
    let alias =
        |of: &str| Record::from_rdata(query.name().clone(), 60, RData::CNAME(CNAME(name(of))));
    match said {
        Say::Followed(of, records) => {
            message.add_answer(alias(of));
            for data in records {
                message.add_answer(Record::from_rdata(name(of), 60, data));
            }
        }
        Say::Alias(of) | Say::ProvedAlias(of) => {
            message.add_answer(alias(of));
        }
        Say::Dangling(of) => {
            message.add_answer(alias(of));
            message.add_authority(soa);
        }

        Say::Records(records) | Say::Proved(records) => {
            let mut owner = query.name().clone();
            for data in records {
                let next =
                    if let RData::CNAME(CNAME(to)) = &data { to.clone() } else { owner.clone() };
                message.add_answer(Record::from_rdata(owner, 60, data));
                owner = next;
            }
        }
        Say::Nothing => {
            message.add_authority(soa);
        }
        Say::NoSuchName => {
            message.metadata.response_code = ResponseCode::NXDomain;
            message.add_authority(soa);
        }
        Say::Failure => message.metadata.response_code = ResponseCode::ServFail,
        Say::Refused => message.metadata.response_code = ResponseCode::Refused,
        Say::Silence => return None,
    }
    message.to_vec().ok()
}

async fn name_server(zone: Zone) -> NameServer {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let addr = socket.local_addr().expect("address");
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(answer) = answer(&zone, &buffer[..n]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    NameServer { addr, asked, task }
}

fn mx(preference: u16, host: &str) -> RData {
    let host = if host == "." { Name::root() } else { name(host) };
    RData::MX(MX::new(preference, host))
}

fn ip(text: &str) -> RData {
    match text.parse().expect("an address") {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn tlsa() -> RData {
    let digest = vec![7; 32];
    RData::TLSA(TLSA::new(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, digest))
}

fn alias() -> RData {
    RData::CNAME(CNAME(name("a.example")))
}

fn zone() -> Zone {
    let records = |list: &[RData]| Say::Records(list.to_vec());
    HashMap::from([
        (
            ("many.example", RecordType::MX),
            records(&[
                mx(20, "c.example"),
                mx(10, "B.example"),
                mx(10, "a.example"),
                mx(30, "a.example"),
            ]),
        ),
        (("null.example", RecordType::MX), records(&[mx(0, ".")])),
        (("literal.example", RecordType::MX), records(&[mx(0, "192.0.2.1")])),
        (("literal.example", RecordType::A), records(&[ip("192.0.2.8")])),
        (("dotless.example", RecordType::MX), records(&[mx(0, "mail")])),
        (("implicit.example", RecordType::A), records(&[ip("192.0.2.7")])),
        (("six.example", RecordType::AAAA), records(&[ip("2001:db8::7")])),
        (("nothing.example", RecordType::TXT), records(&[RData::TXT(TXT::new(vec!["x".into()]))])),
        (("failing.example", RecordType::MX), Say::Failure),
        (("refusing.example", RecordType::MX), Say::Refused),
        (("silent.example", RecordType::MX), Say::Silence),
        (("half.example", RecordType::MX), Say::Nothing),
        (("half.example", RecordType::A), Say::Failure),
        (("half.example", RecordType::AAAA), Say::Nothing),
        (("a.example", RecordType::A), records(&[ip("192.0.2.1"), ip("192.0.2.2")])),
        (("a.example", RecordType::AAAA), records(&[ip("2001:db8::1")])),
        (("both.example", RecordType::A), records(&[ip("192.0.2.1"), ip("192.0.2.2")])),
        (
            ("both.example", RecordType::AAAA),
            records(&[ip("2001:db8::1"), ip("2001:db8::2"), ip("2001:db8::3")]),
        ),
        (
            ("key.example", RecordType::TXT),
            records(&[RData::TXT(TXT::new(vec!["v=DKIM1; ".into(), "p=abc".into()]))]),
        ),
        (("keyless.example", RecordType::TXT), Say::Failure),
        (
            ("followed.example", RecordType::MX),
            Say::Followed("target.example", vec![mx(10, "a.example")]),
        ),
        (("alias.example", RecordType::MX), Say::Alias("second.example")),
        (("second.example", RecordType::MX), Say::Alias("many.example")),
        (("mx.alias.example", RecordType::A), Say::Alias("a.example")),
        (("mx.alias.example", RecordType::AAAA), Say::Alias("a.example")),
        (("dangling.example", RecordType::MX), Say::Dangling("nothing.example")),
        (("astray.example", RecordType::MX), Say::Alias("failing.example")),
        (("gone.example", RecordType::MX), Say::Alias("missing.example")),
        (("round.example", RecordType::MX), Say::Alias("again.example")),
        (("again.example", RecordType::MX), Say::Alias("round.example")),
        (("proved-alias.example", RecordType::MX), Say::ProvedAlias("proved.example")),
        (("half-proved.example", RecordType::MX), Say::Alias("proved.example")),
        (("own.example", RecordType::A), Say::Proved(vec![ip("192.0.2.9")])),
        (("proved.example", RecordType::MX), Say::Proved(vec![mx(10, "mx.proved.example")])),
        (("mx.proved.example", RecordType::A), Say::Proved(vec![ip("192.0.2.9")])),
        (("_25._tcp.mx.proved.example", RecordType::TLSA), Say::Proved(vec![tlsa()])),
        (("_26._tcp.mx.proved.example", RecordType::TLSA), records(&[tlsa()])),
        (("_27._tcp.mx.proved.example", RecordType::TLSA), Say::Failure),
        (("_25._tcp.a.example", RecordType::TLSA), Say::Proved(vec![tlsa()])),
        // Three aliases of a host without signatures: the first two are signed, the last is not.
        (("alias.example", RecordType::A), records(&[alias(), ip("192.0.2.1")])),
        (("alias.example", RecordType::CNAME), Say::Proved(vec![alias()])),
        (("_25._tcp.alias.example", RecordType::TLSA), Say::Proved(vec![tlsa()])),
        (("mute.example", RecordType::A), records(&[alias(), ip("192.0.2.1")])),
        (("mute.example", RecordType::CNAME), Say::Failure),
        (("_25._tcp.mute.example", RecordType::TLSA), Say::Proved(vec![tlsa()])),
        (("loose.example", RecordType::A), records(&[alias(), ip("192.0.2.1")])),
        (("loose.example", RecordType::CNAME), records(&[alias()])),
        (("_25._tcp.loose.example", RecordType::TLSA), Say::Proved(vec![tlsa()])),
    ])
}

fn config(server: &NameServer) -> Config {
    Config { servers: vec![server.addr], timeout_ms: 200, attempts: 1, ..Config::default() }
}

async fn start() -> (NameServer, Resolver) {
    let server = name_server(zone()).await;
    let resolver = Resolver::new(&config(&server)).expect("a resolver");
    (server, resolver)
}

fn domain(text: &str) -> Domain {
    text.parse().expect("a domain")
}

fn hosts(route: &Route) -> Vec<Vec<String>> {
    route.groups().map(|g| g.iter().map(|e| e.host.to_string()).collect()).collect()
}

#[tokio::test]
async fn exchangers_come_in_groups_of_equal_preference() {
    let (_server, resolver) = start().await;
    let route = resolver.route(&domain("many.example")).await;
    assert_eq!(hosts(&route), [vec!["a.example", "b.example"], vec!["c.example"]]);
}

#[tokio::test]
async fn each_way_to_have_no_mail_is_told_apart() {
    let (_server, resolver) = start().await;
    let of = async |name: &str| (*resolver.route(&domain(name)).await).clone();
    assert_eq!(of("null.example").await, Route::NullMx);
    assert_eq!(of("missing.example").await, Route::NoSuchDomain);
    assert_eq!(of("nothing.example").await, Route::NoMail);
    for name in ["implicit.example", "six.example"] {
        let own = Exchanger { preference: 0, host: name.into() };
        assert_eq!(of(name).await, Route::Hosts(vec![own]));
    }
    for name in ["failing.example", "refusing.example", "silent.example", "half.example"] {
        let Route::Temporary { why } = of(name).await else { panic!("{name}") };
        assert!(why.contains(name), "{why}");
        assert_eq!(hosts(&of(name).await), [[""; 0]; 0]);
    }
}

/// Name servers follow aliases, most of them; what one of the others does not say is no "no".
#[tokio::test]
async fn an_alias_is_followed_whoever_does_it() {
    let (_server, resolver) = start().await;
    let of = async |name: &str| (*resolver.route(&domain(name)).await).clone();
    assert_eq!(hosts(&of("followed.example").await), [["a.example"]]);
    let many = [vec!["a.example", "b.example"], vec!["c.example"]];
    assert_eq!(hosts(&of("alias.example").await), many);
    let found = resolver.addresses("mx.alias.example").await.expect("addresses");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(of("dangling.example").await, Route::NoMail);
    assert_eq!(of("gone.example").await, Route::NoSuchDomain);
    for name in ["astray.example", "round.example"] {
        assert!(matches!(of(name).await, Route::Temporary { .. }), "{name}");
    }
    let server = name_server(zone()).await;
    let trusting = Config { dnssec: Dnssec::TrustAd, ..config(&server) };
    let trusting = Resolver::new(&trusting).expect("a resolver");
    assert!(trusting.is_secure_route(&domain("proved-alias.example")).await);
    assert!(!trusting.is_secure_route(&domain("half-proved.example")).await);
}

/// What an MX record names is all that takes mail (RFC 5321, 5.1), and no reason to fail for good.
#[tokio::test]
async fn what_is_no_host_is_no_exchanger_and_the_domains_own_address_is_none_either() {
    let (_server, resolver) = start().await;
    for (name, named) in [("literal.example", "\"192.0.2.1\""), ("dotless.example", "\"mail\"")] {
        let route = resolver.route(&domain(name)).await;
        let Route::Temporary { why } = &*route else { panic!("{name}: {route:?}") };
        assert!(why.contains(named), "{why}");
    }
}

#[tokio::test]
async fn an_address_of_the_family_that_is_left_out_is_an_address() {
    let server = name_server(zone()).await;
    let config = Config { family: Family::Ipv4Only, ..config(&server) };
    let resolver = Resolver::new(&config).expect("a resolver");
    let own = Exchanger { preference: 0, host: "six.example".into() };
    assert_eq!(*resolver.route(&domain("six.example")).await, Route::Hosts(vec![own]));
    assert_eq!(*resolver.route(&domain("nothing.example")).await, Route::NoMail);
}

#[tokio::test]
async fn answers_and_failures_are_remembered() {
    let (server, resolver) = start().await;
    for name in ["many.example", "missing.example", "failing.example", "silent.example"] {
        let first = resolver.route(&domain(name)).await;
        let asked = server.asked.load(Ordering::Relaxed);
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(resolver.route(&domain(name)).await, first);
        }
        assert_eq!(server.asked.load(Ordering::Relaxed), asked, "{name}");
        assert!(began.elapsed() < Duration::from_millis(150), "{name}");
    }
}

#[tokio::test]
async fn a_failure_is_forgotten_after_its_time() {
    let server = name_server(zone()).await;
    let config = Config { failure_ttl_s: 0, ..config(&server) };
    let resolver = Resolver::new(&config).expect("a resolver");
    resolver.route(&domain("failing.example")).await;
    let asked = server.asked.load(Ordering::Relaxed);
    resolver.route(&domain("failing.example")).await;
    assert!(server.asked.load(Ordering::Relaxed) > asked);
}

#[tokio::test]
async fn addresses_come_in_the_order_that_is_wanted() {
    let server = name_server(zone()).await;
    for (family, expected) in [
        (Family::Ipv4First, "46466"),
        (Family::Ipv6First, "64646"),
        (Family::Ipv4Only, "44"),
        (Family::Ipv6Only, "666"),
    ] {
        let resolver = Resolver::new(&Config { family, ..config(&server) }).expect("a resolver");
        let found = resolver.addresses("both.example").await.expect("addresses");
        // Within a family the order is the name server's: any. Between them it is ours.
        let families: String =
            found.iter().map(|ip| if ip.is_ipv4() { '4' } else { '6' }).collect();
        assert_eq!(families, expected, "{family:?}");
        let different: HashSet<&IpAddr> = found.iter().collect();
        assert_eq!(different.len(), expected.len(), "{found:?}");
    }
    assert_eq!(Config::default().family, Family::Ipv6First);
}

#[tokio::test]
async fn hosts_without_addresses_say_why() {
    let (_server, resolver) = start().await;
    assert_eq!(resolver.addresses("missing.example").await, Err(NoAddresses::NoSuchHost));
    assert_eq!(resolver.addresses("null.example").await, Err(NoAddresses::NoAddress));
    let half = resolver.addresses("half.example").await;
    assert!(matches!(half, Err(NoAddresses::Temporary { .. })), "{half:?}");
    let nonsense = resolver.addresses(&"x".repeat(300)).await;
    assert!(matches!(nonsense, Err(NoAddresses::Temporary { .. })), "{nonsense:?}");
}

#[tokio::test]
async fn localhost_is_this_machine_whatever_a_name_server_says() {
    let (server, resolver) = start().await;
    let mut found = resolver.addresses("localhost").await.expect("addresses").to_vec();
    found.sort();
    assert_eq!(found, ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
    assert_eq!(*resolver.route(&domain("mail.invalid")).await, Route::NoSuchDomain);
    assert_eq!(server.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn texts_are_joined_and_their_absence_is_told_from_failure() {
    let (_server, resolver) = start().await;
    let found = Txt::Found(vec!["v=DKIM1; p=abc".to_owned()]);
    assert_eq!(resolver.txt("key.example").await, found);
    assert_eq!(resolver.txt("missing.example").await, Txt::NotFound);
    assert_eq!(resolver.txt("a.example").await, Txt::NotFound);
    assert!(matches!(resolver.txt("keyless.example").await, Txt::Temporary { .. }));
}

#[tokio::test]
async fn texts_are_asked_for_each_time() {
    let (server, resolver) = start().await;
    for name in ["key.example", "missing.example"] {
        resolver.txt(name).await;
        let asked = server.asked.load(Ordering::Relaxed);
        resolver.txt(name).await;
        assert!(server.asked.load(Ordering::Relaxed) > asked, "{name}");
    }
}

#[tokio::test]
async fn many_questions_at_once_are_all_answered() {
    let server = name_server(zone()).await;
    let config = Config { concurrent: 4, timeout_ms: 2000, ..config(&server) };
    let resolver = Arc::new(Resolver::new(&config).expect("a resolver"));
    let tasks: Vec<_> = (0..200)
        .map(|i| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.route(&domain(&format!("d{i}.example"))).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(*task.await.expect("a task"), Route::NoSuchDomain);
    }
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    let error = Resolver::new(&Config { attempts: 0, ..Config::default() }).expect_err("refused");
    assert!(matches!(error, ConfigError::Range { name: "attempts", .. }));
    assert_eq!(error.to_string(), "attempts 0 must lie between 1 and 10");
}

#[tokio::test]
async fn the_word_of_a_trusted_server_is_taken_where_that_is_wanted_and_nowhere_else() {
    let server = name_server(zone()).await;
    let trusting = Config { dnssec: Dnssec::TrustAd, ..config(&server) };
    let trusting = Resolver::new(&trusting).expect("a resolver");
    assert!(trusting.is_secure_route(&domain("proved.example")).await);
    // Its own exchanger, and that it has no other is proved.
    assert!(trusting.is_secure_route(&domain("own.example")).await);
    for name in ["many.example", "implicit.example", "nothing.example"] {
        assert!(!trusting.is_secure_route(&domain(name)).await, "{name}");
    }
    let tlsa = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] };
    let records = Dane::Records { base: "mx.proved.example".into(), tlsa: vec![tlsa] };
    assert_eq!(*trusting.dane("mx.proved.example", 25).await, records);
    // Records that are not proved, none at all, and a host whose address is not proved.
    for (host, port) in [("mx.proved.example", 26), ("mx.proved.example", 28), ("a.example", 25)] {
        assert_eq!(*trusting.dane(host, port).await, Dane::Nothing, "{host} {port}");
    }
    let failed = trusting.dane("mx.proved.example", 27).await;
    assert!(matches!(&*failed, Dane::Temporary { why } if why.contains("TLSA")), "{failed:?}");
    let plain = Resolver::new(&config(&server)).expect("a resolver");
    assert!(!plain.is_secure_route(&domain("proved.example")).await);
    assert_eq!(*plain.dane("mx.proved.example", 25).await, Dane::Nothing);
}

/// RFC 7672, 2.2.2: what the alias leads to is not proved, that it is one is.
#[tokio::test]
async fn a_signed_alias_of_a_host_without_signatures_has_its_own_records() {
    let server = name_server(zone()).await;
    let trusting = Config { dnssec: Dnssec::TrustAd, ..config(&server) };
    let trusting = Resolver::new(&trusting).expect("a resolver");
    let tlsa = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] };
    let records = Dane::Records { base: "alias.example".into(), tlsa: vec![tlsa] };
    assert_eq!(*trusting.dane("alias.example", 25).await, records);
    assert_eq!(*trusting.dane("loose.example", 25).await, Dane::Nothing);
    let failed = trusting.dane("mute.example", 25).await;
    assert!(matches!(&*failed, Dane::Temporary { why } if why.contains("CNAME")), "{failed:?}");
}

#[test]
fn only_a_server_on_this_machine_is_trusted() {
    for servers in [vec![], vec!["192.0.2.1:53".parse().expect("an address")]] {
        let config = Config { dnssec: Dnssec::TrustAd, servers, ..Config::default() };
        let why = config.check().expect_err("refused").to_string();
        assert!(why.contains("all of them on this machine"), "{why}");
    }
}

#[tokio::test]
async fn questions_are_counted_with_those_that_failed() {
    let (_server, resolver) = start().await;
    assert_eq!(resolver.questions(), (0, 0));
    resolver.route(&domain("many.example")).await;
    resolver.route(&domain("many.example")).await;
    assert_eq!(resolver.questions(), (1, 0), "what is remembered is not asked");
    assert_eq!(resolver.txt("missing.example").await, Txt::NotFound);
    assert_eq!(resolver.questions(), (2, 0), "no such name is an answer");
    resolver.txt("keyless.example").await;
    resolver.route(&domain("silent.example")).await;
    assert_eq!(resolver.questions(), (4, 2));
}
