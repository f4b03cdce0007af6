//! What a recipient's domain demands of TLS at its exchangers, beyond what is configured for their
//! site: its MTA-STS policy (RFC 8461), and DANE (RFC 7672), which comes before it. Found once a
//! domain, and kept with each of its recipients.

mod host;
mod sts;
mod unfetched;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mail::classify::Own;
use mail::sts::Mode;
use mail::{Domain, Timestamp};

pub(crate) use host::HostTls;
pub(crate) use sts::{Standing, StsPolicies};

use crate::relay::lock;
use crate::smtp::{Session, SessionError, Trouble};

/// A domain whose demand could not be met is not tried again for so long: each of its recipients
/// would cost a handshake with each of its exchangers to hear the same.
const RESTS: Duration = Duration::from_secs(60);
/// Domains whose demands are remembered.
const DOMAINS_MAX: usize = 12_000;
/// A recipient whose domain's policy is being fetched comes again after this.
const NOT_YET: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// Whose mail a session is opened for. The pool of sessions hands no argument to what opens
    /// one or looks whether one will do; both run in the task that asks for a session.
    static ASKED_FOR: Asked;
}

/// For whom a session is asked, and for what.
struct Asked {
    demand: Arc<Demand>,
    /// The message demands verified TLS all the way (RFC 8689).
    requires_tls: bool,
}

/// What one domain demands.
#[derive(Debug)]
pub(crate) struct Demand {
    pub(crate) domain: Domain,
    pub(crate) sts: Option<Arc<mail::sts::Policy>>,
    /// DNSSEC proves which exchangers it has: what it proves of them counts too (RFC 7672, 2.2.1).
    pub(crate) secure: bool,
    /// It may have a policy, which could not be fetched.
    is_unsure: bool,
    /// When it could not be met, and why.
    failed: Mutex<Option<(Instant, String)>>,
    /// When none of its exchangers would do for a message that requires TLS, and why.
    unassured: Mutex<Option<(Instant, Own, String)>>,
}

impl Demand {
    fn new(domain: Domain, sts: Option<Arc<mail::sts::Policy>>, secure: bool) -> Self {
        let (failed, unassured) = (Mutex::default(), Mutex::default());
        Self { domain, sts, secure, is_unsure: false, failed, unassured }
    }

    fn is_as(&self, sts: Option<&Arc<mail::sts::Policy>>, secure: bool, is_unsure: bool) -> bool {
        let is_known = self.secure == secure && self.is_unsure == is_unsure;
        is_known && self.sts.as_ref() == sts
    }

    /// The policy, if it is to be enforced.
    pub(crate) fn enforced(&self) -> Option<&mail::sts::Policy> {
        self.sts.as_deref().filter(|policy| policy.mode == Mode::Enforce)
    }

    /// Whether a session that was opened for another domain will do for this one. What DANE
    /// vouches for by an authority may have been given to the other domain's name, and is not
    /// shared; such records are few.
    pub(crate) fn is_met_by(&self, host: &str, tls: &HostTls, session: &Session) -> bool {
        if self.secure && (!tls.is_dane_known || !tls.is_for(&self.domain)) {
            return false;
        }
        if self.secure && tls.is_by_dane() {
            return true;
        }
        let is_verified = || session.tls().is_some_and(|tls| tls.verified.is_ok());
        self.enforced().is_none_or(|policy| policy.names(host) && is_verified())
    }

    /// Whether it is proved that the domain has this exchanger: its MX records are signed, or its
    /// MTA-STS policy, which comes over HTTPS, names it (RFC 8689, 4.2.1).
    fn proves(&self, host: &str) -> bool {
        let names = |policy: &mail::sts::Policy| policy.mode != Mode::None && policy.names(host);
        self.secure || self.sts.as_deref().is_some_and(names)
    }

    /// Whether a session will do for a message that requires TLS all the way (RFC 8689, 4.2.1).
    pub(crate) fn is_assured_by(&self, host: &str, session: &Session) -> bool {
        self.proves(host) && session.assures_tls()
    }

    /// Why nothing is asked of an exchanger that may be another's.
    pub(crate) fn unproved(&self, host: &str) -> Option<SessionError> {
        // A policy that is enforced and does not name it says so itself.
        if self.proves(host) || self.enforced().is_some() {
            return None;
        }
        let what = format!("{host} is an exchanger of {}, as REQUIRETLS demands", self.domain);
        let (own, why) = match self.is_unsure {
            true => (
                Own::Unencrypted,
                format!("no MTA-STS policy can be had now that proves that {what}"),
            ),
            false => (Own::Unproved, format!("neither DNSSEC nor MTA-STS proves that {what}")),
        };
        Some(SessionError::trouble(mail::Phase::Tls, Trouble::NotAssured { own, why }))
    }

    /// Runs what asks for a session in this domain's name, for a message that requires TLS or not.
    pub(crate) async fn scope<T>(
        self: &Arc<Self>,
        requires_tls: bool,
        asks: impl Future<Output = T>,
    ) -> T {
        ASKED_FOR.scope(Asked { demand: self.clone(), requires_tls }, asks).await
    }

    /// Whose session is being asked for; nobody's in particular, outside of [`scope`](Self::scope).
    pub(crate) fn asked_for() -> Option<Arc<Self>> {
        ASKED_FOR.try_with(|asked| asked.demand.clone()).ok()
    }

    /// Whether the session is asked for by a message that requires TLS all the way.
    pub(crate) fn requires_tls() -> bool {
        ASKED_FOR.try_with(|asked| asked.requires_tls).unwrap_or(false)
    }

    /// It could not be met, if that is what the trouble is.
    pub(crate) fn failed(&self, trouble: &Trouble) {
        let now = Instant::now();
        match trouble {
            Trouble::Policy(why) => *lock(&self.failed) = Some((now, why.clone())),
            Trouble::NotAssured { own, why } => {
                *lock(&self.unassured) = Some((now, *own, why.clone()));
            }
            _ => {}
        }
    }

    /// Why it could not be met, if that is not long ago.
    pub(crate) fn rests(&self, requires_tls: bool) -> Option<SessionError> {
        let is_recent = |at: &Instant| at.elapsed() < RESTS;
        let ago =
            |why: &str, at: &Instant| format!("{why} (found {} s ago)", at.elapsed().as_secs());
        let failed = lock(&self.failed);
        let unassured = lock(&self.unassured);
        let trouble = match (failed.as_ref(), unassured.as_ref()) {
            (Some((at, why)), _) if is_recent(at) => Trouble::Policy(ago(why, at)),
            (_, Some((at, own, why))) if requires_tls && is_recent(at) => {
                Trouble::NotAssured { own: *own, why: ago(why, at) }
            }
            _ => return None,
        };
        Some(SessionError::trouble(mail::Phase::Tls, trouble))
    }

    /// What history keeps of a session's encryption: see `Event::tls`.
    pub(crate) fn encryption(&self, host: &str, session: &Session) -> String {
        let told = session.encryption();
        match (&self.sts, told.strip_suffix(" verified")) {
            (Some(policy), Some(tls)) if policy.mode != Mode::None && policy.names(host) => {
                format!("{tls} mta-sts")
            }
            _ => told,
        }
    }
}

/// The demands of all domains that this relay sends to.
pub(crate) struct Demands {
    sts: Option<Arc<StsPolicies>>,
    known: Mutex<HashMap<Domain, Arc<Demand>>>,
}

/// What is known of a domain's demand now.
pub(crate) enum Demanded {
    /// This.
    This(Arc<Demand>),
    /// It is being found out; again then.
    NotYet(Timestamp),
    /// Mail to it does not go to its exchangers.
    Nothing,
}

impl Demanded {
    /// What each recipient carries.
    pub(crate) fn known(self) -> Option<Arc<Demand>> {
        match self {
            Self::This(demand) => Some(demand),
            Self::NotYet(_) | Self::Nothing => None,
        }
    }
}

impl Demands {
    pub(crate) fn new(sts: Option<Arc<StsPolicies>>) -> Self {
        Self { sts, known: Mutex::default() }
    }

    /// These will be asked for, a little later.
    pub(crate) fn expect<'a>(&self, domains: impl Iterator<Item = &'a Domain>) {
        if let Some(policies) = &self.sts {
            policies.expect(domains);
        }
    }

    /// A domain's demand. Waits a moment for a policy that is not known yet, and no longer: those
    /// of other domains wait behind it.
    pub(crate) async fn of(&self, domain: &Domain, secure: bool, now: Timestamp) -> Demanded {
        let (sts, is_unsure) = match &self.sts {
            None => (None, false),
            Some(policies) => match policies.standing(domain, now).await {
                Standing::Known(policy) => (policy, false),
                Standing::Unfetched => (None, true),
                Standing::NotYet => return Demanded::NotYet(now + NOT_YET),
            },
        };
        let mut known = lock(&self.known);
        if let Some(demand) = known.get(domain).filter(|d| d.is_as(sts.as_ref(), secure, is_unsure))
        {
            return Demanded::This(demand.clone());
        }
        if known.len() >= DOMAINS_MAX {
            known.clear();
        }
        let demand = Demand { is_unsure, ..Demand::new(domain.clone(), sts, secure) };
        let demand = Arc::new(demand);
        known.insert(domain.clone(), demand.clone());
        Demanded::This(demand)
    }
}
