//! Where DANE looks for a certificate's records, and what it comes before: a domain that is its own
//! exchanger, an exchanger that is an alias, and an MTA-STS policy beside it.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::tlsa::CertUsage;
use hickory_proto::rr::rdata::{A, CNAME, MX, TLSA, TXT};
use hickory_server::dnssec::NxProofKind;
use mail::event::EventKind;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::others::program_or_skip;
use crate::relay::dane::{Unbound, Zone, first, name, record, serve, sign, tlsa, zone};
use crate::relay::server::{Server, Tls};
use crate::relay::support::World;
use crate::relay::tls::{policy, policy_host};
use crate::relay::web::acceptor;

const PROVIDER: &str = r#"
name = "dane"
record = "identity"

[manner.sink]
tls = "offered"

[[provider]]
name = "one"
domains = ["own.signed.test", "both.signed.test", "sts.signed.test"]
mx = [{ host = "mx.one.pretend.test", address = "127.0.0.24" }]
manner = "sink"
tail = true
"#;

const PROVIDERS_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 24);
/// What an alias leads to, and where that lies.
const BASE: &str = "mx.base.test";
const BASE_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 25);

fn ee(certificate: &CertificateDer<'_>) -> TLSA {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.as_ref());
    tlsa(CertUsage::DaneEe, digest.as_ref())
}

/// A domain with a policy that names another exchanger than its own.
fn add_policy(zone: &mut Zone, domain: &str) {
    let told = TXT::new(vec!["v=STSv1; id=20260101;".to_owned()]);
    zone.upsert_mut(record(&format!("_mta-sts.{domain}"), RData::TXT(told)), 0);
    let host = format!("mta-sts.{domain}");
    zone.upsert_mut(record(&host, RData::A(A(Ipv4Addr::LOCALHOST))), 0);
}

fn add_address(zone: &mut Zone, host: &str, address: Ipv4Addr, port: u16, tlsa: Option<TLSA>) {
    zone.upsert_mut(record(host, RData::A(A(address))), 0);
    if let Some(tlsa) = tlsa {
        zone.upsert_mut(record(&format!("_{port}._tcp.{host}"), RData::TLSA(tlsa)), 0);
    }
}

fn add_exchanger(zone: &mut Zone, domain: &str) {
    zone.upsert_mut(record(domain, RData::MX(MX::new(10, name(&format!("mx.{domain}"))))), 0);
}

fn signed_zone(port: u16, good: &TLSA, of_base: TLSA) -> Zone {
    let mut signed = zone("test", Some(NxProofKind::Nsec));
    // No MX record, which is proved: the domain is its own exchanger (RFC 7672, 2.2.1).
    add_address(&mut signed, "own.signed.test", PROVIDERS_ADDRESS, port, Some(good.clone()));
    // The records lie where the address does (RFC 7672, 2.2.2).
    add_exchanger(&mut signed, "alias.signed.test");
    let alias = RData::CNAME(CNAME(name(BASE)));
    signed.upsert_mut(record("mx.alias.signed.test", alias), 0);
    add_address(&mut signed, BASE, BASE_ADDRESS, port, Some(of_base));
    // A policy that the exchanger is not in, with and without TLSA records.
    for (domain, tlsa) in [("both.signed.test", Some(good.clone())), ("sts.signed.test", None)] {
        add_exchanger(&mut signed, domain);
        add_address(&mut signed, &format!("mx.{domain}"), PROVIDERS_ADDRESS, port, tlsa);
        add_policy(&mut signed, domain);
    }
    signed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dane_looks_where_the_address_is_and_comes_before_mta_sts() {
    let Some(unbound) = program_or_skip("unbound") else { return };
    let mut world = World::start_in(PROVIDER).await;
    let port = world.internet.smtp_port();
    let (base_tls, base) = acceptor(&[BASE]);
    let base = CertificateDer::from_pem_slice(base.as_bytes()).unwrap();
    let server =
        Server::start(SocketAddr::from((BASE_ADDRESS, port)), &[], Tls::Offered(base_tls)).await;
    let elsewhere = policy("enforce", "mx.elsewhere.test");
    let policies = policy_host(&[
        ("mta-sts.both.signed.test", &elsewhere),
        ("mta-sts.sts.signed.test", &elsewhere),
    ])
    .await;
    let good = ee(world.internet.certificate());
    let mut signed = signed_zone(port, &good, ee(&base));
    let anchor = sign(&mut signed, "test");
    let (signed, _signed) = serve("test", signed).await;
    let unbound = Unbound::start(&unbound, &anchor, signed, signed).await;
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), &policies.certificate).unwrap();
    let resolver = dns::Config {
        servers: vec![unbound.addr],
        dnssec: dns::Dnssec::TrustAd,
        timeout_ms: 2000,
        failure_ttl_s: 2,
        ..dns::Config::default()
    };
    world.relay_resolving_as(&resolver, |config| {
        config.https_port = policies.port;
        config.authorities = authority.path().display().to_string();
    });
    for domain in ["own", "alias", "both", "sts"] {
        world.campaign("t", &[&format!("u@{domain}.signed.test")], false).await;
    }
    for domain in ["own", "alias", "both"] {
        let event = first(&world, EventKind::Delivered, &format!("{domain}.signed.test")).await;
        assert!(event.tls.ends_with(" dane"), "{event:?}");
    }
    let asked_for: Vec<String> = server.lines("(encrypted").into_iter().map(|h| h.line).collect();
    assert_eq!(asked_for, [format!("(encrypted {BASE})")]);
    let event = first(&world, EventKind::Deferred, "sts.signed.test").await;
    let why = "the domain's MTA-STS policy wants one of mx.elsewhere.test as exchanger";
    assert!(event.note.starts_with(why), "{event:?}");
    world.stop().await;
}
