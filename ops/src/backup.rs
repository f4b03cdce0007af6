//! The file of a backup: sections, each compressed, each with a checksum that covers the ones
//! before it, so that a section which is damaged, missing or moved is told by its offset.
//! What is in the sections is copied by `store` and `ledger`.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::digest::{Context as Hash, SHA256};
use mail::{CampaignId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{DumpedKey, ShardPart};

const MAGIC: &[u8; 17] = b"malleposte-backup";
/// The version of this format. A newer one is refused.
const VERSION: u8 = 1;
/// No section is larger unpacked: the largest is what moves in a shard, some octets a waiting
/// recipient. Protects memory from a length that is damaged.
const SECTION_BYTES_MAX: u64 = 1 << 30;
/// History is cut into pieces of this size.
pub(crate) const PIECE_BYTES: usize = 4 << 20;
/// Fast, and text that is compressed already gains nothing from more.
const LEVEL: i32 = 3;
const DIGEST_BYTES: usize = 32;

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

/// Writes a backup beside its name, and gives it the name when it is whole.
pub struct Writer {
    out: BufWriter<File>,
    draft: PathBuf,
    file: PathBuf,
    chain: [u8; DIGEST_BYTES],
    written: u64,
}

impl Writer {
    /// # Errors
    /// When the file exists or cannot be made.
    pub fn create(file: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        if file.exists() {
            bail!("{file:?} exists; a backup replaces nothing");
        }
        let mut draft = file.as_os_str().to_owned();
        draft.push(".unfinished");
        let draft = PathBuf::from(draft);
        // Addresses are in it, and perhaps keys.
        let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let mut out = BufWriter::new(open.with_context(|| format!("cannot write {draft:?}"))?);
        out.write_all(MAGIC)?;
        out.write_all(&[VERSION])?;
        let written = MAGIC.len() as u64 + 1;
        Ok(Self { out, draft, file: file.to_owned(), chain: [0; DIGEST_BYTES], written })
    }

    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, section: &Section) -> anyhow::Result<()> {
        let bytes = section.pack()?;
        let packed = zstd::bulk::compress(&bytes, LEVEL)?;
        let mut head = vec![section.kind()];
        head.extend((bytes.len() as u64).to_le_bytes());
        head.extend((packed.len() as u64).to_le_bytes());
        self.chain = link(&self.chain, &head, &packed);
        for part in [&head[..], &packed, &self.chain] {
            self.out.write_all(part)?;
            self.written += part.len() as u64;
        }
        Ok(())
    }

    /// Ends the file, on disk, and answers its size.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        self.put(&Section::End)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        std::fs::rename(&self.draft, &self.file)?;
        let folder = self.file.parent().filter(|f| !f.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(self.written)
    }
}

fn link(before: &[u8], head: &[u8], packed: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hash = Hash::new(&SHA256);
    for part in [before, head, packed] {
        hash.update(part);
    }
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

/// Reads a backup, section by section.
pub struct Reader {
    input: BufReader<File>,
    file: PathBuf,
    chain: [u8; DIGEST_BYTES],
    offset: u64,
    is_over: bool,
}

impl Reader {
    /// # Errors
    /// When it is no backup, or one of a newer program.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let open = File::open(file).with_context(|| format!("cannot read {file:?}"))?;
        let mut input = BufReader::new(open);
        let mut start = [0; MAGIC.len() + 1];
        let read = input.read_exact(&mut start);
        if read.is_err() || !start.starts_with(MAGIC) {
            bail!("{file:?} is no backup of malleposte");
        }
        let version = start[MAGIC.len()];
        if version > VERSION {
            bail!(
                "{file:?} is a backup of version {version} and this program knows {VERSION}: \
                 upgrade the program"
            );
        }
        let offset = start.len() as u64;
        let chain = [0; DIGEST_BYTES];
        Ok(Self { input, file: file.to_owned(), chain, offset, is_over: false })
    }

    /// The next section; `None` after the last.
    ///
    /// # Errors
    /// Damage, with the offset of the section that it is in.
    pub fn section(&mut self) -> anyhow::Result<Option<Section>> {
        if self.is_over {
            return Ok(None);
        }
        let at = self.offset;
        let section = self.read().map_err(|why| {
            anyhow!("{:?} is damaged in the section at octet {at}: {why:#}", self.file)
        })?;
        if section == Section::End {
            self.is_over = true;
            if self.input.read(&mut [0])? > 0 {
                bail!("{:?} goes on after its end, at octet {}", self.file, self.offset);
            }
        }
        Ok(Some(section))
    }

    fn read(&mut self) -> anyhow::Result<Section> {
        let head = self.take(17)?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let (length, packed_length) = (number(1), number(9));
        if length > SECTION_BYTES_MAX || packed_length > SECTION_BYTES_MAX {
            bail!("it says that it has {length} octets");
        }
        let packed = self.take(packed_length)?;
        let digest = self.take(DIGEST_BYTES as u64)?;
        self.chain = link(&self.chain, &head, &packed);
        if digest != self.chain {
            bail!("the checksum is wrong");
        }
        let bytes = zstd::bulk::decompress(&packed, usize::try_from(length)?)?;
        Section::unpack(head[0], &bytes)
    }

    /// Reads what is there, never more memory than the file has octets.
    fn take(&mut self, length: u64) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(length).read_to_end(&mut bytes);
        let read = match read {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => bytes.len(),
            other => other?,
        };
        self.offset += read as u64;
        if (read as u64) < length {
            bail!("the file ends at octet {}", self.offset);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use store::Blob;

    use super::*;

    fn sections() -> Vec<Section> {
        let blob = |n: u8| Blob(vec![n; 90]);
        let key = |name: &str, left_ms| DumpedKey { name: name.into(), left_ms, dump: blob(7) };
        vec![
            Section::Head(Head {
                program: "0.1.0".into(),
                made_at: 1,
                prefix: "mp".into(),
                layout: 1,
                shards: 2,
                in_acceptance: vec![CampaignId(1)],
                last_campaign: 1,
            }),
            Section::Month("2026-11".into(), (0..=255).collect()),
            Section::Shard(0, ShardPart::Keys(vec![key("meta", 0), key("last:a", 5)])),
            Section::Shard(
                0,
                ShardPart::Fields { name: "batch".into(), fields: vec![(blob(1), blob(2))] },
            ),
            Section::Shard(0, ShardPart::Frames(vec![("1-0".into(), vec![(blob(3), blob(4))])])),
            Section::Shard(0, ShardPart::OutboxEnd("1-0".into())),
            Section::Shard(1, ShardPart::Keys(vec![])),
            Section::Rest(vec![key("mp:campaigns", 0)]),
            Section::Secrets("a:00\n".into()),
        ]
    }

    fn write(file: &Path) {
        let mut writer = Writer::create(file).expect("made");
        for section in sections() {
            writer.put(&section).expect("written");
        }
        assert_eq!(writer.finish().expect("whole"), std::fs::metadata(file).expect("there").len());
    }

    fn read(file: &Path) -> anyhow::Result<Vec<Section>> {
        let mut reader = Reader::open(file)?;
        let mut all = Vec::new();
        while let Some(section) = reader.section()? {
            all.push(section);
        }
        Ok(all)
    }

    #[test]
    fn what_was_written_is_read_and_nothing_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("one.backup");
        write(&file);
        let mut all = read(&file).expect("good");
        assert_eq!(all.pop(), Some(Section::End));
        assert_eq!(all, sections());
        assert!(Writer::create(&file).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }

    /// Every octet flipped, every length cut: no section passes that was not written.
    #[test]
    fn any_damage_is_found_and_named_by_its_offset() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("one.backup");
        write(&file);
        let good = std::fs::read(&file).expect("there");
        let bad = dir.path().join("bad");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x41;
            std::fs::write(&bad, &bytes).expect("written");
            let error = read(&bad).expect_err("damage").to_string();
            assert!(at <= MAGIC.len() || error.contains("at octet"), "{at}: {error}");
            std::fs::write(&bad, &good[..at]).expect("written");
            let error = read(&bad).expect_err("cut off").to_string();
            assert!(at <= MAGIC.len() || error.contains(&format!("ends at octet {at}")), "{error}");
        }
        std::fs::write(&bad, [&good[..], b"x"].concat()).expect("written");
        assert!(read(&bad).expect_err("too long").to_string().contains("goes on"));
    }
}
