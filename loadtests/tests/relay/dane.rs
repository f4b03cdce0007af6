//! DANE from a signed zone to the end of a delivery: what DNSSEC proves of an exchanger is done,
//! and what it does not prove changes nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::DNSKEY;
use hickory_proto::dnssec::{Algorithm, DnssecSigner, PublicKey as _, SigningKey};
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_proto::rr::rdata::{A, MX, NS, SOA, TLSA, TXT};
use hickory_proto::rr::{Name, RData, Record};
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use mail::event::EventKind;
use mail::tlsrpt::{Day, PolicyKind, ResultType};
use mail::{Domain, Event};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::{Child, Command};

use crate::others::program_or_skip;
use crate::relay::support::World;

const PROVIDER: &str = r#"
name = "dane"
record = "identity"

[manner.sink]
tls = "offered"

[[provider]]
name = "one"
domains = ["good.signed.test", "wrong.signed.test", "useless.signed.test", "bogus.signed.test", "authority.signed.test", "namesake.signed.test", "some.unsigned.test"]
mx = [{ host = "mx.one.pretend.test", address = "127.0.0.23" }]
manner = "sink"
tail = true
"#;

pub(crate) type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

pub(crate) fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

pub(crate) fn zone(origin: &str, proof: Option<NxProofKind>) -> Zone {
    let mut zone = Zone::empty(name(origin), ZoneType::Primary, AxfrPolicy::Deny, proof);
    let soa = SOA::new(name("ns.test"), name("admin.test"), 1, 60, 60, 600, 60);
    zone.upsert_mut(record(origin, RData::SOA(soa)), 0);
    zone
}

/// A domain with an exchanger of its own, and what DNS says of that one's certificate.
pub(crate) fn add(zone: &mut Zone, domain: &str, port: u16, tlsa: &TLSA) {
    add_at(zone, domain, &format!("mx.{domain}"), port, tlsa);
}

fn add_at(zone: &mut Zone, domain: &str, host: &str, port: u16, tlsa: &TLSA) {
    zone.upsert_mut(record(domain, RData::MX(MX::new(10, name(host)))), 0);
    zone.upsert_mut(record(host, RData::A(A(Ipv4Addr::new(127, 0, 0, 23)))), 0);
    let place = format!("_{port}._tcp.{host}");
    zone.upsert_mut(record(&place, RData::TLSA(tlsa.clone())), 0);
    let asks = TXT::new(vec![format!("v=TLSRPTv1; rua=mailto:tls@{domain}")]);
    zone.upsert_mut(record(&format!("_smtp._tls.{domain}"), RData::TXT(asks)), 0);
}

pub(crate) fn tlsa(usage: CertUsage, digest: &[u8]) -> TLSA {
    TLSA::new(usage, Selector::Full, Matching::Sha256, digest.to_vec())
}

/// Signs a zone; what its key is, as a line of a file of trust anchors.
pub(crate) fn sign(zone: &mut Zone, origin: &str) -> String {
    let pkcs8 = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
    let key = EcdsaSigningKey::from_pkcs8(&pkcs8, Algorithm::ECDSAP256SHA256).unwrap();
    let public = key.to_public_key().unwrap();
    let dnskey = DNSKEY::from_key(&public);
    let day = Duration::from_secs(86_400);
    let signer = DnssecSigner::new(dnskey.clone(), Box::new(key), name(origin), day);
    zone.add_zone_signing_key_mut(signer).unwrap();
    zone.secure_zone_mut().unwrap();
    let key = base64::engine::general_purpose::STANDARD.encode(dnskey.public_key().public_bytes());
    format!("{origin}. 3600 IN DNSKEY {} 3 13 {key}\n", dnskey.flags())
}

pub(crate) async fn serve(origin: &str, zone: Zone) -> (SocketAddr, Server<Catalog>) {
    let mut catalog = Catalog::new();
    catalog.upsert(name(origin).into(), vec![Arc::new(zone)]);
    let mut server = Server::new(catalog);
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = tcp.local_addr().unwrap();
    server.register_socket(UdpSocket::bind(addr).await.unwrap());
    server.register_listener(tcp, Duration::from_secs(5), 64);
    (addr, server)
}

/// The first event of a kind about a domain's recipient.
pub(crate) async fn first(world: &World, kind: EventKind, domain: &str) -> Event {
    let (start, end) = (Instant::now(), format!("@{domain}"));
    loop {
        let told = world.told(kind).await;
        if let Some(event) = told.into_iter().find(|event| event.recipient.ends_with(&end)) {
            return event;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{domain} is not {kind:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Debian's unbound, which asks the two for their zones and knows the key of the first: a resolver
/// that others wrote, as a relay has one beside it.
pub(crate) struct Unbound {
    pub(crate) addr: SocketAddr,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Unbound {
    pub(crate) async fn start(
        program: &Path,
        anchor: &str,
        signed: SocketAddr,
        unsigned: SocketAddr,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let (path, at) = (folder.path().join("unbound.conf"), |a: SocketAddr| {
            format!("{}@{}", a.ip(), a.port())
        });
        let settings = format!(
            "server:\n  interface: {}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  \
             directory: {:?}\n  pidfile: \"\"\n  use-syslog: no\n  do-not-query-localhost: no\n  \
             module-config: \"validator iterator\"\n  local-zone: \"test.\" nodefault\n  \
             trust-anchor: {:?}\n\
             stub-zone:\n  name: \"test.\"\n  stub-addr: {}\n\
             stub-zone:\n  name: \"unsigned.test.\"\n  stub-addr: {}\n",
            at(addr),
            folder.path(),
            anchor.trim(),
            at(signed),
            at(unsigned),
        );
        std::fs::write(&path, settings).unwrap();
        let process =
            Command::new(program).arg("-c").arg(&path).kill_on_drop(true).spawn().unwrap();
        let start = Instant::now();
        while TcpStream::connect(addr).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "unbound does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { addr, _process: process, _folder: folder }
    }
}

/// What DANE found is counted for reports, under the records that were held against.
async fn is_counted(world: &World) {
    let day = Day::of(crate::relay::support::now());
    let labels = ["good.signed", "wrong.signed", "useless.signed", "bogus.signed", "some.unsigned"];
    let domains: Vec<Domain> =
        labels.iter().map(|label| format!("{label}.test").parse().unwrap()).collect();
    let counts = world.store.tls_counts(day, &domains).await.unwrap();
    let found: Vec<(PolicyKind, usize, Option<ResultType>)> = counts
        .iter()
        .map(|counts| {
            let mut policies = counts.policies();
            let (policy, counted) = policies.next().unwrap();
            assert!(policies.next().is_none(), "{counts:?}");
            let result = counted.failures.keys().next().map(|failure| failure.result);
            (policy.kind, policy.strings.len(), result)
        })
        .collect();
    use PolicyKind::{NoPolicyFound, Tlsa};
    assert_eq!(
        found,
        [
            (Tlsa, 1, None),
            (Tlsa, 1, Some(ResultType::ValidationFailure)),
            (Tlsa, 1, Some(ResultType::TlsaInvalid)),
            (Tlsa, 0, Some(ResultType::DnssecInvalid)),
            (NoPolicyFound, 0, None),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_signed_zone_says_of_a_certificate_is_done() {
    let Some(unbound) = program_or_skip("unbound") else { return };
    let mut world = World::start_in(PROVIDER).await;
    let port = world.internet.smtp_port();
    let digest = |certificate: &CertificateDer<'_>| {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.as_ref())
    };
    let good = tlsa(CertUsage::DaneEe, digest(world.internet.certificate()).as_ref());
    let authority = tlsa(CertUsage::DaneTa, digest(world.internet.authority()).as_ref());
    let wrong = tlsa(CertUsage::DaneEe, &[7; 32]);
    // The parent of both: it proves that one of them is signed with it and the other not at all.
    let mut signed = zone("test", Some(NxProofKind::Nsec));
    signed.upsert_mut(record("unsigned.test", RData::NS(NS(name("ns.unsigned.test")))), 0);
    add(&mut signed, "good.signed.test", port, &good);
    add(&mut signed, "wrong.signed.test", port, &wrong);
    add(&mut signed, "useless.signed.test", port, &tlsa(CertUsage::PkixEe, &[7; 32]));
    add(&mut signed, "bogus.signed.test", port, &good);
    // The name of the first is in the certificate, that of the second is not.
    add_at(&mut signed, "authority.signed.test", "mx.one.pretend.test", port, &authority);
    add(&mut signed, "namesake.signed.test", port, &authority);
    let anchor = sign(&mut signed, "test");
    // Written after the signatures: somebody on the way wants his own certificate taken.
    let forged = format!("_{port}._tcp.mx.bogus.signed.test");
    signed.upsert_mut(record(&forged, RData::TLSA(wrong.clone())), 0);
    let mut unsigned = zone("unsigned.test", None);
    add(&mut unsigned, "some.unsigned.test", port, &wrong);
    let (signed, _signed) = serve("test", signed).await;
    let (unsigned, _unsigned) = serve("unsigned.test", unsigned).await;
    let unbound = Unbound::start(&unbound, &anchor, signed, unsigned).await;
    world.relay_resolving(&dns::Config {
        servers: vec![unbound.addr],
        dnssec: dns::Dnssec::TrustAd,
        timeout_ms: 2000,
        failure_ttl_s: 2,
        ..dns::Config::default()
    });
    for domain in ["good", "wrong", "useless", "bogus", "authority", "namesake"] {
        world.campaign("t", &[&format!("u@{domain}.signed.test")], false).await;
    }
    world.campaign("t", &["u@some.unsigned.test"], false).await;

    let event = first(&world, EventKind::Delivered, "good.signed.test").await;
    assert!(event.tls.ends_with(" dane"), "{event:?}");
    let event = first(&world, EventKind::Delivered, "authority.signed.test").await;
    assert!(event.tls.ends_with(" dane"), "{event:?}");
    let event = first(&world, EventKind::Deferred, "namesake.signed.test").await;
    let why = "its DNS names an authority in its chain, but its certificate is for another name";
    assert!(event.note.contains(why), "{event:?}");
    let event = first(&world, EventKind::Delivered, "useless.signed.test").await;
    assert!(event.tls.ends_with(" unverified"), "{event:?}");
    let event = first(&world, EventKind::Delivered, "some.unsigned.test").await;
    assert!(event.tls.ends_with(" unverified"), "{event:?}");
    let event = first(&world, EventKind::Deferred, "wrong.signed.test").await;
    assert_eq!(
        event.note,
        "the DNS of mx.wrong.signed.test wants TLS with the certificate that it names (DANE): \
         handshake failed: its certificate is not the one that its DNS names"
    );
    assert!(event.tls.ends_with(" unverified"), "{event:?}");
    let event = first(&world, EventKind::Deferred, "bogus.signed.test").await;
    let why = "DNS does not tell whether mx.bogus.signed.test is secured by DANE: TLSA";
    assert!(event.note.starts_with(why), "{event:?}");
    let delivered = world.told(EventKind::Delivered).await.len();
    assert_eq!(delivered, 4);
    world.stop_relays().await;
    is_counted(&world).await;
    world.stop().await;
}
