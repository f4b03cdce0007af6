//! The trip of a returned mail: what is it, whose was it, what follows. What follows
//! is durable when [`Returns::take`] answers "taken"; if it was cut off, the client
//! comes again and nothing is counted twice.

use std::sync::Arc;

use mail::returned::Returned;
use mail::unsubscribe;
use mail::verp::VerpError;
use mail::{Domain, Report, Timestamp};
use store::{LearnedBook, Store, chain};
use tokio::sync::Notify;

use crate::books::Books;
use crate::clock::now;
use crate::config::Settings;
use crate::desk::{Desk, Letter, NotAdmitted, Origin, Verdict};
use crate::error::BounceError;
use crate::listener::Parts;
use crate::mailbox::{Folder, Mailbox};
use crate::tenants::Tenants;
use crate::trip::{Noted, Trip};
use crate::whose::{Keys, Recipient, Whose};

/// Addresses where a person reads (RFC 2142), besides the return paths.
const OFFICES: [&str; 4] = ["postmaster", "abuse", "fbl", "mailer-daemon"];
/// What mail is for that lies in a mailbox and names no address of ours.
const READ: &str = "mailbox";
/// A mail that has passed more systems than this passes them in circles (RFC 5321, 6.3).
const HOPS_MAX: usize = 100;

/// What is written above a kept mail whose delivery is proved.
pub(crate) const DELIVERY_FIELD: &str = "X-Malleposte-Delivery";
pub(crate) const CAMPAIGN_FIELD: &str = "X-Malleposte-Campaign";

pub(crate) struct Returns {
    pub(crate) store: Store,
    pub(crate) books: Books,
    keys: Keys,
    domains: Vec<Domain>,
    name: String,
    /// Nothing: what a person should read lies where he finds it.
    pub(crate) mailbox: Option<Arc<Mailbox>>,
    /// Local parts that people answer to, besides the return paths.
    answered_at: Vec<String>,
    /// Told when an answer has come.
    pub(crate) answered: Arc<Notify>,
    pub(crate) tenants: Tenants,
    pub(crate) noted: Noted,
    /// What people named of all that no rule knew.
    pub(crate) learned: LearnedBook,
}

impl std::fmt::Debug for Returns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returns").field("domains", &self.domains).finish_non_exhaustive()
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
            learned: LearnedBook::default(),
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
        let trip = Trip { returns: self, whose, recipient, mail, at: letter.written() };
        match mail.kind {
            Report::Failure => {
                trip.failed().await?;
                if trip.recipient.is_some() {
                    return Ok(None);
                }
                // Counted, and nobody's: a person may know whose it was.
                metrics::counter!("malleposte_bounces_unmatched_total").increment(1);
                self.keep(letter, to, Folder::Unmatched).await
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
        // A wish about a campaign that is not known any more is for a person.
        if self.tenants.of(link.campaign).await?.is_none() {
            return self.keep(letter, to, Folder::Replies).await;
        }
        let whose = Whose::by_link(&link);
        let recipient = link.address.parse().ok();
        Trip { returns: self, whose, recipient, mail, at: letter.written() }
            .opted_out()
            .await
            .map(|()| None)
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
            Origin::Mailbox(name, _) => mail::reply::clean_text(name),
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
        let mail = self.read(&letter);
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
    fn read(&self, letter: &Letter<'_, Recipient>) -> Returned {
        let mut mail = match letter.sender {
            Some(sender) => mail::returned::parse_from(letter.octets, sender),
            None => mail::returned::parse(letter.octets),
        };
        mail.reconsider(&self.learned.now());
        mail
    }

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
        let origin = Origin::Mailbox(mailbox, stamped.date);
        let sender = stamped.sender.as_deref();
        let letter = Letter { origin, sender, recipients: &recipients, octets };
        let mail = self.read(&letter);
        let kept = if hops(octets) > HOPS_MAX {
            // It goes round in circles, by way of an answer that is sent on to here.
            self.keep(&letter, &Recipient::Office(READ), Folder::Inbox).await?
        } else {
            self.follow(&letter, &recipients[0], &mail).await?
        };
        received(mail.kind, began);
        Ok((mail.kind, kept))
    }
}

impl<R> Letter<'_, R> {
    /// When what it says happened, as far as it tells: never later than now.
    fn written(&self) -> Timestamp {
        let now = now();
        match self.origin {
            Origin::Mailbox(_, Some(date)) => date.min(now),
            Origin::Mailbox(_, None) | Origin::Client(..) => now,
        }
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
