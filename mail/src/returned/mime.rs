//! A mail taken apart: header, texts to read, report parts, the original. The MIME
//! walk is mail-parser's; what is here bounds it and sorts its parts.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::LazyLock;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{
    Encoding, HeaderName, Message, MessageParser, MessagePart, MimeHeaders, PartType,
};

use super::charset::{self, decode};
use super::fields::{self, Field};
use crate::classify::{cut, fold};

/// Octets of a mail that are looked at. A report says what it has to say in its
/// first kilobytes; what follows is the returned message.
pub(super) const EXAMINED_OCTETS_MAX: usize = 1024 * 1024;
/// A mail with more nested messages is built to hurt: mail-parser nests them as
/// values, and dropping those is recursive. It is read as plain text.
const NESTED_MAX: usize = 32;
/// Likewise for multiparts: each one that is never closed is looked for to the end.
const MULTIPARTS_MAX: usize = 100;
/// Text kept of one part.
const TEXT_OCTETS_MAX: usize = 64 * 1024;
/// Parts looked at.
const PARTS_MAX: usize = 200;

static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
    MessageParser::new()
        .with_mime_headers()
        .header_text(HeaderName::Subject)
        .default_header_ignore()
});

/// What a mail consists of.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) header: Vec<Field<'a>>,
    /// Decoded (RFC 2047).
    pub(super) subject: String,
    /// `multipart/report`'s `report-type`, in lower case.
    pub(super) report_type: String,
    /// The plain texts in order; the HTML ones as text when there is no plain one.
    pub(super) texts: Vec<String>,
    pub(super) delivery_status: Vec<String>,
    pub(super) feedback: Option<String>,
    pub(super) disposition: Option<String>,
    /// The header of the message that the report is about.
    pub(super) original: Option<String>,
    /// Content types and file names of whatever is attached, in lower case.
    pub(super) attached: Vec<String>,
    /// The envelope sender, where the caller knows it; empty: `<>`.
    pub(super) sender: Option<String>,
    /// Where in the first text the original begins.
    pub(super) original_at: OnceCell<Option<usize>>,
    subject_folded: OnceCell<String>,
    said: OnceCell<String>,
}

impl Parts<'_> {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        fields::get(&self.header, name)
    }

    /// Where reports about it go: `<>`, as a report's own, or another; `None` when nothing tells.
    pub(super) fn return_path(&self) -> Option<&str> {
        match self.sender.as_deref() {
            Some("") => Some("<>"),
            Some(sender) => Some(sender),
            None => self.field("return-path").map(str::trim),
        }
    }

    /// What the status parts hold.
    pub(super) fn status_fields(&self) -> Vec<Field<'_>> {
        self.delivery_status.iter().flat_map(|text| fields::parse(text)).collect()
    }

    pub(super) fn subject_folded(&self) -> &str {
        self.subject_folded.get_or_init(|| fold(&self.subject))
    }

    /// The head of the first text, folded.
    pub(super) fn said(&self) -> &str {
        self.said.get_or_init(|| fold(self.texts.first().map_or("", String::as_str)))
    }
}

/// Takes a mail apart.
pub(super) fn take_apart(raw: &[u8]) -> Parts<'_> {
    let raw = after_mbox_line(&raw[..raw.len().min(EXAMINED_OCTETS_MAX)]);
    if is_hostile(raw) {
        return as_plain_text(raw);
    }
    // The parser is somebody else's and reads what strangers send: should it ever
    // panic, this one mail is read as plain text and the next one is read as usual.
    let read = std::panic::catch_unwind(|| {
        PARSER.parse(raw).filter(|m| !m.parts.is_empty()).map(|message| sort(&message, raw))
    });
    read.ok().flatten().unwrap_or_else(|| as_plain_text(raw))
}

fn after_mbox_line(mut raw: &[u8]) -> &[u8] {
    for _ in 0..8 {
        let line = raw.iter().position(|b| *b == b'\n').map_or(raw, |i| &raw[..=i]);
        let blank = line.iter().all(u8::is_ascii_whitespace);
        let mbox = line.starts_with(b"From ") || line.starts_with(b">From ");
        if line.is_empty() || !(blank || mbox) {
            break;
        }
        raw = &raw[line.len()..];
    }
    raw
}

/// Whether it declares more nesting than any honest mail has.
fn is_hostile(raw: &[u8]) -> bool {
    let (mut nested, mut multiparts) = (0, 0);
    for slash in memchr::memchr_iter(b'/', raw) {
        let before = &raw[..slash];
        nested += usize::from(ends_with(before, b"message"));
        multiparts += usize::from(ends_with(before, b"multipart"));
    }
    nested > NESTED_MAX || multiparts > MULTIPARTS_MAX
}

fn ends_with(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len() && text[text.len() - word.len()..].eq_ignore_ascii_case(word)
}

fn as_plain_text(raw: &[u8]) -> Parts<'_> {
    let text = decode(&raw[..raw.len().min(TEXT_OCTETS_MAX)]);
    let (head, body) =
        text.split_once("\n\n").or_else(|| text.split_once("\r\n\r\n")).unwrap_or((&text, ""));
    let header = fields::parse_decoded(head.to_owned().into());
    let subject = fields::get(&header, "subject").unwrap_or_default().to_owned();
    Parts { header, subject, texts: vec![body.to_owned()], ..Parts::default() }
}

fn sort<'a>(message: &Message<'_>, raw: &'a [u8]) -> Parts<'a> {
    let header = fields::parse_decoded(header_text(&message.parts[0], raw));
    let subject = message.subject().filter(|subject| !charset::is_misread(subject));
    let subject =
        subject.or_else(|| fields::get(&header, "subject")).unwrap_or_default().to_owned();
    let mut parts = Parts { header, subject, ..Parts::default() };
    if let Some(kind) = message.parts[0].content_type()
        && let Some(report) = kind.attribute("report-type")
    {
        parts.report_type = report.to_ascii_lowercase();
    }
    let mut html = Vec::new();
    for part in message.parts.iter().take(PARTS_MAX) {
        let kind = content_type(part);
        match &part.body {
            PartType::Text(text) => sort_text(&mut parts, part, &kind, text, raw),
            PartType::Html(text) => html.push(cut(text, TEXT_OCTETS_MAX).to_owned()),
            PartType::Binary(octets) | PartType::InlineBinary(octets) => {
                sort_binary(&mut parts, part, &kind, octets);
            }
            PartType::Message(nested) => sort_message(&mut parts, nested, raw),
            PartType::Multipart(_) => {}
        }
    }
    if parts.texts.iter().all(|t| t.trim().is_empty()) {
        let as_text = |h: &String| mail_parser::decoders::html::html_to_text(h);
        parts.texts = html.iter().map(as_text).collect();
    }
    parts
}

fn header_text<'a>(part: &MessagePart<'_>, raw: &'a [u8]) -> Cow<'a, str> {
    let range = part.offset_header as usize..part.offset_body as usize;
    decode(raw.get(range).unwrap_or_default())
}

fn content_type(part: &MessagePart<'_>) -> String {
    let Some(kind) = part.content_type() else { return "text/plain".to_owned() };
    let mut full = kind.ctype().to_owned();
    if let Some(subtype) = kind.subtype() {
        full.push('/');
        full.push_str(subtype);
    }
    full.make_ascii_lowercase();
    full
}

fn sort_text(parts: &mut Parts<'_>, part: &MessagePart<'_>, kind: &str, text: &str, raw: &[u8]) {
    let text = cut(text, TEXT_OCTETS_MAX);
    let read_again = || {
        let octets = octets_of(part, raw)?;
        Some(decode(&octets[..octets.len().min(TEXT_OCTETS_MAX)]).into_owned())
    };
    let again = charset::is_misread(text).then(read_again).flatten();
    let text = again.unwrap_or_else(|| text.to_owned());
    if kind == "text/rfc822-headers" || kind == "text/rfc822" {
        parts.original.get_or_insert(text);
    } else {
        note_attached(parts, part, kind);
        parts.texts.push(text);
    }
}

/// What a part holds, before anybody read letters in it.
fn octets_of<'a>(part: &MessagePart<'_>, raw: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let octets = raw.get(part.offset_body as usize..part.offset_end as usize)?;
    match part.encoding {
        Encoding::None => Some(octets.into()),
        Encoding::QuotedPrintable => quoted_printable_decode(octets).map(Cow::from),
        Encoding::Base64 => base64_decode(octets).map(Cow::from),
    }
}

fn sort_binary(parts: &mut Parts, part: &MessagePart<'_>, kind: &str, octets: &[u8]) {
    let text = || decode(&octets[..octets.len().min(TEXT_OCTETS_MAX)]).into_owned();
    match kind {
        "message/delivery-status" | "message/global-delivery-status" => {
            parts.delivery_status.push(text());
        }
        "message/feedback-report" => {
            parts.feedback.get_or_insert_with(text);
        }
        "message/disposition-notification" | "message/global-disposition-notification" => {
            parts.disposition.get_or_insert_with(text);
        }
        "message/global-headers" | "message/rfc822-headers" => {
            parts.original.get_or_insert_with(text);
        }
        "message/rfc822" | "message/global" => {
            parts.original.get_or_insert_with(text);
        }
        _ => note_attached(parts, part, kind),
    }
}

fn sort_message(parts: &mut Parts, nested: &Message<'_>, raw: &[u8]) {
    let Some(first) = nested.parts.first() else { return };
    // A nested message that had to be decoded carries its own octets.
    let source: &[u8] = if nested.raw_message.is_empty() { raw } else { &nested.raw_message };
    parts.original.get_or_insert_with(|| header_text(first, source).into_owned());
}

fn note_attached(parts: &mut Parts, part: &MessagePart<'_>, kind: &str) {
    let name = part.attachment_name().unwrap_or_default().to_lowercase();
    parts.attached.push(format!("{kind} {name}"));
}
