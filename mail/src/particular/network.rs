//! What is particular where no conversation came about.

use super::Particular;
use super::text::Text;

pub(super) fn network(text: &Text<'_>) -> Option<Particular> {
    let of: [(&[&str], Particular); 5] = [
        (LOOP, Particular::Loop),
        (NAMES, Particular::NameServers),
        (SILENT, Particular::NoAnswer),
        (
            &[
                "connection refused",
                "refused the connection",
                "did not accept our requests to connect",
                "connexion refusee",
                "verbindung abgelehnt",
            ],
            Particular::ConnectionRefused,
        ),
        (
            &[
                "lost connection",
                "connection lost",
                "connection reset",
                "connection closed",
                "connection dropped",
                "broken pipe",
                "connexion perdue",
                "verbindung verloren",
                "connexion interrompue",
            ],
            Particular::BrokenOff,
        ),
    ];
    // `unable to deliver in 840 minutes: connection timed out` is over; the last reason is the category.
    let is_over = text.is_status(4, 7)
        || text.has(&[
            "expired",
            "giving up",
            "given up",
            "too long",
            "unable to deliver in",
            "could not deliver for",
            "could not be delivered for",
        ]);
    let lasted = text.lasted().filter(|_| is_over).map(Particular::Lasted);
    lasted.or_else(|| {
        of.into_iter().find(|(cues, _)| text.has(cues)).map(|(_, particular)| particular)
    })
}

const LOOP: &[&str] = &[
    "too many hops",
    "mail loop",
    "forwarding loop",
    "loop detected",
    "loops back",
    "hop count",
    "routing loop",
    "mail loops",
    "delivery loop",
    "looping",
    "boucle",
];
const NAMES: &[&str] = &[
    "name server",
    "nameserver",
    "name service",
    "host not found, try again",
    "dns lookup",
    "dns error",
    "dns query",
    "dns server",
    "temporary dns",
    "servfail",
    "hostname lookup",
    "temporary lookup",
    "cname lookup",
];
const SILENT: &[&str] = &[
    "timed out",
    "timeout",
    "time out",
    "no answer",
    "not responding",
    "did not respond",
    "no route",
    "unreachable",
    "network is down",
    "host is down",
    "delai depasse",
    "delai de connexion",
    "zeituberschreitung",
    "tiempo de espera",
    "tempo scaduto",
];
