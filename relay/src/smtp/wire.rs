//! What is written: commands, and the message with its dots doubled (RFC 5321, 4.5.2).

use super::capabilities::Capabilities;
use super::outcome::Envelope;

/// Why a message cannot be written: it would not arrive as what was signed, and bare
/// line ends are how one message is smuggled inside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineEndError {
    /// CR or LF alone.
    #[error("a CR or LF alone, the first at or after offset {0}")]
    Bare(usize),
    /// No CRLF at the end.
    #[error("does not end in CRLF")]
    Open,
}

/// What ends a message (RFC 5321, 4.1.1.4).
pub(super) const FINAL_DOT: &[u8] = b".\r\n";

/// Puts the message, its leading dots doubled, and the final dot into `out`.
pub fn stuff_dots(message: &[u8], out: &mut Vec<u8>) -> Result<(), LineEndError> {
    let start = out.len();
    let result = stuff_lines(message, out);
    match &result {
        Ok(()) => out.extend_from_slice(FINAL_DOT),
        Err(_) => out.truncate(start),
    }
    result
}

/// Whether each line ends in CRLF, and the message with one.
pub(super) fn check_lines(message: &[u8]) -> Result<(), LineEndError> {
    each_line_end(message, |_| {})
}

/// Puts whole lines into `out`, their leading dots doubled.
pub(super) fn stuff_lines(lines: &[u8], out: &mut Vec<u8>) -> Result<(), LineEndError> {
    out.reserve(lines.len() + 64);
    if lines.starts_with(b".") {
        out.push(b'.');
    }
    let mut copied = 0;
    each_line_end(lines, |next| {
        if lines.get(next) == Some(&b'.') {
            out.extend_from_slice(&lines[copied..next]);
            out.push(b'.');
            copied = next;
        }
    })?;
    out.extend_from_slice(&lines[copied..]);
    Ok(())
}

/// Shows where each next line begins, as long as every line so far ends in CRLF, as all must.
fn each_line_end(message: &[u8], mut see: impl FnMut(usize)) -> Result<(), LineEndError> {
    if !message.ends_with(b"\r\n") {
        return Err(LineEndError::Open);
    }
    let mut lines = 0;
    for cr in memchr::memchr_iter(b'\r', message) {
        if message.get(cr + 1) != Some(&b'\n') {
            return Err(LineEndError::Bare(cr));
        }
        lines += 1;
        see(cr + 2);
    }
    // Each CR has its LF; as many LF as CR means that each LF has its CR.
    if memchr::memchr_iter(b'\n', message).count() != lines {
        return Err(LineEndError::Bare(first_bare_lf(message)));
    }
    Ok(())
}

fn first_bare_lf(message: &[u8]) -> usize {
    let bare = |at: &usize| *at == 0 || message[at - 1] != b'\r';
    memchr::memchr_iter(b'\n', message).find(bare).unwrap_or(message.len())
}

/// Whether a path can stand between angle brackets. `Address` grants it; paths come as text.
pub(super) fn is_path(text: &str) -> bool {
    text.len() <= 254
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>'))
}

/// `MAIL FROM:<path> SIZE=n BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=id`, each parameter where
/// it is offered. Bodies are 7bit in any case, headers are not where SMTPUTF8 is needed (RFC 6531,
/// 3.6). A report shall return the headers alone: they say which message it was, and are short.
pub(super) fn mail_from(
    out: &mut Vec<u8>,
    envelope: &Envelope<'_>,
    size: usize,
    offered: Capabilities,
) {
    out.extend_from_slice(b"MAIL FROM:<");
    out.extend_from_slice(envelope.mail_from.as_bytes());
    out.push(b'>');
    if offered.size.is_some() {
        out.extend_from_slice(b" SIZE=");
        out.extend_from_slice(size.to_string().as_bytes());
    }
    if envelope.smtputf8 {
        if offered.eight_bit_mime {
            out.extend_from_slice(b" BODY=8BITMIME");
        }
        out.extend_from_slice(b" SMTPUTF8");
    }
    if envelope.require_tls {
        out.extend_from_slice(b" REQUIRETLS");
    }
    if offered.dsn {
        out.extend_from_slice(b" RET=HDRS");
        if !envelope.envelope_id.is_empty() {
            out.extend_from_slice(b" ENVID=");
            xtext(out, envelope.envelope_id);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// `RCPT TO:<path> NOTIFY=FAILURE ORCPT=rfc822;path`, the parameters where they are offered: no
/// word when it is only late, and a report that names the address as it was written here, however
/// often it is forwarded (RFC 3461, 4.1 and 4.2).
pub(super) fn rcpt_to(out: &mut Vec<u8>, envelope: &Envelope<'_>, offered: Capabilities) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(envelope.rcpt_to.as_bytes());
    out.push(b'>');
    if offered.dsn {
        out.extend_from_slice(b" NOTIFY=FAILURE");
        if envelope.rcpt_to.is_ascii() {
            out.extend_from_slice(b" ORCPT=rfc822;");
            xtext(out, envelope.rcpt_to);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 3461, 4: printable ASCII but `+` and `=` as it is, the rest in hexadecimal.
fn xtext(out: &mut Vec<u8>, text: &str) {
    for octet in text.bytes() {
        match octet {
            b'!'..=b'~' if !matches!(octet, b'+' | b'=') => out.push(octet),
            _ => out.extend_from_slice(format!("+{octet:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuffed(message: &[u8]) -> Result<Vec<u8>, LineEndError> {
        let mut out = Vec::new();
        stuff_dots(message, &mut out).map(|()| out)
    }

    /// As a server reads it, line by line (RFC 5321, 4.5.2).
    fn unstuffed(wire: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(wire).expect("utf-8");
        let mut message = String::new();
        for line in text.split_inclusive("\r\n") {
            if line == ".\r\n" {
                return message.into_bytes();
            }
            message.push_str(line.strip_prefix('.').unwrap_or(line));
        }
        panic!("no final dot: {text:?}");
    }

    #[test]
    fn dots_are_doubled_once_and_nothing_else_is_added() {
        for (message, wire) in [
            ("a\r\n", "a\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("a\r\n.b\r\n..\r\n\r\n.\r\n", "a\r\n..b\r\n...\r\n\r\n..\r\n.\r\n"),
            ("a.\r\n\r\n", "a.\r\n\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(message.as_bytes()).unwrap(), wire.as_bytes(), "{message:?}");
        }
    }

    #[test]
    fn bare_line_ends_never_leave() {
        for (message, error) in [
            ("a", LineEndError::Open),
            ("", LineEndError::Open),
            ("a\n", LineEndError::Open),
            ("a\nb\r\n", LineEndError::Bare(1)),
            ("a\r\n.\n.\r\n", LineEndError::Bare(4)),
            ("\n.\r\n", LineEndError::Bare(0)),
            ("a\rb\r\n", LineEndError::Bare(1)),
            ("a\r\r\n", LineEndError::Bare(1)),
        ] {
            assert_eq!(check_lines(message.as_bytes()), Err(error), "{message:?}");
            let mut out = b"before".to_vec();
            assert_eq!(stuff_dots(message.as_bytes(), &mut out), Err(error), "{message:?}");
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn paths_cannot_hold_commands() {
        assert!(is_path("") && is_path("a+b@example.org") && is_path("jürgen@example.org"));
        for bad in ["a>\r\nRCPT TO:<b", "a b@c", "a@b\n", "<a@b", "a\u{85}@b"] {
            assert!(!is_path(bad), "{bad:?}");
        }
    }

    #[test]
    fn parameters_are_given_where_they_are_offered() {
        let envelope = Envelope {
            mail_from: "b-1@example.org",
            rcpt_to: "ann+x=y@example.com",
            smtputf8: false,
            envelope_id: "s3.12 a",
            require_tls: false,
        };
        let commands = |offered: Capabilities| {
            let mut out = Vec::new();
            mail_from(&mut out, &envelope, 29, offered);
            rcpt_to(&mut out, &envelope, offered);
            String::from_utf8(out).expect("ascii")
        };
        let none = Capabilities::default();
        assert_eq!(
            commands(none),
            "MAIL FROM:<b-1@example.org>\r\nRCPT TO:<ann+x=y@example.com>\r\n"
        );
        let with_utf8 = |offered: Capabilities| {
            let mut out = Vec::new();
            mail_from(&mut out, &Envelope { smtputf8: true, ..envelope }, 29, offered);
            String::from_utf8(out).expect("ascii")
        };
        let utf8 = Capabilities { smtputf8: true, ..none };
        assert_eq!(with_utf8(utf8), "MAIL FROM:<b-1@example.org> SMTPUTF8\r\n");
        assert_eq!(
            with_utf8(Capabilities { eight_bit_mime: true, ..utf8 }),
            "MAIL FROM:<b-1@example.org> BODY=8BITMIME SMTPUTF8\r\n"
        );
        assert_eq!(
            commands(Capabilities { dsn: true, size: Some(0), eight_bit_mime: true, ..none }),
            "MAIL FROM:<b-1@example.org> SIZE=29 RET=HDRS ENVID=s3.12+20a\r\n\
             RCPT TO:<ann+x=y@example.com> NOTIFY=FAILURE ORCPT=rfc822;ann+2Bx+3Dy@example.com\r\n"
        );
    }

    proptest! {
        #[test]
        fn the_server_reads_what_was_signed(lines in proptest::collection::vec("[.a é]{0,6}", 1..40)) {
            let message = lines.join("\r\n") + "\r\n";
            prop_assert_eq!(unstuffed(&stuffed(message.as_bytes()).unwrap()), message.as_bytes());
        }

        #[test]
        fn any_octets_are_answered(message in "[.\\r\\na]{0,30}") {
            prop_assert_eq!(check_lines(message.as_bytes()), stuffed(message.as_bytes()).map(drop));
            if let Ok(wire) = stuffed(message.as_bytes()) {
                prop_assert_eq!(unstuffed(&wire), message.as_bytes());
            }
        }
    }
}
