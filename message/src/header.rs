//! Header fields: folded, and in encoded words (RFC 2047) where they are not ASCII.
//! Nothing that comes in can end a line: control characters become spaces.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Where lines are folded (RFC 5322, 2.1.1).
const FOLD_AT: usize = 76;
/// What cannot be folded and is longer than this could not stay on a line of 998 octets.
const UNFOLDED_OCTETS_MAX: usize = 900;
/// `=?utf-8?B?` and `?=`.
const ENCODED_WORD_FRAME: usize = 12;
/// Recipients' names beyond this are left out: they are data in the wrong column.
pub(crate) const NAME_OCTETS_MAX: usize = 250;

/// One line, whatever it was: control characters become spaces, the ends are trimmed.
pub(crate) fn clean_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text.trim());
    }
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Cow::Owned(spaced.trim().to_owned())
}

/// `Name: text`, unstructured. `name` is a valid header name.
pub(crate) fn unstructured(out: &mut Vec<u8>, name: &str, text: &str) {
    let text = clean_line(text);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let column = name.len() + 2;
    if is_ascii_line(&text) {
        folded(out, &text, column);
    } else {
        encoded_words(out, &text, column);
    }
    out.extend_from_slice(b"\r\n");
}

fn is_ascii_line(text: &str) -> bool {
    text.is_ascii() && !text.contains("=?") && unfolded_octets(text) <= UNFOLDED_OCTETS_MAX
}

/// The longest part that [`folded`] finds no place in: a long word, or words with wide gaps.
fn unfolded_octets(text: &str) -> usize {
    let (mut longest, mut here, mut after_word) = (0, 0, false);
    for word in text.split(' ') {
        let folds = after_word && !word.is_empty();
        here = if folds { word.len() } else { here + 1 + word.len() };
        longest = longest.max(here);
        after_word = !word.is_empty();
    }
    longest
}

fn folded(out: &mut Vec<u8>, text: &str, mut column: usize) {
    for (i, word) in text.split(' ').enumerate() {
        // Never after an empty word: a line of blanks alone is obsolete syntax.
        if i > 0
            && column + 1 + word.len() > FOLD_AT
            && !word.is_empty()
            && out.last() != Some(&b' ')
        {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        if i > 0 {
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word.as_bytes());
        column += word.len();
    }
}

/// RFC 2047 in base64, cut between characters, each word on a line of its own.
fn encoded_words(out: &mut Vec<u8>, text: &str, column: usize) {
    let octets_at = |column: usize| FOLD_AT.saturating_sub(column + ENCODED_WORD_FRAME) / 4 * 3;
    let mut room = octets_at(column);
    if room < 12 {
        out.extend_from_slice(b"\r\n ");
        room = octets_at(1);
    }
    let mut rest = text;
    loop {
        let cut = floor_char_boundary(rest, room);
        let (word, tail) = rest.split_at(cut);
        out.extend_from_slice(b"=?utf-8?B?");
        out.extend_from_slice(STANDARD.encode(word).as_bytes());
        out.extend_from_slice(b"?=");
        if tail.is_empty() {
            break;
        }
        out.extend_from_slice(b"\r\n ");
        rest = tail;
        room = octets_at(1);
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// `Name: Display Name <local@domain>`.
pub(crate) fn mailbox(out: &mut Vec<u8>, header: &str, name: Option<&str>, address: &str) {
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(b": ");
    let name = clean_line(name.unwrap_or_default());
    if name.is_empty() || name.len() > NAME_OCTETS_MAX {
        out.extend_from_slice(address.as_bytes());
    } else {
        phrase(out, &name, header.len() + 2);
        let line = out.iter().rev().take_while(|b| **b != b'\n').count();
        let space: &[u8] = if line + address.len() + 3 > FOLD_AT { b"\r\n <" } else { b" <" };
        out.extend_from_slice(space);
        out.extend_from_slice(address.as_bytes());
        out.push(b'>');
    }
    out.extend_from_slice(b"\r\n");
}

fn phrase(out: &mut Vec<u8>, name: &str, column: usize) {
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~ ".contains(&b);
    if !name.is_ascii() || name.contains("=?") {
        encoded_words(out, name, column);
    } else if name.bytes().all(atom) && !name.contains("  ") {
        out.extend_from_slice(name.as_bytes());
    } else {
        out.push(b'"');
        for b in name.bytes() {
            if matches!(b, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(b);
        }
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(name: &str, text: &str) -> String {
        let mut out = Vec::new();
        unstructured(&mut out, name, text);
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn subjects_are_folded_or_encoded() {
        assert_eq!(written("Subject", "hello"), "Subject: hello\r\n");
        assert_eq!(written("Subject", "Été"), "Subject: =?utf-8?B?w4l0w6k=?=\r\n");
        assert_eq!(written("Subject", "a\r\nBcc: b"), "Subject: a  Bcc: b\r\n");
        assert!(written("Subject", "=?utf-8?Q?x?=").contains("=?utf-8?B?"));
    }

    #[test]
    fn names_are_quoted_when_they_must_be() {
        let of = |name: &str| {
            let mut out = Vec::new();
            mailbox(&mut out, "From", Some(name), "a@example.org");
            String::from_utf8(out).expect("ascii")
        };
        assert_eq!(of("Ann Smith"), "From: Ann Smith <a@example.org>\r\n");
        assert_eq!(of("Smith, A \"B\""), "From: \"Smith, A \\\"B\\\"\" <a@example.org>\r\n");
        assert_eq!(of("Zoë"), "From: =?utf-8?B?Wm/Dqw==?= <a@example.org>\r\n");
        assert_eq!(of(" "), "From: a@example.org\r\n");
    }

    /// RFC 2047, 2: at most 75 characters of an encoded word, and 76 of a line with one.
    fn assert_words_are_short(header: &str) -> Result<(), TestCaseError> {
        for line in header.split("\r\n").filter(|line| line.contains("=?utf-8?B?")) {
            prop_assert!(line.len() <= 76, "{}: {}", line.len(), line);
            for word in line.split(' ').filter(|word| word.starts_with("=?")) {
                prop_assert!(word.len() <= 75 && word.ends_with("?="), "{}", word);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn what_has_blanks_is_folded_at_them(
            name in "[A-Z][a-z-]{0,14}", text in "[a-z0-9.,:]{1,58}( [a-z0-9.,:]{1,58}){0,30}"
        ) {
            let header = written(&name, &text);
            prop_assert!(header.lines().all(|line| line.len() <= 76), "{header}");
            prop_assert_eq!(header.replace("\r\n", ""), format!("{name}: {text}"));
        }

        #[test]
        fn names_of_any_length_stay_on_short_lines(
            header in "[A-Z][a-z-]{0,30}", name in "(\\PC{0,80}|[é漢😀 ]{0,60}|[ -~]{0,60})",
            local in "[a-z]{1,60}"
        ) {
            let mut out = Vec::new();
            mailbox(&mut out, &header, Some(&name), &format!("{local}@example.org"));
            assert_words_are_short(&String::from_utf8(out).expect("ascii"))?;
        }

        #[test]
        fn what_is_written_reads_back_on_short_lines(text in "([ -~]{0,300}|.{0,200}|[é漢😀 ]{0,90}|x{800,1900}|(x| {1,1200}){0,9})") {
            let header = written("Subject", &text);
            prop_assert!(header.is_ascii());
            prop_assert!(header.split("\r\n").all(|l| l.len() <= 998 && !l.contains(['\r', '\n'])));
            assert_words_are_short(&header)?;
            let mail = format!("{header}\r\nbody\r\n");
            let parsed = mail_parser::MessageParser::default().parse(&mail).expect("a message");
            let squeeze = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(
                squeeze(parsed.subject().unwrap_or_default()),
                squeeze(&clean_line(&text))
            );
        }
    }
}
