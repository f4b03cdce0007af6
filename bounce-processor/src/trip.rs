//! What follows from a mail whose message is known: into the books, to the relays, into history.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use mail::classify::Finding;
use mail::event::EventKind;
use mail::hygiene::{Decision, What};
use mail::returned::{FailedRecipient, Returned};
use mail::{Address, DeliveryId, Event, Phase, Reply, Report, Scope, Timestamp};
use store::{Feedback, StoreError};

use crate::books::{About, Entry, SERVICE};
use crate::clock::now;
use crate::error::BounceError;
use crate::returned::Returns;
use crate::whose::Whose;

/// Of what a report quotes, for a hold that may follow.
const SAID_CHARS_MAX: usize = 200;

/// A mail whose message is known.
pub(crate) struct Trip<'a> {
    pub(crate) returns: &'a Returns,
    pub(crate) whose: Whose,
    pub(crate) recipient: Option<Address>,
    pub(crate) mail: &'a Returned,
    /// When it happened, as far as the mail tells: what the address is weighed by.
    pub(crate) at: Timestamp,
}

impl Trip<'_> {
    pub(crate) async fn failed(&self) -> Result<(), BounceError> {
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

    pub(crate) async fn complained(&self) -> Result<(), BounceError> {
        let feedback = self.mail.feedback.as_ref();
        let said = feedback.map_or("", |f| f.kind.as_str());
        let event = Event { note: said.to_owned(), ..self.event(EventKind::Complained) };
        if self.enter(store::Returned::Complaint, What::Complained, said, event).await? {
            self.feed(None, "").await?;
        }
        Ok(())
    }

    pub(crate) async fn opted_out(&self) -> Result<(), BounceError> {
        let how = if self.mail.feedback.is_some() { "feedback loop" } else { "by mail" };
        let event = Event { note: how.to_owned(), ..self.event(EventKind::Unsubscribed) };
        self.enter(store::Returned::OptOut, What::Unsubscribed, how, event).await?;
        Ok(())
    }

    /// Told, and nothing more: neither the address nor the pace is concerned.
    pub(crate) async fn noted(&self) -> Result<(), BounceError> {
        let (delivery, kind) = (self.whose.delivery, self.mail.kind);
        // What is imported may be imported again.
        let is_imported = self.returns.mailbox.is_none();
        if is_imported || self.returns.noted.has(delivery, kind) {
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
            // Told now, whenever it happened: history goes by when it hears of things.
            ..Event::new(kind, now())
        }
    }
}

/// The event of a failure. A code that nobody gave is not invented.
fn told(event: Event, failure: &FailedRecipient) -> Event {
    let finding = &failure.finding;
    // Most quote the whole reply, code and status in front.
    let quoted = Reply::parse(&failure.diagnostic)
        .filter(|reply| Some(reply.code) == failure.code && reply.status == failure.status);
    let reply = quoted
        .or_else(|| failure.code.map(|code| Reply::new(code, failure.status, &failure.diagnostic)));
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
