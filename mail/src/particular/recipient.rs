//! What is particular about an address or its mailbox.

use super::text::{Text, pattern};
use super::{Particular, size, span};

pub(super) fn no_mailbox(text: &Text<'_>) -> Option<Particular> {
    let suggests = pattern!(
        r"(?i)(?:did you mean|perhaps you meant|maybe you meant|similar address(?:es)?:|possible match(?:es)?:|voulez-vous dire|vouliez-vous dire|meinten sie|quiso decir|forse intendevi)"
    );
    if let Some(address) = text.address_after(suggests) {
        return Some(Particular::Spelling(address));
    }
    if text.has(LEFT) {
        return Some(Particular::Left);
    }
    let is_misspelt = text.is_status(1, 3) || text.has(SYNTAX);
    is_misspelt.then_some(Particular::Syntax)
}

const LEFT: &[&str] = &[
    "no longer works here",
    "no longer employed",
    "no longer works for",
    "no longer working",
    "no longer with the company",
    "no longer with us",
    "no longer at this company",
    "has left the company",
    "has left the organi",
    "left our company",
    "ne travaille plus",
    "n'est plus employe",
    "a quitte la societe",
    "a quitte l'entreprise",
    "ne fait plus partie",
    "arbeitet nicht mehr",
    "nicht mehr im unternehmen",
    "nicht mehr bei uns",
    "ya no trabaja",
    "non lavora piu",
    "werkt niet meer",
];

const SYNTAX: &[&str] = &[
    "bad address syntax",
    "malformed address",
    "invalid address syntax",
    "address syntax",
    "syntactically invalid",
    "syntax error in address",
    "recipient syntax",
    "bad recipient address syntax",
    "invalid local part",
    "illegal character",
    "invalid character",
    "address format",
    "invalid email format",
    "not a valid email format",
    "rfc 5321 address",
    "must contain a domain",
    "syntaxe de l'adresse",
    "adresse mal formee",
    "ungultige adresssyntax",
    "sintaxis",
];

pub(super) fn moved(text: &Text<'_>) -> Option<Particular> {
    let new = pattern!(
        r"(?i)(?:please try|moved to|try|new address(?: is)?|address (?:has )?changed to|forward to|now at|use|nouvelle adresse(?: est)?|neue adresse(?: lautet| ist)?|nueva direcci[oó]n(?: es)?|nuovo indirizzo)\b"
    );
    text.address_after(new).map(Particular::NewAddress)
}

pub(super) fn no_domain(text: &Text<'_>) -> Option<Particular> {
    let null_mx = [
        "null mx",
        "nullmx",
        "rfc7505",
        "rfc 7505",
        "accepts no mail",
        "does not accept mail",
        "doesn't accept mail",
        "does not accept email",
        "doesn't receive email",
        "does not receive mail",
        "does not receive email",
        "n'accepte pas de courrier",
        "malformed or unexpected name server reply",
        "nimmt keine mails",
    ];
    let no_server = [
        "no mx record",
        "no valid mx",
        "no mail exchanger",
        "no mail server",
        "has no mx",
        "no a or mx",
        "mail exchanger not found",
        "no mx or a",
        "no mx",
        "mx record missing",
        "without mx",
        "no mail service at",
        "code noerror",
        "aucun mx",
        "kein mx",
    ];
    let missing = [
        "no such domain",
        "domain not found",
        "domain does not exist",
        "domain doesn't exist",
        "domain not exist",
        "host not found",
        "hostname not found",
        "unknown host",
        "host unknown",
        "no such host",
        "unknown domain",
        "domain unknown",
        "nxdomain",
        "find any host",
        "non-existent domain",
        "nonexistent domain",
        "domain name not found",
        "no dns entries",
        "domaine inconnu",
        "domaine n'existe pas",
        "domain existiert nicht",
        "unbekannte domain",
        "dominio no existe",
        "dominio non esiste",
        "dominio inesistente",
        "domein bestaat niet",
    ];
    if text.is_status(1, 10) || text.has(&null_mx) {
        return Some(Particular::NullMx);
    }
    if text.has(&missing) {
        return Some(Particular::NoSuchDomain);
    }
    text.has(&no_server).then_some(Particular::NoMailServer)
}

pub(super) fn disabled(text: &Text<'_>) -> Option<Particular> {
    let of: [(&[&str], Particular); 5] = [
        (
            &[
                "suppression list",
                "suppressed sending",
                "on our suppression",
                "address is suppressed",
            ],
            Particular::OnSendersList,
        ),
        (INACTIVE, Particular::Inactive),
        (LOCKED, Particular::Locked),
        (SUSPENDED, Particular::Suspended),
        (CLOSED, Particular::Closed),
    ];
    of.into_iter().find(|(cues, _)| text.has(cues)).map(|(_, particular)| particular)
}

const INACTIVE: &[&str] = &[
    "inactiv",
    "not been used",
    "not logged in",
    "dormant",
    "not active",
    "no longer active",
    "isn't active",
    "unused",
    "archivee",
    "archived",
    "not activated",
    "nicht aktiv",
    "non utilis",
    "non attiv",
];
const LOCKED: &[&str] = &[
    "temporarily locked",
    "temporary locked",
    "temporarily disabled",
    "temporarily suspended",
    "temporarily limited",
    "temporarily unavailable",
    "temporairement",
    "vorubergehend",
    "temporalmente",
    "temporaneamente",
];
const SUSPENDED: &[&str] =
    &["suspend", "gesperrt", "frozen", "locked", "bloque", "blocked", "sospes", "geblokkeerd"];
const CLOSED: &[&str] = &[
    "closed",
    "terminated",
    "deleted",
    "cancelled",
    "expired",
    "ferme",
    "resilie",
    "geschlossen",
    "geloscht",
    "cerrad",
    "chius",
    "opgeheven",
];

pub(super) fn full(text: &Text<'_>) -> Option<Particular> {
    if let Some((used, quota)) = size::quota(&text.said) {
        return Some(Particular::Quota { used, quota });
    }
    if let Some(since) = span::since(&text.folded) {
        return Some(Particular::FullSince(since));
    }
    let by_number = [
        "too many messages",
        "trop de messages",
        "zu viele nachrichten",
        "demasiados mensajes",
        "troppi messaggi",
    ];
    text.has(&by_number).then_some(Particular::FullOfMessages)
}

pub(super) fn refused(text: &Text<'_>) -> Option<Particular> {
    let known_only = [
        "only accepts mail from",
        "only accepts",
        "known senders",
        "allowed senders",
        "approved senders",
        "whitelist",
        "white list",
        "safe sender",
        "contacts only",
        "address book",
        "n'accepte que",
        "expediteurs connus",
        "nur von bekannten",
        "remitentes conocidos",
        "mittenti conosciuti",
    ];
    let blocked = [
        "blocked by the recipient",
        "blocked by recipient",
        "recipient has blocked",
        "blocked by the user",
        "blocked by user",
        "recipient's block",
        "user's blocked",
        "sender is blocked by",
        "blocked you",
        "blocked the sender",
        "blocked this sender",
        "blocked your",
        "block list of the recipient",
        "has rejected your",
        "personal blacklist",
        "bloque par le destinataire",
        "vom empfanger blockiert",
        "bloqueado por el destinatario",
        "bloccato dal destinatario",
    ];
    let filter = [
        "user filter",
        "filtered by user",
        "sieve",
        "discarded by user",
        "recipient's filter",
        "own filter",
        "regle du destinataire",
        "regel des empfangers",
    ];
    if text.has(&known_only) {
        return Some(Particular::KnownSendersOnly);
    }
    if text.has(&blocked) {
        return Some(Particular::SenderBlocked);
    }
    text.has(&filter).then_some(Particular::OwnFilter)
}
