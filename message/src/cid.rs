//! What HTML wants to show of a message's own files: URLs with `cid:` (RFC 2392).

use crate::markup::{Token, tokens};

/// Where HTML and files do not fit together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// What an element refers to and no file has: readers show a broken image.
    pub missing: Vec<String>,
    /// Content-IDs that the HTML never mentions.
    pub unused: Vec<String>,
}

impl Unmatched {
    /// Holds a template's HTML against the Content-IDs of its files. What is merged in is not
    /// known here: a reference with a merge field is nobody's, and then none is unused.
    #[must_use]
    pub fn find(html: Option<&str>, content_ids: &[&str]) -> Self {
        let html = html.unwrap_or_default();
        let mut missing: Vec<String> = Vec::new();
        for token in tokens(html) {
            let Token::Start(_, attributes) = token else { continue };
            for reference in references(attributes) {
                let Reference::To(id) = reference else { continue };
                if !content_ids.contains(&id.as_str()) && !missing.contains(&id) {
                    missing.push(id);
                }
            }
        }
        // Comments and style sheets count here: some readers look into them, others do not.
        let mentioned: Vec<Reference> = references(html).collect();
        let is_used = |id: &&&str| {
            mentioned.iter().any(|reference| match reference {
                Reference::Merged => true,
                Reference::To(other) => other == **id,
            })
        };
        let unused = content_ids.iter().filter(|id| !is_used(id)).map(|id| (*id).to_owned());
        Self { missing, unused: unused.collect() }
    }
}

enum Reference {
    To(String),
    /// A merge field is part of it.
    Merged,
}

/// Each `cid:` at the beginning of a value, or within `url(…)`.
fn references(text: &str) -> impl Iterator<Item = Reference> + '_ {
    let begins = |at: &usize| {
        let scheme = text.as_bytes().get(*at..at + 4);
        let before = text[..*at].trim_end().as_bytes().last();
        scheme.is_some_and(|s| s.eq_ignore_ascii_case(b"cid:"))
            && before.is_some_and(|b| matches!(b, b'"' | b'\'' | b'(' | b'=' | b';' | b','))
    };
    let places =
        memchr::memchr_iter(b':', text.as_bytes()).filter_map(|colon| colon.checked_sub(3));
    places.filter(|at| text.is_char_boundary(*at)).filter(begins).map(|at| {
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '<' | '>' | '&' | ',');
        let rest = &text[at + 4..];
        let id = &rest[..rest.find(ends).unwrap_or(rest.len())];
        if id.contains(['{', '}']) { Reference::Merged } else { Reference::To(percent_decoded(id)) }
    })
}

fn percent_decoded(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *first == b'%') {
            Some(octet) => {
                octets.push(octet);
                rest = &after[2..];
            }
            None => {
                octets.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmatched(html: &str, ids: &[&str]) -> (Vec<String>, Vec<String>) {
        let Unmatched { missing, unused } = Unmatched::find(Some(html), ids);
        (missing, unused)
    }

    fn none() -> (Vec<String>, Vec<String>) {
        (vec![], vec![])
    }

    #[test]
    fn what_elements_show_must_be_there() {
        assert_eq!(unmatched("<img src=\"cid:logo\">", &["logo"]), none());
        assert_eq!(unmatched("<IMG SRC = 'CID:logo@x.example'>", &["logo@x.example"]), none());
        assert_eq!(unmatched("<img src=cid:logo%40x.example>", &["logo@x.example"]), none());
        assert_eq!(
            unmatched("<td style=\"background: url(cid:bg)\"><img src=cid:a><img src=cid:a>", &[]),
            (vec!["bg".to_owned(), "a".into()], vec![])
        );
        assert_eq!(unmatched("<img src=\"cid:a$b\">", &[]).0, ["a$b"]);
    }

    #[test]
    fn text_about_images_and_other_schemes_want_no_file() {
        assert_eq!(
            unmatched("<p>write \"cid:logo\" there</p><a href='acid:x'>é:</a>", &[]),
            none()
        );
        assert_eq!(unmatched("", &[]), none());
        assert_eq!(Unmatched::find(None, &["a"]).unused, ["a"]);
    }

    #[test]
    fn a_file_that_nothing_mentions_is_unused() {
        assert_eq!(unmatched("<p>logo</p>", &["logo"]).1, ["logo"]);
        let outlook =
            "<!--[if mso]><v:fill src=\"cid:bg\"/><![endif]--><style>a{b:url(cid:c)}</style>";
        assert_eq!(unmatched(outlook, &["bg", "c"]), none());
        assert_eq!(unmatched("<img src=\"cid:{{ picture }}\">", &["a", "b"]), none());
    }
}
