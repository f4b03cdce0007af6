//! What is particular where a server refuses us, our pace or the way in which we come.

use super::names::{BlockList, Link};
use super::text::Text;
use super::{Particular, Per, Whose};

pub(super) fn reputation(text: &Text<'_>) -> Option<Particular> {
    if text.rule == "reverse-dns" || text.is_status(7, 25) || text.has(REVERSE_DNS) {
        return Some(Particular::ReverseDns(text.ip()));
    }
    if text.has(&[
        "helo command rejected",
        "invalid helo",
        "bad helo",
        "helo name",
        "helo host",
        "ehlo hostname",
    ]) {
        return Some(Particular::Greeting);
    }
    let listed = BlockList::named(&text.folded);
    let is_domains = text.rule == "sender-listed"
        || listed.is_some_and(BlockList::is_of_domains)
        || text.has(OF_DOMAIN);
    let whose = if is_domains { Whose::Domain } else { Whose::Server };
    if let Some(list) = listed {
        let ip = text.ip().filter(|_| whose == Whose::Server);
        return Some(Particular::Listed { list, whose, ip, link: Link::find(&text.said) });
    }
    text.has(&["reputation"]).then_some(Particular::Reputation(whose))
}

const REVERSE_DNS: &[&str] = &[
    "reverse dns",
    "reverse-dns",
    "rdns",
    "ptr record",
    "no ptr",
    "ptr lookup",
    "missing ptr",
    "valid ptr",
    "reverse hostname",
    "reverse lookup",
    "fcrdns",
];
const OF_DOMAIN: &[&str] = &[
    "sending domain",
    "sender domain",
    "your domain",
    "from domain",
    "sender's domain",
    "domain reputation",
    "reputation of the domain",
    "reputation of your domain",
];

pub(super) fn policy(text: &Text<'_>) -> Option<Particular> {
    if text.has(&["too many recipients", "too many rcpt", "recipients limit", "recipient limit"]) {
        return Some(Particular::Limit {
            per: Per::Message,
            count: count(&text.folded),
            wait: None,
        });
    }
    let of: [(&[&str], Particular); 7] = [
        (TLS, Particular::TlsWanted),
        (MEMBERS, Particular::MembersOnly),
        (INSIDERS, Particular::InsidersOnly),
        (LOGIN, Particular::LoginWanted),
        (RELAYING, Particular::Relaying),
        (SENDER, Particular::SenderRefused),
        (FORM, Particular::Form),
    ];
    of.into_iter().find(|(cues, _)| text.has(cues)).map(|(_, particular)| particular)
}

const TLS: &[&str] = &[
    "starttls",
    "tls required",
    "tls is required",
    "requires tls",
    "require tls",
    "must use tls",
    "encryption required",
    "encryption needed",
    "without tls",
    "unencrypted",
];
const MEMBERS: &[&str] = &[
    "group you tried to contact",
    "post messages to the group",
    "members only",
    "only members",
    "subscribers only",
    "only subscribers",
    "not a member of",
    "not subscribed",
    "reserve aux membres",
    "reservee aux membres",
    "nur mitglieder",
    "solo miembros",
    "solo membri",
    "solo i membri",
    "not allowed to post",
    "permission to post",
];
const INSIDERS: &[&str] = &[
    "sendernotauthenticatedfor",
    "rst.authrequired",
    "authenticated senders only",
    "internal senders",
    "inside the organi",
    "internal only",
    "only from internal",
    "sendernotauthenticated",
    "restricted to internal",
    "notauthorized; not authorized",
    "outside your organi",
    "externe absender",
    "external senders",
    "expediteurs internes",
];
const LOGIN: &[&str] = &[
    "authentication required",
    "must authenticate",
    "authenticate first",
    "must be authenticated",
    "unauthenticated senders",
    "requires authentication",
    "authentication is required",
    "please authenticate",
    "auth required",
    "not authenticated",
    "smtp authentication",
    "authentification requise",
    "authentifizierung erforderlich",
];
const RELAYING: &[&str] = &[
    "relay access denied",
    "relaying denied",
    "relay denied",
    "relaying not",
    "relay not",
    "unable to relay",
    "cannot relay",
    "relaying prohibited",
    "allowed rcpthosts",
    "not permitted to relay",
    "relaying is",
    "no relay",
    "relais",
    "relay nicht",
    "relayed",
];
const SENDER: &[&str] = &[
    "domain of sender",
    "sender domain",
    "sender's domain",
    "sender address rejected",
    "sender rejected",
    "sender was rejected",
    "sender denied",
    "invalid sender",
    "unknown sender",
    "sender invalid",
    "sender verify",
    "sender unknown",
    "sender does not exist",
    "emetteur invalide",
    "expediteur invalide",
    "expediteur refuse",
    "absender",
    "unroutable sender",
    "from: domain",
];
const FORM: &[&str] = &[
    "rfc 5322",
    "rfc5322",
    "rfc 2822",
    "rfc2822",
    "duplicate header",
    "missing header",
    "invalid header",
    "bad header",
    "header error",
    "malformed",
    "multiple from",
    "multiple addresses in from",
    "bare lf",
    "bare cr",
    "mime error",
    "multiple subject",
    "missing message-id",
    "missing date",
];

pub(super) fn rate_limited(text: &Text<'_>) -> Option<Particular> {
    let wait = text.wait();
    if matches!(text.rule, "mailbox-busy" | "gmail-recipient-busy") || text.has(BUSY) {
        return Some(Particular::RecipientBusy);
    }
    let of: [(Per, &[&str]); 6] = [
        (Per::Connection, PER_CONNECTION),
        (Per::AtOnce, AT_ONCE),
        (
            Per::Message,
            &[
                "too many recipients",
                "recipients per message",
                "trop de destinataires",
                "zu viele empfanger",
                "demasiados destinatarios",
                "troppi destinatari",
            ],
        ),
        (
            Per::Hour,
            &[
                "per hour",
                "hourly",
                "last hour",
                "/hour",
                "par heure",
                "pro stunde",
                "por hora",
                "all'ora",
                "per uur",
            ],
        ),
        (
            Per::Day,
            &[
                "per day",
                "daily",
                "per 24 hours",
                "last 24 hours",
                "/day",
                "par jour",
                "pro tag",
                "por dia",
                "al giorno",
                "per dag",
            ],
        ),
        (
            Per::Minute,
            &[
                "per minute",
                "last minute",
                "/minute",
                "/min",
                "par minute",
                "pro minute",
                "por minuto",
                "al minuto",
            ],
        ),
    ];
    let per = of.into_iter().find(|(_, cues)| text.has(cues)).map(|(per, _)| per);
    match (per, wait) {
        (Some(per), wait) => Some(Particular::Limit { per, count: count(&text.folded), wait }),
        (None, Some(wait)) => Some(Particular::Slower(wait)),
        (None, None) => None,
    }
}

const BUSY: &[&str] = &[
    "receiving mail too quickly",
    "receiving mail at a rate",
    "recipient rate limit",
    "mailbox busy",
    "mailbox is busy",
];
const PER_CONNECTION: &[&str] = &[
    "per connection",
    "per session",
    "this connection",
    "this session",
    "par connexion",
    "par session",
    "pro verbindung",
    "por conexion",
    "per connessione",
];
const AT_ONCE: &[&str] = &[
    "too many connections",
    "too many simultaneous",
    "simultaneous connections",
    "concurrent connection",
    "too many concurrent",
    "too many sessions",
    "connection limit",
    "connections limit",
    "max connections",
    "number of connections",
    "too many open connections",
    "trop de connexions",
    "connexions simultanees",
    "zu viele verbindungen",
    "demasiadas conexiones",
    "troppe connessioni",
];

/// How many the limit lets in: a number before or after the thing that is counted.
fn count(folded: &str) -> Option<u32> {
    let things = r"(?:e-?mails?|messages?|mails?|recipients?|connections?|sessions?|connexions?|destinataires?|nachrichten|verbindungen|mensajes|conexiones|messaggi|destinatari)";
    static FORMS: std::sync::OnceLock<[regex::Regex; 2]> = std::sync::OnceLock::new();
    let forms = FORMS.get_or_init(|| {
        let form = |text: String| regex::Regex::new(&text).expect("a valid pattern");
        [
            form(format!(r"(?:limit|max(?:imum|imal)?|only|more than|plus de|mehr als|mas de|piu di|most|allowed|limite|up to)[^0-9.;@]{{0,24}}\b(\d{{1,7}}) (?:simultaneous |concurrent )?{things}\b")),
            form(format!(r"(?:{things}|limit)[a-z0 /-]{{0,32}}(?:limit|max|maximum|allowed)?[:=( ]{{1,2}}(\d{{1,7}})(?:\)|$|[,;]| per | allowed| max)")),
        ]
    });
    let found = forms.iter().find_map(|form| form.captures(folded))?;
    found[1].parse().ok().filter(|count| *count > 0)
}
