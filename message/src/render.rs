//! `Template`: content compiled once, rendered into one RFC 5322 message per
//! recipient. Lines end in CRLF and are at most 998 octets.

use std::borrow::Cow;

use minijinja::Environment;
use minijinja::value::Value;

use crate::MESSAGE_OCTETS_MAX;
use crate::compile::{Compiler, Piece, Source};
use crate::content::{Content, ContentError};
use crate::encode::{Literal, Plain, QuotedPrintable, clean_body, escape_html};
use crate::envelope::{Envelope, Recipient, RenderError};
use crate::files::FileHead;
use crate::header;
use crate::pieces::Message;
use crate::shared::{Files, FilesBuilder, Shared};
use crate::textual::text_of;

mod multipart;

/// Content ready to be rendered.
pub struct Template {
    fields: Vec<String>,
    /// `From` and `Reply-To`.
    head: Vec<u8>,
    /// `Subject` and the campaign's own headers.
    lines: Vec<(String, Line)>,
    text: Option<Source<Literal>>,
    html: Option<Source<Literal>>,
    env: Environment<'static>,
}

enum Line {
    /// Nothing is merged in: written beforehand.
    Fixed(Vec<u8>),
    Merged(Source<String>),
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl Template {
    /// Checks content and makes it ready; the first fault found is the answer.
    pub fn compile(content: &Content) -> Result<Self, ContentError> {
        content.check()?;
        let mut compiler = Compiler::new(content);
        let mut lines = vec![("Subject".to_owned(), compiler.line("subject", &content.subject)?)];
        for (name, value) in &content.headers {
            lines.push((name.clone(), compiler.line(&format!("header {name:?}"), value)?));
        }
        let text = match (&content.text, &content.html) {
            (Some(text), _) => Some(compiler.body("text", text)?),
            (None, Some(html)) if content.derive_text => derived(&mut compiler, html)?,
            (None, _) => None,
        };
        let html = content.html.as_ref().map(|h| compiler.body("html", h)).transpose()?;
        let mut head = Vec::new();
        let named = [("From", Some(&content.from)), ("Reply-To", content.reply_to.as_ref())];
        for (name, mailbox) in named {
            if let Some(m) = mailbox {
                header::mailbox(&mut head, name, m.name.as_deref(), m.address.as_str());
            }
        }
        let lines = lines.into_iter().map(|(name, source)| {
            let line = Line::new(&name, source);
            (name, line)
        });
        Ok(Self {
            fields: content.fields.clone(),
            head,
            lines: lines.collect(),
            text,
            html,
            env: compiler.env,
        })
    }

    /// The merge fields, in the order in which values are given.
    #[must_use]
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Whether `From` or `Reply-To` needs SMTPUTF8 (RFC 6531); the recipient's address is
    /// another question.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.head.is_ascii()
    }

    /// Encodes files of these lengths, in octets, for the messages of this template.
    pub fn encode_files<'a>(
        &self,
        files: impl IntoIterator<Item = (&'a FileHead, u64)>,
    ) -> FilesBuilder {
        FilesBuilder::new(files, self.html.is_some())
    }

    /// Makes the message for one recipient, in place of what was in `out`; `files` are those that
    /// were encoded for this template. After an error `out` is empty.
    ///
    /// # Errors
    /// When the values do not fit the template, or the message becomes too large.
    pub fn render(
        &self,
        recipient: &Recipient<'_>,
        envelope: &Envelope<'_>,
        files: Option<&Files>,
        out: &mut Message,
    ) -> Result<(), RenderError> {
        out.clear();
        let mut rendering = Rendering {
            template: self,
            values: recipient.values.iter().map(|v| clean_body(v)).collect(),
            out: &mut out.own,
            shared: &mut out.shared,
            end: MESSAGE_OCTETS_MAX,
        };
        let result = rendering.message(recipient, envelope, files);
        if result.is_err() {
            out.clear();
        }
        result
    }
}

/// The text part of a campaign that gives none; `None` where its HTML shows no words.
fn derived(
    compiler: &mut Compiler<'_>,
    html: &str,
) -> Result<Option<Source<Literal>>, ContentError> {
    let text = text_of(html);
    if text.is_empty() {
        return Ok(None);
    }
    compiler.body("text (made from html)", &text).map(Some)
}

impl Line {
    fn new(name: &str, source: Source<String>) -> Self {
        let fixed = match &source {
            Source::Merge(pieces) => match pieces.as_slice() {
                [] => Some(""),
                [Piece::Literal(text)] => Some(text.as_str()),
                _ => None,
            },
            Source::Logic(_) => None,
        };
        let Some(text) = fixed else { return Self::Merged(source) };
        let mut written = Vec::new();
        header::unstructured(&mut written, name, text);
        Self::Fixed(written)
    }
}

/// One message on its way into `out`.
struct Rendering<'a> {
    template: &'a Template,
    values: Vec<Cow<'a, str>>,
    out: &'a mut Vec<u8>,
    /// See `Message`.
    shared: &'a mut Vec<(usize, Shared)>,
    /// Where `out` must end at the latest.
    end: usize,
}

impl Rendering<'_> {
    fn message(
        &mut self,
        to: &Recipient<'_>,
        envelope: &Envelope<'_>,
        files: Option<&Files>,
    ) -> Result<(), RenderError> {
        envelope.check()?;
        self.out.extend_from_slice(&self.template.head);
        header::mailbox(self.out, "To", to.name, to.address.as_str());
        self.lines()?;
        self.trace(envelope);
        self.body(envelope.delivery, files)?;
        self.check_size(self.out.len())
    }

    fn lines(&mut self) -> Result<(), RenderError> {
        for (name, line) in &self.template.lines {
            match line {
                Line::Fixed(written) => self.put(written),
                Line::Merged(Source::Merge(pieces)) => {
                    let mut text = String::new();
                    for piece in pieces {
                        text.push_str(match piece {
                            Piece::Literal(literal) => literal,
                            Piece::Field(i) => self.value(*i),
                        });
                        self.check_size(self.out.len() + text.len())?;
                    }
                    header::unstructured(self.out, name, &text);
                }
                Line::Merged(Source::Logic(part)) => {
                    let text = self.logic(part)?;
                    header::unstructured(self.out, name, &text);
                }
            }
        }
        Ok(())
    }

    fn trace(&mut self, envelope: &Envelope<'_>) {
        self.put(b"Date: ");
        self.put(envelope.date.rfc5322().as_bytes());
        self.put(b"\r\nMessage-ID: <");
        self.put(envelope.message_id.as_bytes());
        self.put(b">\r\n");
        match (envelope.unsubscribe_url, envelope.unsubscribe_mailto) {
            (None, None) => {}
            (url, mailto) => {
                self.put(b"List-Unsubscribe: ");
                if let Some(url) = url {
                    self.bracketed(b"<", url);
                }
                if let Some(mailto) = mailto {
                    self.bracketed(
                        if url.is_some() { b",\r\n <mailto:" } else { b"<mailto:" },
                        mailto,
                    );
                }
                self.put(b"\r\n");
            }
        }
        if envelope.unsubscribe_url.is_some() {
            self.put(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
        }
        if let Some(id) = envelope.feedback_id {
            self.put(b"Feedback-ID: ");
            self.put(id.as_bytes());
            self.put(b"\r\n");
        }
        self.put(b"MIME-Version: 1.0\r\n");
    }

    fn bracketed(&mut self, open: &[u8], text: &str) {
        self.put(open);
        self.put(text.as_bytes());
        self.put(b">");
    }

    /// A part with its headers: 7bit if it can be, for that is the smallest and what
    /// people can read; quoted-printable otherwise, and where a `boundary` would occur in it.
    fn part(
        &mut self,
        kind: Kind,
        source: &Source<Literal>,
        boundary: Option<&str>,
    ) -> Result<(), RenderError> {
        self.put(match kind {
            Kind::Text => b"Content-Type: text/plain; charset=utf-8\r\n".as_slice(),
            Kind::Html => b"Content-Type: text/html; charset=utf-8\r\n".as_slice(),
        });
        self.put(b"Content-Transfer-Encoding: ");
        let rendered = match source {
            Source::Merge(_) => None,
            Source::Logic(part) => Some(self.logic(part)?),
        };
        let mark = self.out.len();
        self.put(b"7bit\r\n\r\n");
        let body = self.out.len();
        let plain = self.plain(kind, source, rendered.as_deref())?.is_some();
        if plain && !boundary.is_some_and(|b| contains(&self.out[body..], b.as_bytes())) {
            return Ok(());
        }
        self.out.truncate(mark);
        self.put(b"quoted-printable\r\n\r\n");
        self.quoted_printable(kind, source, rendered.as_deref())
    }

    fn plain(
        &mut self,
        kind: Kind,
        source: &Source<Literal>,
        rendered: Option<&str>,
    ) -> Result<Option<()>, RenderError> {
        let mut plain = Plain::new(self.out);
        if rendered.is_some_and(|text| plain.text(text.as_bytes()).is_none()) {
            return Ok(None);
        }
        if let Source::Merge(pieces) = source {
            for piece in pieces {
                let written = match piece {
                    Piece::Literal(literal) => plain.literal(literal),
                    Piece::Field(i) => plain.text(kind.shown(&self.values, *i).as_bytes()),
                };
                if written.is_none() {
                    return Ok(None);
                }
                if plain.len() > self.end {
                    return Err(RenderError::TooLarge);
                }
            }
        }
        plain.finish();
        Ok(Some(()))
    }

    fn quoted_printable(
        &mut self,
        kind: Kind,
        source: &Source<Literal>,
        rendered: Option<&str>,
    ) -> Result<(), RenderError> {
        let mut qp = QuotedPrintable::new(self.out);
        if let Some(text) = rendered {
            qp.text(text.as_bytes());
        }
        if let Source::Merge(pieces) = source {
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => qp.literal(literal),
                    Piece::Field(i) => qp.text(kind.shown(&self.values, *i).as_bytes()),
                }
                if qp.len() > self.end {
                    return Err(RenderError::TooLarge);
                }
            }
        }
        qp.finish();
        Ok(())
    }

    fn logic(&self, part: &str) -> Result<String, RenderError> {
        let fields = self.template.fields.iter().enumerate();
        let pairs = fields.map(|(i, name)| (name.as_str(), Value::from(self.value(i))));
        let context = Value::from_pairs(pairs);
        let rendered = self.template.env.get_template(part).and_then(|t| t.render(context));
        let text = rendered.map_err(|error| RenderError::Template {
            part: part.to_owned(),
            line: error.line().unwrap_or(1),
            detail: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        })?;
        self.check_size(self.out.len() + text.len())?;
        Ok(match clean_body(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(cleaned) => cleaned,
        })
    }

    fn value(&self, i: usize) -> &str {
        self.values.get(i).map_or("", |v| v)
    }

    fn put(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    fn check_size(&self, end: usize) -> Result<(), RenderError> {
        if end > self.end { Err(RenderError::TooLarge) } else { Ok(()) }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Html,
}

impl Kind {
    fn shown<'v>(self, values: &'v [Cow<'_, str>], i: usize) -> Cow<'v, str> {
        let value: &str = values.get(i).map_or("", |v| v);
        match self {
            Kind::Text => Cow::Borrowed(value),
            Kind::Html => escape_html(value),
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
