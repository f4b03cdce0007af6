//! The Maildir for mail that a person should read, with a folder for answers of people and one for
//! reports that could not be placed (named as Maildir++ names them, so that any IMAP server shows
//! them). A mail is in it when it and its name are on the disk. When the mailbox is full its mail
//! is put off, never dropped.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use mail::Timestamp;

use crate::error::BounceError;

/// A folder of the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folder {
    /// Mail to offices, and reports that people read.
    Inbox,
    /// What people answer to campaigns.
    Replies,
    /// Reports that name no delivery of ours.
    Unmatched,
}

impl Folder {
    const ALL: [Self; 3] = [Self::Inbox, Self::Replies, Self::Unmatched];

    /// In metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Replies => "replies",
            Self::Unmatched => "unmatched",
        }
    }

    /// Its place within the mailbox.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inbox => "",
            Self::Replies => ".Replies",
            Self::Unmatched => ".Unmatched",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    folder: PathBuf,
    bytes_max: u64,
    /// What it held when last counted, and what was added since; readers take away.
    bytes: AtomicU64,
    delivered: AtomicU64,
    /// Stands in names: processes of two containers may have the same number.
    host: String,
}

impl Mailbox {
    pub(crate) fn open(folder: &Path, bytes_max: u64, host: &str) -> Result<Self, BounceError> {
        let wrong = |source| BounceError::Mailbox { folder: folder.to_owned(), source };
        for within in Folder::ALL {
            for part in ["tmp", "new", "cur"] {
                let place = folder.join(within.name()).join(part);
                fs::create_dir_all(place).map_err(wrong)?;
            }
        }
        let bytes = AtomicU64::new(count(folder).map_err(wrong)?);
        let delivered = AtomicU64::new(0);
        // What may not stand in the name of a file of a Maildir (`/`, `:`) is left out.
        let host = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let folder = folder.to_owned();
        Ok(Self { folder, bytes_max, bytes, delivered, host })
    }

    /// Keeps a mail under its trace header. Blocks until it is on the disk.
    pub(crate) fn keep(
        &self,
        within: Folder,
        trace: &str,
        octets: &[u8],
        now: Timestamp,
    ) -> Result<(), BounceError> {
        let wrong = |source| BounceError::Mailbox { folder: self.folder.clone(), source };
        let size = (trace.len() + octets.len()) as u64;
        self.make_room(size)?;
        let name = self.name(now);
        let folder = self.folder.join(within.name());
        let (draft, new) = (folder.join("tmp").join(&name), folder.join("new"));
        let place = new.join(&name);
        let written = write(&draft, &[trace.as_bytes(), octets]).and_then(|()| {
            // Never in the place of another.
            fs::hard_link(&draft, &place)?;
            fs::remove_file(&draft)?;
            // The name must survive a power cut as well as the mail.
            File::open(&new)?.sync_all()
        });
        if let Err(e) = written {
            let _ = fs::remove_file(&draft);
            return Err(wrong(e));
        }
        self.bytes.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }

    fn make_room(&self, size: u64) -> Result<(), BounceError> {
        let wrong = |source| BounceError::Mailbox { folder: self.folder.clone(), source };
        if self.bytes.load(Ordering::Relaxed).saturating_add(size) > self.bytes_max {
            // Somebody may have read and emptied it.
            self.bytes.store(count(&self.folder).map_err(wrong)?, Ordering::Relaxed);
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes.saturating_add(size) > self.bytes_max {
            return Err(BounceError::MailboxFull { folder: self.folder.clone(), bytes });
        }
        Ok(())
    }

    /// Unique without asking: time, process, number.
    fn name(&self, now: Timestamp) -> String {
        let n = self.delivered.fetch_add(1, Ordering::Relaxed);
        format!("{}.M{}P{}Q{n}.{}", now.secs(), now.millis() % 1000, std::process::id(), self.host)
    }
}

fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

fn count(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for within in Folder::ALL {
        for part in ["new", "cur"] {
            for entry in fs::read_dir(folder.join(within.name()).join(part))? {
                // A mail may be taken away while we count.
                bytes += entry?.metadata().map_or(0, |m| m.len());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_refuses_until_it_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(folder.path(), 100, "here").unwrap();
        mailbox.keep(Folder::Inbox, "Received: x\r\n", &[b'a'; 60], Timestamp(1)).unwrap();
        let full = mailbox.keep(Folder::Replies, "", &[b'b'; 60], Timestamp(2)).unwrap_err();
        assert!(matches!(full, BounceError::MailboxFull { bytes: 73, .. }), "{full}");
        let new = folder.path().join("new");
        let mail = fs::read_dir(&new).unwrap().next().unwrap().unwrap();
        assert!(fs::read(mail.path()).unwrap().starts_with(b"Received: x\r\naaa"));
        fs::remove_file(mail.path()).unwrap();
        mailbox.keep(Folder::Unmatched, "", &[b'b'; 60], Timestamp(3)).unwrap();
        assert_eq!(Mailbox::open(folder.path(), 100, "here").unwrap().bytes.into_inner(), 60);
    }
}
