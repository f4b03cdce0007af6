//! How a report gets to a place: by mail straight to the place's exchangers, past the queue, or to
//! a web server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use deadpool::managed::Manager;
use dns::Route;
use mail::tlsrpt::{Destination, HttpsUri, Report};
use mail::{Address, Domain, Site, Timestamp};
use message::Message;
use message::tlsrpt::{MEDIA_TYPE, TlsReportMail, gzip, tls_report_mail};
use web::Posting;

use super::sender::Reporting;
use crate::connector::Connector;
use crate::delivery::Destination as Exchangers;
use crate::relay::Relay;
use crate::signers::signer;
use crate::smtp::{Envelope, Outcome, SessionError, Transaction};

/// A web server has this long.
const POSTING: Duration = Duration::from_secs(60);
/// A page of words about the status, which nobody reads.
const ANSWER_OCTETS_MAX: usize = 1024 * 1024;
/// The pool that reports go from: that of campaigns that name none.
const POOL: &str = "default";

/// A report ready to go.
pub(super) struct Letter<'a> {
    pub(super) domain: &'a Domain,
    pub(super) now: Timestamp,
    reporting: &'a Reporting,
    report: &'a Report,
    gzipped: Bytes,
}

impl<'a> Letter<'a> {
    pub(super) fn new(
        reporting: &'a Reporting,
        report: &'a Report,
        domain: &'a Domain,
        now: Timestamp,
    ) -> Self {
        let gzipped = gzip(&report.to_json()).into();
        Self { domain, now, reporting, report, gzipped }
    }
}

/// Why a report has not arrived.
#[derive(Debug)]
pub(super) enum Undelivered {
    /// It may another time.
    ForNow(String),
    /// It will not.
    ForGood(String),
}

impl Undelivered {
    /// As metrics have it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::ForNow(_) => "failed",
            Self::ForGood(_) => "refused",
        }
    }
}

impl From<SessionError> for Undelivered {
    fn from(error: SessionError) -> Self {
        match &error.reply {
            Some(reply) if reply.is_permanent() => Self::ForGood(error.to_string()),
            _ => Self::ForNow(error.to_string()),
        }
    }
}

impl Relay {
    /// Brings a report to one place.
    pub(super) async fn bring_to(
        &self,
        letter: &Letter<'_>,
        to: &Destination,
    ) -> Result<(), Undelivered> {
        match to {
            Destination::Mail(address) => self.mail_report(letter, address).await,
            Destination::Https(uri) => post_report(letter, uri).await,
        }
    }

    async fn mail_report(&self, letter: &Letter<'_>, to: &Address) -> Result<(), Undelivered> {
        let message = self.compose(letter, to).await?;
        let exchangers = match self.resolver.route(&to.domain()).await.as_ref() {
            Route::Hosts(exchangers) => exchangers.clone(),
            Route::Temporary { why } => return Err(Undelivered::ForNow(why.clone())),
            Route::NullMx | Route::NoSuchDomain | Route::NoMail => {
                return Err(Undelivered::ForGood("the domain takes no mail".to_owned()));
            }
        };
        let hosts: Vec<&str> = exchangers.iter().map(|e| e.host.as_ref()).collect();
        let site = Site::of_hosts(&hosts);
        let exchangers = Exchangers { site, exchangers, smart: None };
        let none = || Undelivered::ForNow(format!("this relay has no egress pool {POOL:?}"));
        let egress = self.source_at(POOL, None, to.as_str(), false).ok_or_else(none)?;
        let connector = Connector::undemanding(self, egress.clone(), &exchangers);
        // In nobody's name: sessions for reports are counted in none.
        let opened = self.stopping.run_until_cancelled(connector.create()).await;
        let ended = || Undelivered::ForNow("the relay ended".to_owned());
        let mut wire = opened.ok_or_else(ended)??;
        let envelope = Envelope {
            mail_from: letter.reporting.from.as_str(),
            rcpt_to: to.as_str(),
            smtputf8: to.needs_smtputf8(),
            envelope_id: "",
            require_tls: false,
        };
        let goes_on = || !self.stopping.is_cancelled();
        let transaction = wire.session.transact(&envelope, &message, goes_on).await;
        wire.session.quit().await;
        verdict(&transaction)
    }

    /// The message, signed where its sender's domain has a key (RFC 8460, 5.3 wants it signed). Also
    /// where `relay.sign` is off: no next hop signs what goes straight to its place.
    async fn compose(&self, letter: &Letter<'_>, to: &Address) -> Result<Message, Undelivered> {
        let Letter { domain, now, reporting, report, gzipped } = letter;
        let (submitter, from) = (&reporting.submitter, &reporting.from);
        let mail = TlsReportMail { report, submitter, from, to, domain, date: *now };
        let mut message = Message::from(tls_report_mail(&mail, gzipped));
        let unsigned = |why: String| Undelivered::ForNow(format!("it cannot be signed: {why}"));
        let found = signer(&self.store, &reporting.seal, &submitter.domain).await;
        match found.map_err(|error| unsigned(error.to_string()))? {
            Some(signer) => {
                signer.sign(*now, &mut message).map_err(|error| unsigned(error.to_string()))?;
            }
            None if !reporting.told_unsigned.swap(true, Ordering::Relaxed) => {
                let domain = &submitter.domain;
                tracing::warn!(%domain, "TLS reports go unsigned, which many receivers do not take: `malleposte dkim add` makes a key");
            }
            None => {}
        }
        Ok(message)
    }
}

fn verdict(transaction: &Transaction) -> Result<(), Undelivered> {
    let said = || transaction.reply.as_ref().map(ToString::to_string).unwrap_or_default();
    match &transaction.outcome {
        Outcome::Accepted => Ok(()),
        Outcome::Refused => match &transaction.reply {
            Some(reply) if reply.is_permanent() => Err(Undelivered::ForGood(said())),
            _ => Err(Undelivered::ForNow(said())),
        },
        Outcome::Failed(trouble) | Outcome::NoReplyAfterDot(trouble) => {
            Err(Undelivered::ForNow(format!("{}: {trouble}", transaction.phase)))
        }
        Outcome::Withheld => Err(Undelivered::ForNow("the relay ended".to_owned())),
        Outcome::Utf8NotOffered => {
            Err(Undelivered::ForGood("its server takes no such address".to_owned()))
        }
        Outcome::TooBig { octets_max } => {
            Err(Undelivered::ForGood(format!("its server takes {octets_max} octets at most")))
        }
        Outcome::TlsNotAssured { .. } | Outcome::Malformed(_) | Outcome::BadPath => {
            Err(Undelivered::ForGood("it cannot be written as SMTP".to_owned()))
        }
    }
}

async fn post_report(letter: &Letter<'_>, uri: &HttpsUri) -> Result<(), Undelivered> {
    let posting = Posting {
        host: uri.host.as_str(),
        port: uri.port,
        path: &uri.path,
        media_type: MEDIA_TYPE,
        headers: &[],
        body: letter.gzipped.clone(),
        octets_max: ANSWER_OCTETS_MAX,
        within: POSTING,
        in_the_clear: false,
    };
    let answer = letter.reporting.https.post(posting).await;
    match answer.map_err(|error| Undelivered::ForNow(error.to_string()))?.status {
        200..=299 => Ok(()),
        // Wait, too early, too many: all others of these will be answered the same again.
        status @ (408 | 425 | 429) => Err(Undelivered::ForNow(format!("status {status}"))),
        status @ 400..=499 => Err(Undelivered::ForGood(format!("status {status}"))),
        status => Err(Undelivered::ForNow(format!("status {status}"))),
    }
}
