//! How the parts of a message stand in each other: only as deep as it has parts.

use std::fmt::Write as _;

use mail::DeliveryId;

use super::{Kind, Rendering};
use crate::compile::Source;
use crate::encode::Literal;
use crate::envelope::RenderError;
use crate::shared::{Files, MIXED, RELATED, Shared};

/// How every boundary begins. What is 7bit is searched for it where there are several.
const ANY_BOUNDARY: &str = "--=_";

impl Rendering<'_> {
    /// What is shown, and what is attached to it.
    pub(super) fn body(
        &mut self,
        delivery: DeliveryId,
        files: Option<&Files>,
    ) -> Result<(), RenderError> {
        let inline = files.and_then(|files| files.inline.as_ref());
        match files.and_then(|files| files.attached.as_ref()) {
            Some(attached) => {
                self.open("multipart/mixed", MIXED);
                self.shown(delivery, inline, Some(ANY_BOUNDARY))?;
                self.share(MIXED, attached);
            }
            None => self.shown(delivery, inline, inline.map(|_| ANY_BOUNDARY))?,
        }
        Ok(())
    }

    /// What is shown: text, HTML with its images, or both to choose from. `within` must not occur
    /// in them, where they are in parts of something larger.
    fn shown(
        &mut self,
        delivery: DeliveryId,
        inline: Option<&Shared>,
        within: Option<&str>,
    ) -> Result<(), RenderError> {
        match (&self.template.text, &self.template.html) {
            (Some(text), Some(html)) => self.alternative(delivery, text, html, inline, within),
            (Some(text), None) => self.part(Kind::Text, text, within),
            (None, Some(html)) => self.related(html, inline, within),
            // `compile` refuses it.
            (None, None) => {
                self.put(b"\r\n");
                Ok(())
            }
        }
    }

    /// HTML and the images that it shows (RFC 2387), or HTML alone.
    fn related(
        &mut self,
        html: &Source<Literal>,
        inline: Option<&Shared>,
        within: Option<&str>,
    ) -> Result<(), RenderError> {
        let Some(inline) = inline else { return self.part(Kind::Html, html, within) };
        self.open("multipart/related; type=\"text/html\"", RELATED);
        self.part(Kind::Html, html, within)?;
        self.share(RELATED, inline);
        Ok(())
    }

    /// Begins a multipart and its first part.
    fn open(&mut self, kind: &str, boundary: &str) {
        self.put(b"Content-Type: ");
        self.put(kind.as_bytes());
        self.put(b";\r\n boundary=\"");
        self.put(&boundary.as_bytes()[2..]);
        self.put(b"\"\r\n\r\n");
        self.put(boundary.as_bytes());
        self.put(b"\r\n");
    }

    /// The rest of a multipart. What is its own ends with the boundary: each piece but the last
    /// then ends with a line that is hashed, whatever follows (RFC 6376, 3.4.4).
    fn share(&mut self, boundary: &str, files: &Shared) {
        self.put(boundary.as_bytes());
        self.put(b"\r\n");
        self.shared.push((self.out.len(), files.clone()));
    }

    fn alternative(
        &mut self,
        delivery: DeliveryId,
        text: &Source<Literal>,
        html: &Source<Literal>,
        inline: Option<&Shared>,
        within: Option<&str>,
    ) -> Result<(), RenderError> {
        // `=_` cannot occur in quoted-printable (RFC 2045, 6.7); what is 7bit is searched for it.
        let mut boundary = String::with_capacity(32);
        let _ = write!(boundary, "--=_{delivery}");
        let within = within.unwrap_or(&boundary);
        self.open("multipart/alternative", &boundary);
        self.part(Kind::Text, text, Some(within))?;
        self.put(boundary.as_bytes());
        self.put(b"\r\n");
        self.related(html, inline, Some(within))?;
        self.put(boundary.as_bytes());
        self.put(b"--\r\n");
        Ok(())
    }
}
