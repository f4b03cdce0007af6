//! A backup: what its sections are, and which file is meant. How they lie in the file is
//! `file.rs`; what is in them is copied by `store` and `ledger`.

mod file;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mail::{CampaignId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{DumpedKey, ShardPart};

pub use file::{Reader, Writer};

/// History is cut into pieces of this size.
pub(crate) const PIECE_BYTES: usize = 4 << 20;

/// Where the copy comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The program that made it.
    pub program: String,
    /// When, in milliseconds since 1970.
    pub made_at: u64,
    /// `store.prefix`.
    pub prefix: String,
    /// The layout of the keys.
    pub layout: u32,
    /// The number of shards.
    pub shards: u16,
    /// Campaigns whose recipients were not all accepted when it began.
    pub in_acceptance: Vec<CampaignId>,
    /// The number of the newest campaign when it began; 0: there was none.
    pub last_campaign: u64,
}

impl Head {
    /// Whether a campaign was taken in while the copy was made, so that some of its recipients
    /// may be in it and others not.
    #[must_use]
    pub fn is_partial(&self, id: CampaignId) -> bool {
        id.0 > self.last_campaign || self.in_acceptance.contains(&id)
    }
}

/// A part of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Section {
    /// The first.
    Head(Head),
    /// A piece of a month's file; pieces of one month follow one another.
    Month(String, Vec<u8>),
    /// A piece of a shard; pieces of one shard follow one another.
    Shard(u16, ShardPart),
    /// Some keys outside of the shards.
    Rest(Vec<DumpedKey>),
    /// The platform's keys, when they were asked for.
    Secrets(String),
    /// The last: without it the file was cut off.
    End,
}

impl Section {
    fn kind(&self) -> u8 {
        match self {
            Self::Head(_) => b'h',
            Self::Month(..) => b'm',
            Self::Shard(..) => b's',
            Self::Rest(_) => b'r',
            Self::Secrets(_) => b'k',
            Self::End => b'e',
        }
    }

    fn pack(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = match self {
            Self::Head(head) => rmp_serde::to_vec_named(head)?,
            Self::Month(name, piece) => {
                let mut bytes = vec![u8::try_from(name.len())?];
                bytes.extend_from_slice(name.as_bytes());
                bytes.extend_from_slice(piece);
                bytes
            }
            Self::Shard(shard, part) => rmp_serde::to_vec_named(&(shard, part))?,
            Self::Rest(keys) => rmp_serde::to_vec_named(keys)?,
            Self::Secrets(text) => text.as_bytes().to_vec(),
            Self::End => Vec::new(),
        };
        Ok(bytes)
    }

    fn unpack(kind: u8, bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(match kind {
            b'h' => Self::Head(rmp_serde::from_slice(bytes)?),
            b'm' => {
                let (len, rest) = bytes.split_first().context("a month without a name")?;
                let (name, piece) =
                    rest.split_at_checked(usize::from(*len)).context("a month's name is cut")?;
                Self::Month(String::from_utf8(name.to_vec())?, piece.to_vec())
            }
            b's' => {
                let (shard, part) = rmp_serde::from_slice(bytes)?;
                Self::Shard(shard, part)
            }
            b'r' => Self::Rest(rmp_serde::from_slice(bytes)?),
            b'k' => Self::Secrets(String::from_utf8(bytes.to_vec())?),
            b'e' => Self::End,
            other => bail!("a section of the unknown kind {other}"),
        })
    }
}

/// How the file of a backup ends, when it is named by this program.
const EXTENSION: &str = "mpb";

/// The file to make: the one that is named, or in a folder one with the time in its name.
#[must_use]
pub fn file_to_make(to: &Path, now: Timestamp) -> PathBuf {
    if !to.is_dir() {
        return to.to_owned();
    }
    let c = now.civil();
    to.join(format!(
        "malleposte-{:04}{:02}{:02}T{:02}{:02}{:02}Z.{EXTENSION}",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    ))
}

/// The backup to read: the file that is named, or the newest by name of a folder. One that was
/// cut off has another ending, and is never chosen.
///
/// # Errors
/// When the folder has none.
pub fn file_to_read(from: &Path) -> anyhow::Result<PathBuf> {
    if !from.is_dir() {
        return Ok(from.to_owned());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {from:?}"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|e| e == EXTENSION));
    files.sort();
    files.pop().with_context(|| format!("{from:?} holds no backup (*.{EXTENSION})"))
}
