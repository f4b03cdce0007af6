//! Failure reports in plain text: no two systems write them alike, yet nearly all
//! name the addresses at the head of a line, the answer below, and then say where
//! the original begins. This reads that shape, not one dialect after the other.

use std::borrow::Cow;

use super::answer::{self, Prose};
use super::fields;
use super::mime::Parts;
use super::named::{Named, lonely, recipients};
use super::original::OriginalRefs;
use super::phrases::phrases;
use super::section::{Section, about};
use super::{Action, FailedRecipient};
use crate::category::Report;
use crate::classify::{EXAMINED_OCTETS_MAX, cut, fold_beside};
use crate::reply::clean_text;

phrases! {
    /// What reports of failure say, folded. A mail system that says one of these has given up.
    FAILURE = [
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
        "zustellung fehlgeschlagen",
        "zustellung ist fehlgeschlagen",
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
        "zprava nebyla dorucena",
        "nebylo mozne dorucit",
        "teslim edilemedi",
        "iletilemedi",
        "recapitato",
        "mancata consegna",
        "consegna non riuscita",
        "non consegnato",
        "配送できません",
        "配信されません",
        "送信エラー",
        "配信エラー",
        "전송되지 못",
        "발송실패",
        "전달하지 못",
        "전송 실패",
        "kon niet worden afgeleverd",
        "niet worden bezorgd",
        "niet afgeleverd",
        "kunne ikke leveres",
        "ikke leveret",
        "ikke levert",
        "kunde inte levereras",
        "inte levererats",
        "nie udalo sie dostarczyc",
        "nie zostala dostarczona",
        "nie mozna dostarczyc",
        "nie dostarczono",
        "n'a pas pu distribuer",
        "n'a pas pu remettre",
        "n'a pas ete distribue",
        "ei voitu toimittaa",
        "kezbesitese sikertelen",
        "nem kezbesitheto",
        "未能投递",
        "投递失败",
        "無法送達",
        "無法傳遞",
        "退回",
        "nao foi entregue",
        "falha na entrega",
        "no se entrego",
        "fallo en la entrega",
        "не удалось доставить",
        "не был доставлен",
        "недоставк",
        "退信",
        "无法投递",
        "未能送达",
        "未能送達",
        "无法送达",
        "投遞失敗",
        "無法投遞",
    ]
}

phrases! {
    /// How mail systems call themselves, in lower case.
    SYSTEMS = [
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
    ]
}

/// Whether a mail system wrote this, by its header.
pub(super) fn from_mail_system(parts: &Parts) -> bool {
    let from = fold_name(parts.field("from").unwrap_or_default());
    let failed = parts.field("x-failed-recipients").is_some();
    failed
        || (SYSTEMS.occur_in(&from) && !is_a_postmasters_own(parts, &from))
        || parts.report_type == "delivery-status"
        || (has_null_path(parts) && !from.contains('@'))
}

/// Behind this name sit people, too. They have a return path, which no report has (RFC 5321, 4.5.5),
/// and answer to what they were written.
fn is_a_postmasters_own(parts: &Parts, from: &str) -> bool {
    let is_postmaster = from.contains("postmaster") && !from.contains("daemon");
    let has_path = parts.return_path().is_some();
    is_postmaster
        && !has_null_path(parts)
        && !is_automatic(parts)
        && parts.original.is_none()
        && (is_an_answer(parts)
            || has_mark(parts, &[" fwd: ", " fw: ", " tr: ", " wg: "])
            || (has_path && !FAILURE.occur_in(parts.subject_folded())))
}

fn has_null_path(parts: &Parts) -> bool {
    parts.return_path() == Some("<>")
}

/// Whether a subject or a text, folded, says that something failed.
pub(super) fn says_failure(folded: &str) -> bool {
    FAILURE.occur_in(folded)
}

fn is_automatic(parts: &Parts) -> bool {
    parts.field("auto-submitted").is_some_and(|value| value.trim() != "no")
}

fn is_an_answer(parts: &Parts) -> bool {
    has_mark(parts, &[" re: ", " aw: ", " sv: ", " antw: "]) || parts.field("in-reply-to").is_some()
}

/// Whether the subject begins with one of these.
pub(super) fn has_mark(parts: &Parts, marks: &[&str]) -> bool {
    let subject = parts.subject_folded();
    marks.iter().any(|mark| subject.starts_with(mark))
}

fn fold_name(from: &str) -> String {
    cut(from, 300).to_lowercase()
}

/// A newsletter may speak about bounces, and a person may answer to one.
pub(super) fn is_of_a_person(parts: &Parts) -> bool {
    let listed = parts.field("list-id").or(parts.field("list-unsubscribe")).is_some();
    (listed || is_an_answer(parts)) && !from_mail_system(parts)
}

/// Reads a report in plain text. `None` when this mail is none.
pub(super) fn read(
    parts: &Parts,
    original: &OriginalRefs,
) -> Option<(Report, Vec<FailedRecipient>)> {
    let section = Section::of(parts);
    let late = section.says_delayed(parts);
    let belief = belief(parts, &section, late);
    if belief == Belief::None {
        return None;
    }
    let mut found = recipients(parts, original, &section.text);
    if found.is_empty() {
        if belief == Belief::Some {
            return None;
        }
        let address = lonely(parts, original, &section.text);
        found.push(Named { address, lines: section.text.clone() });
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

fn belief(parts: &Parts, section: &Section, late: bool) -> Belief {
    let subject = parts.subject_folded();
    let in_text = FAILURE.occur_in(&section.folded);
    let in_subject = FAILURE.occur_in(subject);
    if is_of_a_person(parts) {
        return Belief::None;
    }
    if from_mail_system(parts) {
        // In a language that nobody here knows the numbers tell.
        let numbered = || {
            let found = answer::find(&section.text);
            let is_plain = found.code.is_some() || section.text.contains("(#5.");
            is_plain && found.status.is_some_and(|status| status.0 == 5)
        };
        return match (in_text || in_subject, late) {
            (true, _) => Belief::Sure,
            (false, true) if has_null_path(parts) => Belief::Sure,
            (false, true) => Belief::Some,
            (false, false) if has_null_path(parts) && numbered() => Belief::Some,
            (false, false) => Belief::None,
        };
    }
    let (null_path, automatic) = (has_null_path(parts), is_automatic(parts));
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
        [] => lonely(parts, original, section),
        _ => None,
    }
}

fn failure(named: &Named, section: &Section, action: Action, many: bool) -> FailedRecipient {
    let text = section.text.as_str();
    let own = if named.lines.trim().is_empty() { text } else { &named.lines };
    let found = answer::find(own);
    let elsewhere = match many {
        true => about(text, named.address.as_deref().unwrap_or("\0")),
        false => String::new(),
    };
    let found =
        if found.code.is_none() && found.status.is_none() && (!many || !elsewhere.is_empty()) {
            let wider = if many { &elsewhere } else { text };
            let wide = answer::find(wider);
            if wide.code.is_some() { wide } else { answer::Answer { text: own, ..wide } }
        } else {
            found
        };
    let spoken = found.text;
    let (code, status) = (found.code, found.status);
    let around: Cow<'_, str> = if many {
        format!("{own} {elsewhere}").into()
    } else if text.len() > EXAMINED_OCTETS_MAX {
        format!("{own}\n{text}").into()
    } else {
        text.into()
    };
    let folded = fold_beside(&around, text, &section.folded);
    let phase = if many { answer::phase(&folded) } else { section.phase() };
    let prose = Prose { text: &around, folded: &folded };
    let finding = answer::meaning(phase, code, status, spoken, prose);
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

/// The address that we wrote to, when it stood for another: Postfix's and Exim's words.
fn expanded_from(lines: &str) -> Option<String> {
    let marks = ["(expanded from", "(generated from"];
    let (_, rest) = marks.iter().find_map(|mark| lines.split_once(mark))?;
    fields::address(rest.lines().next()?)
}
