//! A failure's words made ready for reading: cleaned and bounded once, folded for cues, as they came
//! for what is quoted.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::{Failure, span};
use crate::Address;
use crate::classify::{Permanence, fold};
use crate::reply::{EnhancedStatus, clean_text};

/// A pattern that is part of the program: a test compiles them all.
macro_rules! pattern {
    ($text:expr) => {{
        static PATTERN: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| regex::Regex::new($text).expect("a valid pattern"));
        &*PATTERN
    }};
}
pub(super) use pattern;

/// The words of a failure.
pub(super) struct Text<'a> {
    /// As they came, without control characters, at most 1 KB.
    pub(super) said: String,
    /// As rules see them: lower case, no accents, `@` for an address.
    pub(super) folded: String,
    pub(super) status: Option<EnhancedStatus>,
    pub(super) rule: &'a str,
    is_over: bool,
    recipient: Option<&'a str>,
}

impl<'a> Text<'a> {
    pub(super) fn new(failure: &Failure<'a>) -> Self {
        let said = clean_text(failure.text);
        // `host mx.example.org[192.0.2.1] said: 550 …`: what comes before is no part of the answer.
        let said = match said.rfind(" said: ") {
            Some(at) => said[at + " said: ".len()..].to_owned(),
            None => said,
        };
        let folded = fold(&said);
        let Failure { status, rule, recipient, permanence, .. } = *failure;
        let is_over = permanence == Permanence::Permanent;
        Self { said, folded, status, rule, is_over, recipient }
    }

    /// Whether one of these occurs, in folded form.
    pub(super) fn has(&self, cues: &[&str]) -> bool {
        cues.iter().any(|cue| self.folded.contains(cue))
    }

    /// Whether the status is of this subject and detail (RFC 3463), whatever its class.
    pub(super) fn is_status(&self, subject: u16, detail: u16) -> bool {
        self.status.is_some_and(|status| (status.1, status.2) == (subject, detail))
    }

    /// The only address beside the recipient's that follows the cue, if it is one that may be shown.
    pub(super) fn address_after(&self, cue: &Regex) -> Option<Address> {
        let from = cue.find(&self.said)?.end();
        let word = pattern!(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,200}");
        let mut found = word.find_iter(&self.said[from..]).map(|found| found.as_str());
        let (first, second) = (found.next()?, found.next());
        let address: Address = first.trim_end_matches(['.', '-']).parse().ok()?;
        let is_new = self
            .recipient
            .is_none_or(|recipient| !recipient.eq_ignore_ascii_case(address.as_str()));
        (second.is_none() && is_new).then_some(address)
    }

    /// The public network address that is named, if one alone is.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        static FORM: LazyLock<Regex> = LazyLock::new(|| {
            let (four, six) =
                (r"(?:\d{1,3}\.){3}\d{1,3}", r"[0-9A-Fa-f:]{2,39}:[0-9A-Fa-f:.]{1,39}");
            Regex::new(&format!(r"(?:^|[^\w.:-])({four}|{six})(?:$|[^\w:-])")).expect("a pattern")
        });
        let found = FORM.captures_iter(&self.said).filter_map(|found| found[1].parse().ok());
        let mut found: Vec<IpAddr> = found.take(4).collect();
        found.dedup();
        match found[..] {
            [ip] if is_public(ip) => Some(ip),
            _ => None,
        }
    }

    /// After which time a sender is to come back.
    pub(super) fn wait(&self) -> Option<Duration> {
        span::wait(&self.folded)
    }

    /// For how long it was tried, now that it is over. A notice of delay tells for how long it will be.
    pub(super) fn lasted(&self) -> Option<Duration> {
        let goes_on = !self.is_over || self.has(&["will continue", "continue to be"]);
        if goes_on { None } else { span::lasted(&self.folded) }
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_private() || ip.is_loopback() || ip.is_unspecified() || ip.is_link_local())
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local()),
    }
}
