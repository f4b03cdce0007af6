//! What a session says of a domain's policy: as it wants it, or what is wrong (RFC 8460, 4.3).

use std::net::IpAddr;

use dns::{Dane, Tlsa};
use mail::sts::Mode;
use mail::tlsrpt::{Failure, Policy, PolicyKind, ResultType};

use crate::demand::{Demand, HostTls};
use crate::smtp::{Flaw, Session, SessionError, TlsPolicy};

/// A session with one exchanger: where it went, from where, and how it was to be secured.
pub(crate) struct Tried<'a> {
    pub(crate) host: &'a str,
    pub(crate) sending_ip: Option<IpAddr>,
    pub(crate) wanted: &'a HostTls,
}

/// What is counted of a session that came about, or of one that did not; nothing where TLS had no
/// part in it.
pub(crate) fn judged(
    demand: &Demand,
    tried: &Tried<'_>,
    result: Result<&Session, &SessionError>,
) -> Option<(Policy, Option<Failure>)> {
    // Our own choice says nothing of their TLS.
    if tried.wanted.policy == TlsPolicy::Never {
        return None;
    }
    let policy = policy(demand, tried.wanted);
    let (flaw, receiving_ip) = match result {
        Ok(session) => (flaw(demand, tried, &policy, session), Some(session.peer().ip())),
        Err(error) => (Some(error.flaw()?), error.peer.map(|peer| peer.ip())),
    };
    let failure = flaw.map(|flaw| failure(flaw, tried.host, tried.sending_ip, receiving_ip));
    Some((policy, failure))
}

/// What is counted where the domain wants no session with an exchanger, or it cannot be known
/// whether it does.
pub(crate) fn refused(demand: &Demand, host: &str, flaw: &Flaw) -> (Policy, Option<Failure>) {
    let policy = match flaw.result {
        ResultType::DnssecInvalid => Policy::bare(PolicyKind::Tlsa),
        _ => without_dane(demand),
    };
    (policy, Some(failure(flaw.clone(), host, None, None)))
}

fn failure(
    flaw: Flaw,
    host: &str,
    sending_ip: Option<IpAddr>,
    receiving_ip: Option<IpAddr>,
) -> Failure {
    let mx = host.trim_end_matches('.').to_owned();
    Failure { sending_ip, mx, receiving_ip, ..Failure::bare(flaw.result) }.because(&flaw.why)
}

/// The policy that was applied: DANE comes before MTA-STS (RFC 8461, 2).
fn policy(demand: &Demand, wanted: &HostTls) -> Policy {
    match wanted.tlsa.as_deref() {
        Some(Dane::Records { tlsa, .. }) => Policy::tlsa(tlsa.iter().map(as_in_zones)),
        _ => without_dane(demand),
    }
}

fn without_dane(demand: &Demand) -> Policy {
    match demand.sts.as_deref().filter(|policy| policy.mode != Mode::None) {
        Some(policy) => Policy::sts(policy),
        None => Policy::bare(PolicyKind::NoPolicyFound),
    }
}

/// `3 1 1 …` (RFC 6698, 2.2).
fn as_in_zones(record: &Tlsa) -> String {
    let Tlsa { usage, selector, matching, data } = record;
    let data: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{usage} {selector} {matching} {data}")
}

/// What the policy finds wrong with a session, whether or not that kept it from coming about: in
/// mode testing nothing does.
fn flaw(demand: &Demand, tried: &Tried<'_>, policy: &Policy, session: &Session) -> Option<Flaw> {
    let sts = demand.sts.as_deref().filter(|_| policy.kind == PolicyKind::Sts);
    if let Some(sts) = sts.filter(|sts| !sts.names(tried.host)) {
        let why = format!("the policy wants one of {} as exchanger", sts.mx.join(", "));
        return Some(Flaw { result: ResultType::ValidationFailure, why });
    }
    if let Some(flaw) = session.plain_flaw() {
        return Some(flaw);
    }
    let facts = session.tls()?;
    match (policy.kind, &facts.dane) {
        (PolicyKind::Tlsa, Some(dane)) => dane.clone().err(),
        // Encrypted, as such records want it (RFC 7672, 2.2), and they are still to be mended.
        (PolicyKind::Tlsa, None) => {
            let why = "none of the records has a use for mail".to_owned();
            Some(Flaw { result: ResultType::TlsaInvalid, why })
        }
        (PolicyKind::Sts, _) => facts.verified.clone().err(),
        // Any certificate will do where nobody wants a good one (RFC 7435).
        (PolicyKind::NoPolicyFound, _) => None,
    }
}
