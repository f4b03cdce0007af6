//! Mails where they lie: files of one mail, folders, and files of many mails one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// Every file below a path, by its name below `root`. A folder that cannot be read is told as a
/// file is; links to folders are not followed, for they may lead round in a circle.
pub(super) fn walk(
    root: &Path,
    path: &Path,
    each: &mut impl FnMut(&str, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let below = path.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
    let name = below.unwrap_or(path).to_string_lossy().into_owned();
    let is_folder = match below {
        None => path.is_dir(),
        Some(_) => path.symlink_metadata().is_ok_and(|about| about.is_dir()),
    };
    if !is_folder {
        // Links and devices in a folder are no mails.
        let is_mail = below.is_none() || path.symlink_metadata().is_ok_and(|about| about.is_file());
        return if is_mail { each(&name, path) } else { Ok(()) };
    }
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    // A folder that cannot be read is told as a file that cannot is.
    let Ok(entries) = entries else { return each(&name, path) };
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().try_for_each(|path| walk(root, path, each))
}

/// Octets of one mail; what follows is passed over.
const MAIL_OCTETS_MAX: usize = 10 << 20;
/// What a line begins with that begins a mail in a file of many (RFC 4155).
const FROM_LINE: &[u8] = b"From ";

/// The mails of a file, one after the other: one, or many where it is an mbox. `-` is standard
/// input.
pub(super) struct Mails {
    from: Box<dyn BufRead>,
    state: State,
}

enum State {
    Unread,
    Single,
    /// In an mbox, before a mail.
    Many,
    Over,
}

impl Mails {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let from: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(BufReader::new(io::stdin()))
        } else {
            Box::new(BufReader::new(File::open(path)?))
        };
        Ok(Self { from, state: State::Unread })
    }

    fn single(&mut self) -> io::Result<Vec<u8>> {
        let mut mail = Vec::new();
        self.from.by_ref().take(MAIL_OCTETS_MAX as u64).read_to_end(&mut mail)?;
        io::copy(&mut self.from, &mut io::sink())?;
        Ok(mail)
    }

    /// A mail up to the next line that begins one, which is one after an empty line.
    fn one_of_many(&mut self) -> io::Result<Vec<u8>> {
        let (mut mail, mut line, mut was_empty, mut is_full) =
            (Vec::new(), Vec::new(), false, false);
        loop {
            line.clear();
            if read_line(&mut *self.from, &mut line)? == 0 {
                self.state = State::Over;
                return Ok(mail);
            }
            if was_empty && line.starts_with(FROM_LINE) {
                return Ok(mail);
            }
            was_empty = matches!(line.as_slice(), b"\n" | b"\r\n");
            // Lines that looked like one were quoted (mboxrd).
            let quoted = line.iter().take_while(|b| **b == b'>').count();
            let is_quoted = quoted > 0 && line[quoted..].starts_with(FROM_LINE);
            let kept = &line[usize::from(is_quoted)..];
            is_full |= mail.len() + kept.len() > MAIL_OCTETS_MAX;
            if !is_full {
                mail.extend_from_slice(kept);
            }
        }
    }
}

impl Iterator for Mails {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.state, State::Unread) {
            self.state = match self.from.fill_buf() {
                Ok(head) if head.starts_with(FROM_LINE) => State::Many,
                Ok(_) => State::Single,
                Err(error) => {
                    self.state = State::Over;
                    return Some(Err(error));
                }
            };
            if matches!(self.state, State::Many) {
                let mut line = Vec::new();
                if let Err(error) = read_line(&mut *self.from, &mut line) {
                    return Some(Err(error));
                }
            }
        }
        let mail = match self.state {
            State::Over | State::Unread => return None,
            State::Single => {
                self.state = State::Over;
                self.single()
            }
            State::Many => self.one_of_many(),
        };
        if mail.is_err() {
            self.state = State::Over;
        }
        Some(mail)
    }
}

/// A line with its end, or the first part of one that is longer than a mail may be.
fn read_line(from: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    from.take(MAIL_OCTETS_MAX as u64).read_until(b'\n', line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mails(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mails");
        std::fs::write(&path, text).unwrap();
        let mails = Mails::open(&path).unwrap();
        mails.map(|mail| String::from_utf8(mail.unwrap()).unwrap()).collect()
    }

    #[test]
    fn an_mbox_is_many_mails_and_anything_else_is_one() {
        let one = "Subject: a\n\nFrom here on\n";
        assert_eq!(mails(one), [one]);
        let many = "From MAILER-DAEMON Mon Jan  1 00:00:00 2024\nSubject: a\n\n>From me\n>>From you\n\n\
                    From b@c.example Tue Jan  2 00:00:00 2024\nSubject: b\n\nhello\nFrom here\n";
        assert_eq!(
            mails(many),
            ["Subject: a\n\nFrom me\n>From you\n\n", "Subject: b\n\nhello\nFrom here\n",]
        );
        assert_eq!(mails(""), [""]);
        assert_eq!(mails("From a\n"), [""]);
    }
}
