//! The files that a campaign's messages carry. What they are lies with the campaign, in one
//! record; their octets lie under keys of their own, in pieces, so that nobody reads them who
//! only asks for campaigns, and Redis answers others between two of them.

use mail::CampaignId;
use serde::{Deserialize, Serialize};

use crate::campaign::{Campaign, CampaignStatus};
use crate::campaigns::{pack, unpack, version_of};
use crate::error::StoreError;
use crate::queue::parse;
use crate::{Blob, Store, scripts};

/// The form of the list of files.
const VERSION: u8 = 1;
/// Octets of a piece: whole lines of base64 (57 octets each), and less than a millisecond of
/// Redis's time.
pub const FILE_PIECE_OCTETS: usize = 57 * 4599;
/// Pieces that are read in one round trip: 4 MiB.
const PIECES_A_PAGE: u32 = 16;
/// What is uploaded and never listed goes by itself after this. No upload takes so long.
const UNLISTED_S: u64 = 86_400;
/// How long files outlive their campaign: a backup that copied its recipients before it ended
/// copies them later.
const KEPT_S: u64 = 86_400;

/// A file as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name; no other file of the campaign has it.
    pub name: String,
    /// Its media type with its parameters.
    pub media_type: String,
    /// What the HTML calls it, where it is shown in it.
    pub content_id: Option<String>,
    /// How long it is.
    pub octets: u64,
    /// SHA-256 of its octets, in hexadecimal.
    pub sha256: String,
    /// Names its pieces among those of all files; used once.
    pub key: String,
}

impl FileRecord {
    /// The pieces that its octets are in.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        self.octets.div_ceil(FILE_PIECE_OCTETS as u64) as u32
    }
}

/// What became of a change of a campaign's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesChanged {
    /// It is made.
    Done,
    /// They are not any more what they were when it was decided.
    Others,
    /// The campaign is no draft: its files are settled.
    Settled,
}

/// The list as it lies with the campaign; nothing where there is no file.
pub(crate) fn pack_files(files: &[FileRecord]) -> Vec<u8> {
    if files.is_empty() { Vec::new() } else { pack(VERSION, &files) }
}

pub(crate) fn unpack_files(id: CampaignId, packed: &[u8]) -> Result<Vec<FileRecord>, StoreError> {
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    unpack(VERSION, &format!("the files of campaign {id}"), packed)
}

impl Store {
    fn piece_key(&self, id: CampaignId, key: &str, piece: u32) -> String {
        self.key(&format!("file:{id}:{key}:{piece}"))
    }

    fn piece_keys<'a>(
        &self,
        id: CampaignId,
        files: impl IntoIterator<Item = &'a FileRecord>,
    ) -> Vec<String> {
        let keys = files
            .into_iter()
            .flat_map(|file| (0..file.pieces()).map(|piece| self.piece_key(id, &file.key, piece)));
        keys.collect()
    }

    /// Writes a piece of a file that will be listed; of [`FILE_PIECE_OCTETS`], but the last. It
    /// goes by itself when it never is.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_file_piece(
        &self,
        id: CampaignId,
        key: &str,
        piece: u32,
        octets: &[u8],
    ) -> Result<(), StoreError> {
        let key = self.piece_key(id, key, piece);
        let mut conn = self.conn_for(&key).await?;
        let mut cmd = redis::cmd("SET");
        cmd.arg(&key).arg(octets).arg("EX").arg(UNLISTED_S);
        let () = cmd.query_async(&mut conn).await?;
        self.confirm(&mut conn).await
    }

    /// Makes `after` the files of a draft, if they are still what was read with it. A campaign
    /// with files is left alone by relays that know none.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn change_files(
        &self,
        campaign: &Campaign,
        after: &[FileRecord],
    ) -> Result<FilesChanged, StoreError> {
        #[derive(Serialize)]
        struct Change {
            now: u64,
            draft: &'static str,
            version: u8,
        }
        let version = version_of(&campaign.record, !after.is_empty());
        let change = Change { now: 1, draft: CampaignStatus::Draft.as_str(), version };
        let (before, after) = (pack_files(&campaign.files), pack_files(after));
        let key = self.campaign_key(campaign.id);
        let mut conn = self.conn_for(&key).await?;
        let value = scripts::FILES.call(&mut conn, &key, &change, &[&before, &after]).await?;
        self.confirm(&mut conn).await?;
        match parse::<String>(value)?.as_str() {
            "done" => Ok(FilesChanged::Done),
            "others" => Ok(FilesChanged::Others),
            "settled" => Ok(FilesChanged::Settled),
            other => Err(StoreError::corrupt("the answer to files", other)),
        }
    }

    /// Makes listed files stay; answers the names of those of which a piece is gone.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn keep_files(
        &self,
        id: CampaignId,
        files: &[FileRecord],
    ) -> Result<Vec<String>, StoreError> {
        let keys = self.piece_keys(id, files);
        let twice: Vec<String> = keys.iter().flat_map(|key| [key.clone(), key.clone()]).collect();
        let answers = self.spread_confirmed(&twice, |at| {
            let mut cmd = redis::cmd(if at.is_multiple_of(2) { "PERSIST" } else { "EXISTS" });
            cmd.arg(&twice[at]);
            cmd
        });
        let mut answers = answers.await.into_iter().skip(1).step_by(2);
        let mut gone = Vec::new();
        for file in files {
            let mut is_whole = true;
            for exists in answers.by_ref().take(file.pieces() as usize) {
                is_whole &= parse::<bool>(exists?)?;
            }
            if !is_whole {
                gone.push(file.name.clone());
            }
        }
        Ok(gone)
    }

    /// Deletes the octets of files that are listed no more.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn delete_files(
        &self,
        id: CampaignId,
        files: &[FileRecord],
    ) -> Result<(), StoreError> {
        self.each_piece(id, files, |key| {
            let mut cmd = redis::cmd("UNLINK");
            cmd.arg(key);
            cmd
        })
        .await
    }

    /// Lets the files of a campaign that is over go, after a while.
    pub(crate) async fn expire_files(
        &self,
        id: CampaignId,
        files: &[FileRecord],
    ) -> Result<(), StoreError> {
        self.each_piece(id, files, |key| {
            let mut cmd = redis::cmd("EXPIRE");
            cmd.arg(key).arg(KEPT_S);
            cmd
        })
        .await
    }

    async fn each_piece(
        &self,
        id: CampaignId,
        files: &[FileRecord],
        command: impl Fn(&str) -> redis::Cmd + Sync,
    ) -> Result<(), StoreError> {
        let keys = self.piece_keys(id, files);
        let answers = self.spread(&keys, |at| command(&keys[at])).await;
        answers.into_iter().try_for_each(|answer| answer.map(|_| ()))
    }

    /// The next pieces of a file, from this one on; none after the last.
    ///
    /// # Errors
    /// When Redis does not answer, or a piece is not there.
    pub async fn file_pieces(
        &self,
        id: CampaignId,
        file: &FileRecord,
        from: u32,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let to = file.pieces().min(from.saturating_add(PIECES_A_PAGE));
        let keys: Vec<String> =
            (from..to).map(|piece| self.piece_key(id, &file.key, piece)).collect();
        let answers = self.spread(&keys, |at| crate::queue::one("GET", &keys[at])).await;
        let pieces = answers.into_iter().zip(from..).map(|(answer, piece)| {
            parse::<Option<Blob>>(answer?)?.map(|blob| blob.0).ok_or_else(|| {
                let what = format!("file {:?} of campaign {id}", file.name);
                StoreError::corrupt(what, format!("piece {piece} is not there"))
            })
        });
        pieces.collect()
    }
}
