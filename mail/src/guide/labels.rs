//! The words of the guide that stand nowhere else.

use crate::category::{Category, Report};
use crate::plain::Lang;

/// Headings and what precedes a value.
pub(super) struct Labels {
    pub(super) title: &'static str,
    /// What the guide is, in a paragraph.
    pub(super) about: &'static str,
    pub(super) contents: &'static str,
    pub(super) failures: &'static str,
    pub(super) failures_about: &'static str,
    pub(super) own: &'static str,
    pub(super) own_about: &'static str,
    pub(super) reports: &'static str,
    pub(super) reports_about: &'static str,
    pub(super) what: &'static str,
    pub(super) todo: &'static str,
    pub(super) address: &'static str,
    pub(super) again: &'static str,
    pub(super) particulars: &'static str,
    pub(super) example: &'static str,
    /// Between a label and its value.
    pub(super) colon: &'static str,
}

impl Labels {
    pub(super) fn of(lang: Lang) -> Self {
        lang.pick(ENGLISH, FRENCH)
    }
}

const ENGLISH: Labels = Labels {
    title: "When a message does not arrive",
    about: "For those who send campaigns: what each reason means, what to do about it, and what becomes of the address. The words in code style are those of the history, the exports and the API.",
    contents: "Contents",
    failures: "What the recipient's server says",
    failures_about: "Every refusal is one of these, whether the server said it at once or a report came back later.",
    own: "What our servers find out themselves",
    own_about: "These messages were not sent, or wait: no server refused them, and the words are ours.",
    reports: "What comes back by mail",
    reports_about: "Only a failure, a complaint and a wish to be taken off say anything about the address.",
    what: "What happened",
    todo: "What to do",
    address: "The address",
    again: "Tried again",
    particulars: "Where the server says more",
    example: "Such an answer",
    colon: ": ",
};

const FRENCH: Labels = Labels {
    title: "Quand un message n'arrive pas",
    about: "Pour celles et ceux qui envoient des campagnes : ce que chaque raison veut dire, ce qu'il faut faire et ce que devient l'adresse. Les mots en police de code sont ceux de l'historique, des exports et de l'API.",
    contents: "Sommaire",
    failures: "Ce que dit le serveur du destinataire",
    failures_about: "Chaque refus entre dans l'une de ces catégories, que le serveur l'ait dit aussitôt ou qu'un rapport soit revenu plus tard.",
    own: "Ce que nos serveurs constatent eux-mêmes",
    own_about: "Ces messages n'ont pas été envoyés, ou attendent : aucun serveur ne les a refusés, et les mots sont les nôtres.",
    reports: "Ce qui revient par courrier",
    reports_about: "Seuls un échec, une plainte et une demande de retrait disent quelque chose de l'adresse.",
    what: "Ce qui s'est passé",
    todo: "Que faire",
    address: "L'adresse",
    again: "Nouvel essai",
    particulars: "Quand le serveur en dit plus",
    example: "Une réponse de ce genre",
    colon: " : ",
};

/// A category for people.
pub(super) fn category(category: Category, lang: Lang) -> &'static str {
    let (en, fr) = match category {
        Category::NoMailbox => ("Unknown user", "Utilisateur inconnu"),
        Category::Moved => ("Moved", "Adresse changée"),
        Category::NoDomain => ("Unknown domain", "Domaine inconnu"),
        Category::MailboxDisabled => ("Mailbox switched off", "Boîte désactivée"),
        Category::MailboxFull => ("Mailbox full", "Boîte pleine"),
        Category::RecipientRefused => ("Refused by the recipient", "Refusé par le destinataire"),
        Category::TooBig => ("Message too large", "Message trop gros"),
        Category::Content => ("Content refused", "Contenu refusé"),
        Category::ReputationBlock => ("Our servers are blocked", "Nos serveurs sont bloqués"),
        Category::Policy => ("A rule of the server", "Une règle du serveur"),
        Category::Auth => ("Sender not verified", "Expéditeur non vérifié"),
        Category::RateLimited => ("Too fast", "Envoi trop rapide"),
        Category::Greylisted => ("Come back later", "Revenir plus tard"),
        Category::Network => ("Server not reached", "Serveur injoignable"),
        Category::Expired => ("Time ran out", "Délai dépassé"),
        Category::System => ("Server in trouble", "Serveur en difficulté"),
        Category::Protocol => {
            ("Misunderstanding between servers", "Incompréhension entre serveurs")
        }
        Category::Undetermined => ("Reason unknown", "Raison inconnue"),
    };
    lang.pick(en, fr)
}

/// A kind of mail for people.
pub(super) fn report(report: Report, lang: Lang) -> &'static str {
    let (en, fr) = match report {
        Report::Failure => ("Failure", "Échec"),
        Report::Delayed => ("Delay", "Retard"),
        Report::Delivered => ("Confirmation of delivery", "Confirmation de remise"),
        Report::AutoReply => ("Automatic reply", "Réponse automatique"),
        Report::ChallengeResponse => ("Request to confirm", "Demande de confirmation"),
        Report::Complaint => ("Complaint", "Plainte"),
        Report::OptOut => ("Wish to be taken off", "Demande de retrait"),
        Report::AuthReport => ("Report on verification", "Rapport de vérification"),
        Report::DmarcAggregate => ("DMARC figures", "Chiffres DMARC"),
        Report::TlsReport => ("Figures on encryption", "Chiffres sur le chiffrement"),
        Report::Mdn => ("Read receipt", "Accusé de lecture"),
        Report::Other => ("Mail from a person", "Courrier d'une personne"),
    };
    lang.pick(en, fr)
}
