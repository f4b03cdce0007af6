//! What a server's DNS says of its certificates, and whether that can be proved (RFC 7672, 2.2):
//! the address first, then TLSA records. What a certificate is worth is decided elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::{RData, RecordType};
use mail::Domain;

use crate::answer::{Answer, Negative};
use crate::config::Dnssec;
use crate::resolver::Resolver;

/// TLSA records of one name that are looked at.
const TLSA_MAX: usize = 32;

/// A TLSA record (RFC 6698, 2.1), its numbers as they are in DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    /// 2: an authority of the chain; 3: the server's certificate; others are of no use for mail.
    pub usage: u8,
    /// 0: the whole certificate; 1: its public key.
    pub selector: u8,
    /// 0: as it is; 1: its SHA-256; 2: its SHA-512.
    pub matching: u8,
    /// What must match.
    pub data: Vec<u8>,
}

/// What is known of a server by DANE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dane {
    /// Nothing that is proved: DANE says nothing about this server.
    Nothing,
    /// These records are, and they lie under `base`, which is the name to ask the server for
    /// (RFC 7672, 2.2.2). Never none.
    Records {
        /// The host, or what it is an alias of.
        base: String,
        /// All of them, usable or not.
        tlsa: Vec<Tlsa>,
    },
    /// It cannot be known now; whether the server may be spoken to neither.
    Temporary {
        /// What went wrong.
        why: String,
    },
}

impl Resolver {
    /// Whether it is proved which exchangers a domain has, or that it has none and is its own.
    pub async fn is_secure_route(&self, domain: &Domain) -> bool {
        self.config.dnssec != Dnssec::Off && self.remembered_route(domain).await.1
    }

    /// What DNS says of the certificates of a server at a port. Remembered.
    pub async fn dane(&self, host: &str, port: u16) -> Arc<Dane> {
        if self.config.dnssec == Dnssec::Off {
            return Arc::new(Dane::Nothing);
        }
        let (key, now) = (format!("{host}:{port}"), Instant::now());
        if let Some(known) = self.danes.get(&key, now) {
            return known;
        }
        let (found, ttl) = match self.look_up_dane(host, port).await {
            Ok(found) => found,
            Err(why) => (Dane::Temporary { why }, self.failure_ttl()),
        };
        let found = Arc::new(found);
        self.danes.insert(&key, now + ttl, found.clone());
        found
    }

    async fn look_up_dane(&self, host: &str, port: u16) -> Result<(Dane, Duration), String> {
        // Asked only where the address is proved: name servers that know no DNSSEC often do not
        // answer for TLSA either (RFC 7672, 2.2.1).
        let (bases, mut ttl) = self.bases(host).await?;
        for base in bases {
            match self.ask(&format!("_{port}._tcp.{base}"), RecordType::TLSA).await {
                Ok(answer) => {
                    ttl = ttl.min(answer.ttl);
                    let tlsa = tlsa(&answer);
                    if answer.secure && !tlsa.is_empty() {
                        return Ok((Dane::Records { base, tlsa }, ttl));
                    }
                }
                Err(Negative::NoSuchName(for_now) | Negative::NoRecord(for_now)) => {
                    ttl = ttl.min(for_now);
                }
                Err(Negative::Failed(why)) => return Err(why),
            }
        }
        Ok((Dane::Nothing, ttl))
    }

    /// The names that TLSA records are looked for at: what the host is an alias of, then itself.
    /// None where nothing of it is proved.
    async fn bases(&self, host: &str) -> Result<(Vec<String>, Duration), String> {
        let (a, aaaa) =
            tokio::join!(self.ask(host, RecordType::A), self.ask(host, RecordType::AAAA));
        let (mut ttl, mut is_alias, mut secure) = (self.ttl_max(), false, None);
        for answer in [a, aaaa] {
            match answer {
                Ok(answer) => {
                    ttl = ttl.min(answer.ttl);
                    is_alias |= answer.records.iter().any(|r| matches!(r.data, RData::CNAME(_)));
                    secure = secure.or(answer.secure.then_some(answer));
                }
                Err(Negative::NoSuchName(for_now) | Negative::NoRecord(for_now)) => {
                    ttl = ttl.min(for_now);
                }
                Err(Negative::Failed(why)) => return Err(why),
            }
        }
        let itself = host.to_ascii_lowercase();
        let Some(secure) = secure else {
            let is_proved = is_alias && self.is_secure_alias(host).await?;
            return Ok((is_proved.then_some(itself).into_iter().collect(), ttl));
        };
        let owner = secure.records.iter().find(|r| matches!(r.data, RData::A(_) | RData::AAAA(_)));
        let owner = owner.map(|r| r.name.to_ascii().trim_end_matches('.').to_ascii_lowercase());
        let mut bases: Vec<String> = owner.into_iter().collect();
        bases.push(itself);
        bases.dedup();
        Ok((bases, ttl))
    }

    /// Whether DNSSEC proves an address of a domain, and with it that it has no MX record, if the
    /// name server says so: a resolver that validates lets no "no" pass without a proof in a zone
    /// that is signed. Of the "no" itself the AD bit is lost on its way through hickory's pool.
    pub(crate) async fn is_proved(&self, domain: &str) -> bool {
        if self.config.dnssec == Dnssec::Off {
            return false;
        }
        let is_secure = |answer: Result<Answer, _>| answer.is_ok_and(|answer| answer.secure);
        is_secure(self.ask(domain, RecordType::A).await)
            || is_secure(self.ask(domain, RecordType::AAAA).await)
    }

    /// Whether it is proved that a host is an alias, whatever it is an alias of: then its own name
    /// may have records, although what it leads to is not proved (RFC 7672, 2.2.2).
    async fn is_secure_alias(&self, host: &str) -> Result<bool, String> {
        match self.ask(host, RecordType::CNAME).await {
            Ok(answer) => Ok(answer.secure),
            Err(Negative::NoSuchName(_) | Negative::NoRecord(..)) => Ok(false),
            Err(Negative::Failed(why)) => Err(why),
        }
    }
}

fn tlsa(answer: &Answer) -> Vec<Tlsa> {
    let records = answer.records.iter().filter_map(|record| match &record.data {
        RData::TLSA(tlsa) => Some(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        }),
        _ => None,
    });
    records.take(TLSA_MAX).collect()
}
