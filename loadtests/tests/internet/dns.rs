//! The pretend DNS, asked by a real resolver.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use loadtests::internet::End;
use loadtests::{Internet, Listen, Scenario, generator};
use mail::Category;

use crate::internet::client::{HOST, one};

pub(crate) fn resolver(internet: &Internet) -> TokioResolver {
    patient(internet, Duration::from_millis(500))
}

fn patient(internet: &Internet, timeout: Duration) -> TokioResolver {
    resolver_at(internet.dns_address(), timeout)
}

pub(crate) fn resolver_at(at: SocketAddr, timeout: Duration) -> TokioResolver {
    let mut server = NameServerConfig::udp_and_tcp(at.ip());
    for connection in &mut server.connections {
        connection.port = at.port();
    }
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.attempts = 1;
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .expect("a resolver")
}

pub(crate) async fn mx(
    resolver: &TokioResolver,
    domain: &str,
) -> Result<Vec<(u16, String)>, NetError> {
    let lookup = resolver.mx_lookup(format!("{domain}.")).await?;
    let hosts = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::MX(mx) => Some((mx.preference, mx.exchange.to_ascii())),
        _ => None,
    });
    Ok(hosts.collect())
}

pub(crate) async fn a(resolver: &TokioResolver, host: &str) -> Result<Vec<IpAddr>, NetError> {
    Ok(resolver.lookup_ip(format!("{host}.")).await?.iter().collect())
}

#[tokio::test]
async fn a_providers_domain_leads_to_its_address() {
    let internet = one("").await;
    let dns = resolver(&internet);
    let hosts = mx(&dns, "One.Example").await.expect("an answer");
    assert_eq!(hosts, vec![(10, "mx.one.example.".to_owned())]);
    assert_eq!(a(&dns, "mx.one.example").await.expect("an answer"), vec![IpAddr::V4(HOST)]);
    assert_eq!(internet.provider_of("one.example"), Some("one"));
}

#[tokio::test]
async fn every_kind_of_trouble_has_a_name() {
    let internet = one("").await;
    let dns = resolver(&internet);
    let mx_of = |name: &'static str| mx(&dns, name);
    assert!(mx_of("nxdomain.fault.test").await.expect_err("none").is_nx_domain());
    assert!(mx_of("unheard-of.example").await.expect_err("none").is_nx_domain());
    assert_eq!(mx_of("null-mx.fault.test").await.expect("null"), vec![(0, ".".to_owned())]);
    for name in ["no-data.fault.test", "implicit.fault.test"] {
        let error = mx_of(name).await.expect_err("none");
        assert!(error.is_no_records_found() && !error.is_nx_domain(), "{name}: {error}");
    }
    assert_eq!(a(&dns, "implicit.fault.test").await.expect("one"), vec![IpAddr::V4(HOST)]);
    for name in ["servfail.fault.test", "silent.fault.test"] {
        let error = mx_of(name).await.expect_err("none");
        assert!(!error.is_nx_domain() && !error.is_no_records_found(), "{name}: {error}");
    }
    for name in ["truncated.fault.test", "cname.fault.test"] {
        let hosts = mx_of(name).await.expect("an answer");
        assert_eq!(hosts, vec![(10, "mx.one.example.".to_owned())], "{name}");
    }
    assert_eq!(a(&dns, "alias.fault.test").await.expect("one"), vec![IpAddr::V4(HOST)]);
    let private = a(&dns, "private.fault.test").await.expect("one");
    assert_eq!(private, vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))]);
    let error = a(&dns, "nowhere.fault.test").await.expect_err("none");
    assert!(error.is_nx_domain(), "{error}");
}

/// The resolver that relays have, asked the same. Our name server leaves aliases to who asks.
#[tokio::test]
async fn a_relays_resolver_follows_aliases_and_asks_again_over_tcp() {
    let internet = one("").await;
    let servers = vec![internet.dns_address()];
    let config = dns::Config { servers, timeout_ms: 500, ..dns::Config::default() };
    let resolver = dns::Resolver::new(&config).expect("a resolver");
    for (domain, host) in [
        ("truncated.fault.test", "mx.one.example"),
        ("cname.fault.test", "mx.one.example"),
        ("cname-mx.fault.test", "alias.fault.test"),
    ] {
        let route = resolver.route(&domain.parse().expect("a domain")).await;
        let hosts: Vec<&str> = route.groups().flatten().map(|e| e.host.as_ref()).collect();
        assert_eq!(hosts, [host], "{domain}: {route:?}");
        let found = resolver.addresses(host).await.expect("addresses");
        assert_eq!(*found, [IpAddr::V4(HOST)], "{domain}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_an_answer() {
    let internet = one("").await;
    assert!(mx(&resolver(&internet), "slow.fault.test").await.is_err());
    let dns = patient(&internet, Duration::from_secs(8));
    assert_eq!(mx(&dns, "slow.fault.test").await.expect("an answer").len(), 1);
}

#[tokio::test]
async fn an_address_has_the_name_that_it_was_given() {
    let internet = one("").await;
    // Not a loopback address: resolvers answer for those without asking anybody.
    let relay = Ipv4Addr::new(192, 0, 2, 1);
    internet.zone().add_ptr(relay, "relay-1.news.example");
    let lookup = resolver(&internet).reverse_lookup(IpAddr::V4(relay)).await.expect("an answer");
    let names: Vec<String> = lookup.answers().iter().map(|r| r.data.to_string()).collect();
    assert_eq!(names, ["relay-1.news.example."]);
}

#[tokio::test]
async fn the_whole_tail_can_live_with_one_provider() {
    let scenario = Scenario::named("throughput").expect("a scenario");
    let internet = Internet::start(scenario, Listen::default()).await.expect("it starts");
    let dns = resolver(&internet);
    for domain in [generator::LARGE_DOMAINS[2].to_owned(), generator::tail_domain(49_999)] {
        let hosts = mx(&dns, &domain).await.expect("an answer");
        assert_eq!(hosts, vec![(10, "mx.sink.pretend.test.".to_owned())]);
    }
}

#[tokio::test]
async fn records_can_be_added_while_it_runs() {
    let internet = one("").await;
    let key = format!("v=DKIM1; k=rsa; p={}", "A".repeat(400));
    let zone = internet.zone();
    zone.add_txt("s1._domainkey.news.example", &key);
    zone.add_mx("back.news.example", 10, "mx.back.news.example");
    zone.add_a("mx.back.news.example", Ipv4Addr::new(127, 0, 3, 1));
    let dns = resolver(&internet);
    let lookup = dns.txt_lookup("s1._domainkey.news.example.").await.expect("an answer");
    let texts: Vec<String> = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, vec![key]);
    assert_eq!(mx(&dns, "back.news.example").await.expect("one").len(), 1);
    // A parent of an added name exists, and has nothing of its own.
    let error = mx(&dns, "news.example").await.expect_err("none");
    assert!(error.is_no_records_found() && !error.is_nx_domain(), "{error}");
}

const TAIL: &str = "name = \"tail\"\n[manner.m]\n[[hosting]]\nname = \"small\"\ncount = 5\n\
                    manner = \"m\"\n[dns]\nspared = 2\n";

async fn tail(dns: &str) -> Internet {
    let scenario = Scenario::parse(&format!("{TAIL}{dns}")).expect("a scenario");
    Internet::start(scenario, Listen::default()).await.expect("it starts")
}

#[tokio::test]
async fn the_long_tail_is_spread_over_the_hosters() {
    let internet = tail("").await;
    let dns = resolver(&internet);
    let mut hosts = std::collections::HashSet::new();
    for rank in 0..60 {
        let answer = mx(&dns, &generator::tail_domain(rank)).await.expect("an answer");
        hosts.extend(answer.into_iter().map(|(_, host)| host));
    }
    assert_eq!(hosts.len(), 5, "{hosts:?}");
    let address = a(&dns, "mx.small-3.pretend.test").await.expect("one");
    assert_eq!(address, vec![IpAddr::V4(Ipv4Addr::new(127, 0, 2, 4))]);
    assert!(mx(&dns, "garage-nobody7.fr.example").await.expect_err("none").is_nx_domain());
}

#[tokio::test]
async fn the_most_popular_are_spared_and_the_rest_is_as_meant() {
    let internet = tail("nxdomain = 0.5\nnull_mx = 0.5\n").await;
    let dns = resolver(&internet);
    for rank in 0..2 {
        assert!(mx(&dns, &generator::tail_domain(rank)).await.is_ok());
    }
    for rank in 2..12 {
        let domain = generator::tail_domain(rank);
        let meant = internet.meant(&format!("a@{domain}"));
        assert_eq!(meant.end, End::Failed(Category::NoDomain));
        match mx(&dns, &domain).await {
            Ok(null) => assert_eq!(null, vec![(0, ".".to_owned())]),
            Err(error) => assert!(error.is_nx_domain(), "{error}"),
        }
    }
}

#[tokio::test]
async fn trouble_that_passes_passes() {
    let internet = tail("servfail = 1.0\ntrouble_ms = 300\n").await;
    let dns = resolver(&internet);
    let domain = generator::tail_domain(7);
    assert_eq!(internet.meant(&format!("a@{domain}")).end, End::Delivered);
    assert!(mx(&dns, &domain).await.is_err());
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(mx(&dns, &domain).await.expect("an answer").len(), 1);
}

#[tokio::test]
async fn trouble_for_ever_is_meant_as_unreachable() {
    let internet = tail("silent = 1.0\ntrouble_ms = 0\n").await;
    let domain = generator::tail_domain(7);
    assert!(mx(&resolver(&internet), &domain).await.is_err());
    let meant = internet.meant(&format!("a@{domain}"));
    assert_eq!(meant.end, End::Unreachable(Category::Network));
}
