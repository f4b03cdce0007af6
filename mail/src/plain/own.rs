//! The sentences for what is found here and said by no server.

use super::{Lang, Plain, plain};
use crate::classify::Own;

/// Why a message was not sent, and what to do.
pub(super) fn explain(own: Own, lang: Lang) -> Plain {
    match lang {
        Lang::En => english(own),
        Lang::Fr => french(own),
    }
}

fn english(own: Own) -> Plain {
    match own {
        Own::Utf8Recipient => plain(
            "The recipient's address has letters beyond plain English ones, and the recipient's server takes no such addresses.",
            "Ask the person for an address without accents and other scripts. The address is kept.",
        ),
        Own::Utf8Sender => plain(
            "The sender's address, or the one for answers, has letters beyond plain English ones, and the recipient's server takes no such messages.",
            "Send the campaign again from an address without accents and other scripts. The recipient's address is kept.",
        ),
        Own::RequireTls => plain(
            "The campaign may go only to servers that promise to pass it on encrypted, and the recipient's server promises nothing.",
            "Reach the person another way, or send again without require_tls if that is acceptable. The address is kept.",
        ),
        Own::Unproved => plain(
            "The campaign may go only to servers that are proved to be the right ones, and nothing proves that of the recipient's.",
            "Reach the person another way, or send again without require_tls if that is acceptable. The address is kept.",
        ),
        Own::Unencrypted => plain(
            "The campaign may go over secure connections only, and the recipient's server has none at the moment.",
            "Nothing: it is tried again. If it lasts, send again without require_tls if that is acceptable.",
        ),
        Own::TooBig => plain(
            "The message is larger than the recipient's server says that it takes, and was not sent.",
            "Make the message smaller: link to large pictures and documents. The address is kept.",
        ),
        Own::NullMx => plain(
            "The domain says that it takes no mail: look at the part after the @.",
            "Check the spelling after the @. After a second failure on another day the address is no longer written to.",
        ),
        Own::NoDomain => plain(
            "There is no such domain: look at the part after the @.",
            "Check the spelling after the @. After a second failure on another day the address is no longer written to.",
        ),
        Own::NoExchanger => plain(
            "The domain exists and has no server for mail: look at the part after the @.",
            "Check the spelling after the @. After a second failure on another day the address is no longer written to.",
        ),
        Own::Loop => plain(
            "Mail for this domain would come back to our own servers.",
            "Show it to the operators: they, or whoever runs the domain, must say where its mail goes. The address is kept.",
        ),
        Own::Unresolved => plain(
            "It cannot be found out at the moment where the domain's mail goes.",
            "Nothing: it is tried again. If it lasts, check the domain.",
        ),
        Own::TlsDemand => plain(
            "The recipient's domain wants its mail over connections that are proved to be safe, and its server has none at the moment.",
            "Nothing: it is tried again. If it lasts, whoever runs the domain must mend the server or the rule.",
        ),
        Own::TlsRule => plain(
            "Our operators want a secure connection to the recipient's server, and it has none that is good enough.",
            "Nothing: it is tried again. If it lasts, show it to the operators.",
        ),
        Own::Source => plain(
            "The address that we send from cannot be used, or does not reach the recipient's server.",
            "Nothing: another is taken, or it is tried again. If it lasts, show it to the operators.",
        ),
        Own::NoPool => plain(
            "The group of addresses that the campaign is to be sent from does not exist on our servers.",
            "Show it to the operators: the mail waits until they have added it.",
        ),
        Own::SmartHost => plain(
            "The server that we hand this mail to does not take it from us.",
            "Nothing for you to do: the operators must look at it, and the mail waits.",
        ),
    }
}

fn french(own: Own) -> Plain {
    match own {
        Own::Utf8Recipient => plain(
            "L'adresse du destinataire contient des accents ou une autre écriture, et son serveur n'accepte pas de telles adresses.",
            "Demandez à la personne une adresse sans accents. L'adresse est conservée.",
        ),
        Own::Utf8Sender => plain(
            "L'adresse d'expédition ou de réponse contient des accents ou une autre écriture, et le serveur du destinataire n'accepte pas de tels messages.",
            "Renvoyez la campagne depuis une adresse sans accents. L'adresse du destinataire est conservée.",
        ),
        Own::RequireTls => plain(
            "La campagne n'est remise qu'aux serveurs qui promettent de la transmettre chiffrée, et celui du destinataire ne promet rien.",
            "Joignez la personne autrement, ou renvoyez sans require_tls si c'est acceptable. L'adresse est conservée.",
        ),
        Own::Unproved => plain(
            "La campagne n'est remise qu'à des serveurs dont l'identité est prouvée, et rien ne prouve celle du serveur du destinataire.",
            "Joignez la personne autrement, ou renvoyez sans require_tls si c'est acceptable. L'adresse est conservée.",
        ),
        Own::Unencrypted => plain(
            "La campagne n'est remise que par des connexions sûres, et le serveur du destinataire n'en offre pas en ce moment.",
            "Rien : nous réessayons. Si cela dure, renvoyez sans require_tls si c'est acceptable.",
        ),
        Own::TooBig => plain(
            "Le message est plus gros que ce que le serveur du destinataire dit accepter : il n'a pas été envoyé.",
            "Allégez le message : mettez un lien vers les images et documents volumineux. L'adresse est conservée.",
        ),
        Own::NullMx => plain(
            "Le domaine déclare qu'il ne reçoit pas de courrier : regardez ce qui suit le @.",
            "Vérifiez l'orthographe après le @. Au deuxième échec, un autre jour, nous n'écrivons plus à cette adresse.",
        ),
        Own::NoDomain => plain(
            "Ce domaine n'existe pas : regardez ce qui suit le @.",
            "Vérifiez l'orthographe après le @. Au deuxième échec, un autre jour, nous n'écrivons plus à cette adresse.",
        ),
        Own::NoExchanger => plain(
            "Ce domaine existe mais n'a pas de serveur de courrier : regardez ce qui suit le @.",
            "Vérifiez l'orthographe après le @. Au deuxième échec, un autre jour, nous n'écrivons plus à cette adresse.",
        ),
        Own::Loop => plain(
            "Le courrier pour ce domaine reviendrait à nos propres serveurs.",
            "Signalez-le aux exploitants : eux ou le responsable du domaine doivent dire où va son courrier. L'adresse est conservée.",
        ),
        Own::Unresolved => plain(
            "Nous ne pouvons pas savoir en ce moment où va le courrier de ce domaine.",
            "Rien : nous réessayons. Si cela dure, vérifiez le domaine.",
        ),
        Own::TlsDemand => plain(
            "Le domaine du destinataire exige des connexions dont la sûreté est prouvée, et son serveur n'en offre pas en ce moment.",
            "Rien : nous réessayons. Si cela dure, le responsable du domaine doit corriger son serveur ou sa règle.",
        ),
        Own::TlsRule => plain(
            "Nos exploitants exigent une connexion sûre avec le serveur du destinataire, et il n'en offre pas d'assez bonne.",
            "Rien : nous réessayons. Si cela dure, signalez-le aux exploitants.",
        ),
        Own::Source => plain(
            "L'adresse depuis laquelle nous envoyons est inutilisable ou n'atteint pas le serveur du destinataire.",
            "Rien : une autre prend le relais, ou nous réessayons. Si cela dure, signalez-le aux exploitants.",
        ),
        Own::NoPool => plain(
            "Le groupe d'adresses depuis lequel la campagne doit partir n'existe pas sur nos serveurs.",
            "Signalez-le aux exploitants : le courrier attend qu'ils l'ajoutent.",
        ),
        Own::SmartHost => plain(
            "Le serveur auquel nous confions ce courrier ne l'accepte pas de notre part.",
            "Rien à faire de votre côté : les exploitants doivent s'en occuper, et le courrier attend.",
        ),
    }
}
