//! Bodies as octets on the wire: 7bit where a text allows it, quoted-printable
//! (RFC 2045, 6.7) where not. Both write text piece by piece and give the same
//! octets however the text was cut, so that literals can be encoded beforehand.

use std::borrow::Cow;

/// RFC 5322, 2.1.1, without the CRLF.
const LINE_OCTETS_MAX: usize = 998;
/// RFC 2045, 6.7 allows 76 with the `=` of a soft line break.
const QP_LINE_MAX: usize = 75;

/// Text made fit for a body: lines end in LF, and NUL, which no body may hold, is a space.
pub(crate) fn clean_body(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\r', 0, text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', " "))
}

/// The five characters of HTML and the slash, as the template language escapes them.
pub(crate) fn escape_html(text: &str) -> Cow<'_, str> {
    let special = |b: u8| matches!(b, b'<' | b'>' | b'&' | b'"' | b'\'' | b'/');
    let Some(first) = text.bytes().position(special) else { return Cow::Borrowed(text) };
    let mut escaped = String::with_capacity(text.len() + 32);
    escaped.push_str(&text[..first]);
    for c in text[first..].chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            '/' => escaped.push_str("&#x2f;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Text that a template repeats in every message, with all that can be known beforehand.
pub(crate) struct Literal {
    plain: PlainLiteral,
    /// Before the first line end: its place in the line depends on what precedes it.
    qp_lead: Box<[u8]>,
    /// After the first line end, encoded, and the column where it ends.
    qp_rest: Option<(Box<[u8]>, usize)>,
}

enum PlainLiteral {
    /// Cannot be 7bit whatever is merged in.
    Never,
    Lines {
        octets: Box<[u8]>,
        /// Octets before the first line end.
        first: usize,
        /// Octets after the last line end, where there is one.
        last: Option<usize>,
    },
}

impl Literal {
    /// `text` has LF line ends only.
    pub(crate) fn new(text: &str) -> Self {
        let (lead, rest) = text.split_once('\n').map_or((text, None), |(l, r)| (l, Some(r)));
        let qp_rest = rest.map(|rest| {
            let mut encoded = Vec::with_capacity(rest.len() + rest.len() / 8);
            let mut qp = QuotedPrintable::new(&mut encoded);
            qp.text(rest.as_bytes());
            let column = qp.column;
            (encoded.into(), column)
        });
        Self { plain: PlainLiteral::new(text), qp_lead: lead.as_bytes().into(), qp_rest }
    }
}

impl PlainLiteral {
    fn new(text: &str) -> Self {
        let mut octets = Vec::with_capacity(text.len() + text.len() / 32);
        let mut plain = Plain::new(&mut octets);
        if plain.text(text.as_bytes()).is_none() {
            return Self::Never;
        }
        let first = text.find('\n').unwrap_or(text.len());
        let last = text.rfind('\n').map(|at| text.len() - at - 1);
        Self::Lines { octets: octets.into(), first, last }
    }
}

/// Writes 7bit. Each step is `None` when the text so far cannot be 7bit.
pub(crate) struct Plain<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

impl<'a> Plain<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, column: 0 }
    }

    pub(crate) fn literal(&mut self, literal: &Literal) -> Option<()> {
        let PlainLiteral::Lines { octets, first, last } = &literal.plain else { return None };
        self.advance(*first)?;
        if let Some(last) = last {
            self.column = *last;
        }
        self.out.extend_from_slice(octets);
        Some(())
    }

    /// `text` has LF line ends only.
    pub(crate) fn text(&mut self, text: &[u8]) -> Option<()> {
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            self.line(&rest[..at])?;
            self.out.extend_from_slice(b"\r\n");
            self.column = 0;
            rest = &rest[at + 1..];
        }
        self.line(rest)
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        if !line.iter().fold(true, |ok, b| ok & (matches!(b, 0x20..=0x7e) | (*b == b'\t'))) {
            return None;
        }
        self.advance(line.len())?;
        self.out.extend_from_slice(line);
        Some(())
    }

    fn advance(&mut self, octets: usize) -> Option<()> {
        self.column += octets;
        (self.column <= LINE_OCTETS_MAX).then_some(())
    }

    /// The last line ends like the others.
    pub(crate) fn finish(self) {
        if self.column > 0 {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }
}

/// Writes quoted-printable.
pub(crate) struct QuotedPrintable<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

impl<'a> QuotedPrintable<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, column: 0 }
    }

    pub(crate) fn literal(&mut self, literal: &Literal) {
        self.line(&literal.qp_lead);
        if let Some((encoded, column)) = &literal.qp_rest {
            self.line_end();
            self.out.extend_from_slice(encoded);
            self.column = *column;
        }
    }

    /// `text` has LF line ends only.
    pub(crate) fn text(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            self.line(&rest[..at]);
            self.line_end();
            rest = &rest[at + 1..];
        }
        self.line(rest);
    }

    fn line(&mut self, line: &[u8]) {
        let mut rest = line;
        while let Some(byte) = rest.first() {
            let room = QP_LINE_MAX - self.column;
            let run = rest.iter().take(room).take_while(|b| is_literal(**b)).count();
            if run > 0 {
                self.out.extend_from_slice(&rest[..run]);
                self.column += run;
                rest = &rest[run..];
            } else if room < if is_literal(*byte) { 1 } else { 3 } {
                self.soft_break();
            } else {
                self.escaped(*byte);
                rest = &rest[1..];
            }
        }
    }

    fn escaped(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |nibble: u8| HEX[usize::from(nibble & 15)];
        self.out.extend_from_slice(&[b'=', digit(byte >> 4), digit(byte)]);
        self.column += 3;
    }

    fn soft_break(&mut self) {
        self.out.extend_from_slice(b"=\r\n");
        self.column = 0;
    }

    /// A blank before a line end may be lost on the way, so it is written as `=20`
    /// (RFC 2045, 6.7, rule 3).
    fn line_end(&mut self) {
        if self.column > 0
            && let Some(blank @ (b' ' | b'\t')) = self.out.last().copied()
        {
            self.out.pop();
            self.column -= 1;
            if self.column + 3 > QP_LINE_MAX {
                self.soft_break();
            }
            self.escaped(blank);
        }
        self.out.extend_from_slice(b"\r\n");
        self.column = 0;
    }

    pub(crate) fn finish(mut self) {
        if self.column > 0 {
            self.line_end();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }
}

fn is_literal(byte: u8) -> bool {
    matches!(byte, b' '..=b'<' | b'>'..=b'~' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn qp(pieces: &[(&str, bool)]) -> String {
        let mut out = Vec::new();
        let mut qp = QuotedPrintable::new(&mut out);
        for (text, literal) in pieces {
            if *literal { qp.literal(&Literal::new(text)) } else { qp.text(text.as_bytes()) }
        }
        qp.finish();
        String::from_utf8(out).expect("ascii")
    }

    fn plain(pieces: &[(&str, bool)]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        for (text, literal) in pieces {
            if *literal {
                plain.literal(&Literal::new(text))?;
            } else {
                plain.text(text.as_bytes())?;
            }
        }
        plain.finish();
        Some(out)
    }

    #[test]
    fn quoted_printable_is_what_the_rfc_says() {
        assert_eq!(qp(&[("é=a \nb", true)]), "=C3=A9=3Da=20\r\nb\r\n");
        let long = qp(&[(&"x".repeat(200), true)]);
        assert!(long.lines().all(|l| l.len() <= 76), "{long}");
        let blank_at_the_edge = format!("{} \nb", "x".repeat(74));
        assert!(qp(&[(&blank_at_the_edge, false)]).lines().all(|l| l.len() <= 76));
    }

    #[test]
    fn long_lines_and_other_scripts_are_not_7bit() {
        assert!(plain(&[(&"x".repeat(998), true)]).is_some());
        assert!(plain(&[(&"x".repeat(998), true), ("x", false)]).is_none());
        assert!(plain(&[("é", false)]).is_none());
        assert!(plain(&[("\u{7f}", true)]).is_none());
    }

    fn pieces() -> impl Strategy<Value = Vec<(String, bool)>> {
        let text = "([ -~]{0,90}|[\\t\\n a=é漢.]{0,40}|x{900,1000})";
        proptest::collection::vec((text, any::<bool>()), 0..8)
    }

    proptest! {
        #[test]
        fn the_cut_into_pieces_does_not_show(pieces in pieces()) {
            let whole: String = pieces.iter().map(|(t, _)| t.as_str()).collect();
            let parts: Vec<_> = pieces.iter().map(|(t, l)| (t.as_str(), *l)).collect();
            prop_assert_eq!(qp(&parts), qp(&[(&whole, false)]));
            prop_assert_eq!(plain(&parts), plain(&[(&whole, false)]));
        }

        #[test]
        fn quoted_printable_reads_back(pieces in pieces()) {
            let whole: String = pieces.iter().map(|(t, _)| t.as_str()).collect();
            let encoded = qp(&[(&whole, true)]);
            prop_assert!(encoded.split("\r\n").all(|l| l.len() <= 76 && !l.ends_with([' ', '\t'])));
            let mail = format!(
                "Content-Type: text/plain; charset=utf-8\r\n\
                 Content-Transfer-Encoding: quoted-printable\r\n\r\n{encoded}"
            );
            let parsed = mail_parser::MessageParser::default().parse(&mail).expect("a message");
            let read = parsed.body_text(0).unwrap_or_default().replace("\r\n", "\n");
            let mut expected = whole.clone();
            if !expected.is_empty() && !expected.ends_with('\n') {
                expected.push('\n');
            }
            prop_assert_eq!(read, expected);
        }
    }
}
