//! The files of a campaign as all of its messages carry them: encoded and proved clean once,
//! and from then on only pointed at.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::files::FileHead;

/// `=_` and a letter: neither base64 nor quoted-printable has the first two (RFC 2045, 6.7), and
/// no delivery's number begins with a letter, so that none of the boundaries begins another.
pub(crate) const RELATED: &str = "--=_related";
/// See [`RELATED`].
pub(crate) const MIXED: &str = "--=_mixed";
/// Octets of a line of base64, 76 characters (RFC 2045, 6.8).
const LINE_OCTETS: usize = 57;

/// Octets that many messages share. They are whole lines that end in CRLF; none begins with a dot
/// and none has a blank that `relaxed` (RFC 6376, 3.4.4) would change, so they are written to the
/// network and hashed as they are.
#[derive(Clone)]
pub struct Shared(Arc<Vec<u8>>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({} octets)", self.0.len())
    }
}

impl Shared {
    /// `None` when the octets are not what every message may take as they are.
    fn prove(octets: Vec<u8>) -> Option<Self> {
        is_clean(&octets).then(|| Self(Arc::new(octets)))
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

fn is_clean(octets: &[u8]) -> bool {
    let mut rest = octets;
    loop {
        let Some(end) = memchr::memchr(b'\r', rest) else { return false };
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        let fits = !line.starts_with(b".")
            && !line.ends_with(b" ")
            && memchr::memchr2(b'\n', b'\t', line).is_none()
            && memchr::memmem::find(line, b"  ").is_none();
        match after.split_first() {
            // Empty lines at the end are not hashed, if it is the end.
            Some((b'\n', [])) => return fits && !line.is_empty(),
            Some((b'\n', after)) if fits => rest = after,
            _ => return false,
        }
    }
}

/// The encoded files of a campaign.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// What follows the first boundary of `multipart/related`, to its end.
    pub(crate) inline: Option<Shared>,
    /// What follows the second boundary of `multipart/mixed`, to its end.
    pub(crate) attached: Option<Shared>,
}

impl Files {
    /// How long they are together, encoded, in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        [&self.inline, &self.attached].into_iter().flatten().map(|s| s.octets().len()).sum()
    }
}

/// Encodes files one after the other, as their octets come.
pub struct FilesBuilder {
    has_html: bool,
    inline: Section,
    attached: Section,
}

#[derive(Default)]
struct Section {
    out: Vec<u8>,
    /// Octets that do not fill a line yet.
    left: Vec<u8>,
}

impl FilesBuilder {
    /// For files of these lengths, in octets. Without HTML that could show them, inline files are
    /// attachments.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a FileHead, u64)>, has_html: bool) -> Self {
        let mut builder =
            Self { has_html, inline: Section::default(), attached: Section::default() };
        let (mut inline, mut attached) = (0, 0);
        for (head, octets) in files {
            let room = written_octets(head, octets);
            *(if builder.is_inline(head) { &mut inline } else { &mut attached }) += room;
        }
        builder.inline.out.reserve_exact(inline);
        builder.attached.out.reserve_exact(attached);
        builder
    }

    /// Adds a file; `octets` are all of it, piece by piece.
    ///
    /// # Errors
    /// The first one that `octets` gives.
    pub fn add<P: AsRef<[u8]>, E>(
        &mut self,
        head: &FileHead,
        octets: impl IntoIterator<Item = Result<P, E>>,
    ) -> Result<(), E> {
        self.begin(head);
        for piece in octets {
            self.push(head, piece?.as_ref());
        }
        self.end(head);
        Ok(())
    }

    /// Begins a file, whose octets follow.
    pub fn begin(&mut self, head: &FileHead) {
        let is_inline = self.is_inline(head);
        let boundary = if is_inline { RELATED } else { MIXED };
        let out = &mut self.section(head).out;
        if !out.is_empty() {
            out.extend_from_slice(boundary.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(head.header().as_bytes());
    }

    /// The next octets of the file that was begun.
    pub fn push(&mut self, head: &FileHead, octets: &[u8]) {
        self.section(head).push(octets);
    }

    /// Ends the file that was begun.
    pub fn end(&mut self, head: &FileHead) {
        let section = self.section(head);
        let left = std::mem::take(&mut section.left);
        if !left.is_empty() {
            section.line(&left);
        }
    }

    /// All files, encoded; `None` when they could not go into a message as they are, which the
    /// checks of [`FileHead`] exclude.
    #[must_use]
    pub fn finish(mut self) -> Option<Files> {
        let mut files = Files::default();
        for (section, boundary, shared) in [
            (&mut self.inline, RELATED, &mut files.inline),
            (&mut self.attached, MIXED, &mut files.attached),
        ] {
            let mut out = std::mem::take(&mut section.out);
            if out.is_empty() {
                continue;
            }
            out.extend_from_slice(boundary.as_bytes());
            out.extend_from_slice(b"--\r\n");
            *shared = Some(Shared::prove(out)?);
        }
        Some(files)
    }

    fn is_inline(&self, head: &FileHead) -> bool {
        self.has_html && head.content_id().is_some()
    }

    fn section(&mut self, head: &FileHead) -> &mut Section {
        if self.is_inline(head) { &mut self.inline } else { &mut self.attached }
    }
}

impl Section {
    fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        if !self.left.is_empty() {
            let wanted = (LINE_OCTETS - self.left.len()).min(rest.len());
            self.left.extend_from_slice(&rest[..wanted]);
            rest = &rest[wanted..];
            if self.left.len() < LINE_OCTETS {
                return;
            }
            let line = std::mem::take(&mut self.left);
            self.line(&line);
        }
        let mut lines = rest.chunks_exact(LINE_OCTETS);
        for line in &mut lines {
            self.line(line);
        }
        self.left.extend_from_slice(lines.remainder());
    }

    fn line(&mut self, octets: &[u8]) {
        let mut line = [0; 76];
        if let Ok(n) = STANDARD.encode_slice(octets, &mut line) {
            self.out.extend_from_slice(&line[..n]);
            self.out.extend_from_slice(b"\r\n");
        }
    }
}

/// Octets that a file takes in a message, with the boundaries around it.
fn written_octets(head: &FileHead, octets: u64) -> usize {
    let octets = usize::try_from(octets).unwrap_or(usize::MAX);
    let lines = octets.div_ceil(LINE_OCTETS);
    head.header().len() + octets.div_ceil(3) * 4 + lines * 2 + 2 * (RELATED.len() + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_no_second_look_is_shared() {
        for clean in ["a\r\n", "a: b\r\n c\r\n\r\nd\r\n--x--\r\n", "\r\na\r\n"] {
            assert!(is_clean(clean.as_bytes()), "{clean:?}");
        }
        for unclean in [
            "",
            "a",
            "a\n",
            "a\r\n.b\r\n",
            ".a\r\n",
            "a  b\r\n",
            "a\tb\r\n",
            "a \r\nb\r\n",
            "a\rb\r\n",
            "a\nb\r\n",
            "a\r\n\r\n",
            "\r\n",
        ] {
            assert!(!is_clean(unclean.as_bytes()), "{unclean:?}");
        }
    }

    #[test]
    fn the_room_is_what_is_needed() {
        for octets in [1, 56, 57, 58, 1000] {
            let head = FileHead::new("a.bin", "application/octet-stream", None).expect("a file");
            let mut builder = FilesBuilder::new([(&head, octets)], true);
            let room = builder.attached.out.capacity();
            let content = vec![7u8; octets as usize];
            builder.add(&head, [Ok::<_, ()>(&content)]).expect("octets");
            let files = builder.finish().expect("clean");
            assert!(files.octets() <= room && room < files.octets() + 64, "{octets}: {room}");
        }
    }
}
