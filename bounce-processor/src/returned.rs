//! The trip of a returned mail: what is it, whose was it, what follows. What follows
//! is durable when [`Returns::take`] answers "taken"; if it was cut off, the client
//! comes again and nothing is counted twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use mail::classify::Finding;
use mail::event::EventKind;
use mail::hygiene::{Decision, News, Policy, What};
use mail::returned::{FailedRecipient, Returned};
use mail::verp::{ReturnPathKeys, VerpError};
use mail::{Address, DeliveryId, Domain, Event, Phase, Reply, Report, Scope, Timestamp};
use store::{AddressNews, Feedback, Store, StoreError};

use crate::clock::now;
use crate::error::BounceError;
use crate::mailbox::Mailbox;
use crate::session::{Desk, Letter, NotAdmitted, Verdict};
use crate::tenants::Tenants;
use crate::whose::{Recipient, Whose};

/// The service that says it, in events.
const SERVICE: &str = "bounces";
/// Addresses where a person reads (RFC 2142), besides the return paths.
const OFFICES: [&str; 4] = ["postmaster", "abuse", "fbl", "mailer-daemon"];
/// A mail that has passed more systems than this passes them in circles (RFC 5321, 6.3).
const HOPS_MAX: usize = 100;

/// Of what a report quotes, for a hold that may follow.
const SAID_CHARS_MAX: usize = 200;

pub(crate) struct Returns {
    pub(crate) store: Store,
    pub(crate) keys: ReturnPathKeys,
    pub(crate) policy: Policy,
    pub(crate) domains: Vec<Domain>,
    pub(crate) name: String,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) tenants: Tenants,
    pub(crate) noted: Noted,
}

impl std::fmt::Debug for Returns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returns").field("domains", &self.domains).finish_non_exhaustive()
    }
}

/// What was noted of late: a machine that answers each of its own answers is told of once.
#[derive(Default)]
pub(crate) struct Noted(Mutex<HashSet<(DeliveryId, Report)>>);

impl Noted {
    /// Some megabytes; past it everything may be noted once more.
    const MAX: usize = 100_000;

    fn has(&self, delivery: DeliveryId, kind: Report) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(delivery, kind))
    }

    fn put(&self, delivery: DeliveryId, kind: Report) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= Self::MAX {
            noted.clear();
        }
        noted.insert((delivery, kind));
    }
}

impl Returns {
    /// One mail for one recipient.
    async fn follow(
        &self,
        letter: &Letter<'_, Recipient>,
        to: &Recipient,
        mail: &Returned,
    ) -> Result<(), BounceError> {
        // People write to an office, and quote what they like: only complaints are taken
        // at their word there.
        let is_read_here = match to {
            Recipient::ReturnPath(_) => true,
            Recipient::Office(_) => matches!(mail.kind, Report::Complaint | Report::OptOut),
        };
        let Some(whose) = is_read_here.then(|| Whose::find(to, mail, &self.keys)).flatten() else {
            return self.keep(letter, to).await;
        };
        let recipient = whose.recipient(mail, &self.keys);
        if recipient.is_none() {
            metrics::counter!("malleposte_bounces_unmatched_total").increment(1);
        }
        let trip = Trip { returns: self, whose, recipient, mail, at: now() };
        match mail.kind {
            Report::Failure => Ok(trip.failed().await?),
            Report::Complaint => Ok(trip.complained().await?),
            Report::OptOut => Ok(trip.opted_out().await?),
            Report::Delayed
            | Report::Delivered
            | Report::AutoReply
            | Report::ChallengeResponse
            | Report::AuthReport
            | Report::Mdn => Ok(trip.noted().await?),
            Report::DmarcAggregate | Report::TlsReport | Report::Other => {
                self.keep(letter, to).await?;
                Ok(trip.noted().await?)
            }
        }
    }

    /// For a person to read.
    async fn keep(
        &self,
        letter: &Letter<'_, Recipient>,
        to: &Recipient,
    ) -> Result<(), BounceError> {
        let at = now();
        let to = match to {
            Recipient::Office(name) => (*name).to_owned(),
            Recipient::ReturnPath(path) => format!("delivery {}", path.delivery),
        };
        let trace = format!(
            "Return-Path: <{}>\r\nX-Delivered-To: {to}\r\n\
             Received: from {} ([{}])\r\n\tby {} with ESMTP; {}\r\n",
            mail::reply::clean_text(letter.sender),
            mail::reply::clean_text(letter.hello),
            letter.client,
            self.name,
            at.rfc5322(),
        );
        let (mailbox, octets) = (Arc::clone(&self.mailbox), letter.octets.to_vec());
        let kept = tokio::task::spawn_blocking(move || mailbox.keep(&trace, &octets, at)).await;
        kept.unwrap_or_else(|e| Err(BounceError::Defect(e.to_string())))?;
        metrics::counter!("malleposte_bounces_kept_total").increment(1);
        Ok(())
    }
}

/// A mail whose message is known.
struct Trip<'a> {
    returns: &'a Returns,
    whose: Whose,
    /// Only if it is the one that the message went to.
    recipient: Option<Address>,
    mail: &'a Returned,
    at: Timestamp,
}

impl Trip<'_> {
    /// The address first, then the count: if this is cut off between the two, the same
    /// mail again finds the address done and counts.
    async fn failed(&self) -> Result<(), StoreError> {
        let Some(failure) = self.whose.failure(self.mail) else { return self.noted().await };
        let finding = &failure.finding;
        self.weigh(self.whose.news(failure), &failure.diagnostic).await?;
        let event = told(self.event(EventKind::Returned), failure);
        let dead = mail::gate::is_dead(finding.category, finding.hygiene);
        let kind = store::Returned::Failure { dead };
        let (delivery, campaign) = (self.whose.delivery, self.whose.campaign);
        if !self.returns.store.returned(delivery, campaign, kind, &[event]).await? {
            return Ok(());
        }
        let word = finding.category.as_str();
        metrics::counter!("malleposte_bounces_returned_total", "category" => word).increment(1);
        self.feed(Some(finding), &failure.diagnostic).await
    }

    async fn complained(&self) -> Result<(), StoreError> {
        let feedback = self.mail.feedback.as_ref();
        let said = feedback.map_or("", |f| f.kind.as_str());
        self.weigh(What::Complained, said).await?;
        let event = Event { note: said.to_owned(), ..self.event(EventKind::Complained) };
        let kind = store::Returned::Complaint;
        let (delivery, campaign) = (self.whose.delivery, self.whose.campaign);
        if self.returns.store.returned(delivery, campaign, kind, &[event]).await? {
            self.feed(None, "").await?;
        }
        Ok(())
    }

    async fn opted_out(&self) -> Result<(), StoreError> {
        self.weigh(What::Unsubscribed, "feedback loop").await?;
        self.tell(self.event(EventKind::Unsubscribed)).await
    }

    /// Told, and nothing more: neither the address nor the pace is concerned.
    async fn noted(&self) -> Result<(), StoreError> {
        let (delivery, kind) = (self.whose.delivery, self.mail.kind);
        if self.returns.noted.has(delivery, kind) {
            return Ok(());
        }
        let mut event = self.event(EventKind::Reported);
        event.category = self.whose.failure(self.mail).map(|f| f.finding.category);
        kind.as_str().clone_into(&mut event.note);
        self.tell(event).await?;
        self.returns.noted.put(delivery, kind);
        Ok(())
    }

    /// Brings the news together with what is known of the address.
    async fn weigh(&self, what: What, evidence: &str) -> Result<(), StoreError> {
        let Some(address) = &self.recipient else { return Ok(()) };
        let campaign = self.whose.campaign;
        let Some(tenant) = self.returns.tenants.of(campaign).await? else {
            tracing::warn!(%campaign, "mail came back from a campaign that is not known here");
            return Ok(());
        };
        let about = AddressNews {
            tenant: &tenant,
            address: &address.folded(),
            news: News { delivery: self.whose.delivery, at: self.at, what },
            campaign,
            evidence,
            service: SERVICE,
        };
        let decision =
            self.returns.store.weigh_address(&about, self.at, &self.returns.policy).await?;
        if let Decision::Suppress { reason } = decision {
            let reason = reason.as_str();
            metrics::counter!("malleposte_bounces_suppressing_total", "reason" => reason)
                .increment(1);
        }
        Ok(())
    }

    /// What pace and holds should know; about a domain that is certain. Without a finding it is
    /// a complaint.
    async fn feed(&self, finding: Option<&Finding>, said: &str) -> Result<(), StoreError> {
        let Some(address) = &self.recipient else { return Ok(()) };
        let scope = match finding.map_or(Scope::Source, |finding| finding.scope) {
            // Relays from before know no other word; the signal says it to the others.
            Scope::LinkDomain => Scope::Message,
            scope => scope,
        };
        let feedback = Feedback {
            domain: address.domain_str().to_owned(),
            category: finding.map(|finding| finding.category),
            scope,
            signal: finding.map(|finding| finding.signal),
            campaign: Some(self.whose.campaign),
            said: said.chars().take(SAID_CHARS_MAX).collect(),
        };
        self.returns.store.put_feedback(&feedback).await
    }

    async fn tell(&self, event: Event) -> Result<(), StoreError> {
        self.returns.store.emit(self.whose.delivery.shard, &[event]).await
    }

    fn event(&self, kind: EventKind) -> Event {
        Event {
            campaign: Some(self.whose.campaign),
            delivery: Some(self.whose.delivery),
            recipient: self.recipient.as_ref().map(Address::folded).unwrap_or_default(),
            service: SERVICE.to_owned(),
            phase: Some(Phase::Returned),
            ..Event::new(kind, self.at)
        }
    }
}

/// The event of a failure. A code that nobody gave is not invented.
fn told(event: Event, failure: &FailedRecipient) -> Event {
    let finding = &failure.finding;
    let reply = failure.code.map(|code| Reply::new(code, failure.status, &failure.diagnostic));
    let note = match (&reply, failure.status) {
        (Some(_), _) => String::new(),
        (None, Some(status)) => format!("{status} {}", failure.diagnostic),
        (None, None) => failure.diagnostic.clone(),
    };
    Event {
        reply,
        note,
        category: Some(finding.category),
        hygiene: Some(finding.hygiene),
        scope: Some(finding.scope),
        rule: finding.rule.to_owned(),
        ..event
    }
}

impl Desk for Returns {
    type Recipient = Recipient;

    fn admit(&self, local: &str, domain: Option<&str>) -> Result<Recipient, NotAdmitted> {
        let ours = |domain: &str| domain.parse::<Domain>().is_ok_and(|d| self.domains.contains(&d));
        match domain {
            // RFC 5321, 4.5.1: `<postmaster>` needs no domain.
            None if local.eq_ignore_ascii_case("postmaster") => {}
            None => return Err(NotAdmitted::Unknown),
            Some(domain) if ours(domain) => {}
            Some(_) => return Err(NotAdmitted::Relay),
        }
        if let Some(office) = OFFICES.iter().find(|o| o.eq_ignore_ascii_case(local)) {
            return Ok(Recipient::Office(office));
        }
        self.keys.decode(local).map(Recipient::ReturnPath).map_err(|e| {
            let reason = match e {
                VerpError::Foreign => "unknown-user",
                VerpError::Truncated(_) => "truncated-path",
                VerpError::UnknownKey(_) => "unknown-key",
                VerpError::Forged => "forged-path",
            };
            metrics::counter!("malleposte_bounces_refused_total", "reason" => reason).increment(1);
            NotAdmitted::Unknown
        })
    }

    async fn take(&self, letter: Letter<'_, Recipient>) -> Verdict {
        let began = std::time::Instant::now();
        if hops(letter.octets) > HOPS_MAX {
            return Verdict::Loop;
        }
        let mail = mail::returned::parse_from(letter.octets, letter.sender);
        for to in letter.recipients {
            if let Err(e) = self.follow(&letter, to, &mail).await {
                metrics::counter!("malleposte_bounces_put_off_total").increment(1);
                tracing::warn!("returned mail is put off: {}", chain(&e));
                return Verdict::NotNow;
            }
        }
        let kind = mail.kind.as_str();
        metrics::counter!("malleposte_bounces_received_total", "kind" => kind).increment(1);
        metrics::histogram!("malleposte_bounces_handle_seconds").record(began.elapsed());
        Verdict::Taken
    }
}

fn hops(octets: &[u8]) -> usize {
    let lines = octets.split(|b| *b == b'\n').take_while(|line| !matches!(line, [] | [b'\r']));
    let field = b"received:";
    let is_trace =
        |line: &&[u8]| line.get(..field.len()).is_some_and(|head| head.eq_ignore_ascii_case(field));
    lines.filter(is_trace).count()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
