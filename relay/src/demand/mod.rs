//! What a recipient's domain demands of TLS at its exchangers, beyond what is configured for their
//! site: its MTA-STS policy (RFC 8461), and DANE (RFC 7672), which comes before it. Found once a
//! domain, and kept with each of its recipients.

mod host;
mod sts;
mod unfetched;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
const DOMAINS_MAX: usize = 20_000;
/// A recipient whose domain's policy is being fetched comes again after this.
const NOT_YET: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// Whose mail a session is opened for. The pool of sessions hands no argument to what opens
    /// one or looks whether one will do; both run in the task that asks for a session.
    static ASKED_FOR: Arc<Demand>;
}

/// What one domain demands.
#[derive(Debug)]
pub(crate) struct Demand {
    pub(crate) domain: Domain,
    pub(crate) sts: Option<Arc<mail::sts::Policy>>,
    /// DNSSEC proves which exchangers it has: what it proves of them counts too (RFC 7672, 2.2.1).
    pub(crate) secure: bool,
    /// When it could not be met, and why.
    failed: Mutex<Option<(Instant, String)>>,
}

impl Demand {
    fn new(domain: Domain, sts: Option<Arc<mail::sts::Policy>>, secure: bool) -> Self {
        Self { domain, sts, secure, failed: Mutex::default() }
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

    /// Runs what asks for a session in this domain's name.
    pub(crate) async fn scope<T>(self: &Arc<Self>, asks: impl Future<Output = T>) -> T {
        ASKED_FOR.scope(self.clone(), asks).await
    }

    /// Whose session is being asked for; nobody's in particular, outside of [`scope`](Self::scope).
    pub(crate) fn asked_for() -> Option<Arc<Self>> {
        ASKED_FOR.try_with(Arc::clone).ok()
    }

    /// It could not be met.
    pub(crate) fn failed(&self, why: &str) {
        *lock(&self.failed) = Some((Instant::now(), why.to_owned()));
    }

    /// Why it could not be met, if that is not long ago.
    pub(crate) fn rests(&self) -> Option<SessionError> {
        let failed = lock(&self.failed);
        let (at, why) = failed.as_ref().filter(|(at, _)| at.elapsed() < RESTS)?;
        let why = format!("{why} (found {} s ago)", at.elapsed().as_secs());
        Some(SessionError::trouble(mail::Phase::Tls, Trouble::Policy(why)))
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
        let sts = match &self.sts {
            None => None,
            Some(policies) => match policies.standing(domain, now).await {
                Standing::Known(policy) => policy,
                Standing::NotYet => return Demanded::NotYet(now + NOT_YET),
            },
        };
        let mut known = lock(&self.known);
        if let Some(demand) = known.get(domain).filter(|d| d.sts == sts && d.secure == secure) {
            return Demanded::This(demand.clone());
        }
        if known.len() >= DOMAINS_MAX {
            known.clear();
        }
        let demand = Arc::new(Demand::new(domain.clone(), sts, secure));
        known.insert(domain.clone(), demand.clone());
        Demanded::This(demand)
    }
}
