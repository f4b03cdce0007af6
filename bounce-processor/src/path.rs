//! Paths of MAIL and RCPT, taken apart strictly (RFC 5321, 4.1.2), and their parameters.

/// `<local@domain>` and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    /// Empty for the null path.
    pub(crate) local: &'a str,
    /// `None` for the null path and for a bare `<postmaster>`.
    pub(crate) domain: Option<&'a str>,
    /// `KEYWORD=VALUE` words after it.
    pub(crate) parameters: Vec<(&'a str, &'a str)>,
}

/// Reads what follows `MAIL FROM:` or `RCPT TO:`; `None` when it is no path.
pub(crate) fn parse(text: &str) -> Option<Path<'_>> {
    let rest = text.trim_start_matches(' ').strip_prefix('<')?;
    let end = closing(rest)?;
    let (inside, after) = (&rest[..end], &rest[end + 1..]);
    if !after.is_empty() && !after.starts_with(' ') {
        return None;
    }
    let parameters =
        after.split_ascii_whitespace().map(|word| word.split_once('=').unwrap_or((word, "")));
    // A source route is ignored (RFC 5321, C).
    let inside = match inside.strip_prefix('@') {
        Some(route) => route.split_once(':')?.1,
        None => inside,
    };
    let (local, domain) = match inside.rsplit_once('@') {
        Some((local, domain)) => (local, Some(domain)),
        None => (inside, None),
    };
    let is_path = inside.len() <= 320
        && !inside.bytes().any(|b| b.is_ascii_control() || b == b'<')
        && (domain.is_none() || !local.is_empty())
        && domain != Some("");
    is_path.then(|| Path { local, domain, parameters: parameters.collect() })
}

/// Where the path ends: a `>` outside quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|b| {
        if escaped {
            escaped = false;
            return false;
        }
        match b {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_or_refused() {
        let read = |text| parse(text).map(|p| (p.local, p.domain, p.parameters));
        assert_eq!(read("<>"), Some(("", None, vec![])));
        assert_eq!(
            read("<> SIZE=5 SMTPUTF8"),
            Some(("", None, vec![("SIZE", "5"), ("SMTPUTF8", "")]))
        );
        assert_eq!(read(" <a@b.example>"), Some(("a", Some("b.example"), vec![])));
        assert_eq!(read("<postmaster>"), Some(("postmaster", None, vec![])));
        assert_eq!(
            read("<@x.example,@y.example:a@b.example>"),
            Some(("a", Some("b.example"), vec![]))
        );
        assert_eq!(
            read("<\"a>@\\\"x\"@b.example>"),
            Some(("\"a>@\\\"x\"", Some("b.example"), vec![]))
        );
        for wrong in [
            "",
            "a@b.example",
            "<a@b.example",
            "<a@>",
            "<@b.example>",
            "<a@b>x",
            "<a<b@c>",
            "<a\u{7f}@b>",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
