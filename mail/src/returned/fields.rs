//! Header-like fields as they really come: folded, broken in the middle, with the
//! wrong case, without the blank line that should part them. Not a MIME parser.

use std::borrow::Cow;

/// Fields read of one part; a report about a thousand recipients has fewer.
const FIELDS_MAX: usize = 4096;

/// One field. The name is as it is written; folding in the value became a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
    /// Whether a blank line stood before it.
    pub(super) after_blank: bool,
}

impl Field<'_> {
    /// Whether it is called so, whatever its case.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether its name begins so.
    pub(super) fn begins(&self, head: &str) -> bool {
        self.name.get(..head.len()).is_some_and(|name| name.eq_ignore_ascii_case(head))
    }

    fn into_owned(self) -> Field<'static> {
        Field {
            name: self.name.into_owned().into(),
            value: self.value.into_owned().into(),
            after_blank: self.after_blank,
        }
    }
}

/// The fields of a text, whatever else it holds.
pub(super) fn parse(text: &str) -> Vec<Field<'_>> {
    read(text, false)
}

/// The same of a text that had to be decoded, or had not.
pub(super) fn parse_decoded(text: Cow<'_, str>) -> Vec<Field<'_>> {
    match text {
        Cow::Borrowed(text) => parse(text),
        Cow::Owned(text) => parse(&text).into_iter().map(Field::into_owned).collect(),
    }
}

/// The fields at the head of a text: a body may hold lines that look like some.
pub(super) fn parse_header(text: &str) -> Vec<Field<'_>> {
    read(text, true)
}

fn read(text: &str, is_header: bool) -> Vec<Field<'_>> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut after_blank = true;
    for line in text.lines() {
        if line.trim_start().is_empty() {
            if is_header && !fields.is_empty() {
                break;
            }
            after_blank = true;
            continue;
        }
        let folded = line.starts_with([' ', '\t']);
        match name_and_value(line).filter(|_| !folded) {
            Some((name, value)) => {
                if fields.len() == FIELDS_MAX {
                    break;
                }
                let (name, value) = (name.into(), value.trim().into());
                fields.push(Field { name, value, after_blank });
            }
            // A folded line, or one that lost its leading blank on the way.
            None if !after_blank || folded => {
                if let Some(last) = fields.last_mut() {
                    append(&mut last.value, line.trim());
                }
            }
            None => {}
        }
        after_blank = false;
    }
    fields
}

fn append(value: &mut Cow<'_, str>, line: &str) {
    if value.len() < crate::reply::REPLY_TEXT_OCTETS_MAX * 4 {
        let value = value.to_mut();
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(line);
    }
}

/// Whether a line is a field.
pub(super) fn is_field(line: &str) -> bool {
    !line.starts_with([' ', '\t']) && name_and_value(line).is_some()
}

/// A line of prose is none at its second word: only as much is read of it.
fn name_and_value(line: &str) -> Option<(&str, &str)> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let (name, rest) = line.split_at(line.bytes().take_while(|b| fits(*b)).count());
    let value = rest.trim_start().strip_prefix(':')?;
    (1..=64).contains(&name.len()).then_some((name, value))
}

/// The first value of a field.
pub(super) fn get<'a>(fields: &'a [Field<'_>], name: &str) -> Option<&'a str> {
    fields.iter().find(|f| f.is(name)).map(|f| &*f.value)
}

/// An address out of a field's value: `rfc822; <ann@example.org> (comment)`.
pub(super) fn address(value: &str) -> Option<String> {
    let value = match value.split_once(';') {
        Some((kind, rest)) if !kind.contains('@') => rest,
        _ => value,
    };
    find_address(value).map(|(_, address)| address.to_owned())
}

/// The first thing in a text that is written like an address, and where it stands.
pub(super) fn find_address(text: &str) -> Option<(usize, &str)> {
    let mut from = 0;
    // Each `@` is looked at once, so a line of a million of them stays linear.
    while let Some(at) = text[from..].find('@').map(|i| from + i) {
        let start = text[from..at]
            .rfind(|c| !is_local(c))
            .map_or(from, |i| from + i + text[from + i..].chars().next().map_or(1, char::len_utf8));
        let end = text[at + 1..]
            .find(|c: char| !(c.is_alphanumeric() || c == '-' || c == '.' || c == '_'))
            .map_or(text.len(), |i| at + 1 + i);
        let local = text[start..at].trim_start_matches(['.', '-', '\'', '=']);
        let domain = text[at + 1..end].trim_end_matches(['.', '-', '_']);
        if !local.is_empty() && local.len() <= 128 && !domain.is_empty() && domain.len() <= 253 {
            let begin = at - local.len();
            return Some((begin, &text[begin..at + 1 + domain.len()]));
        }
        from = at + 1;
    }
    None
}

fn is_local(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(
            c,
            '.' | '!'
                | '#'
                | '$'
                | '%'
                | '&'
                | '\''
                | '*'
                | '+'
                | '-'
                | '/'
                | '='
                | '?'
                | '^'
                | '_'
                | '`'
                | '{'
                | '|'
                | '}'
                | '~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_folding_is_mended() {
        let fields = parse(
            "Reporting-MTA: dns; a\n\nFinal-recipient : rfc822;<a@b.example>\nDiagnostic-Code: smtp; 550\n no\nsuch user\n",
        );
        assert_eq!(fields.len(), 3);
        assert_eq!(get(&fields, "diagnostic-code"), Some("smtp; 550 no such user"));
        assert!(fields[1].after_blank && !fields[2].after_blank);
    }

    #[test]
    fn addresses_are_found_in_their_clothes() {
        let cases = [
            ("rfc822; <a@b.example> (x)", Some("a@b.example")),
            ("rfc822;a+c=d@b.example.", Some("a+c=d@b.example")),
            ("\"a@b.example\"", Some("a@b.example")),
            ("'a@b.example':", Some("a@b.example")),
            ("mailto:a@b.example", Some("a@b.example")),
            ("unknown", None),
            ("@@@", None),
        ];
        for (text, expected) in cases {
            assert_eq!(address(text).as_deref(), expected, "{text:?}");
        }
    }
}
