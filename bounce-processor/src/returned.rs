//! The trip of a returned mail: what is it, whose was it, what follows. What follows
//! is durable when [`Returns::take`] answers "taken"; if it was cut off, the client
//! comes again and nothing is counted twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use mail::classify::Finding;
use mail::event::EventKind;
use mail::hygiene::{Decision, What};
use mail::returned::{FailedRecipient, Returned};
use mail::unsubscribe;
use mail::verp::VerpError;
use mail::{Address, DeliveryId, Domain, Event, Phase, Reply, Report, Scope, Timestamp};
use store::{Feedback, Store, StoreError};
use tokio::sync::Notify;

use crate::books::{About, Books, Entry, SERVICE};
use crate::clock::now;
use crate::config::Settings;
use crate::error::{BounceError, chain};
use crate::listener::Parts;
use crate::mailbox::{Folder, Mailbox};
use crate::session::{Desk, Letter, NotAdmitted, Origin, Verdict};
use crate::tenants::Tenants;
use crate::whose::{Keys, Recipient, Whose};

/// Addresses where a person reads (RFC 2142), besides the return paths.
const OFFICES: [&str; 4] = ["postmaster", "abuse", "fbl", "mailer-daemon"];
/// What mail is for that lies in a mailbox and names no address of ours.
const READ: &str = "mailbox";
/// A mail that has passed more systems than this passes them in circles (RFC 5321, 6.3).
const HOPS_MAX: usize = 100;

/// Of what a report quotes, for a hold that may follow.
const SAID_CHARS_MAX: usize = 200;

/// What is written above a kept mail whose delivery is proved.
pub(crate) const DELIVERY_FIELD: &str = "X-Malleposte-Delivery";
pub(crate) const CAMPAIGN_FIELD: &str = "X-Malleposte-Campaign";

pub(crate) struct Returns {
    store: Store,
    books: Books,
    keys: Keys,
    domains: Vec<Domain>,
    name: String,
    /// Nothing: what a person should read lies where he finds it.
    mailbox: Option<Arc<Mailbox>>,
    /// Local parts that people answer to, besides the return paths.
    answered_at: Vec<String>,
    /// Told when an answer has come.
    pub(crate) answered: Arc<Notify>,
    tenants: Tenants,
    noted: Noted,
}

impl std::fmt::Debug for Returns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returns").field("domains", &self.domains).finish_non_exhaustive()
    }
}

/// What was noted of late: a machine that answers each of its own answers is told of once.
#[derive(Default)]
struct Noted(Mutex<HashSet<(DeliveryId, Report)>>);

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
    /// With a mailbox for what a person should read; without one that stays where it lies.
    pub(crate) fn new(
        settings: &Settings,
        answered_at: &[String],
        parts: Parts,
        mailbox: Option<Mailbox>,
    ) -> Self {
        Self {
            tenants: Tenants::new(parts.store.clone()),
            books: Books::open(parts.store.clone(), parts.policy),
            store: parts.store,
            keys: Keys { paths: parts.return_path_keys, links: parts.unsubscribe_keys },
            domains: settings.domains.clone(),
            name: settings.name.to_string(),
            mailbox: mailbox.map(Arc::new),
            answered_at: answered_at.to_vec(),
            answered: Arc::default(),
            noted: Noted::default(),
        }
    }

    /// One mail for one recipient; where it is kept for a person, if it is.
    async fn follow(
        &self,
        letter: &Letter<'_, Recipient>,
        to: &Recipient,
        mail: &Returned,
    ) -> Result<Option<Folder>, BounceError> {
        if let Recipient::Unsubscribe(local) = to {
            return self.unsubscribe(letter, to, local, mail).await;
        }
        let whose = Whose::find(to, mail, &self.keys).filter(|_| is_believed(letter, to, mail));
        let Some(whose) = whose else {
            let is_about_a_delivery =
                matches!(mail.kind, Report::Failure | Report::Complaint | Report::OptOut);
            if is_about_a_delivery && is_report(letter, mail) {
                metrics::counter!("malleposte_bounces_unmatched_total").increment(1);
                return self.keep(letter, to, Folder::Unmatched).await;
            }
            let folder = match to {
                Recipient::Answers(_) if mail.kind == Report::Other => Folder::Replies,
                _ => Folder::Inbox,
            };
            return self.keep(letter, to, folder).await;
        };
        let recipient = whose.recipient(mail, &self.keys);
        let trip = Trip { returns: self, whose, recipient, mail, at: now() };
        match mail.kind {
            Report::Failure => {
                let is_nobodys = trip.recipient.is_none();
                if is_nobodys {
                    // Counted, and nobody's: a person may know whose it was.
                    metrics::counter!("malleposte_bounces_unmatched_total").increment(1);
                    self.keep(letter, to, Folder::Unmatched).await?;
                }
                trip.failed().await?;
                Ok(is_nobodys.then_some(Folder::Unmatched))
            }
            Report::Complaint => trip.complained().await.map(|()| None),
            Report::OptOut => trip.opted_out().await.map(|()| None),
            Report::Delayed
            | Report::Delivered
            | Report::AutoReply
            | Report::ChallengeResponse
            | Report::AuthReport
            | Report::Mdn => trip.noted().await.map(|()| None),
            Report::DmarcAggregate | Report::TlsReport => {
                trip.noted().await?;
                self.keep(letter, to, Folder::Inbox).await
            }
            Report::Other => {
                trip.noted().await?;
                self.keep(letter, to, Folder::Replies).await
            }
        }
    }

    /// Mail to an address that takes unsubscriptions: from whoever the message was sent to, or
    /// about him. What a machine says there is no wish, and what cannot be proved is a person's.
    async fn unsubscribe(
        &self,
        letter: &Letter<'_, Recipient>,
        to: &Recipient,
        local: &str,
        mail: &Returned,
    ) -> Result<Option<Folder>, BounceError> {
        let is_wish = matches!(mail.kind, Report::Other | Report::OptOut);
        let from = [mail.from.as_deref(), letter.sender].into_iter().flatten();
        let link = unsubscribe::verify_mail(&self.keys.links, local, &mail.subject, from);
        let Some(link) = link.ok().filter(|_| is_wish) else {
            return self.keep(letter, to, Folder::Replies).await;
        };
        let whose = Whose::by_link(&link);
        let recipient = link.address.parse().ok();
        Trip { returns: self, whose, recipient, mail, at: now() }.opted_out().await.map(|()| None)
    }

    /// For a person to read.
    async fn keep(
        &self,
        letter: &Letter<'_, Recipient>,
        to: &Recipient,
        folder: Folder,
    ) -> Result<Option<Folder>, BounceError> {
        let Some(mailbox) = self.mailbox.clone() else { return Ok(Some(folder)) };
        let at = now();
        let (to, about) = match to {
            Recipient::Office(name) => ((*name).to_owned(), String::new()),
            Recipient::Unsubscribe(local) | Recipient::Answers(local) => {
                (local.clone(), String::new())
            }
            Recipient::ReturnPath(path) => (
                format!("delivery {}", path.delivery),
                format!(
                    "{DELIVERY_FIELD}: {}\r\n{CAMPAIGN_FIELD}: {}\r\n",
                    path.delivery, path.campaign
                ),
            ),
        };
        let from = match letter.origin {
            Origin::Client(client, hello) => {
                format!("{} ([{client}])", mail::reply::clean_text(hello))
            }
            Origin::Mailbox(name) => mail::reply::clean_text(name),
        };
        let trace = format!(
            "Return-Path: <{}>\r\nX-Delivered-To: {to}\r\n{about}\
             Received: from {from}\r\n\tby {} with ESMTP; {}\r\n",
            mail::reply::clean_text(letter.sender.unwrap_or_default()),
            self.name,
            at.rfc5322(),
        );
        let octets = letter.octets.to_vec();
        let kept =
            tokio::task::spawn_blocking(move || mailbox.keep(folder, &trace, &octets, at)).await;
        kept.unwrap_or_else(|e| Err(BounceError::Defect(e.to_string())))?;
        metrics::counter!("malleposte_bounces_kept_total", "folder" => folder.word()).increment(1);
        if folder == Folder::Replies {
            self.answered.notify_one();
        }
        Ok(Some(folder))
    }
}

/// Reports come from nobody (RFC 5321, 4.5.5); feedback loops from a mailbox of theirs.
fn is_report(letter: &Letter<'_, Recipient>, mail: &Returned) -> bool {
    letter.sender == Some("") || mail.feedback.is_some() || mail.kind == Report::Complaint
}

/// Whether a mail is taken at its word about the delivery that it proves to know. People write to
/// an office, and quote what they like.
fn is_believed(letter: &Letter<'_, Recipient>, to: &Recipient, mail: &Returned) -> bool {
    match to {
        Recipient::ReturnPath(_) => true,
        Recipient::Unsubscribe(_) | Recipient::Answers(_) | Recipient::Office(_) => {
            is_report(letter, mail)
        }
    }
}

/// A mail whose message is known.
struct Trip<'a> {
    returns: &'a Returns,
    whose: Whose,
    recipient: Option<Address>,
    mail: &'a Returned,
    at: Timestamp,
}

impl Trip<'_> {
    async fn failed(&self) -> Result<(), BounceError> {
        let Some(failure) = self.whose.failure(self.mail) else { return self.noted().await };
        let finding = &failure.finding;
        let dead = mail::gate::is_dead(finding.category, finding.hygiene);
        let kind = store::Returned::Failure { dead };
        let event = told(self.event(EventKind::Returned), failure);
        let what = self.whose.news(failure);
        if !self.enter(kind, what, &failure.diagnostic, event).await? {
            return Ok(());
        }
        let word = finding.category.as_str();
        metrics::counter!("malleposte_bounces_returned_total", "category" => word).increment(1);
        if finding.concerns_sending() {
            self.feed(Some(finding), &failure.diagnostic).await?;
        }
        Ok(())
    }

    async fn complained(&self) -> Result<(), BounceError> {
        let feedback = self.mail.feedback.as_ref();
        let said = feedback.map_or("", |f| f.kind.as_str());
        let event = Event { note: said.to_owned(), ..self.event(EventKind::Complained) };
        if self.enter(store::Returned::Complaint, What::Complained, said, event).await? {
            self.feed(None, "").await?;
        }
        Ok(())
    }

    async fn opted_out(&self) -> Result<(), BounceError> {
        let how = if self.mail.feedback.is_some() { "feedback loop" } else { "by mail" };
        let event = Event { note: how.to_owned(), ..self.event(EventKind::Unsubscribed) };
        self.enter(store::Returned::OptOut, What::Unsubscribed, how, event).await?;
        Ok(())
    }

    /// Told, and nothing more: neither the address nor the pace is concerned.
    async fn noted(&self) -> Result<(), BounceError> {
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

    /// Into the books, once; whether it was the first time.
    async fn enter(
        &self,
        kind: store::Returned,
        what: What,
        evidence: &str,
        event: Event,
    ) -> Result<bool, BounceError> {
        let (delivery, campaign) = (self.whose.delivery, self.whose.campaign);
        let about = self.about(what, evidence).await?;
        let entry = Entry { delivery, campaign, kind, about, event };
        let taken = self.returns.books.enter(entry).await?;
        if let (true, Some(Decision::Suppress { reason })) = (taken.first, taken.decision) {
            let reason = reason.as_str();
            metrics::counter!("malleposte_bounces_suppressing_total", "reason" => reason)
                .increment(1);
        }
        Ok(taken.first)
    }

    async fn about(&self, what: What, evidence: &str) -> Result<Option<About>, StoreError> {
        let Some(address) = &self.recipient else { return Ok(None) };
        let campaign = self.whose.campaign;
        let Some(tenant) = self.returns.tenants.of(campaign).await? else {
            tracing::warn!(%campaign, "mail came back from a campaign that is not known here");
            return Ok(None);
        };
        let (address, evidence) = (address.folded(), evidence.to_owned());
        Ok(Some(About { tenant, address, what, at: self.at, evidence }))
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
        if self.answered_at.iter().any(|known| known.eq_ignore_ascii_case(local)) {
            return Ok(Recipient::Answers(local.to_ascii_lowercase()));
        }
        if unsubscribe::is_mailto(local) {
            return Ok(Recipient::Unsubscribe(local.to_owned()));
        }
        self.keys.paths.decode(local).map(Recipient::ReturnPath).map_err(|e| {
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

    async fn take(&self, letter: Letter<'_, Recipient>) -> Vec<Verdict> {
        let began = std::time::Instant::now();
        if hops(letter.octets) > HOPS_MAX {
            return vec![Verdict::Loop; letter.recipients.len()];
        }
        let mail = read(&letter);
        let mut verdicts = Vec::with_capacity(letter.recipients.len());
        for to in letter.recipients {
            verdicts.push(match self.follow(&letter, to, &mail).await {
                Ok(_) => Verdict::Taken,
                Err(e) => {
                    metrics::counter!("malleposte_bounces_put_off_total").increment(1);
                    tracing::warn!("returned mail is put off: {}", chain(&e));
                    Verdict::NotNow
                }
            });
        }
        received(mail.kind, began);
        verdicts
    }
}

impl Returns {
    /// A mail out of a mailbox: whom it was for is read from its header. What it is, and where it
    /// is kept for a person, if it is.
    pub(crate) async fn take_from(
        &self,
        mailbox: &str,
        octets: &[u8],
    ) -> Result<(Report, Option<Folder>), BounceError> {
        let began = std::time::Instant::now();
        let stamped = mail::returned::stamped(octets);
        let admitted = stamped.recipients.iter().filter_map(|address| {
            let (local, domain) = address.rsplit_once('@')?;
            self.admit(local, Some(domain)).ok()
        });
        let is_ours = |to: &Recipient| !matches!(to, Recipient::Office(_));
        let recipients = [admitted.into_iter().find(is_ours).unwrap_or(Recipient::Office(READ))];
        let (origin, sender) = (Origin::Mailbox(mailbox), stamped.sender.as_deref());
        let letter = Letter { origin, sender, recipients: &recipients, octets };
        let mail = read(&letter);
        let kept = self.follow(&letter, &recipients[0], &mail).await?;
        received(mail.kind, began);
        Ok((mail.kind, kept))
    }
}

fn read(letter: &Letter<'_, Recipient>) -> Returned {
    match letter.sender {
        Some(sender) => mail::returned::parse_from(letter.octets, sender),
        None => mail::returned::parse(letter.octets),
    }
}

fn received(kind: Report, began: std::time::Instant) {
    metrics::counter!("malleposte_bounces_received_total", "kind" => kind.as_str()).increment(1);
    metrics::histogram!("malleposte_bounces_handle_seconds").record(began.elapsed());
}

fn hops(octets: &[u8]) -> usize {
    let lines = octets.split(|b| *b == b'\n').take_while(|line| !matches!(line, [] | [b'\r']));
    let field = b"received:";
    let is_trace =
        |line: &&[u8]| line.get(..field.len()).is_some_and(|head| head.eq_ignore_ascii_case(field));
    lines.filter(is_trace).count()
}
