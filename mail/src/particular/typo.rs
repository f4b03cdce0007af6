//! Slips of the keyboard in the domains of large providers: `gmial.com` for `gmail.com`. A suggestion
//! for a person; no address is ever corrected here.

/// Where many of our recipients are, so that a slip is likely. The name before the first dot has
/// four letters at least: near shorter ones lie too many others.
const LARGE: &[&str] = &[
    "gmail.com",
    "googlemail.com",
    "hotmail.com",
    "hotmail.fr",
    "hotmail.be",
    "hotmail.ch",
    "hotmail.es",
    "hotmail.it",
    "hotmail.de",
    "hotmail.co.uk",
    "outlook.com",
    "outlook.fr",
    "outlook.be",
    "outlook.es",
    "outlook.it",
    "outlook.de",
    "live.com",
    "live.fr",
    "live.be",
    "live.it",
    "live.de",
    "live.nl",
    "live.co.uk",
    "yahoo.com",
    "yahoo.fr",
    "yahoo.es",
    "yahoo.it",
    "yahoo.de",
    "yahoo.co.uk",
    "yahoo.ca",
    "yahoo.com.br",
    "yahoo.co.jp",
    "ymail.com",
    "rocketmail.com",
    "icloud.com",
    "orange.fr",
    "wanadoo.fr",
    "free.fr",
    "laposte.net",
    "neuf.fr",
    "bbox.fr",
    "numericable.fr",
    "aliceadsl.fr",
    "club-internet.fr",
    "proton.me",
    "protonmail.com",
    "freenet.de",
    "t-online.de",
    "arcor.de",
    "libero.it",
    "virgilio.it",
    "alice.it",
    "tiscali.it",
    "telefonica.net",
    "terra.es",
    "terra.com.br",
    "bluewin.ch",
    "skynet.be",
    "telenet.be",
    "proximus.be",
    "planet.nl",
    "ziggo.nl",
    "kpnmail.nl",
    "home.nl",
    "comcast.net",
    "verizon.net",
    "bellsouth.net",
    "btinternet.com",
    "virginmedia.com",
    "talktalk.net",
    "yandex.ru",
    "rambler.ru",
    "seznam.cz",
    "netvigator.com",
];

/// Domains near those above, or too short, that exist in their own right and are no slips.
const OTHERS: &[&str] = &[
    "mail.com",
    "email.com",
    "gmx.com",
    "gmx.net",
    "gmx.de",
    "gmx.fr",
    "gmx.at",
    "gmx.ch",
    "web.de",
    "mail.ru",
    "inbox.ru",
    "list.ru",
    "bk.ru",
    "aol.com",
    "aol.fr",
    "aol.de",
    "msn.com",
    "me.com",
    "mac.com",
    "sfr.fr",
    "cegetel.net",
    "qq.com",
    "163.com",
    "126.com",
    "yeah.net",
    "att.net",
    "sbcglobal.net",
    "cox.net",
    "charter.net",
    "o2.pl",
    "wp.pl",
    "onet.pl",
    "interia.pl",
    "uol.com.br",
    "bol.com.br",
    "orange.com",
    "orange.be",
    "orange.es",
    "free.com",
    "terra.com",
    "yandex.com",
    "yandex.ua",
    "yandex.by",
    "yandex.kz",
    "protonmail.ch",
    "pm.me",
    "tiscali.fr",
    "tiscali.co.uk",
    "yahoo.in",
    "yahoo.ie",
    "yahoo.pl",
    "yahoo.gr",
    "yahoo.ro",
    "yahoo.com.ar",
    "yahoo.com.mx",
    "yahoo.com.au",
    "live.ca",
    "live.cn",
    "live.se",
    "live.no",
    "live.dk",
    "live.at",
    "live.ie",
    "live.jp",
    "hotmail.nl",
    "hotmail.ca",
    "hotmail.se",
    "hotmail.no",
    "hotmail.gr",
    "hotmail.co.jp",
    "outlook.pt",
    "outlook.at",
    "outlook.ie",
    "outlook.dk",
    "outlook.cz",
    "outlook.jp",
    "planet.fr",
    "home.pl",
    "hetnet.nl",
    "kpnplanet.nl",
    "email.cz",
    "dbmail.com",
    "noos.fr",
    "laposte.fr",
    "bluemail.ch",
    "sunrise.ch",
    "hispeed.ch",
    "voo.be",
];

/// The large provider's domain that somebody may have meant who wrote this one: a letter too many, too
/// few, another, or two exchanged. Nothing where the domain is a provider's itself, or two are as near.
///
/// `exists` is for a domain that mail arrives at: then only longer names are told from chance, for
/// `five.fr` is nobody's slip for `live.fr`.
#[must_use]
pub fn meant(domain: &str, exists: bool) -> Option<&'static str> {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    // The longest above has 16 octets.
    if !domain.is_ascii() || domain.len() > 24 || is_known(&domain) {
        return None;
    }
    let name_least = if exists { 5 } else { 4 };
    let is_long = |large: &str| large.find('.').is_some_and(|dot| dot >= name_least);
    let mut near =
        LARGE.iter().copied().filter(|large| is_long(large) && is_one_edit(&domain, large));
    match (near.next(), near.next()) {
        (Some(large), None) => Some(large),
        _ => None,
    }
}

fn is_known(domain: &str) -> bool {
    LARGE.contains(&domain) || OTHERS.contains(&domain)
}

/// Whether one insertion, deletion, substitution or exchange of neighbours makes one of the other.
fn is_one_edit(from: &str, to: &str) -> bool {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let same = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (from, to) = (&from[same..], &to[same..]);
    match (from, to) {
        ([], []) => false,
        ([a, b, from @ ..], [c, d, to @ ..]) if a == d && b == c && from == to => true,
        ([_, from @ ..], [_, to @ ..]) if from == to => true,
        ([_, rest @ ..], _) if rest == to => true,
        (_, [_, rest @ ..]) if from == rest => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Providers;

    #[test]
    fn one_slip_is_seen_and_two_are_not() {
        let cases = [
            ("gmial.com", Some("gmail.com")),
            ("gmail.co", Some("gmail.com")),
            ("gmail.con", Some("gmail.com")),
            ("gmaill.com", Some("gmail.com")),
            ("GMAI.com.", Some("gmail.com")),
            ("hotmial.com", Some("hotmail.com")),
            ("hotmai.fr", Some("hotmail.fr")),
            ("orange.f", Some("orange.fr")),
            ("ornage.fr", Some("orange.fr")),
            ("wandoo.fr", Some("wanadoo.fr")),
            ("laposte.ner", Some("laposte.net")),
            ("outlok.com", Some("outlook.com")),
            ("fre.fr", Some("free.fr")),
            ("wanadoo.fr", None),
            ("gmail.com", None),
            ("mail.com", None),
            ("email.com", None),
            ("ymail.com", None),
            ("gmx.fr", None),
            ("gmeel.con", None),
            ("example.org", None),
            // As near to yahoo.fr as to yahoo.de.
            ("yahoo.fe", None),
            ("", None),
        ];
        for (wrote, expected) in cases {
            assert_eq!(meant(wrote, false), expected, "{wrote}");
        }
        assert_eq!((meant("five.fr", false), meant("five.fr", true)), (Some("live.fr"), None));
    }

    #[test]
    fn no_domain_of_a_provider_is_called_a_slip() {
        for provider in Providers::shipped().iter() {
            for domain in &provider.domains {
                assert_eq!(meant(domain.as_str(), false), None, "{domain}");
            }
        }
        for domain in LARGE.iter().chain(OTHERS) {
            assert_eq!(meant(domain, false), None, "{domain}");
        }
    }
}
