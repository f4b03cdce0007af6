//! A remote server's answer as a value: code, enhanced status, text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text kept of a reply or a diagnostic: longer ones are broken or hostile.
pub const REPLY_TEXT_OCTETS_MAX: usize = 1024;

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnhancedStatus(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Not a status by RFC 3463.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code")]
pub struct StatusError;

impl FromStr for EnhancedStatus {
    type Err = StatusError;
    fn from_str(text: &str) -> Result<Self, StatusError> {
        let mut parts = text.splitn(3, '.');
        let mut next = || {
            let part = parts.next()?;
            let digits =
                !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u16>().ok()).flatten()
        };
        match (next(), next(), next()) {
            (Some(class @ (2 | 4 | 5)), Some(subject), Some(detail)) => {
                Ok(Self(class as u8, subject, detail))
            }
            _ => Err(StatusError),
        }
    }
}

/// One reply of an SMTP server. The text is what it said: lines joined by a
/// space, control characters replaced, cut at [`REPLY_TEXT_OCTETS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Three digits, 200 to 599 (RFC 5321, 4.2).
    pub code: u16,
    /// The enhanced status, where the server gave one.
    pub status: Option<EnhancedStatus>,
    /// What it said, without code and status.
    pub text: String,
}

impl Reply {
    /// A reply made of its parts; the text is cleaned and cut.
    #[must_use]
    pub fn new(code: u16, status: Option<EnhancedStatus>, text: &str) -> Self {
        Self { code, status, text: clean_text(text) }
    }

    /// Parses `550 5.1.1 no such user` (also `550-…`); `None` when no code leads.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let code: u16 = line.get(..3)?.parse().ok().filter(|c| (200..600).contains(c))?;
        let rest = line.get(3..)?.trim_start_matches(['-', ' ']);
        let (first, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(match first.parse::<EnhancedStatus>() {
            Ok(status) => Self::new(code, Some(status), tail),
            Err(_) => Self::new(code, None, rest),
        })
    }

    /// The same of a whole reply, of one line or several (RFC 5321, 4.2.1): code and status are
    /// those of the first.
    #[must_use]
    pub fn parse_lines(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = Self::parse(lines.next()?)?;
        let said = |line: &str| match Self::parse(line).filter(|reply| reply.code == first.code) {
            Some(reply) => reply.text,
            None => line.to_owned(),
        };
        let mut text = first.text.clone();
        for line in lines {
            if text.len() >= REPLY_TEXT_OCTETS_MAX {
                break;
            }
            text.push(' ');
            text.push_str(&said(line));
        }
        Some(Self::new(first.code, first.status, &text))
    }

    /// 2yz: done.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 4yz: not now.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// 5yz: the server says never. What that means for the address is another question.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{} {} {}", self.code, status, self.text),
            None => write!(f, "{} {}", self.code, self.text),
        }
    }
}

/// Remote text made safe to keep: control characters and direction overrides
/// become spaces, runs of spaces one, and the length is bounded.
#[must_use]
pub fn clean_text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(REPLY_TEXT_OCTETS_MAX));
    for c in text.chars() {
        let blank = c.is_control() || c.is_whitespace() || is_invisible(c);
        if blank {
            if !clean.is_empty() && !clean.ends_with(' ') {
                clean.push(' ');
            }
        } else if clean.len() + c.len_utf8() > REPLY_TEXT_OCTETS_MAX {
            break;
        } else {
            clean.push(c);
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_taken_apart() {
        let r = Reply::parse("550 5.1.1 no  such\tuser").expect("a reply");
        assert_eq!(
            (r.code, r.status, r.text.as_str()),
            (550, Some(EnhancedStatus(5, 1, 1)), "no such user")
        );
        assert_eq!(r.to_string(), "550 5.1.1 no such user");
        let r = Reply::parse("421 1.2.3.4 is blocked").expect("a reply");
        assert_eq!((r.status, r.text.as_str()), (None, "1.2.3.4 is blocked"));
        assert_eq!(Reply::parse("hello"), None);
    }

    #[test]
    fn remote_text_cannot_carry_control_characters() {
        assert_eq!(clean_text("a\r\nb\u{1b}[31mc\u{202e}d"), "a b [31mc d");
        assert_eq!(clean_text(&"é".repeat(2000)).len(), REPLY_TEXT_OCTETS_MAX);
    }
}
