//! What is to become of each recipient: decided by the scenario's seed and the
//! address alone, so that anybody can ask beforehand what was meant.

use mail::{Category, Report};
use serde::Serialize;

use super::dialect::Written;
use super::wording::Said;
use crate::mix;
use crate::scenario::{Fates, Manner};

/// What a provider will do with a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Takes the message.
    Accept,
    /// Refuses the first attempt for now, then takes it.
    Later(Said),
    /// Refuses for good at RCPT.
    RefuseRcpt(Said),
    /// Refuses for good after the final dot.
    RefuseDot(Said),
    /// Takes it and reports a failure by mail.
    Bounce(Said),
    /// Takes it and reports that it is still trying.
    DelayNotice,
    /// Takes it, and the recipient calls it spam.
    Complain,
    /// Takes it and answers that the recipient is away.
    OutOfOffice,
    /// Takes it and sends back what came back once from somewhere, in its own words.
    Written(Written),
}

/// How a recipient's story should end, and what should come back by mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Meant {
    /// The end of the delivery.
    pub end: End,
    /// The mail that comes back after it.
    pub report: Option<Report>,
}

/// The end of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "end", content = "category")]
pub enum End {
    /// The message is taken, at the first or a later attempt.
    Delivered,
    /// Refused for good, for this reason.
    Failed(Category),
    /// Taken, then reported as failed for this reason.
    Returned(Category),
    /// Refused for now for ever: the relay gives up after its lifetime.
    Unreachable(Category),
}

impl Fate {
    /// What the relay and its bounce processor should make of it.
    #[must_use]
    pub fn meant(self) -> Meant {
        match self {
            Self::Accept | Self::Later(_) => Meant { end: End::Delivered, report: None },
            Self::RefuseRcpt(said) | Self::RefuseDot(said) => {
                Meant { end: End::Failed(said.category()), report: None }
            }
            Self::Bounce(said) => {
                Meant { end: End::Returned(said.category()), report: Some(Report::Failure) }
            }
            Self::DelayNotice => Meant { end: End::Delivered, report: Some(Report::Delayed) },
            Self::Complain => Meant { end: End::Delivered, report: Some(Report::Complaint) },
            Self::OutOfOffice => Meant { end: End::Delivered, report: Some(Report::AutoReply) },
            Self::Written(written) => written.meant(),
        }
    }
}

/// The shares of a manner's fates, in the order in which they are drawn.
pub(crate) fn shares(fates: &Fates) -> impl Iterator<Item = (Fate, f64)> {
    [
        (Fate::Later(Said::Busy), fates.busy),
        (Fate::Later(Said::Trouble), fates.trouble),
        (Fate::Later(Said::FullForNow), fates.full_for_now),
        (Fate::RefuseRcpt(Said::NoMailbox), fates.no_mailbox),
        (Fate::RefuseRcpt(Said::Moved), fates.moved),
        (Fate::RefuseRcpt(Said::Disabled), fates.disabled),
        (Fate::RefuseRcpt(Said::Full), fates.full),
        (Fate::RefuseRcpt(Said::Refused), fates.refused),
        (Fate::RefuseDot(Said::TooBig), fates.too_big),
        (Fate::RefuseDot(Said::Content), fates.content),
        (Fate::RefuseRcpt(Said::Policy), fates.policy),
        (Fate::RefuseDot(Said::Auth), fates.auth),
        (Fate::RefuseRcpt(Said::Blocked), fates.blocked),
        (Fate::Bounce(Said::NoMailbox), fates.bounce_no_mailbox),
        (Fate::Bounce(Said::Full), fates.bounce_full),
        (Fate::Bounce(Said::Disabled), fates.bounce_disabled),
        (Fate::Bounce(Said::Content), fates.bounce_content),
        (Fate::DelayNotice, fates.delay_notice),
        (Fate::Complain, fates.complain),
        (Fate::OutOfOffice, fates.out_of_office),
        (Fate::Written(Written::ANY), fates.dialects),
    ]
    .into_iter()
}

/// A manner's fates as a line from 0 to 1, cut once so that each draw is one search.
#[derive(Debug, Clone)]
pub(crate) struct Draw {
    seed: u64,
    upto: Vec<(f64, Fate)>,
    greylisted: f64,
}

impl Draw {
    pub(crate) fn new(seed: u64, manner: &Manner) -> Self {
        let mut sum = 0.0;
        let upto = shares(&manner.fates)
            .filter(|(_, share)| *share > 0.0)
            .map(|(fate, share)| {
                sum += share;
                (sum, fate)
            })
            .collect();
        Self { seed, upto, greylisted: manner.greylist.share }
    }

    pub(crate) fn fate(&self, address: &str) -> Fate {
        if self.upto.is_empty() {
            return Fate::Accept;
        }
        let at = mix::share(mix::of_text(self.seed, 10, address));
        match self.upto.iter().find(|(upto, _)| at < *upto) {
            Some((_, Fate::Written(_))) => Fate::Written(Written::drawn(self.seed, address)),
            Some((_, fate)) => *fate,
            None => Fate::Accept,
        }
    }

    pub(crate) fn is_greylisted(&self, address: &str) -> bool {
        self.greylisted > 0.0 && mix::share(mix::of_text(self.seed, 11, address)) < self.greylisted
    }
}
