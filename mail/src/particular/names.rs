//! Names that may be quoted: of block lists, of pages about them, of viruses, of kinds of files, and
//! of domains. What is in no list here and has no form that is checked here is not repeated.

use std::fmt;

use super::text::pattern;
use crate::Domain;
use crate::category::words;

words! {
    /// Who keeps a list of addresses or domains that are not to be trusted. The words are their names.
    BlockList {
        /// Domains, of Spamhaus.
        SpamhausDbl = "Spamhaus DBL",
        /// Networks that should send no mail by themselves.
        SpamhausPbl = "Spamhaus PBL",
        /// Spamhaus, any other list.
        Spamhaus = "Spamhaus",
        /// Barracuda Central.
        Barracuda = "Barracuda",
        /// Proofpoint, to whom Cloudmark belongs.
        Proofpoint = "Proofpoint",
        /// Cloudmark Sender Intelligence.
        Cloudmark = "Cloudmark",
        /// Microsoft's own, of Outlook.com.
        Microsoft = "Microsoft",
        /// SpamCop.
        SpamCop = "SpamCop",
        /// SORBS, which ended in 2024 and is asked still.
        Sorbs = "SORBS",
        /// UCEPROTECT and its Backscatterer.
        UceProtect = "UCEPROTECT",
        /// Abusix.
        Abusix = "Abusix",
        /// Invaluement.
        Invaluement = "Invaluement",
        /// Validity, once Return Path.
        Validity = "Sender Score (Validity)",
        /// Trend Micro.
        TrendMicro = "Trend Micro",
        /// Cisco Talos, once SenderBase.
        Talos = "Cisco Talos",
        /// SpamRATS.
        SpamRats = "SpamRATS",
        /// Mailspike.
        Mailspike = "Mailspike",
        /// The Passive Spam Block List.
        Psbl = "PSBL",
        /// NiX Spam, of Heise.
        NixSpam = "NiX Spam",
        /// Truncate, of GBUdb.
        Truncate = "GBUdb Truncate",
        /// Links, of SURBL.
        Surbl = "SURBL",
        /// Links, of URIBL.
        Uribl = "URIBL",
    }
}

/// How they are named in replies, folded; the first that occurs counts.
const LISTS: &[(&str, BlockList)] = &[
    ("dbl.spamhaus", BlockList::SpamhausDbl),
    ("spamhaus dbl", BlockList::SpamhausDbl),
    ("pbl.spamhaus", BlockList::SpamhausPbl),
    ("spamhaus.org/pbl", BlockList::SpamhausPbl),
    ("spamhaus pbl", BlockList::SpamhausPbl),
    ("spamhaus", BlockList::Spamhaus),
    ("barracudacentral", BlockList::Barracuda),
    ("barracuda", BlockList::Barracuda),
    ("proofpoint", BlockList::Proofpoint),
    ("pphosted", BlockList::Proofpoint),
    ("cloudmark", BlockList::Cloudmark),
    ("(s3140)", BlockList::Microsoft),
    ("(s3150)", BlockList::Microsoft),
    ("(as(", BlockList::Microsoft),
    ("sender.office.com", BlockList::Microsoft),
    ("delist.messaging.microsoft.com", BlockList::Microsoft),
    ("spamcop", BlockList::SpamCop),
    ("sorbs", BlockList::Sorbs),
    ("uceprotect", BlockList::UceProtect),
    ("backscatterer", BlockList::UceProtect),
    ("abusix", BlockList::Abusix),
    ("invaluement", BlockList::Invaluement),
    ("senderscore", BlockList::Validity),
    ("sender score", BlockList::Validity),
    ("returnpath", BlockList::Validity),
    ("trendmicro", BlockList::TrendMicro),
    ("trend micro", BlockList::TrendMicro),
    ("senderbase", BlockList::Talos),
    ("talosintelligence", BlockList::Talos),
    ("spamrats", BlockList::SpamRats),
    ("mailspike", BlockList::Mailspike),
    ("psbl.surriel", BlockList::Psbl),
    ("psbl.org", BlockList::Psbl),
    ("ix.dnsbl.manitu", BlockList::NixSpam),
    ("nixspam", BlockList::NixSpam),
    ("truncate.gbudb", BlockList::Truncate),
    ("surbl", BlockList::Surbl),
    ("uribl", BlockList::Uribl),
];

impl BlockList {
    /// The first that a folded text names.
    pub(super) fn named(folded: &str) -> Option<Self> {
        LISTS.iter().find(|(name, _)| folded.contains(name)).map(|(_, list)| *list)
    }

    /// Whether it lists domains and not network addresses.
    pub(super) fn is_of_domains(self) -> bool {
        matches!(self, Self::SpamhausDbl | Self::Surbl | Self::Uribl)
    }
}

/// Where replies may send a person to: those who keep lists, and providers' pages for senders. `www`
/// and the like below them count.
const KNOWN_HOSTS: &[&str] = &[
    "spamhaus.org",
    "spamhaus.com",
    "barracudacentral.org",
    "proofpoint.com",
    "cloudmark.com",
    "spamcop.net",
    "uceprotect.net",
    "abusix.com",
    "abusix.org",
    "invaluement.com",
    "senderscore.org",
    "validity.com",
    "trendmicro.com",
    "talosintelligence.com",
    "spamrats.com",
    "mailspike.org",
    "psbl.org",
    "surbl.org",
    "uribl.com",
    "sender.office.com",
    "support.google.com",
    "senders.yahooinc.com",
    "postmaster.free.fr",
    "postmaster.orange.fr",
    "postmaster.gmx.net",
    "postmaster.web.de",
    "postmaster.comcast.net",
    "postmaster.mail.ru",
];
/// A longer link is no look-up of one address.
const LINK_OCTETS_MAX: usize = 160;

/// A page of a known host, over https, in plain characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link(String);

impl Link {
    /// The first of these in a text. A user name, a port or anything unusual before the path makes it
    /// none: `https://spamhaus.org@evil.example/` leads elsewhere.
    pub(super) fn find(said: &str) -> Option<Self> {
        let word = pattern!(
            r#"https://([a-z0-9.-]{1,100})([/?][A-Za-z0-9/._?=&%~+:-]*)?(?:[\s<>"'()\[\],;]|$)"#
        );
        word.captures_iter(said).take(4).find_map(|found| {
            let host: Domain = found[1].trim_end_matches('.').parse().ok()?;
            let is_known = KNOWN_HOSTS.iter().any(|known| is_within(host.as_str(), known));
            let path = found.get(2).map_or("", |path| path.as_str());
            let path = path.trim_end_matches(['.', '?', ':', '-']);
            let link = format!("https://{host}{path}");
            (is_known && link.len() <= LINK_OCTETS_MAX).then_some(Self(link))
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_within(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent).is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

/// What scanners' names of viruses begin with; others are not repeated.
const VIRUS_FAMILIES: &[&str] = &[
    "Eicar",
    "EICAR",
    "Heuristics.",
    "Win.",
    "Win32",
    "W32",
    "W97M",
    "X97M",
    "Html.",
    "HTML.",
    "Pdf.",
    "PDF.",
    "Doc.",
    "Xls.",
    "Js.",
    "JS.",
    "Vbs.",
    "VBS.",
    "Email.",
    "Trojan",
    "Troj",
    "Phishing.",
    "Phish.",
    "Sanesecurity.",
    "Porcupine.",
    "Worm.",
    "Backdoor.",
    "Exploit.",
    "Mal_",
    "Mal/",
    "Suspicious.",
    "SecuriteInfo.",
    "Virus.",
    "TR/",
    "Malware.",
];

/// A scanner's name for a virus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirusName(String);

impl VirusName {
    /// The first word of a text that is such a name.
    pub(super) fn find(said: &str) -> Option<Self> {
        let is_edge = |c: char| {
            matches!(c, '(' | ')' | '[' | ']' | '<' | '>' | '"' | '\'' | ':' | ',' | ';' | '=')
        };
        let words =
            said.split(|c: char| c == ' ' || is_edge(c)).map(|word| word.trim_end_matches('.'));
        words.filter(|word| is_virus(word)).map(|word| Self(word.to_owned())).next()
    }
}

fn is_virus(word: &str) -> bool {
    let is_plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/' | b'!');
    let has_family = VIRUS_FAMILIES.iter().any(|family| word.starts_with(family));
    // `Trojan` alone is a word.
    let has_more = word.bytes().any(|b| matches!(b, b'.' | b'-' | b'_' | b'/'));
    (6..=64).contains(&word.len()) && has_family && has_more && word.bytes().all(is_plain)
}

impl fmt::Display for VirusName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kinds of files that servers refuse by name.
const KINDS: &[&str] = &[
    ".ace", ".apk", ".bat", ".cab", ".chm", ".cmd", ".com", ".cpl", ".dll", ".doc", ".docm",
    ".docx", ".exe", ".gz", ".hta", ".htm", ".html", ".img", ".iso", ".jar", ".js", ".jse", ".lnk",
    ".mdb", ".msi", ".pif", ".ppt", ".ps1", ".rar", ".reg", ".scr", ".svg", ".vbe", ".vbs", ".wsf",
    ".xls", ".xlsm", ".xlsx", ".xz", ".zip", ".7z",
];

/// The kind of a file that a text names: `.exe`, or `invoice.exe`.
pub(super) fn file_kind(said: &str) -> Option<&'static str> {
    let lower = said.to_ascii_lowercase();
    let words = lower.split(|c: char| {
        c.is_whitespace()
            || matches!(c, '(' | ')' | '[' | ']' | '"' | '\'' | ',' | ';' | ':' | '<' | '>')
    });
    let words = words.map(|word| word.trim_end_matches(['.', '!']));
    // A page on the web ends in `.html` and is no attachment; a host ends in `.com`.
    let mut words = words.filter(|word| !word.contains('/') && !word.contains('@'));
    words.find_map(|word| {
        let kind = KINDS.iter().copied().find(|kind| word.ends_with(kind))?;
        (kind != ".com" || word == ".com").then_some(kind)
    })
}

/// Of a domain that is shown: longer ones are made to be long.
const DOMAIN_SHOWN_OCTETS_MAX: usize = 80;

/// The first domain after one of the cues, which is a pattern in lower case.
pub(super) fn domain_after(said: &str, cue: &regex::Regex) -> Option<Domain> {
    let lower = said.to_ascii_lowercase();
    let form = pattern!(
        r#"^[\s\[(<"':]{0,3}((?:[a-z0-9-]{1,63}\.){1,6}[a-z][a-z0-9-]{1,62})(?:[\s\])>"',;:/!]|\.(?:\s|$)|$)"#
    );
    cue.find_iter(&lower).take(4).find_map(|cue| {
        let found = form.captures(&lower[cue.end()..])?;
        let domain: Domain = found[1].parse().ok()?;
        let is_page = KNOWN_HOSTS.iter().any(|known| is_within(domain.as_str(), known));
        (!is_page && domain.as_str().len() <= DOMAIN_SHOWN_OCTETS_MAX).then_some(domain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_known_hosts_are_named() {
        let cases = [
            (
                "see https://www.spamhaus.org/query/ip/192.0.2.1.",
                Some("https://www.spamhaus.org/query/ip/192.0.2.1"),
            ),
            ("(https://check.spamhaus.org/)", Some("https://check.spamhaus.org/")),
            ("http://www.spamhaus.org/query/ip/192.0.2.1", None),
            ("https://spamhaus.org@evil.example/x", None),
            ("https://spamhaus.org.evil.example/x", None),
            ("https://notspamhaus.org/x", None),
            ("https://spamhaus.org:8443/x", None),
            ("https://spamhaus.org\\@evil.example", None),
            ("https://www.spamhaus.org/\u{202e}gpj.exe", None),
        ];
        for (said, expected) in cases {
            assert_eq!(Link::find(said).map(|link| link.0).as_deref(), expected, "{said}");
        }
        let long = format!("https://www.spamhaus.org/{}", "x".repeat(200));
        assert_eq!(Link::find(&long), None);
    }

    #[test]
    fn only_names_that_scanners_give_are_viruses() {
        let cases = [
            ("infected with Eicar-Test-Signature", Some("Eicar-Test-Signature")),
            (
                "virus Heuristics.Phishing.Email.SpoofedDomain FOUND",
                Some("Heuristics.Phishing.Email.SpoofedDomain"),
            ),
            ("virus found: visit evil.example now", None),
            ("Trojan found", None),
        ];
        for (said, expected) in cases {
            assert_eq!(VirusName::find(said).map(|name| name.0).as_deref(), expected, "{said}");
        }
    }
}
