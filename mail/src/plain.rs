//! Plain words, French and English: for each category and kind what happened and
//! what the sender of a campaign can do. Terminal, API, console and the guide read
//! the same sentences here.

mod english;
mod failure;
mod french;
mod own;

pub use failure::{Explained, explain_failure, explain_particular, explain_told};

use crate::category::{Category, Report, words};
use crate::classify::Own;
use crate::event::EventKind;

words! {
    /// The language of an explanation.
    Lang {
        /// English.
        En = "en",
        /// French.
        Fr = "fr",
    }
}

impl Lang {
    /// Which of the two is in this language.
    #[must_use]
    pub fn pick<T>(self, en: T, fr: T) -> T {
        match self {
            Self::En => en,
            Self::Fr => fr,
        }
    }
}

/// An explanation for somebody who sends campaigns and knows nothing of SMTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    /// What happened.
    pub what: &'static str,
    /// What to do about it.
    pub todo: &'static str,
}

const fn plain(what: &'static str, todo: &'static str) -> Plain {
    Plain { what, todo }
}

/// Why a message was not delivered, and what to do.
#[must_use]
pub fn explain(category: Category, lang: Lang) -> Plain {
    match lang {
        Lang::En => category_en(category),
        Lang::Fr => category_fr(category),
    }
}

/// Why a message was not sent where no server said so, and what to do.
#[must_use]
pub fn explain_own(own: Own, lang: Lang) -> Plain {
    own::explain(own, lang)
}

/// What an event's rule and category say: our own reasons are told apart, those of servers by what
/// they come to.
#[must_use]
pub fn explain_event(rule: &str, category: Option<Category>, lang: Lang) -> Option<Plain> {
    let own = Own::from_word(rule).map(|own| own::explain(own, lang));
    own.or_else(|| category.map(|category| explain(category, lang)))
}

/// What a returned mail is, and what to do.
#[must_use]
pub fn explain_report(report: Report, lang: Lang) -> Plain {
    match lang {
        Lang::En => report_en(report),
        Lang::Fr => report_fr(report),
    }
}

fn category_en(category: Category) -> Plain {
    match category {
        Category::NoMailbox => plain(
            "The user is unknown: the part before the @ names no mailbox there.",
            "Check the spelling. The address is no longer written to.",
        ),
        Category::Moved => plain(
            "The person has another address now.",
            "Ask the person for the new address and for consent. The old one is no longer written to.",
        ),
        Category::NoDomain => plain(
            "The domain is unknown or takes no mail: look at the part after the @.",
            "Check the spelling after the @. After a second failure on another day the address is no longer written to.",
        ),
        Category::MailboxDisabled => plain(
            "The mailbox exists and has been switched off by its provider.",
            "Nothing now. After a second failure on another day the address is no longer written to.",
        ),
        Category::MailboxFull => plain(
            "The mailbox is full: its quota is used up.",
            "Nothing: it is tried again. If it stays full over several campaigns the address is dropped.",
        ),
        Category::RecipientRefused => plain(
            "This recipient's mailbox does not want the message.",
            "Reach the person another way and ask to be allowed in.",
        ),
        Category::TooBig => plain(
            "The message is larger than the recipient's server takes.",
            "Make the message smaller: link to large pictures and documents.",
        ),
        Category::Content => plain(
            "The server refused what the message says or carries: it looks like spam, a virus or a forbidden attachment.",
            "Look over the text, the links and the attachments before sending again. The address is kept.",
        ),
        Category::ReputationBlock => plain(
            "The recipient's provider refuses mail from our servers at the moment.",
            "Nothing for you to do: the operators are told. The address is kept.",
        ),
        Category::Policy => plain(
            "A rule of the recipient's server refuses the message or its sender.",
            "Show the server's answer to the operators. The address is kept.",
        ),
        Category::Auth => plain(
            "The server could not verify that the message comes from your domain (SPF, DKIM, DMARC).",
            "Have the DNS records of the sender's domain checked before sending again. The address is kept.",
        ),
        Category::RateLimited => plain(
            "The recipient's provider asks us to send more slowly.",
            "Nothing: sending slows down and goes on by itself.",
        ),
        Category::Greylisted => plain(
            "The server asks unknown senders to come back a little later.",
            "Nothing: it is tried again in a few minutes.",
        ),
        Category::Network => plain(
            "The recipient's server could not be reached.",
            "Nothing: it is tried again. If it lasts, check the domain.",
        ),
        Category::Expired => plain(
            "The message could not be delivered in the time it was given.",
            "Send again later if it still matters. The address is kept.",
        ),
        Category::System => {
            plain("The recipient's server is in trouble.", "Nothing: it is tried again.")
        }
        Category::Protocol => plain(
            "Our server and the recipient's do not understand each other.",
            "Show the server's answer to the operators. The address is kept.",
        ),
        Category::Undetermined => plain(
            "The server refused the message without a reason that we understand.",
            "Read the server's answer. If it comes again over several campaigns the address is dropped.",
        ),
    }
}

fn category_fr(category: Category) -> Plain {
    match category {
        Category::NoMailbox => plain(
            "Utilisateur inconnu : ce qui précède le @ ne désigne aucune boîte chez ce fournisseur.",
            "Vérifiez l'orthographe. Nous n'écrivons plus à cette adresse.",
        ),
        Category::Moved => plain(
            "La personne a changé d'adresse.",
            "Demandez-lui sa nouvelle adresse et son accord. Nous n'écrivons plus à l'ancienne.",
        ),
        Category::NoDomain => plain(
            "Domaine inconnu ou sans courrier : regardez ce qui suit le @.",
            "Vérifiez l'orthographe après le @. Au deuxième échec, un autre jour, nous n'écrivons plus à cette adresse.",
        ),
        Category::MailboxDisabled => plain(
            "La boîte existe mais son fournisseur l'a désactivée.",
            "Rien pour l'instant. Au deuxième échec, un autre jour, nous n'écrivons plus à cette adresse.",
        ),
        Category::MailboxFull => plain(
            "La boîte est pleine : son quota est atteint.",
            "Rien : nous réessayons. Si elle reste pleine sur plusieurs campagnes, l'adresse est écartée.",
        ),
        Category::RecipientRefused => plain(
            "La boîte de ce destinataire ne veut pas du message.",
            "Joignez la personne autrement et demandez-lui de vous autoriser.",
        ),
        Category::TooBig => plain(
            "Le message est plus gros que ce que le serveur du destinataire accepte.",
            "Allégez le message : mettez un lien vers les images et documents volumineux.",
        ),
        Category::Content => plain(
            "Le serveur refuse le contenu : il y voit un spam, un virus ou une pièce jointe interdite.",
            "Relisez le texte, les liens et les pièces jointes avant de renvoyer. L'adresse est conservée.",
        ),
        Category::ReputationBlock => plain(
            "Le fournisseur du destinataire refuse en ce moment le courrier de nos serveurs.",
            "Rien à faire de votre côté : les exploitants sont prévenus. L'adresse est conservée.",
        ),
        Category::Policy => plain(
            "Une règle du serveur du destinataire refuse le message ou son expéditeur.",
            "Montrez la réponse du serveur aux exploitants. L'adresse est conservée.",
        ),
        Category::Auth => plain(
            "Le serveur n'a pas pu vérifier que le message vient de votre domaine (SPF, DKIM, DMARC).",
            "Faites vérifier les enregistrements DNS du domaine expéditeur avant de renvoyer. L'adresse est conservée.",
        ),
        Category::RateLimited => plain(
            "Le fournisseur du destinataire nous demande d'envoyer moins vite.",
            "Rien : l'envoi ralentit et continue de lui-même.",
        ),
        Category::Greylisted => plain(
            "Le serveur demande aux expéditeurs inconnus de revenir un peu plus tard.",
            "Rien : nous réessayons dans quelques minutes.",
        ),
        Category::Network => plain(
            "Le serveur du destinataire est injoignable.",
            "Rien : nous réessayons. Si cela dure, vérifiez le domaine.",
        ),
        Category::Expired => plain(
            "Le message n'a pas pu être remis dans le délai prévu.",
            "Renvoyez plus tard s'il est encore utile. L'adresse est conservée.",
        ),
        Category::System => {
            plain("Le serveur du destinataire est en difficulté.", "Rien : nous réessayons.")
        }
        Category::Protocol => plain(
            "Notre serveur et celui du destinataire ne se comprennent pas.",
            "Montrez la réponse du serveur aux exploitants. L'adresse est conservée.",
        ),
        Category::Undetermined => plain(
            "Le serveur refuse le message sans raison que nous comprenions.",
            "Lisez la réponse du serveur. Si cela se répète sur plusieurs campagnes, l'adresse est écartée.",
        ),
    }
}

fn report_en(report: Report) -> Plain {
    match report {
        Report::Failure => plain("A message came back.", "See the reason given for it."),
        Report::Delayed => plain("A server is still trying.", "Nothing: wait for the end."),
        Report::Delivered => plain("A server confirms the delivery.", "Nothing."),
        Report::AutoReply => plain("An automatic reply, such as out of office.", "Nothing."),
        Report::ChallengeResponse => plain(
            "The recipient's server wants a person to confirm the sender.",
            "Confirm by hand if this recipient matters.",
        ),
        Report::Complaint => plain(
            "The recipient reported the message as spam.",
            "Nothing: the person is no longer written to. Watch the number of complaints.",
        ),
        Report::OptOut => plain(
            "The recipient asked their provider to be taken off the list.",
            "Nothing: the person is no longer written to.",
        ),
        Report::AuthReport => plain(
            "A provider reports a message in your name that failed SPF, DKIM or DMARC.",
            "Show it to the operators.",
        ),
        Report::DmarcAggregate => plain("A provider's daily DMARC figures.", "Nothing."),
        Report::TlsReport => plain("A provider's daily figures on encryption.", "Nothing."),
        Report::Mdn => plain("A read receipt.", "Nothing."),
        Report::Other => plain("A person wrote, most likely.", "Read it and answer."),
    }
}

fn report_fr(report: Report) -> Plain {
    match report {
        Report::Failure => plain("Un message est revenu.", "Voyez la raison indiquée."),
        Report::Delayed => plain("Un serveur essaie encore.", "Rien : attendez l'issue."),
        Report::Delivered => plain("Un serveur confirme la remise.", "Rien."),
        Report::AutoReply => plain("Une réponse automatique, une absence par exemple.", "Rien."),
        Report::ChallengeResponse => plain(
            "Le serveur du destinataire veut qu'une personne confirme l'expéditeur.",
            "Confirmez à la main si ce destinataire compte.",
        ),
        Report::Complaint => plain(
            "Le destinataire a signalé le message comme spam.",
            "Rien : nous ne lui écrivons plus. Surveillez le nombre de plaintes.",
        ),
        Report::OptOut => plain(
            "Le destinataire a demandé à son fournisseur d'être retiré de la liste.",
            "Rien : nous ne lui écrivons plus.",
        ),
        Report::AuthReport => plain(
            "Un fournisseur signale un message en votre nom qui échoue à SPF, DKIM ou DMARC.",
            "Montrez-le aux exploitants.",
        ),
        Report::DmarcAggregate => plain("Les chiffres DMARC quotidiens d'un fournisseur.", "Rien."),
        Report::TlsReport => {
            plain("Les chiffres quotidiens d'un fournisseur sur le chiffrement.", "Rien.")
        }
        Report::Mdn => plain("Un accusé de lecture.", "Rien."),
        Report::Other => plain("Une personne a écrit, sans doute.", "Lisez et répondez."),
    }
}

/// What an event tells, in a few words.
#[must_use]
pub fn phrase(kind: EventKind, lang: Lang) -> &'static str {
    let (en, fr) = match kind {
        EventKind::Accepted => ("accepted", "accepté"),
        EventKind::Delivered => ("delivered", "remis"),
        EventKind::Failed => ("refused for good", "refusé définitivement"),
        EventKind::Suppressed => {
            ("not sent: on a suppression list", "non envoyé : adresse écartée")
        }
        EventKind::Expired => ("not sent in time", "non envoyé à temps"),
        EventKind::Cancelled => ("not sent: campaign cancelled", "non envoyé : campagne annulée"),
        EventKind::SetAside => ("set aside for an operator", "mis de côté pour un exploitant"),
        EventKind::Deferred => ("postponed, will be tried again", "différé, nouvel essai prévu"),
        EventKind::LateDelivered => ("delivered, perhaps twice", "remis, peut-être deux fois"),
        EventKind::Returned => ("came back after delivery", "revenu après la remise"),
        EventKind::Complained => ("reported as spam", "signalé comme spam"),
        EventKind::Reported => ("other mail came back", "autre courrier en retour"),
        EventKind::Unsubscribed => ("unsubscribed", "désabonné"),
        EventKind::SuppressionAdded => ("address suppressed", "adresse écartée"),
        EventKind::SuppressionRemoved => ("address allowed again", "adresse réadmise"),
        EventKind::CampaignChanged => ("campaign changed its state", "campagne modifiée"),
        EventKind::PaceChanged => ("pace changed", "allure modifiée"),
        EventKind::Service => ("service started or ended", "service démarré ou arrêté"),
        EventKind::Ordered => ("an order was given or ended", "ordre donné ou levé"),
        EventKind::Restored => ("waits again, no longer set aside", "de nouveau en attente"),
    };
    lang.pick(en, fr)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_categories_share_an_explanation() {
        for lang in Lang::ALL {
            let what: HashSet<_> = Category::ALL.iter().map(|c| explain(*c, *lang).what).collect();
            let own: HashSet<_> = Own::ALL.iter().map(|o| own::explain(*o, *lang).what).collect();
            assert_eq!(what.len(), Category::ALL.len());
            assert_eq!(own.len(), Own::ALL.len());
            assert!(what.is_disjoint(&own));
            let reports: HashSet<_> =
                Report::ALL.iter().map(|r| explain_report(*r, *lang).what).collect();
            assert_eq!(reports.len(), Report::ALL.len());
            let phrases: HashSet<_> = EventKind::ALL.iter().map(|k| phrase(*k, *lang)).collect();
            assert_eq!(phrases.len(), EventKind::ALL.len());
        }
    }

    #[test]
    fn nobody_reads_jargon() {
        for lang in Lang::ALL {
            let categories = Category::ALL.iter().map(|c| explain(*c, *lang));
            for text in categories.chain(Own::ALL.iter().map(|o| own::explain(*o, *lang))) {
                for word in ["SMTP", "MX", "550", "RCPT"] {
                    assert!(!text.what.contains(word) && !text.todo.contains(word), "{text:?}");
                }
            }
        }
    }
}
