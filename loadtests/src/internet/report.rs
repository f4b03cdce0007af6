//! The mail that comes back, written as different systems write it: failure reports
//! (RFC 3464), delay notices, complaints (RFC 5965), absence notices (RFC 3834).

use std::fmt::Write as _;

use mail::{Reply, Report, Timestamp};

use super::fate::Fate;
use super::returns::Job;
use super::strict;
use super::wording::{Said, Style, phrase};
use super::world::World;
use crate::mix;

/// How much of the message a report quotes. Which one is drawn per recipient.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    Message,
    Headers,
    Nothing,
}

/// The envelope sender and the message, lines ending in CRLF.
pub(super) fn compose(job: &Job, world: &World, now: Timestamp) -> (String, Vec<u8>) {
    let hash = mix::of_text(world.scenario.seed, 50, &job.recipient);
    let letter = Letter { job, world, now, hash };
    if let Fate::Written(written) = job.fate {
        let from = match job.report {
            Report::Complaint | Report::OptOut => format!("fbl@{}", letter.system()),
            Report::Other => job.recipient.clone(),
            _ => String::new(),
        };
        return (from, written.write(job));
    }
    match job.report {
        Report::Complaint => (format!("fbl@{}", letter.system()), letter.complaint()),
        Report::AutoReply => (String::new(), letter.absence()),
        Report::Delayed => (String::new(), letter.delivery_status(true)),
        _ => (String::new(), letter.delivery_status(false)),
    }
}

struct Letter<'a> {
    job: &'a Job,
    world: &'a World,
    now: Timestamp,
    hash: u64,
}

impl Letter<'_> {
    fn style(&self) -> Style {
        self.world.hosts[self.job.host].manner.style
    }

    /// The name of the mail system that writes.
    fn system(&self) -> &str {
        let mx = self.world.hosts[self.job.host].mx.first();
        mx.map_or("mx.pretend.test", |mx| mx.host.as_str())
    }

    fn boundary(&self) -> String {
        format!("=_{:016x}", mix::spread(self.hash))
    }

    fn head(&self, from: &str, subject: &str) -> String {
        format!(
            "From: {from}\r\nTo: <{}>\r\nSubject: {subject}\r\nDate: {}\r\n\
             Message-ID: <{:x}.{}@{}>\r\nMIME-Version: 1.0\r\n",
            self.job.return_path,
            self.now.rfc5322(),
            self.hash,
            self.now.millis(),
            self.system(),
        )
    }

    fn quote(&self) -> Quote {
        match self.hash % 10 {
            0 => Quote::Nothing,
            1..=4 => Quote::Message,
            _ => Quote::Headers,
        }
    }

    /// What the mailbox's server said, once the message had been taken.
    fn diagnosis(&self) -> String {
        let said = match self.job.fate {
            Fate::Bounce(said) => said,
            _ => Said::Trouble,
        };
        let manner = &self.world.hosts[self.job.host].manner;
        let line =
            manner.replies.get(&said).map_or_else(|| phrase(manner.style, said), String::as_str);
        line.replace("{recipient}", &self.job.recipient)
            .replace("{ip}", &self.job.client.to_string())
    }

    fn delivery_status(&self, delayed: bool) -> Vec<u8> {
        let diagnosis = self.diagnosis();
        let class = if delayed { 4 } else { 5 };
        let status = Reply::parse(&diagnosis)
            .and_then(|reply| reply.status)
            .map_or_else(|| format!("{class}.0.0"), |status| status.to_string());
        let boundary = self.boundary();
        let mut text = self.head(&self.daemon(), self.subject(delayed));
        let _infallible = write!(
            text,
            "Auto-Submitted: auto-replied\r\nContent-Type: multipart/report; \
             report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             {}\r\n\r\n<{}>: {diagnosis}\r\n\r\n\
             --{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n\r\n\
             Final-Recipient: rfc822; {}\r\nAction: {}\r\nStatus: {status}\r\n\
             Diagnostic-Code: smtp; {diagnosis}\r\n",
            self.explanation(delayed),
            self.job.recipient,
            self.system(),
            self.now.rfc5322(),
            self.job.recipient,
            if delayed { "delayed" } else { "failed" },
        );
        self.finish(text, &boundary)
    }

    fn finish(&self, text: String, boundary: &str) -> Vec<u8> {
        let mut octets = text.into_bytes();
        let kind = match self.quote() {
            Quote::Message => Some("message/rfc822"),
            Quote::Headers => Some("text/rfc822-headers"),
            Quote::Nothing => None,
        };
        if let Some(kind) = kind {
            octets.extend_from_slice(
                format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\n\r\n").as_bytes(),
            );
            octets.extend_from_slice(&self.job.headers);
            if kind == "message/rfc822" {
                octets.extend_from_slice(b"\r\n[the body was left out]\r\n");
            }
        }
        octets.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        octets
    }

    fn daemon(&self) -> String {
        let system = self.system();
        match self.style() {
            Style::Gmail => format!("Mail Delivery Subsystem <mailer-daemon@{system}>"),
            Style::Outlook => format!("postmaster@{system}"),
            Style::Exim => format!("Mail Delivery System <Mailer-Daemon@{system}>"),
            _ => format!("MAILER-DAEMON@{system} (Mail Delivery System)"),
        }
    }

    fn subject(&self, delayed: bool) -> &'static str {
        match (self.style(), delayed) {
            (Style::Gmail, false) => "Delivery Status Notification (Failure)",
            (Style::Gmail, true) => "Delivery Status Notification (Delay)",
            (Style::Outlook, _) => "Undeliverable: your message",
            (Style::Orange | Style::Free | Style::Laposte, false) => "Message non distribue",
            (Style::Exim, false) => "Mail delivery failed: returning message to sender",
            (_, false) => "Undelivered Mail Returned to Sender",
            (_, true) => "Delayed Mail (still being retried)",
        }
    }

    fn explanation(&self, delayed: bool) -> &'static str {
        match (self.style(), delayed) {
            (_, true) => "This is only a notice: the message is still in the queue and goes again.",
            (Style::Orange | Style::Free | Style::Laposte, false) => {
                "Le message n'a pas pu etre remis a l'adresse ci-dessous."
            }
            (_, false) => "The message could not be delivered to the address below.",
        }
    }

    fn complaint(&self) -> Vec<u8> {
        let boundary = self.boundary();
        let mut text = self.head(&format!("<fbl@{}>", self.system()), "Abuse report");
        // Some loops name the recipient, some do not: then only the quoted message tells.
        let named = self.style() != Style::Outlook;
        let to = if named { self.job.recipient.as_str() } else { "" };
        let rcpt = if named { format!("Original-Rcpt-To: <{to}>\r\n") } else { String::new() };
        let _infallible = write!(
            text,
            "Content-Type: multipart/report; report-type=feedback-report;\r\n\
             \tboundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             One of our users marked the message below as unwanted.\r\n\r\n\
             --{boundary}\r\nContent-Type: message/feedback-report\r\n\r\n\
             Feedback-Type: abuse\r\nUser-Agent: Pretend-Loop/1\r\nVersion: 1\r\n\
             Original-Mail-From: <{}>\r\n{rcpt}Source-IP: {}\r\nArrival-Date: {}\r\n\r\n\
             --{boundary}\r\nContent-Type: message/rfc822\r\n\r\n",
            self.job.return_path,
            self.job.client,
            self.now.rfc5322(),
        );
        let mut octets = text.into_bytes();
        octets.extend_from_slice(&self.job.headers);
        octets.extend_from_slice(
            format!("\r\n[the body was left out]\r\n\r\n--{boundary}--\r\n").as_bytes(),
        );
        octets
    }

    fn absence(&self) -> Vec<u8> {
        let subject = strict::field(&self.job.headers, "Subject").into_owned();
        let french = self.hash & 1 == 0;
        let (subject, body) = if french {
            (
                format!("Absence du bureau : {subject}"),
                "Bonjour, je suis absente jusqu'au 15. En cas d'urgence, ecrivez a l'accueil.",
            )
        } else {
            (
                format!("Automatic reply: {subject}"),
                "Thank you for your message. I am out of the office until the 15th.",
            )
        };
        let mut text = self.head(&format!("<{}>", self.job.recipient), &subject);
        let _infallible = write!(
            text,
            "Auto-Submitted: auto-replied\r\nIn-Reply-To: {}\r\nPrecedence: bulk\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\r\n{body}\r\n",
            strict::message_id(&self.job.headers),
        );
        text.into_bytes()
    }
}
