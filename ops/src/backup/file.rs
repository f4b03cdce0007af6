//! The file of a backup: sections, each compressed, each with a checksum that covers the ones
//! before it, so that a section which is damaged, missing or moved is told by its offset.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::digest::{Context as Hash, SHA256};

use super::Section;

const MAGIC: &[u8; 17] = b"malleposte-backup";
/// The version of this format. A newer one is refused.
const VERSION: u8 = 1;
/// No section is larger unpacked: the largest is what moves in a shard, some octets a waiting
/// recipient. Protects memory from a length that is damaged.
const SECTION_BYTES_MAX: u64 = 1 << 30;
/// Fast, and text that is compressed already gains nothing from more.
const LEVEL: i32 = 3;
const DIGEST_BYTES: usize = 32;

/// Writes a backup beside its name, and gives it the name when it is whole.
pub struct Writer {
    out: BufWriter<File>,
    draft: PathBuf,
    file: PathBuf,
    chain: [u8; DIGEST_BYTES],
    written: u64,
    is_whole: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = std::fs::remove_file(&self.draft);
        }
    }
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
        Ok(Self {
            out,
            draft,
            file: file.to_owned(),
            chain: [0; DIGEST_BYTES],
            written,
            is_whole: false,
        })
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
        self.is_whole = true;
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
    use mail::CampaignId;
    use store::{Blob, DumpedKey, ShardPart};

    use super::super::Head;
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
        drop(Writer::create(&dir.path().join("two.backup")).expect("made"));
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
