//! What is wanted of one exchanger: the rule of its site, raised by what the domain demands. DANE
//! comes before MTA-STS (RFC 8461, 2), and of both only what can be proved counts.

use std::sync::Arc;

use dns::{Dane, Resolver};
use mail::tlsrpt::ResultType;

use super::Demand;
use crate::smtp::{self, DaneWish, Flaw, SessionError, TlsPolicy, Trouble};

/// How a session with one exchanger is to be secured.
#[derive(Debug, Clone)]
pub(crate) struct HostTls {
    pub(crate) policy: TlsPolicy,
    /// What its certificate is to be by its DNS, if that says anything of use.
    pub(crate) dane: Option<Arc<DaneWish>>,
    /// The name to ask it for: what it is an alias of, where DANE found its records there.
    pub(crate) name: Option<String>,
    /// Whether DANE was looked for, with whatever result: a session that was opened without will
    /// not do for a domain whose exchangers are proved.
    pub(crate) is_dane_known: bool,
    /// The TLSA records that were found, of use or not.
    pub(crate) tlsa: Option<Arc<Dane>>,
    wanted: Wanted,
}

/// Who raised the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Nobody: the site's rule holds.
    Rule,
    /// The domain's MTA-STS policy.
    MtaSts,
    /// The exchanger's TLSA records.
    Dane,
}

impl HostTls {
    /// For an exchanger and port, at a site with this rule.
    ///
    /// # Errors
    /// Why the domain wants nothing sent to it, or why that cannot be known now; of which kind that
    /// is in reports.
    pub(crate) async fn of(
        rule: TlsPolicy,
        demand: Option<&Demand>,
        resolver: &Resolver,
        (host, port): (&str, u16),
    ) -> Result<Self, Flaw> {
        let Some(demand) = demand else { return Ok(Self::by(rule, Wanted::Rule)) };
        if !demand.secure {
            return Self::by_mta_sts(rule, demand, host);
        }
        let found = resolver.dane(host, port).await;
        match found.as_ref() {
            Dane::Nothing => {
                Ok(Self { is_dane_known: true, ..Self::by_mta_sts(rule, demand, host)? })
            }
            Dane::Records { base, tlsa } => {
                let wish = match smtp::usable(tlsa) {
                    none if none.is_empty() => Self::by_unusable(rule, demand, host)?,
                    usable => Self::by_dane(rule, demand, (host, base.as_str()), usable),
                };
                Ok(Self { tlsa: Some(found.clone()), ..wish })
            }
            // Without an answer nobody may be spoken to: whoever can suppress it could else
            // suppress DANE (RFC 7672, 2.1.2).
            Dane::Temporary { why } => Err(Flaw {
                result: ResultType::DnssecInvalid,
                why: format!("DNS does not tell whether {host} is secured by DANE: {why}"),
            }),
        }
    }

    fn by(policy: TlsPolicy, wanted: Wanted) -> Self {
        Self { policy, dane: None, name: None, is_dane_known: false, tlsa: None, wanted }
    }

    fn by_mta_sts(rule: TlsPolicy, demand: &Demand, host: &str) -> Result<Self, Flaw> {
        let Some(policy) = demand.enforced() else { return Ok(Self::by(rule, Wanted::Rule)) };
        if !policy.names(host) {
            let named = policy.mx.join(", ");
            let why = format!(
                "the domain's MTA-STS policy wants one of {named} as exchanger, and {host} is none of them"
            );
            return Err(Flaw { result: ResultType::ValidationFailure, why });
        }
        let is_raised = rule < TlsPolicy::Verified;
        let wanted = if is_raised { Wanted::MtaSts } else { Wanted::Rule };
        Ok(Self::by(TlsPolicy::Verified, wanted))
    }

    /// Records without any that is of use still tell that TLS is spoken (RFC 7672, 2.2). They prove
    /// nothing of a certificate, and so take nothing from what MTA-STS demands.
    fn by_unusable(rule: TlsPolicy, demand: &Demand, host: &str) -> Result<Self, Flaw> {
        let by_sts = Self::by_mta_sts(rule, demand, host)?;
        let is_raised = by_sts.policy < TlsPolicy::Required;
        Ok(Self {
            policy: by_sts.policy.max(TlsPolicy::Required),
            wanted: if is_raised { Wanted::Dane } else { by_sts.wanted },
            is_dane_known: true,
            ..by_sts
        })
    }

    fn by_dane(
        rule: TlsPolicy,
        demand: &Demand,
        (host, base): (&str, &str),
        tlsa: Vec<dns::Tlsa>,
    ) -> Self {
        let mut names = vec![base.to_owned(), host.to_owned(), demand.domain.as_str().to_owned()];
        names.dedup();
        Self {
            policy: TlsPolicy::Verified.max(rule),
            dane: Some(Arc::new(DaneWish { tlsa, names })),
            name: (base != host).then(|| base.to_owned()),
            is_dane_known: true,
            tlsa: None,
            wanted: Wanted::Dane,
        }
    }

    /// Whether DANE said which certificate the session had to have.
    pub(crate) fn is_by_dane(&self) -> bool {
        self.dane.is_some()
    }

    /// Whether what DANE wanted it wanted for this domain too: the names that an authority of the
    /// chain may have given the certificate to include the domain's own.
    pub(crate) fn is_for(&self, domain: &mail::Domain) -> bool {
        let Some(wish) = &self.dane else { return true };
        let is_only_servers = wish.tlsa.iter().all(|record| record.usage == 3);
        is_only_servers || wish.names.iter().any(|name| name == domain.as_str())
    }

    /// The same trouble, in the name of who wanted what was not to be had. Whatever would have
    /// failed without the demand too stays as it is.
    pub(crate) fn explain(&self, host: &str, error: SessionError) -> SessionError {
        let (mail::Phase::Tls, Some(trouble)) = (error.phase, &error.trouble) else { return error };
        let wants = match self.wanted {
            Wanted::Rule => return error,
            Wanted::MtaSts => {
                format!("the domain's MTA-STS policy wants TLS with a good certificate of {host}")
            }
            Wanted::Dane if self.dane.is_none() => {
                format!("the DNS of {host} has TLSA records and so wants TLS (DANE)")
            }
            Wanted::Dane => {
                format!("the DNS of {host} wants TLS with the certificate that it names (DANE)")
            }
        };
        let why = format!("{wants}: {trouble}");
        SessionError { trouble: Some(Trouble::Policy(why)), ..error }
    }
}

#[cfg(test)]
mod tests {
    use mail::sts::Policy;

    use super::*;

    fn demanded(sts: Option<&str>) -> Demand {
        let text =
            |mx| format!("version: STSv1\r\nmode: enforce\r\nmx: {mx}\r\nmax_age: 86400\r\n");
        let sts = sts.map(|mx| Arc::new(Policy::parse(&text(mx)).expect("a policy")));
        Demand::new("example.org".parse().expect("a domain"), sts, true)
    }

    #[test]
    fn records_of_no_use_demand_encryption_and_take_nothing_from_mta_sts() {
        let of = |sts| HostTls::by_unusable(TlsPolicy::Opportunistic, &demanded(sts), "mx.example");
        let alone = of(None).expect("a wish");
        assert_eq!((alone.policy, alone.is_by_dane()), (TlsPolicy::Required, false));
        assert!(alone.is_dane_known);
        let both = of(Some("mx.example")).expect("a wish");
        assert_eq!((both.policy, both.is_by_dane()), (TlsPolicy::Verified, false));
        assert!(of(Some("another.example")).is_err());
    }
}
