//! A failure in words, with what is particular about it, what becomes of the address, and a hint
//! where the domain looks like a slip.

use std::time::Duration;

use serde::Serialize;

use super::{Lang, Plain, english, explain, explain_report, french, own};
use crate::category::{Category, Hygiene, Report};
use crate::classify::{Own, Permanence};
use crate::event::{Event, EventKind};
use crate::particular::{Failure, Particular, meant};

/// What is said of one failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub todo: String,
    /// One word for what is particular about it, as programs read it.
    pub particular: Option<&'static str>,
    /// The provider's domain that may have been meant. For a person to decide; nothing uses it.
    pub meant: Option<&'static str>,
}

impl From<Plain> for Explained {
    fn from(plain: Plain) -> Self {
        Self { what: plain.what.into(), todo: plain.todo.into(), particular: None, meant: None }
    }
}

/// Why a message was not delivered and what to do, with what is particular about it as far as the
/// words of the other side tell. Where they tell nothing: the sentences of [`explain`], or others
/// where those would promise what does not follow.
#[must_use]
pub fn explain_failure(failure: &Failure<'_>, lang: Lang) -> Explained {
    let plain = match Own::from_word(failure.rule) {
        Some(own) => own::explain(own, lang),
        // A notice of delay: the time is not over yet.
        None if (failure.category, failure.permanence)
            == (Category::Expired, Permanence::Temporary) =>
        {
            explain_report(Report::Delayed, lang)
        }
        None => Plain { todo: todo(failure, lang), ..explain(failure.category, lang) },
    };
    let mut explained = Explained::from(plain);
    if let Some(particular) = Particular::of(failure) {
        detail(&particular, failure, lang, &mut explained);
    }
    hint(failure, lang, &mut explained);
    explained
}

fn detail(particular: &Particular, failure: &Failure<'_>, lang: Lang, explained: &mut Explained) {
    let (goes, fate) = (failure.permanence, fate(failure, lang));
    let (what, todo) = match lang {
        Lang::En => (english::what(particular), english::todo(particular, goes, fate)),
        Lang::Fr => (french::what(particular), french::todo(particular, goes, fate)),
    };
    explained.particular = Some(particular.word());
    if matches!(particular, Particular::Lasted(_)) && failure.category != Category::Expired {
        // The category is the last reason then, and the time is what ended it.
        explained.what = format!("{what} {}", explained.what);
        explained.todo = explain(Category::Expired, lang).todo.into();
    } else {
        explained.what = what;
        explained.todo = todo.unwrap_or_else(|| std::mem::take(&mut explained.todo));
    }
}

/// What an event tells, in words: a failure, a complaint, or mail that came back; nothing where
/// there is nothing to explain.
#[must_use]
pub fn explain_told(event: &Event, lang: Lang) -> Option<Explained> {
    match event.kind {
        EventKind::Complained => Some(explain_report(Report::Complaint, lang).into()),
        EventKind::Reported => {
            let word = event.note.split([':', ' ']).next().unwrap_or_default();
            Report::from_word(word).map(|report| explain_report(report, lang).into())
        }
        _ => match Failure::told(event) {
            Some(failure) if event.kind == EventKind::Expired => {
                Some(given_up(explain_failure(&failure, lang), event, lang))
            }
            Some(failure) => Some(explain_failure(&failure, lang)),
            None => super::explain_event(&event.rule, None, lang).map(Explained::from),
        },
    }
}

/// How long it was tried before the last reason.
fn given_up(mut explained: Explained, event: &Event, lang: Lang) -> Explained {
    let tried = Duration::from_millis(event.age_ms);
    if tried < Duration::from_secs(60) {
        return explained;
    }
    let lasted = Particular::Lasted(tried);
    let what = explain_particular(&lasted, lang);
    explained.what = match event.category {
        Some(Category::Expired) | None => what,
        Some(_) => format!("{what} {}", explained.what),
    };
    explained.particular = explained.particular.or(Some(lasted.word()));
    explained
}

/// Where the domain is a slip of a large provider's.
fn hint(failure: &Failure<'_>, lang: Lang, explained: &mut Explained) {
    let exists = match failure.category {
        Category::NoDomain => false,
        Category::NoMailbox => true,
        _ => return,
    };
    let domain = failure.recipient.and_then(|recipient| recipient.rsplit_once('@'));
    let Some(meant) = domain.and_then(|(_, domain)| meant(domain, exists)) else { return };
    explained.meant = Some(meant);
    explained.todo = match lang {
        Lang::En => format!("Did the person mean {meant}? {}", explained.todo),
        Lang::Fr => format!("La personne a-t-elle voulu écrire {meant} ? {}", explained.todo),
    };
}

/// The category's advice, where it holds; what else, where this failure ends otherwise than most.
fn todo(failure: &Failure<'_>, lang: Lang) -> &'static str {
    let usual = explain(failure.category, lang).todo;
    let is_over = failure.permanence == Permanence::Permanent;
    match failure.category {
        Category::NoMailbox if failure.hygiene != Hygiene::Suppress => lang.pick(
            "Check the spelling. If it comes again over several campaigns the address is dropped.",
            "Vérifiez l'orthographe. Si cela se répète sur plusieurs campagnes, l'adresse est écartée.",
        ),
        Category::Moved if failure.hygiene != Hygiene::Suppress => lang.pick(
            "Ask the person for the new address and for consent.",
            "Demandez à la personne sa nouvelle adresse et son accord.",
        ),
        Category::MailboxFull if is_over => lang.pick(
            "Nothing: the next campaign tries again. If it stays full over several campaigns the address is dropped.",
            "Rien : la prochaine campagne réessaiera. Si elle reste pleine sur plusieurs campagnes, l'adresse est écartée.",
        ),
        Category::RateLimited | Category::Greylisted | Category::Network | Category::System
            if is_over =>
        {
            lang.pick(
                "Send it again later if it still matters. The address is kept.",
                "Renvoyez plus tard si le message est encore utile. L'adresse est conservée.",
            )
        }
        _ => usual,
    }
}

/// What becomes of the address.
fn fate(failure: &Failure<'_>, lang: Lang) -> &'static str {
    match (failure.hygiene, failure.category) {
        (Hygiene::Suppress, _) => lang
            .pick("The address is no longer written to.", "Nous n'écrivons plus à cette adresse."),
        (Hygiene::Count, Category::NoDomain | Category::MailboxDisabled) => lang.pick(
            "After a second failure on another day the address is no longer written to.",
            "Au deuxième échec, un autre jour, nous n'écrivons plus à cette adresse.",
        ),
        (Hygiene::Count, _) => lang.pick(
            "If it comes again over several campaigns the address is dropped.",
            "Si cela se répète sur plusieurs campagnes, l'adresse est écartée.",
        ),
        (Hygiene::None, _) => lang.pick("The address is kept.", "L'adresse est conservée."),
    }
}

/// What is particular, and what to do about it where that is more than the category's; without what
/// becomes of the address.
#[must_use]
pub fn explain_particular(particular: &Particular, lang: Lang) -> String {
    let goes = Permanence::Temporary;
    let (what, todo) = match lang {
        Lang::En => (english::what(particular), english::todo(particular, goes, "")),
        Lang::Fr => (french::what(particular), french::todo(particular, goes, "")),
    };
    let todo = todo.unwrap_or_default();
    format!("{what} {}", todo.trim_end()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Phase;
    use crate::reply::Reply;
    use crate::time::Timestamp;

    fn told(kind: EventKind, rule: &str, category: Category, reply: Option<Reply>) -> Event {
        Event {
            recipient: "ann@gmial.com".into(),
            rule: rule.into(),
            category: Some(category),
            reply,
            ..Event::new(kind, Timestamp(0))
        }
    }

    fn explained(event: &Event) -> Explained {
        explain_told(event, Lang::En).expect("a failure is explained")
    }

    #[test]
    fn our_own_refusals_have_their_figures_and_hints_too() {
        let text = "the message is too big: it has 15728640 octets, the server takes 10485760";
        let reply = Some(Own::TooBig.reply(text));
        let big = explained(&told(EventKind::Failed, "own-too-big", Category::TooBig, reply));
        assert_eq!(
            big.what,
            "The message is 15 MB, and the recipient's server takes 10 MB at most."
        );
        let reply = Some(Own::NoDomain.reply("no such domain"));
        let gone = explained(&told(EventKind::Failed, "own-no-domain", Category::NoDomain, reply));
        assert_eq!(gone.what, own::explain(Own::NoDomain, Lang::En).what);
        assert_eq!(gone.meant, Some("gmail.com"));
        assert!(gone.todo.starts_with("Did the person mean gmail.com? Check"), "{}", gone.todo);
    }

    #[test]
    fn nothing_promises_another_attempt_when_there_is_none() {
        let reply = Reply::parse("451 4.7.1 Greylisted, try again in 5 minutes");
        let mut event = told(EventKind::Deferred, "greylist", Category::Greylisted, reply);
        assert_eq!(explained(&event).todo, "Nothing: it is tried again after that.");
        event.kind = EventKind::Expired;
        event.age_ms = 3 * 86_400_000;
        let over = explained(&event);
        assert_eq!(
            over.what,
            "The message was tried for 3 days and could not be delivered. The server asks unknown senders to come back in 5 minutes."
        );
        assert!(over.todo.starts_with("Send it again later"), "{}", over.todo);
    }

    #[test]
    fn a_notice_of_delay_is_no_end() {
        let text = "4.4.7 Delivery will continue to be attempted for 5 days";
        let said = crate::classify::Said::from_line(Phase::Returned, text);
        let finding = crate::classify::classify(&said);
        let mut failure = Failure::heard(&said, &finding, None);
        assert_eq!(failure.category, Category::Expired);
        failure.permanence = Permanence::Temporary;
        let delayed = explain_failure(&failure, Lang::En);
        assert_eq!(delayed, explain_report(Report::Delayed, Lang::En).into());
    }

    #[test]
    fn a_note_of_ours_is_not_read_as_if_a_server_had_said_it() {
        let mut event = told(EventKind::Expired, "", Category::Expired, None);
        event.phase = Some(Phase::Local);
        event.note =
            "not sent within its lifetime; its site last: 451 delivery in 5 minutes".into();
        assert_eq!(explained(&event).particular, None);
        event.age_ms = 86_400_000 * 2;
        assert_eq!(
            explained(&event).what,
            "The message was tried for 2 days and could not be delivered."
        );
    }
}
