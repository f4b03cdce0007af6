//! Mail that machines write for people: out of office, challenges, receipts. None of
//! it is a failure, unless it says that nobody reads the mailbox any more.

use super::mime::Parts;
use super::phrases::phrases;
use super::text::{from_mail_system, has_mark, says_failure};
use super::{Action, FailedRecipient, fields};
use crate::category::{Category, Hygiene, Report, Scope};
use crate::classify::{Finding, Permanence, Reaction, Signal};
use crate::reply::clean_text;

/// What is left when a mail is no failure report.
pub(super) enum Auto {
    /// An automatic reply that says that the mailbox has ended.
    Gone(Box<FailedRecipient>),
    /// Anything else.
    Kind(Report),
}

phrases! {
    /// Subjects of automatic replies, folded.
    SUBJECTS = [
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
        "fravaerende",
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
    ]
}

phrases! {
    /// Sentences that challenge the sender, folded.
    CHALLENGES = [
        "boxtrapper",
        "boxbe",
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
        "held until you confirm",
        "until you confirm that",
        "without changing the subject",
        "message has been held",
        "add you to my list of approved",
        "approved senders list",
        "link below to deliver",
        "link below to have your message deliver",
        "link below and your message will be deliver",
        "afin que votre message soit",
        "pour que votre message soit delivre",
        "pour que votre message soit remis",
        "prouver que vous etes",
        "vous authentifier",
        "confirme que voce e uma pessoa",
        "retida pelo antispam",
        "confirme que es una persona",
    ]
}

phrases! {
    /// Sentences that say that nobody reads here any more, folded.
    GONE = [
        "mailbox is no longer in use",
        "address is no longer in use",
        "account is no longer in use",
        "no longer in use",
        "address is no longer valid",
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
    ]
}

phrases! {
    /// Sentences that say that somebody reads it all the same, or will again, folded.
    STILL_READ = [
        "out of the office until",
        "out of office until",
        "on leave until",
        "on holiday until",
        "on vacation until",
        "away until",
        "back on",
        "back in the office",
        "will return on",
        "returning on",
        "absent jusqu",
        "absente jusqu",
        "conge jusqu",
        "conges jusqu",
        "de retour le",
        "bis zum",
        "wieder erreichbar",
        "vuelvo el",
        "rientro il",
        "message est transmis",
        "message a ete transmis",
        "message sera transmis",
        "has been forwarded to",
        "will be forwarded to",
        "is forwarded to",
        "is being forwarded",
        "wird weitergeleitet",
        "wurde weitergeleitet",
    ]
}

phrases! {
    /// Sentences that name where the person is now, folded.
    MOVED = [
        "my new address",
        "my new email",
        "my new e-mail",
        "new email address is",
        "new e-mail address is",
        "new address is",
        "ma nouvelle adresse",
        "nouvelle adresse est",
        "meine neue adresse",
        "meine neue e-mail",
        "mi nueva direccion",
        "mi nuevo correo",
        "il mio nuovo indirizzo",
        "meu novo endereco",
    ]
}

phrases! {
    /// Sentences of machines that have taken a message in, folded.
    RECEIVED = [
        "a bien ete recu",
        "avons bien recu votre",
        "has been received",
        "we have received your",
        "we received your",
        "nachricht erhalten",
        "ist bei uns eingegangen",
        "hemos recibido su",
        "abbiamo ricevuto",
        "recebemos sua",
    ]
}

phrases! {
    /// Sentences by which they say that they are machines, folded.
    MACHINE = [
        "message automatique",
        "reponse automatique",
        "automatic message",
        "automated message",
        "automatic email",
        "automated email",
        "automatically generated",
        "ne pas y repondre",
        "ne pas repondre",
        "do not reply",
        "don't reply",
        "nicht auf diese",
        "automatisch erzeugt",
        "automatisch generiert",
        "no responda",
        "non rispondere",
    ]
}

/// Receipts and replies that are plain before any text is taken for a bounce.
pub(super) fn before_bounces(parts: &Parts) -> Option<Report> {
    let receipt =
        parts.disposition.is_some() || parts.report_type.starts_with("disposition-notification");
    if receipt {
        // A mailbox that rejects by receipt (RFC 5429) tells a failure.
        let rejected = parts.said().contains("was automatically rejected");
        return (!rejected).then_some(Report::Mdn);
    }
    if from_mail_system(parts) {
        return None;
    }
    // A person who answers to an automatic reply writes `Re:` before it.
    let automatic =
        has_subject_of_auto_reply(parts) || said_by_header(parts) || is_of_tickets(parts);
    (automatic && !gone(parts) && !parts.subject_folded().contains("undeliver"))
        .then(|| if challenges(parts) { Report::ChallengeResponse } else { Report::AutoReply })
}

/// What a mail is that is no failure report.
pub(super) fn read(parts: &Parts) -> Auto {
    let subject = parts.subject_folded();
    let automatic = said_by_header(parts) || has_subject_of_auto_reply(parts);
    if automatic && gone(parts) && !from_mail_system(parts) {
        return Auto::Gone(Box::new(gone_failure(parts)));
    }
    let automatic = automatic || is_of_tickets(parts) || is_receipt(parts);
    let kind = if challenges(parts)
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

fn has_subject_of_auto_reply(parts: &Parts) -> bool {
    // A subject that begins with `Re:` is somebody's answer to one.
    !has_mark(parts, &[" re: ", " aw: ", " sv: ", " tr: ", " fwd: "])
        && SUBJECTS.first_in(parts.subject_folded()).is_some_and(|at| at < 60)
}

/// Ticket systems say that they generate, and forbid their like to answer. Gateways that report do, too.
fn is_of_tickets(parts: &Parts) -> bool {
    let generated = parts.field("auto-submitted").is_some_and(|v| v.trim() == "auto-generated");
    generated
        && parts.field("x-auto-response-suppress").is_some()
        && !says_failure(parts.subject_folded())
        && !says_failure(parts.said())
}

/// Taken in by a machine that says so in its own words.
fn is_receipt(parts: &Parts) -> bool {
    let quotes = parts.texts.first().is_some_and(|text| text.lines().any(|l| l.starts_with('>')));
    !quotes
        && parts.field("list-unsubscribe").is_none()
        && RECEIVED.occur_in(parts.said())
        && MACHINE.occur_in(parts.said())
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

fn challenges(parts: &Parts) -> bool {
    CHALLENGES.occur_in(parts.said()) || CHALLENGES.occur_in(parts.subject_folded())
}

fn gone(parts: &Parts) -> bool {
    let gone = GONE.occur_in(parts.said()) || GONE.occur_in(parts.subject_folded());
    gone && !STILL_READ.occur_in(parts.said())
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
            category: match MOVED.occur_in(parts.said()) {
                true => Category::Moved,
                false => Category::MailboxDisabled,
            },
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
