//! Which domains a message links to: providers keep books about them as they do about senders.

use crate::address::Domain;

/// Domains kept of one message; with more of them no answer could be pinned on one anyhow.
const DOMAINS_MAX: usize = 16;

/// The domains of the links in these texts, each once, in the order in which they come. A host
/// that a merge field makes is not known beforehand and left out.
#[must_use]
pub fn link_domains<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for host in texts.into_iter().flat_map(hosts) {
        let Ok(domain) = host.parse::<Domain>() else { continue };
        if found.len() < DOMAINS_MAX && !found.iter().any(|known| known == domain.as_str()) {
            found.push(domain.as_str().to_owned());
        }
    }
    found
}

/// The hosts of `http://` and `https://` links.
fn hosts(text: &str) -> impl Iterator<Item = &str> {
    let links = text.match_indices("//").filter(move |(at, _)| is_web(&text[..*at]));
    links.map(move |(at, _)| host(&text[at + 2..]))
}

fn is_web(before: &str) -> bool {
    let ends = |scheme: &str| {
        let from = before.len().checked_sub(scheme.len());
        from.and_then(|at| before.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(scheme))
    };
    ends("http:") || ends("https:")
}

/// The host at the beginning of what follows `//`.
fn host(rest: &str) -> &str {
    let ends = |c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | '@'));
    let authority = rest.split(ends).next().unwrap_or_default();
    // A merge field in the middle of a name makes another name of it.
    if rest[authority.len()..].starts_with('{') {
        return "";
    }
    authority.rsplit('@').next().unwrap_or_default().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_in_text_and_html() {
        let html = "<a href=\"HTTPS://Shop.Example/a?b=//c.example\">x</a> \
            <img src='http://img.shop.example:8080/p.png'> <a href=\"https://shop.example\">y</a>";
        let text = "See http://me@news.example/{{ id }}, or https://shop.example.";
        assert_eq!(
            link_domains([html, text]),
            ["shop.example", "img.shop.example", "news.example"]
        );
    }

    #[test]
    fn what_is_no_link_is_none() {
        for text in [
            "// a comment",
            "ftp://files.example/x",
            "https://{{ shop }}/x",
            "https://{{ shop }}.example/x",
            "https://shop{{ n }}.example/x",
            "https://",
            "é//x.example http:/x.example",
        ] {
            assert_eq!(link_domains([text]), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_thousand_links_are_a_few_domains() {
        let text: String = (0..1000).map(|n| format!("https://d{n}.example/ ")).collect();
        assert_eq!(link_domains([text.as_str()]).len(), DOMAINS_MAX);
    }
}
