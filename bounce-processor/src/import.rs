//! Mail that lies somewhere already: it is read, and what follows from it is done. What a person
//! should read is told, and stays where it lies.

use std::sync::Arc;

use mail::Report;

use crate::config::Config;
use crate::error::BounceError;
use crate::listener::Parts;
use crate::mailbox::Folder;
use crate::returned::Returns;

/// Takes mail that is handed in octet by octet.
#[derive(Debug, Clone)]
pub struct Importer(Arc<Returns>);

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// What follows from it is durable; to read it again changes nothing.
    Placed,
    /// A report that names no delivery of ours, or nobody whom one went to.
    Unmatched,
    /// An answer of a person.
    Answer,
    /// Mail that a person should read.
    ForPeople,
}

impl Importer {
    /// With the settings of the bounce processor: its domains, not its doors.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn open(config: &Config, parts: Parts) -> Result<Self, BounceError> {
        let settings = config.settings()?;
        Ok(Self(Arc::new(Returns::new(&settings, &config.replies.addresses, parts, None))))
    }

    /// Reads a mail, and does what follows from it.
    ///
    /// # Errors
    /// When the store does not answer: hand it in again.
    pub async fn take(&self, octets: &[u8]) -> Result<(Report, Fate), BounceError> {
        let (kind, kept) = self.0.take_from("import", octets).await?;
        let fate = match kept {
            None => Fate::Placed,
            Some(Folder::Unmatched) => Fate::Unmatched,
            Some(Folder::Replies) => Fate::Answer,
            Some(Folder::Inbox) => Fate::ForPeople,
        };
        Ok((kind, fate))
    }
}
