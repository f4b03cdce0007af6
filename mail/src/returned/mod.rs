//! The bytes of one mail in, what it is and what it says out. Nothing here knows
//! our lists: whose message it was is for the caller to find out from
//! [`OriginalRefs`], and only a return path that our key opens is proof.

mod answer;
mod auto;
mod charset;
mod dsn;
mod fields;
mod mime;
mod named;
mod notices;
mod original;
mod phrases;
mod reports;
mod section;
mod stamped;
mod text;

use serde::Serialize;

use crate::category::{Hygiene, Phase, Report, Scope, words};
use crate::classify::{Finding, Permanence, Said, Signal};
use crate::provider::RuleBook;
use crate::reply::EnhancedStatus;
use mime::Parts;
pub use original::OriginalRefs;
pub use reports::Feedback;
pub use stamped::{Stamped, stamped};

/// Recipients reported of one mail; no system groups more in one report.
const RECIPIENTS_MAX: usize = 1000;

words! {
    /// What the reporting system did with a recipient (RFC 3464, 2.3.3).
    Action {
        /// Given up.
        Failed = "failed",
        /// Still trying.
        Delayed = "delayed",
        /// Delivered.
        Delivered = "delivered",
        /// Handed to a system that sends no reports.
        Relayed = "relayed",
        /// Delivered to the members of a list.
        Expanded = "expanded",
    }
}

/// One recipient that a report speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedRecipient {
    /// The address that we wrote to, as far as the report tells: the original one
    /// before the final one.
    pub recipient: Option<String>,
    /// The address where it ended, when that is another.
    pub final_recipient: Option<String>,
    /// The enhanced status: of the answer, or else of the report.
    #[serde(skip)]
    pub status: Option<EnhancedStatus>,
    /// The reply code of the server that refused.
    pub code: Option<u16>,
    /// What the reporting system did.
    pub action: Action,
    /// What was said, cleaned and cut.
    pub diagnostic: String,
    /// What it means.
    pub finding: Finding,
}

/// A mail that came back, understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Returned {
    /// What kind of mail it is.
    pub kind: Report,
    /// The recipients, when it is a failure or a delay.
    pub failures: Vec<FailedRecipient>,
    /// What it says about the message that it concerns.
    pub original: OriginalRefs,
    /// The fields of a complaint or an authentication report.
    pub feedback: Option<Feedback>,
    /// Who sent it.
    pub from: Option<String>,
    /// Its subject, decoded.
    pub subject: String,
}

impl Returned {
    /// Looks again at failures of which only a number spoke, with rules that a person made.
    pub fn reconsider(&mut self, book: &RuleBook) {
        if book.is_empty() {
            return;
        }
        for failure in &mut self.failures {
            let (code, status, text) = (failure.code, failure.status, &*failure.diagnostic);
            let said = Said { phase: Phase::Returned, code, status, text };
            let found = book.upon(&said, failure.finding);
            if found.rule != failure.finding.rule {
                failure.finding = as_reported(self.kind, found);
                failure.doubt_hearsay();
            }
        }
    }
}

impl FailedRecipient {
    /// Words without any number are hearsay: they count, and end nothing alone.
    fn doubt_hearsay(&mut self) {
        let numbered = self.code.is_some() || self.status.is_some_and(|s| (s.1, s.2) != (0, 0));
        if !numbered && self.finding.hygiene == Hygiene::Suppress {
            self.finding.hygiene = Hygiene::Count;
        }
    }
}

/// What this mail is. Takes anything, looks at its first megabyte, and never fails:
/// what is not recognised is [`Report::Other`].
#[must_use]
pub fn parse(raw: &[u8]) -> Returned {
    read(raw, None)
}

/// The same of a mail that came with this envelope sender, whatever its header says. Reports come with
/// none (RFC 5321, 4.5.5): an empty one.
#[must_use]
pub fn parse_from(raw: &[u8], sender: &str) -> Returned {
    read(raw, Some(sender))
}

/// What a mail says to whoever reads it: its first text, at most 64 KiB of it.
#[must_use]
pub fn text(raw: &[u8]) -> String {
    mime::take_apart(raw).texts.into_iter().next().unwrap_or_default()
}

fn read(raw: &[u8], sender: Option<&str>) -> Returned {
    if let Some(kind) = reports::bare(raw) {
        return of_kind(kind, &Parts::default(), OriginalRefs::default());
    }
    let mut parts = mime::take_apart(raw);
    parts.sender = sender.map(str::to_owned);
    let status = parts.status_fields();
    let original = original::refs(&parts, &status, raw);
    if let Some(kind) = reports::aggregate(&parts) {
        return of_kind(kind, &parts, original);
    }
    if let Some((kind, feedback)) = reports::feedback(&parts) {
        let mut returned = of_kind(kind, &parts, original);
        returned.feedback = Some(feedback);
        return returned;
    }
    if let Some((kind, failures)) = notices::read(&parts) {
        return with_failures(kind, failures, &parts, original);
    }
    if let Some((kind, failures)) = dsn::read(&parts, &status, &original) {
        return with_failures(kind, failures, &parts, original);
    }
    if let Some(kind) = auto::before_bounces(&parts) {
        return of_kind(kind, &parts, original);
    }
    if let Some((kind, failures)) = text::read(&parts, &original) {
        return with_failures(kind, failures, &parts, original);
    }
    match auto::read(&parts) {
        auto::Auto::Gone(failure) => {
            with_failures(Report::Failure, vec![*failure], &parts, original)
        }
        auto::Auto::Kind(kind) => of_kind(kind, &parts, original),
    }
}

fn of_kind(kind: Report, parts: &Parts, original: OriginalRefs) -> Returned {
    Returned {
        kind,
        failures: Vec::new(),
        original,
        feedback: None,
        from: parts.field("from").and_then(fields::address),
        subject: crate::reply::clean_text(&parts.subject),
    }
}

fn with_failures(
    kind: Report,
    mut failures: Vec<FailedRecipient>,
    parts: &Parts,
    original: OriginalRefs,
) -> Returned {
    failures.truncate(RECIPIENTS_MAX);
    for failure in &mut failures {
        failure.finding = as_reported(kind, failure.finding);
        failure.doubt_hearsay();
    }
    let mut returned = of_kind(kind, parts, original);
    returned.failures = failures;
    returned
}

/// A report is about what another system did: it has given up, or it has not. What
/// it met on its way says nothing about our own connections.
fn as_reported(kind: Report, mut finding: Finding) -> Finding {
    if matches!(finding.scope, Scope::Site | Scope::Connection) {
        (finding.scope, finding.signal) = (Scope::Recipient, Signal::None);
    }
    if kind == Report::Failure {
        finding.permanence = Permanence::Permanent;
    } else {
        (finding.permanence, finding.hygiene) = (Permanence::Temporary, Hygiene::None);
    }
    finding
}
