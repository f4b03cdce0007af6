//! Failure reports in plain text: no two systems write them alike, yet nearly all
//! name the addresses at the head of a line, the answer below, and then say where
//! the original begins. This reads that shape, not one dialect after the other.

use super::answer;
use super::fields;
use super::mime::Parts;
use super::named::{Named, recipients};
use super::original::OriginalRefs;
use super::section::{about, report_section, says_delayed};
use super::{Action, FailedRecipient};
use crate::category::Report;
use crate::classify::{cut, fold};
use crate::reply::clean_text;

/// What reports of failure say, folded. A mail system that says one of these has given up.
const FAILURE: &[&str] = &[
    "could not be delivered",
    "could not be sent",
    "couldn't be sent",
    "trouble delivering your message",
    "problem with the e-mail address",
    "failed mail delivery",
    "had delivery problems",
    "delivery problems",
    "non-delivered information",
    "recipients were affected",
    "further delivery attempts will",
    "undelivered message",
    "was rejected by the server",
    "rejected recipient",
    "has been rejected by",
    "could not send",
    "couldn't be delivered",
    "cannot be delivered",
    "can't be delivered",
    "was not delivered",
    "wasn't delivered",
    "not delivered to",
    "not able to be delivered",
    "unable to deliver",
    "wasn't able to deliver",
    "not able to deliver",
    "unable to be delivered",
    "could not deliver",
    "couldn't deliver",
    "can not deliver",
    "cannot deliver",
    "delivery failed",
    "delivery has failed",
    "delivery failure",
    "failed permanently",
    "failed to deliver",
    "delivery to the following",
    "fatal errors",
    "fatal delivery errors",
    "undeliverable",
    "undelivered",
    "returned mail",
    "failure notice",
    "failure notification",
    "returned to sender",
    "returning message",
    "returning to sender",
    "did not reach",
    "could not be reached",
    "did not receive this message",
    "error delivering your mail",
    "error has occurred while attempting to deliver",
    "error occurred while trying to deliver",
    "encountered delivery problems",
    "problem delivering",
    "delivery status notification",
    "delivery notification",
    "mail failed",
    "message not delivered",
    "failed addresses",
    "failed recipient",
    "automatically rejected",
    "invalid final delivery",
    "failure reasons",
    "unknown user:",
    "message was not accepted",
    "mail not delivered",
    "permanent error",
    "permanent failure",
    "nondeliverable",
    "non-deliverable",
    "not a member of this mailing list",
    "mail could not be",
    "mail delivery",
    "message could not be",
    "undeliver",
    "group you tried to contact",
    "transcript of session",
    "no pudo ser entregado",
    "no se pudo entregar",
    "no se ha podido entregar",
    "nao pode ser enviada",
    "nao pode ser entregue",
    "n'a pas pu etre",
    "echec de la remise",
    "non remis",
    "non distribuable",
    "non delivre",
    "echec de livraison",
    "echec de distribution",
    "impossible de remettre",
    "n'a pas ete remis",
    "message non",
    "unzustellbar",
    "konnte nicht zugestellt",
    "nicht zugestellt",
    "zustellung .. fehlgeschlagen",
    "non recapitabile",
    "impossibile recapitare",
    "non e stato consegnato",
    "onbestelbaar",
    "kon niet worden bezorgd",
    "не доставлено",
    "не может быть доставлено",
    "недоставлен",
    "配信できません",
    "送信できません",
    "配信不能",
    "退信",
    "无法投递",
    "無法投遞",
];

/// Whether a mail system wrote this, by its header.
pub(super) fn from_mail_system(parts: &Parts) -> bool {
    let from = fold_name(parts.field("from").unwrap_or_default());
    let system = [
        "mailer-daemon",
        "mailerdaemon",
        "mailer daemon",
        "postmaster",
        "mail-daemon",
        "mail delivery",
        "maildaemon",
        "mdaemon",
        "mail administrator",
        "mail-administrator",
        "system administrator",
        "microsoft exchange",
        "delivery system",
        "delivery subsystem",
        "virus_for_smtp",
        "internet mail delivery",
        "interscan",
        "imss@",
        "mail router",
        "bounce@",
        "noreply-bounce",
    ];
    let null_path = parts.field("return-path").is_some_and(|v| v.trim() == "<>");
    let failed = parts.field("x-failed-recipients").is_some();
    let by_name = system.iter().any(|s| from.contains(s));
    failed
        || by_name
        || parts.report_type == "delivery-status"
        || (null_path && !from.contains('@'))
}

fn fold_name(from: &str) -> String {
    cut(from, 300).to_lowercase()
}

/// Reads a report in plain text. `None` when this mail is none.
pub(super) fn read(
    parts: &Parts,
    original: &OriginalRefs,
) -> Option<(Report, Vec<FailedRecipient>)> {
    let section = report_section(parts);
    let late = says_delayed(parts, &section);
    let belief = belief(parts, &section, late);
    if belief == Belief::None {
        return None;
    }
    let mut found = recipients(parts, original, &section);
    if found.is_empty() {
        if belief == Belief::Some {
            return None;
        }
        found.push(Named { address: None, lines: section.clone() });
    }
    let (kind, action) = match late {
        true => (Report::Delayed, Action::Delayed),
        false => (Report::Failure, Action::Failed),
    };
    let many = found.len() > 1;
    Some((kind, found.iter().map(|named| failure(named, &section, action, many)).collect()))
}

/// How sure it is that a text reports a failure or a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    None,
    /// If it names a recipient.
    Some,
    /// Even if it names nobody.
    Sure,
}

fn belief(parts: &Parts, section: &str, late: bool) -> Belief {
    let (said, subject) = (fold(section), fold(&parts.subject));
    let in_text = FAILURE.iter().any(|f| said.contains(f));
    let in_subject = FAILURE.iter().any(|f| subject.contains(f));
    if from_mail_system(parts) {
        return match (in_text || in_subject, late) {
            (true, _) => Belief::Sure,
            (false, true) => Belief::Some,
            (false, false) => Belief::None,
        };
    }
    // A newsletter may speak about bounces, and a person may answer to one.
    let listed = parts.field("list-id").or(parts.field("list-unsubscribe")).is_some();
    let answered = subject.starts_with(" re: ") || parts.field("in-reply-to").is_some();
    if listed || answered {
        return Belief::None;
    }
    let null_path = parts.field("return-path").is_some_and(|v| v.trim() == "<>");
    let automatic = parts.field("auto-submitted").is_some_and(|v| v.trim() != "no");
    let refused_by_list = ["are not member", "loop alert"].iter().any(|w| subject.contains(w));
    let told = (in_text && (in_subject || null_path || automatic)) || refused_by_list;
    if told { Belief::Some } else { Belief::None }
}

/// The recipient that the prose names, if it is one.
pub(super) fn only_recipient(
    parts: &Parts,
    original: &OriginalRefs,
    section: &str,
) -> Option<String> {
    match recipients(parts, original, section).as_slice() {
        [one] => one.address.clone(),
        _ => None,
    }
}

fn failure(named: &Named, section: &str, action: Action, many: bool) -> FailedRecipient {
    let own = if named.lines.trim().is_empty() { section } else { &named.lines };
    let found = answer::find(own);
    let elsewhere = about(section, named.address.as_deref().unwrap_or("\0"));
    let found =
        if found.code.is_none() && found.status.is_none() && (!many || !elsewhere.is_empty()) {
            let wider = if many { &elsewhere } else { section };
            let wide = answer::find(wider);
            if wide.code.is_some() { wide } else { answer::Answer { text: own, ..wide } }
        } else {
            found
        };
    let more = if many { format!("{own} {elsewhere}") } else { section.to_owned() };
    let phase = answer::phase(&more);
    let spoken = found.text;
    let finding =
        answer::meaning(phase, found.code, found.status, spoken, &format!("{own}\n{more}"));
    let expanded = expanded_from(&named.lines);
    FailedRecipient {
        final_recipient: expanded.as_ref().and(named.address.clone()),
        recipient: expanded.or_else(|| named.address.clone()),
        status: found.status,
        code: found.code,
        action,
        diagnostic: clean_text(spoken),
        finding,
    }
}

/// The address that we wrote to, when it stood for another: sendmail's words.
fn expanded_from(lines: &str) -> Option<String> {
    let (_, rest) = lines.split_once("(expanded from")?;
    fields::address(rest.lines().next()?)
}
