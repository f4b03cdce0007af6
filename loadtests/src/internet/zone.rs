//! Records that callers add to the pretend DNS while it runs: DKIM keys, the
//! return-path domain, anything a test needs. They come before all computed names.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock};

use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TXT};
use hickory_proto::rr::{Name, RData, RecordType};

/// Octets of one character-string in a TXT record (RFC 1035, 3.3).
const TXT_STRING_OCTETS: usize = 255;

/// How a name fails on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No such name.
    Nxdomain,
    /// The server fails.
    ServFail,
    /// No answer at all.
    Silent,
    /// An answer after three seconds.
    Slow,
    /// Over UDP an empty answer with the truncation bit: ask over TCP.
    Truncated,
}

/// Records added at run time. Names are taken without regard to case or a final dot.
#[derive(Debug, Default)]
pub struct Zone {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    records: HashMap<String, Vec<RData>>,
    faults: HashMap<String, Fault>,
    /// Parents of added names: they exist, with nothing of their own (RFC 8020).
    parents: HashSet<String>,
}

impl Zone {
    /// A TXT record; long texts are cut into strings of 255 octets as the DNS wants it.
    /// A name may have several.
    pub fn add_txt(&self, name: &str, text: &str) {
        let strings = text
            .as_bytes()
            .chunks(TXT_STRING_OCTETS)
            .map(|piece| String::from_utf8_lossy(piece).into_owned())
            .collect();
        self.add(name, RData::TXT(TXT::new(strings)));
    }

    /// An MX record. The host needs an address: see [`Zone::add_a`].
    pub fn add_mx(&self, domain: &str, preference: u16, host: &str) {
        if let Some(host) = name_of(host) {
            self.add(domain, RData::MX(MX::new(preference, host)));
        }
    }

    /// A null MX record (RFC 7505).
    pub fn add_null_mx(&self, domain: &str) {
        self.add(domain, RData::MX(MX::new(0, Name::root())));
    }

    /// An address. The port is the relay's affair: all mail exchangers of the pretend
    /// internet listen on one port, a listener elsewhere needs its own port configured.
    pub fn add_a(&self, host: &str, address: Ipv4Addr) {
        self.add(host, RData::A(A(address)));
    }

    /// An IPv6 address: of a listener of the caller's own, for the exchangers of the pretend
    /// internet have none.
    pub fn add_aaaa(&self, host: &str, address: Ipv6Addr) {
        self.add(host, RData::AAAA(AAAA(address)));
    }

    /// An alias.
    pub fn add_cname(&self, alias: &str, target: &str) {
        if let Some(target) = name_of(target) {
            self.add(alias, RData::CNAME(CNAME(target)));
        }
    }

    /// The name of an address, for reverse look-ups.
    pub fn add_ptr(&self, address: Ipv4Addr, name: &str) {
        let [a, b, c, d] = address.octets();
        if let Some(target) = name_of(name) {
            self.add(&format!("{d}.{c}.{b}.{a}.in-addr.arpa"), RData::PTR(PTR(target)));
        }
    }

    /// Makes a name fail, whatever records it has.
    pub fn add_fault(&self, name: &str, fault: Fault) {
        self.write(|inner| inner.faults.insert(folded(name), fault));
    }

    /// Takes everything away that was added for a name.
    pub fn remove(&self, name: &str) {
        self.write(|inner| {
            inner.records.remove(&folded(name));
            inner.faults.remove(&folded(name))
        });
    }

    /// The texts of a name's TXT records, each in one piece.
    #[must_use]
    pub fn txt(&self, name: &str) -> Vec<Vec<u8>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let records = inner.records.get(&folded(name));
        records
            .into_iter()
            .flatten()
            .filter_map(|data| match data {
                RData::TXT(txt) => Some(txt.txt_data.concat()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn fault(&self, name: &str) -> Option<Fault> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).faults.get(name).copied()
    }

    /// The records of a name: `None` when the name does not exist here, empty when it
    /// has none of this type.
    pub(super) fn records(&self, name: &str, kind: RecordType) -> Option<Vec<RData>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let Some(records) = inner.records.get(name) else {
            return inner.parents.contains(name).then(Vec::new);
        };
        let wanted = |data: &&RData| {
            let of = data.record_type();
            of == kind || of == RecordType::CNAME || kind == RecordType::ANY
        };
        Some(records.iter().filter(wanted).cloned().collect())
    }

    fn add(&self, name: &str, data: RData) {
        let name = folded(name);
        self.write(|inner| {
            let parents = name.match_indices('.').map(|(at, _)| name[at + 1..].to_owned());
            inner.parents.extend(parents);
            inner.records.entry(name.clone()).or_default().push(data);
        });
    }

    fn write<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Names for tests of DNS trouble, all under `fault.test`: `nxdomain`, `servfail`,
/// `silent`, `slow`, `truncated`, `null-mx`, `no-data`, `cname` (an alias of a domain with
/// MX), `cname-mx` (the MX is an alias), `dangling-mx` (the MX does not exist),
/// `loopback-mx`, `private-mx` and `implicit` (an address only).
pub(super) fn reserve_faults(zone: &Zone, living_host: &str, living_address: Ipv4Addr) {
    for (label, fault) in [
        ("nxdomain", Fault::Nxdomain),
        ("servfail", Fault::ServFail),
        ("silent", Fault::Silent),
        ("slow", Fault::Slow),
        ("truncated", Fault::Truncated),
    ] {
        zone.add_fault(&format!("{label}.fault.test"), fault);
        zone.add_mx(&format!("{label}.fault.test"), 10, living_host);
    }
    zone.add_null_mx("null-mx.fault.test");
    zone.add_txt("no-data.fault.test", "no mail here, and no address either");
    zone.add_mx("target.fault.test", 10, living_host);
    zone.add_cname("cname.fault.test", "target.fault.test");
    zone.add_mx("cname-mx.fault.test", 10, "alias.fault.test");
    zone.add_cname("alias.fault.test", living_host);
    zone.add_mx("dangling-mx.fault.test", 10, "nowhere.fault.test");
    zone.add_fault("nowhere.fault.test", Fault::Nxdomain);
    zone.add_mx("loopback-mx.fault.test", 10, "loopback.fault.test");
    zone.add_a("loopback.fault.test", Ipv4Addr::LOCALHOST);
    zone.add_mx("private-mx.fault.test", 10, "private.fault.test");
    zone.add_a("private.fault.test", Ipv4Addr::new(10, 0, 0, 1));
    zone.add_a("implicit.fault.test", living_address);
}

pub(super) fn name_of(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
