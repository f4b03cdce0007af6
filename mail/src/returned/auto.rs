//! Mail that machines write for people: out of office, challenges, receipts. None of
//! it is a failure, unless it says that nobody reads the mailbox any more.

use super::mime::Parts;
use super::text::from_mail_system;
use super::{Action, FailedRecipient, fields};
use crate::category::{Category, Hygiene, Report, Scope};
use crate::classify::{Finding, Permanence, Reaction, Signal, cut, fold};
use crate::reply::clean_text;

/// Octets of the text that are looked at.
const LOOKED_AT_OCTETS: usize = 4096;

/// What is left when a mail is no failure report.
pub(super) enum Auto {
    /// An automatic reply that says that the mailbox has ended.
    Gone(Box<FailedRecipient>),
    /// Anything else.
    Kind(Report),
}

/// Subjects of automatic replies, folded.
const SUBJECTS: &[&str] = &[
    "out of office",
    "out of the office",
    "out-of-office",
    "automatic reply",
    "automatic response",
    "auto reply",
    "auto-reply",
    "autoreply",
    "auto response",
    "auto-response",
    "autoresponse",
    "automated reply",
    "automated response",
    " auto: ",
    "away from my mail",
    "away from the office",
    "on vacation",
    "vacation reply",
    "vacation message",
    "vacation notice",
    "on holiday",
    "on leave",
    "reponse automatique",
    "absence du bureau",
    "absent du bureau",
    "message d'absence",
    "notification d'absence",
    "absence ",
    "absent(e)",
    "en conge",
    "en vacances",
    "reponse auto",
    "abwesenheit",
    "automatische antwort",
    "abwesend",
    "nicht im buro",
    "im urlaub",
    "risposta automatica",
    "fuori ufficio",
    "fuori sede",
    "assenza",
    "respuesta automatica",
    "fuera de la oficina",
    "fuera de oficina",
    "ausencia",
    "resposta automatica",
    "fora do escritorio",
    "automatisch antwoord",
    "afwezig",
    "niet aanwezig",
    "autosvar",
    "franvaro",
    "fraværende",
    "automatyczna odpowiedz",
    "nieobecnosc",
    "automaticka odpoved",
    "автоответ",
    "автоматический ответ",
    "自動応答",
    "自動返信",
    "不在",
    "自动回复",
    "自動回覆",
    "자동 회신",
];

/// Sentences that challenge the sender, folded.
const CHALLENGES: &[&str] = &[
    "boxtrapper",
    "spamarrest",
    "spam arrest",
    "mailinblack",
    "tmda",
    "challenge/response",
    "challenge-response",
    "confirm that you are a human",
    "verify that you are human",
    "prove you are human",
    "confirm that you sent",
    "requires you to verify",
    "requires verification of the sender",
    "to have your message delivered",
    "in order to have your message delivered",
    "your message will be delivered once",
    "your message is being held",
    "is being held because",
    "message has been held",
    "add you to my list of approved",
    "approved senders list",
    "click the link below to .. deliver",
    "afin que votre message soit",
    "pour que votre message soit delivre",
    "pour que votre message soit remis",
    "prouver que vous etes",
    "vous authentifier",
];

/// Sentences that say that nobody reads here any more, folded.
const GONE: &[&str] = &[
    "mailbox is no longer in use",
    "address is no longer in use",
    "account is no longer in use",
    "no longer in use",
    "address is no longer valid",
    "is no longer valid",
    "no longer an active",
    "is no longer active",
    "email address has been deactivated",
    "mailbox has been closed",
    "this mailbox no longer exists",
    "no longer works here",
    "no longer works for",
    "no longer work for",
    "no longer employed",
    "no longer with the company",
    "no longer with us",
    "has left the company",
    "have left the company",
    "has left the organisation",
    "has left the organization",
    "n'est plus utilisee",
    "n'est plus active",
    "n'est plus valide",
    "n'est plus en service",
    "ne fait plus partie",
    "a quitte la societe",
    "a quitte l'entreprise",
    "a quitte ses fonctions",
    "boite n'existe plus",
    "adresse n'existe plus",
    "ne travaille plus",
    "nicht mehr im unternehmen",
    "nicht mehr gultig",
    "wird nicht mehr verwendet",
    "nicht mehr fur",
    "ya no trabaja",
    "non e piu attivo",
    "non lavora piu",
];

/// Receipts and replies that are plain before any text is taken for a bounce.
pub(super) fn before_bounces(parts: &Parts) -> Option<Report> {
    let receipt =
        parts.disposition.is_some() || parts.report_type.starts_with("disposition-notification");
    if receipt {
        // A mailbox that rejects by receipt (RFC 5429) tells a failure.
        let text = fold(parts.texts.first().map_or("", String::as_str));
        return (!text.contains("was automatically rejected")).then_some(Report::Mdn);
    }
    if from_mail_system(parts) {
        return None;
    }
    let subject = fold(&parts.subject);
    // A person who answers to an automatic reply writes `Re:` before it.
    let automatic = is_subject_of_auto_reply(&subject) || said_by_header(parts);
    (automatic && !gone(parts) && !subject.contains("undeliver")).then(|| {
        if challenges(parts, &subject) { Report::ChallengeResponse } else { Report::AutoReply }
    })
}

/// What a mail is that is no failure report.
pub(super) fn read(parts: &Parts) -> Auto {
    let subject = fold(&parts.subject);
    let automatic = said_by_header(parts) || is_subject_of_auto_reply(&subject);
    if automatic && gone(parts) && !from_mail_system(parts) {
        return Auto::Gone(Box::new(gone_failure(parts)));
    }
    let kind = if challenges(parts, &subject)
        && (automatic || subject.contains("confirm") || subject.contains("verif"))
    {
        Report::ChallengeResponse
    } else if automatic {
        Report::AutoReply
    } else {
        Report::Other
    };
    Auto::Kind(kind)
}

fn is_subject_of_auto_reply(subject: &str) -> bool {
    let answered =
        [" re: ", " aw: ", " sv: ", " tr: ", " fwd: "].iter().any(|re| subject.starts_with(re));
    SUBJECTS.iter().any(|s| match subject.find(s) {
        // After `Re:` only an unmistakable sentence counts.
        Some(at) => !answered && at < 60,
        None => false,
    })
}

/// RFC 3834, and the fields that programs used before it.
fn said_by_header(parts: &Parts) -> bool {
    let starts = |name: &str, words: &[&str]| {
        parts.field(name).is_some_and(|v| {
            let v = v.trim().to_ascii_lowercase();
            words.iter().any(|w| v.starts_with(w))
        })
    };
    starts("auto-submitted", &["auto-replied"])
        || starts("precedence", &["auto_reply", "auto-reply"])
        || starts("x-precedence", &["auto_reply"])
        || [
            "x-autoreply",
            "x-autorespond",
            "x-autoresponder",
            "x-autoreply-from",
            "x-mail-autoreply",
            "x-vacation",
            "x-autogenerated",
        ]
        .iter()
        .any(|name| parts.field(name).is_some())
}

fn challenges(parts: &Parts, subject: &str) -> bool {
    let text = fold(parts.texts.first().map_or("", |t| cut(t, LOOKED_AT_OCTETS)));
    CHALLENGES.iter().any(|c| {
        let mut from = 0;
        let in_order = |piece: &str| match text[from..].find(piece) {
            Some(at) => {
                from += at + piece.len();
                true
            }
            None => false,
        };
        c.split(" .. ").all(in_order) || subject.contains(c)
    })
}

fn gone(parts: &Parts) -> bool {
    let text = fold(parts.texts.first().map_or("", |t| cut(t, LOOKED_AT_OCTETS)));
    let subject = fold(&parts.subject);
    GONE.iter().any(|g| text.contains(g) || subject.contains(g))
}

fn gone_failure(parts: &Parts) -> FailedRecipient {
    FailedRecipient {
        recipient: parts.field("from").and_then(fields::address),
        final_recipient: None,
        status: None,
        code: None,
        action: Action::Failed,
        diagnostic: clean_text(parts.texts.first().map_or("", String::as_str)),
        finding: Finding {
            category: Category::MailboxDisabled,
            permanence: Permanence::Permanent,
            // One sentence of a person is counted, never taken as proof.
            hygiene: Hygiene::Count,
            scope: Scope::Recipient,
            signal: Signal::None,
            rule: "auto-reply-gone",
            confidence: 60,
            reaction: Reaction::default(),
        },
    }
}
