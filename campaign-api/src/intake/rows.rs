//! A row: one recipient on its way through the sort, as bytes. Its key compares as the
//! order of the queue does: shard, domain, folded address, line.
//!
//! ```text
//! u32 length of all that follows · u32 octets of text once defaults are filled in
//! u16 length of the key · key: shard (2, big endian), domain, NUL, folded address, NUL, line (8)
//! u16 length of the address as written (0: as folded) · address
//! u32 length of the name · name · u32 length of the time zone · time zone · per field u32 length (all ones: the default) · value
//! ```

use super::form::Form;
use super::line::Line;

/// Stands for a length: the field has its default.
const DEFAULT: u32 = u32::MAX;
const HEAD: usize = 4 + 4 + 2;
/// NUL and line number at the end of a key.
const LINE_TAIL: usize = 9;

/// A row to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a>(&'a [u8]);

/// Appends a row to `out`. Neither domain nor address can hold a NUL, so that a shorter
/// one sorts before all that begin with it.
pub(super) fn write(line: &Line<'_>, form: &Form, number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let (domain, folded) = (line.address.domain_str(), line.folded);
    out.extend_from_slice(&form.shard_of(domain).0.to_be_bytes());
    out.extend_from_slice(domain.as_bytes());
    out.push(0);
    out.extend_from_slice(folded.as_bytes());
    out.push(0);
    out.extend_from_slice(&number.to_be_bytes());
    let key = out.len() - start - HEAD;
    let address = if line.address.as_str() == folded { "" } else { line.address.as_str() };
    out.extend_from_slice(&(address.len() as u16).to_le_bytes());
    out.extend_from_slice(address.as_bytes());
    put(line.name, out);
    let zone = if form.zones { line.zone } else { "" };
    put(zone, out);
    let mut text = folded.len() + line.name.len() + zone.len();
    for (value, default) in line.values().zip(&form.defaults) {
        text += value.or(default.as_deref()).map_or(0, str::len);
        match value {
            Some(value) => put(value, out),
            None => out.extend_from_slice(&DEFAULT.to_le_bytes()),
        }
    }
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&(text as u32).to_le_bytes());
    out[start + 8..start + HEAD].copy_from_slice(&(key as u16).to_le_bytes());
}

fn put(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |n, b| (n << 8) | usize::from(*b))
}

/// Rows come from our own hands: from memory, or from a file that we wrote minutes ago.
/// What is not text there reads as nothing.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl<'a> Row<'a> {
    /// The row at the beginning of `bytes`.
    pub(super) fn first_of(bytes: &'a [u8]) -> Self {
        Self(&bytes[..4 + number(&bytes[..4])])
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Octets of text that it adds to a batch.
    pub(super) fn text_len(self) -> usize {
        number(&self.0[4..8])
    }

    fn key_len(self) -> usize {
        number(&self.0[8..HEAD])
    }

    pub(super) fn key(self) -> &'a [u8] {
        &self.0[HEAD..HEAD + self.key_len()]
    }

    /// The key without the line: the same for the same address.
    fn identity(self) -> &'a [u8] {
        &self.key()[..self.key_len() - LINE_TAIL]
    }

    pub(super) fn shard(self) -> u16 {
        u16::from_be_bytes([self.0[HEAD], self.0[HEAD + 1]])
    }

    /// The shard and the domain.
    pub(super) fn place(self) -> &'a [u8] {
        let identity = self.identity();
        &identity[..memchr::memchr(0, &identity[2..]).map_or(identity.len(), |at| at + 2)]
    }

    pub(super) fn domain(self) -> &'a str {
        text(&self.place()[2..])
    }

    pub(super) fn folded(self) -> &'a str {
        text(&self.identity()[self.place().len() + 1..])
    }

    pub(super) fn line(self) -> u64 {
        let key = self.key();
        key[key.len() - 8..].iter().fold(0, |n, b| (n << 8) | u64::from(*b))
    }

    /// Address as written, name, time zone, and a value per field.
    pub(super) fn read(
        self,
        defaults: &'a [Option<String>],
        values: &mut Vec<&'a str>,
    ) -> (&'a str, &'a str, &'a str) {
        let mut rest = &self.0[HEAD + self.key_len()..];
        let written = text(take(&mut rest, 2));
        let name = text(take(&mut rest, 4));
        let zone = text(take(&mut rest, 4));
        values.clear();
        for default in defaults {
            if rest.starts_with(&DEFAULT.to_le_bytes()) {
                rest = &rest[4..];
                values.push(default.as_deref().unwrap_or_default());
            } else {
                values.push(text(take(&mut rest, 4)));
            }
        }
        (if written.is_empty() { self.folded() } else { written }, name, zone)
    }
}

fn take<'a>(rest: &mut &'a [u8], width: usize) -> &'a [u8] {
    let end = width + number(&rest[..width]);
    let taken = &rest[width..end];
    *rest = &rest[end..];
    taken
}

/// The last row that was not a duplicate.
#[derive(Default)]
pub(super) struct Previous {
    identity: Vec<u8>,
    line: u64,
}

impl Previous {
    /// The line on which this row's address came first; `None` when it is this one.
    pub(super) fn same_address(&mut self, row: Row<'_>) -> Option<u64> {
        if row.identity() == self.identity {
            return Some(self.line);
        }
        self.identity.clear();
        self.identity.extend_from_slice(row.identity());
        self.line = row.line();
        None
    }
}
