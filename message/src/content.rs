//! What a campaign says, as it was submitted, and why it may be refused. Turning
//! it into something that renders is `compile`.

use mail::Address;
use serde::{Deserialize, Serialize};

use crate::header::NAME_OCTETS_MAX;

/// A text or HTML part longer than this leaves no room for merge values.
pub const PART_OCTETS_MAX: usize = 5 * 1024 * 1024;
/// Subjects and header values: RFC 5322, 2.1.1 ends a line at 998 octets, and no
/// mail reader shows that much.
pub const HEADER_OCTETS_MAX: usize = 998;
/// Headers of the campaign's own.
pub const HEADERS_MAX: usize = 50;
/// Merge fields: the recipients of a batch are columns, one for each.
pub const FIELDS_MAX: usize = 200;

/// A display name and an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// What readers show instead of the address.
    #[serde(default)]
    pub name: Option<String>,
    /// The address.
    pub address: Address,
}

/// The content of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Whom it is from; the domain must be one that we sign for.
    pub from: Mailbox,
    /// Where answers go, when not to `from`.
    #[serde(default)]
    pub reply_to: Option<Mailbox>,
    /// The subject, with merge fields.
    pub subject: String,
    /// The plain text, with merge fields.
    #[serde(default)]
    pub text: Option<String>,
    /// The HTML, with merge fields, whose values are escaped.
    #[serde(default)]
    pub html: Option<String>,
    /// Whether a text part is made from the HTML where there is none.
    #[serde(default)]
    pub derive_text: bool,
    /// Other headers by name, with merge fields in their values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The merge fields that each recipient has a value for, in their order.
    #[serde(default)]
    pub fields: Vec<String>,
}

/// Why content is refused. Parts are named `subject`, `text`, `html` or by their header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Neither text nor HTML.
    #[error("has neither text nor html: give at least one")]
    NoBody,
    /// A part over its limit.
    #[error("{part}: {octets} octets are too many, at most {max} are taken")]
    TooLong {
        /// Which part.
        part: String,
        /// How long it is.
        octets: usize,
        /// How long it may be.
        max: usize,
    },
    /// More headers or fields than a list may have.
    #[error("{count} {what} are too many, at most {max} are taken")]
    TooMany {
        /// Headers or fields.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A name that is no header name by RFC 5322, 2.2.
    #[error("header {name:?}: a name is printable ASCII without spaces and colons")]
    HeaderName {
        /// The name.
        name: String,
    },
    /// A header that the relay writes itself, or that breaks the message.
    #[error("header {name:?} is written by the relay and cannot be given")]
    HeaderReserved {
        /// The name.
        name: String,
    },
    /// A control character where a line must stay one line.
    #[error("{part}: control character {character:?} at offset {offset}: remove it")]
    Control {
        /// Which part.
        part: String,
        /// What it is.
        character: char,
        /// Where, in octets.
        offset: usize,
    },
    /// CR without LF.
    #[error("{part}: a lone CR at offset {offset}: end lines with LF or CRLF")]
    LoneCr {
        /// Which part.
        part: String,
        /// Where, in octets.
        offset: usize,
    },
    /// A field name that a template cannot refer to.
    #[error("field {name:?}: a name is a letter or _, then letters, digits and _")]
    FieldName {
        /// The name.
        name: String,
    },
    /// A field that is declared twice, or whose name the template language keeps.
    #[error("field {name:?} is declared twice or reserved by the template language")]
    FieldTaken {
        /// The name.
        name: String,
    },
    /// A merge field that no recipient has.
    #[error("{part}: unknown merge field {field:?}{}", did_you_mean(nearest))]
    UnknownField {
        /// Which part.
        part: String,
        /// The field.
        field: String,
        /// The declared one that looks most like it.
        nearest: Option<String>,
    },
    /// Not a template.
    #[error("{part}: line {line}: {detail}")]
    Syntax {
        /// Which part.
        part: String,
        /// Counted from 1.
        line: usize,
        /// What the template language says.
        detail: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |n| format!(", did you mean {n:?}"))
}

/// Written by the relay, or left out on purpose: a second one would contradict it.
const RESERVED: &[&str] = &[
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "return-path",
    "received",
    "dkim-signature",
    "domainkey-signature",
    "authentication-results",
    "feedback-id",
    "delivered-to",
    "disposition-notification-to",
    "return-receipt-to",
];
const RESERVED_PREFIXES: &[&str] = &["list-unsubscribe", "mime-", "content-", "resent-", "arc-"];

/// Words of the template language: a field of that name could not be merged.
const RESERVED_FIELDS: &[&str] = &[
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "endfor",
    "loop",
    "self",
    "super",
    "caller",
    "varargs",
    "kwargs",
    "range",
    "dict",
    "namespace",
    "debug",
];

impl Content {
    /// What can be told without compiling the templates.
    pub(crate) fn check(&self) -> Result<(), ContentError> {
        if self.text.is_none() && self.html.is_none() {
            return Err(ContentError::NoBody);
        }
        self.check_fields()?;
        check_line("subject", &self.subject)?;
        for mailbox in [Some(&self.from), self.reply_to.as_ref()].into_iter().flatten() {
            let name = mailbox.name.as_deref().unwrap_or_default();
            check_length("display name", name.len(), NAME_OCTETS_MAX)?;
            check_line("display name", name)?;
        }
        check_count("headers", self.headers.len(), HEADERS_MAX)?;
        for (name, value) in &self.headers {
            check_header_name(name)?;
            check_line(name, value)?;
        }
        for (part, body) in [("text", &self.text), ("html", &self.html)] {
            check_body(part, body.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    fn check_fields(&self) -> Result<(), ContentError> {
        check_count("fields", self.fields.len(), FIELDS_MAX)?;
        for (i, name) in self.fields.iter().enumerate() {
            let mut chars = name.chars();
            let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !first || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(ContentError::FieldName { name: name.clone() });
            }
            if self.fields[..i].contains(name) || RESERVED_FIELDS.contains(&name.as_str()) {
                return Err(ContentError::FieldTaken { name: name.clone() });
            }
        }
        Ok(())
    }
}

fn check_count(what: &'static str, count: usize, max: usize) -> Result<(), ContentError> {
    if count > max { Err(ContentError::TooMany { what, count, max }) } else { Ok(()) }
}

fn check_length(part: &str, octets: usize, max: usize) -> Result<(), ContentError> {
    if octets > max {
        return Err(ContentError::TooLong { part: part.into(), octets, max });
    }
    Ok(())
}

fn check_line(part: &str, text: &str) -> Result<(), ContentError> {
    check_length(part, text.len(), HEADER_OCTETS_MAX)?;
    match text.char_indices().find(|(_, c)| c.is_control() && *c != '\t') {
        Some((offset, character)) => {
            Err(ContentError::Control { part: part.into(), character, offset })
        }
        None => Ok(()),
    }
}

fn check_header_name(name: &str) -> Result<(), ContentError> {
    let printable = |b: u8| (33..=126).contains(&b) && b != b':';
    if name.is_empty() || name.len() > 76 || !name.bytes().all(printable) {
        return Err(ContentError::HeaderName { name: name.chars().take(80).collect() });
    }
    let lower = name.to_ascii_lowercase();
    let reserved = RESERVED.contains(&lower.as_str());
    if reserved || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(ContentError::HeaderReserved { name: name.into() });
    }
    Ok(())
}

/// LF alone is how JSON and editors write lines and is taken as CRLF; CR alone is
/// how messages are smuggled, so nobody guesses what it meant.
fn check_body(part: &str, text: &str) -> Result<(), ContentError> {
    check_length(part, text.len(), PART_OCTETS_MAX)?;
    let bytes = text.as_bytes();
    for offset in memchr::memchr2_iter(b'\r', 0, bytes) {
        if bytes[offset] == 0 {
            return Err(ContentError::Control { part: part.into(), character: '\0', offset });
        }
        if bytes.get(offset + 1) != Some(&b'\n') {
            return Err(ContentError::LoneCr { part: part.into(), offset });
        }
    }
    Ok(())
}
