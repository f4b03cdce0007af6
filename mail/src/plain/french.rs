//! What is particular, in French.

use std::net::IpAddr;
use std::time::Duration;

use super::{Lang, own};
use crate::classify::{Own, Permanence};
use crate::particular::{BlockList, Check, Particular, Per, Since, Size, Whose, in_words};

const FR: Lang = Lang::Fr;

/// What happened.
pub(super) fn what(particular: &Particular) -> String {
    use Particular as P;
    match particular {
        P::Quota { used, quota } => full(*used, *quota),
        P::FullSince(Since::Day(year, month, day)) => {
            format!("La boîte est pleine depuis le {day:02}/{month:02}/{year:04}.")
        }
        P::FullSince(Since::For(span)) => format!("La boîte est pleine depuis {}.", time(*span)),
        P::FullOfMessages => "La boîte est pleine : elle contient trop de messages.".into(),
        P::SizeLimit { limit, message } => too_big(*limit, *message),
        P::Syntax => "L'adresse n'est pas écrite correctement.".into(),
        P::Spelling(similar) => {
            format!("Utilisateur inconnu ; le serveur du destinataire propose {similar}.")
        }
        P::Left => "La personne ne travaille plus à cet endroit et sa boîte n'existe plus.".into(),
        P::NoSuchDomain => own::explain(Own::NoDomain, FR).what.into(),
        P::NoMailServer => own::explain(Own::NoExchanger, FR).what.into(),
        P::NullMx => own::explain(Own::NullMx, FR).what.into(),
        P::NewAddress(new) => format!("La personne a changé d'adresse : {new}."),
        P::Inactive => "La boîte est désactivée parce que personne ne s'en sert.".into(),
        P::Suspended => "Le fournisseur a suspendu le compte de cette personne.".into(),
        P::Closed => "Le compte de cette personne est fermé.".into(),
        P::Locked => "La boîte est verrouillée pour le moment.".into(),
        P::OnSendersList => {
            "Un service d'envoi intermédiaire a inscrit cette adresse sur sa propre liste d'adresses en échec.".into()
        }
        P::KnownSendersOnly => {
            "Ce destinataire n'accepte que le courrier d'expéditeurs qu'il connaît.".into()
        }
        P::SenderBlocked => "Ce destinataire a bloqué l'expéditeur.".into(),
        P::OwnFilter => "Un filtre mis en place par ce destinataire refuse le message.".into(),
        P::Listed { list, whose, ip, .. } => listed(*list, *whose, *ip),
        P::ReverseDns(ip) => format!(
            "Le serveur qui a envoyé le message{} n'a pas de nom correct dans le DNS (DNS inverse).",
            named(*ip)
        ),
        P::Greeting => {
            "Le serveur du destinataire n'accepte pas le nom sous lequel le serveur d'envoi se présente.".into()
        }
        P::Reputation(Whose::Server) => {
            "Le fournisseur du destinataire se méfie du serveur qui a envoyé le message.".into()
        }
        P::Reputation(Whose::Domain) => {
            "Le fournisseur du destinataire se méfie du domaine de l'expéditeur.".into()
        }
        P::Checks { failed, domain } => {
            let whose = domain.as_ref().map_or_else(
                || "de votre domaine".into(),
                |domain| format!("du domaine {domain}"),
            );
            let failed = checks(failed);
            format!("Le serveur n'a pas pu vérifier que le message vient {whose} : échec de {failed}.")
        }
        P::Virus(Some(name)) => {
            format!("Le serveur du destinataire détecte un virus dans le message : {name}.")
        }
        P::Virus(None) => "Le serveur du destinataire détecte un virus dans le message.".into(),
        P::Attachment(Some(kind)) => {
            format!("Le serveur du destinataire n'accepte pas les pièces jointes de type {kind}.")
        }
        P::Attachment(None) => "Le serveur du destinataire n'accepte pas l'une des pièces jointes.".into(),
        P::BadLink { host, list } => {
            let list = list.map_or_else(String::new, |list| format!(" ({list})"));
            let link = host.as_ref().map_or_else(
                || "un lien vers un domaine inscrit".into(),
                |host| format!("un lien vers {host}, inscrit"),
            );
            format!("Le message contient {link} sur une liste de blocage{list}.")
        }
        P::Score { tenths, limit } => score(*tenths, *limit),
        P::Limit { per, count, wait } => limit(*per, *count, *wait),
        P::Slower(wait) => format!(
            "Le fournisseur du destinataire nous demande d'envoyer moins vite et de revenir dans {}.",
            time(*wait)
        ),
        P::RecipientBusy => {
            "Cette boîte reçoit en ce moment plus de courrier que son fournisseur n'en laisse entrer.".into()
        }
        P::Greylist(wait) => {
            format!("Le serveur demande aux expéditeurs inconnus de revenir dans {}.", time(*wait))
        }
        P::Relaying => "Le serveur interrogé ne reçoit pas le courrier du domaine du destinataire.".into(),
        P::TlsWanted => "Le serveur du destinataire n'accepte que les connexions sécurisées.".into(),
        P::MembersOnly => {
            "L'adresse est celle d'un groupe qui n'accepte que le courrier de ses membres.".into()
        }
        P::InsidersOnly => "L'adresse n'accepte que le courrier venant de son organisation.".into(),
        P::SenderRefused => {
            "Le serveur du destinataire n'accepte pas l'adresse de l'expéditeur ou son domaine.".into()
        }
        P::Form => "Le message n'est pas construit comme le serveur du destinataire le veut.".into(),
        P::LoginWanted => {
            "Le serveur du destinataire n'accepte que le courrier d'expéditeurs qui s'identifient.".into()
        }
        P::NoAnswer => "Le serveur du destinataire ne répond pas.".into(),
        P::ConnectionRefused => "Le serveur du destinataire refuse les connexions.".into(),
        P::BrokenOff => "La connexion avec le serveur du destinataire a été coupée.".into(),
        P::NameServers => own::explain(Own::Unresolved, FR).what.into(),
        P::Loop => "Le courrier du destinataire tourne en rond entre des serveurs.".into(),
        P::Lasted(span) => {
            format!("Les tentatives de remise ont duré {}, sans succès.", time(*span))
        }
    }
}

/// What to do, where it is more than the category's. `goes`: whether it is tried again; `fate`: what
/// becomes of the address.
pub(super) fn todo(particular: &Particular, goes: Permanence, fate: &str) -> Option<String> {
    use Particular as P;
    Some(match particular {
        P::FullSince(_) => format!(
            "Personne ne semble la relever : joignez la personne autrement si c'est important. {fate}"
        ),
        P::SizeLimit { limit, .. } => format!(
            "Ramenez le message sous {} : mettez un lien vers les images et documents volumineux. {fate}",
            limit.in_words(FR)
        ),
        P::Syntax => {
            format!(
                "Corrigez l'adresse : cherchez les espaces, les virgules et les points oubliés. {fate}"
            )
        }
        P::Spelling(similar) => format!(
            "Demandez à la personne si {similar} est la bonne adresse : elle n'est jamais utilisée d'office. {fate}"
        ),
        P::Left => format!("Demandez à l'organisation à qui écrire désormais. {fate}"),
        P::NewAddress(new) => format!(
            "Demandez à la personne si vous pouvez lui écrire à {new} : cette adresse n'est jamais utilisée d'office. {fate}"
        ),
        P::Closed => format!("Joignez la personne autrement. {fate}"),
        P::OnSendersList => {
            format!(
                "Si l'adresse est bonne, demandez aux exploitants de l'en faire retirer. {fate}"
            )
        }
        P::KnownSendersOnly => {
            format!(
                "Demandez à la personne d'ajouter l'adresse de l'expéditeur à ses contacts. {fate}"
            )
        }
        P::SenderBlocked => {
            format!(
                "Retirez la personne de la liste, ou demandez-lui son accord par un autre moyen. {fate}"
            )
        }
        P::Listed { whose, link, .. } => {
            let look = link.as_ref().map_or_else(String::new, |link| format!(" Détails : {link}"));
            match whose {
                Whose::Server => {
                    format!(
                        "Rien à faire de votre côté : les exploitants sont prévenus. {fate}{look}"
                    )
                }
                Whose::Domain => format!(
                    "Demandez aux exploitants de chercher pourquoi le domaine y figure. {fate}{look}"
                ),
            }
        }
        P::Reputation(Whose::Domain) => format!(
            "Écrivez d'abord à ceux qui lisent vos messages, et moins à ceux qui ne les ouvrent jamais. {fate}"
        ),
        P::Checks { failed, domain: Some(domain) } => format!(
            "Faites vérifier les enregistrements DNS de {domain} pour {} avant de renvoyer. {fate}",
            checks(failed)
        ),
        P::Virus(_) => {
            format!("Faites vérifier les pièces jointes et les liens avant de renvoyer. {fate}")
        }
        P::Attachment(_) => {
            format!("Déposez le fichier sur une page web et mettez-y un lien. {fate}")
        }
        P::BadLink { .. } => format!("Retirez ou remplacez ce lien avant de renvoyer. {fate}"),
        P::Greylist(_) if goes == Permanence::Temporary => {
            "Rien : nous réessayons passé ce délai.".into()
        }
        P::Relaying => format!(
            "Vérifiez l'orthographe après le @ ; si elle est bonne, le responsable du domaine doit corriger ses réglages. {fate}"
        ),
        P::MembersOnly => {
            format!(
                "Écrivez plutôt à un membre, ou demandez au responsable du groupe d'être admis. {fate}"
            )
        }
        P::InsidersOnly => {
            format!("Demandez à la personne une adresse ouverte à l'extérieur. {fate}")
        }
        P::SenderRefused => format!(
            "Vérifiez l'expéditeur de la campagne : son domaine doit exister et recevoir du courrier. {fate}"
        ),
        P::Loop => format!("Le responsable du domaine du destinataire doit y remédier. {fate}"),
        _ => return None,
    })
}

fn full(used: Option<Size>, quota: Option<Size>) -> String {
    let size = |size: Size| size.in_words(FR);
    match (used, quota) {
        (Some(used), Some(quota)) if used > quota => format!(
            "La boîte est pleine : elle contient {} pour un quota de {}.",
            size(used),
            size(quota)
        ),
        (_, Some(quota)) => {
            format!("La boîte est pleine : son quota de {} est atteint.", size(quota))
        }
        (Some(used), None) => format!("La boîte est pleine : elle contient {}.", size(used)),
        (None, None) => "La boîte est pleine.".into(),
    }
}

fn too_big(limit: Size, message: Option<Size>) -> String {
    let limit = limit.in_words(FR);
    match message {
        Some(message) => format!(
            "Le message fait {}, et le serveur du destinataire n'accepte pas plus de {limit}.",
            message.in_words(FR)
        ),
        None => {
            format!(
                "Le message est trop gros : le serveur du destinataire n'accepte pas plus de {limit}."
            )
        }
    }
}

fn listed(list: BlockList, whose: Whose, ip: Option<IpAddr>) -> String {
    match whose {
        Whose::Server => format!(
            "Le serveur qui a envoyé le message{} figure sur une liste de blocage ({list}).",
            named(ip)
        ),
        Whose::Domain => {
            format!("Le domaine de l'expéditeur figure sur une liste de blocage ({list}).")
        }
    }
}

fn named(ip: Option<IpAddr>) -> String {
    ip.map_or_else(String::new, |ip| format!(" ({ip})"))
}

fn checks(failed: &[Check]) -> String {
    let words: Vec<&str> = failed.iter().map(|check| check.as_str()).collect();
    match words.split_last() {
        Some((last, [])) => (*last).into(),
        Some((last, before)) => format!("{} et {last}", before.join(", ")),
        None => String::new(),
    }
}

fn score(tenths: u32, limit: Option<u32>) -> String {
    let points = |tenths: u32| match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => format!("{},{tenth}", tenths / 10),
    };
    let limit = limit
        .map_or_else(String::new, |limit| format!(" et le refuse à partir de {}", points(limit)));
    let points = points(tenths);
    format!("Le filtre antispam du destinataire donne au message un score de {points}{limit}.")
}

fn limit(per: Per, count: Option<u32>, wait: Option<Duration>) -> String {
    let counted = |thing: &str| match count {
        Some(count) => format!("n'accepte pas plus de {count} {thing}"),
        None => format!("limite le nombre de {thing}"),
    };
    let what = match per {
        Per::Connection => counted("messages par connexion"),
        Per::AtOnce => counted("connexions simultanées"),
        Per::Message => counted("destinataires par message"),
        Per::Minute => counted("messages par minute"),
        Per::Hour => counted("messages par heure"),
        Per::Day => counted("messages par jour"),
    };
    let back = wait
        .map_or_else(String::new, |wait| format!(" Nous pourrons revenir dans {}.", time(wait)));
    format!("Le fournisseur du destinataire {what}.{back}")
}

fn time(span: Duration) -> String {
    in_words(span, FR)
}
