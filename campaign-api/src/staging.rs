//! The folder of uploads that are not accepted yet: one file a campaign, appended to and
//! synced before its length is told; beside it the report of refused lines.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use mail::CampaignId;
use tokio::fs::{File, OpenOptions};
use tokio::sync::OwnedMutexGuard;

/// How long a request waits for another upload of the same campaign: a client that was
/// cut off comes back before we have noticed that its old connection is dead.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Locks kept before those that nobody holds are dropped.
const LOCKS_MAX: usize = 1000;
/// Reports are for whoever uploaded, within a month.
const REPORT_KEPT: Duration = Duration::from_secs(30 * 86_400);

pub(crate) struct Staging {
    folder: PathBuf,
    instance: String,
    locks: Mutex<HashMap<CampaignId, Arc<tokio::sync::Mutex<()>>>>,
}

/// Sole access to a campaign's upload.
pub(crate) type Lock = OwnedMutexGuard<()>;

impl Staging {
    /// Opens or makes the folder. Its identity stays with it: uploads go on where they lie.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join("instance");
        let instance = match std::fs::read_to_string(&file) {
            Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {
                let name = random_name()?;
                std::fs::write(&file, &name)?;
                name
            }
        };
        Ok(Self { folder: folder.to_owned(), instance, locks: Mutex::default() })
    }

    /// Names this folder among those of all API processes.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn upload(&self, id: CampaignId) -> PathBuf {
        self.folder.join(format!("{id}.ndjson"))
    }

    pub(crate) fn report(&self, id: CampaignId) -> PathBuf {
        self.folder.join(format!("{id}.refused.ndjson"))
    }

    pub(crate) fn workspace(&self, id: CampaignId) -> PathBuf {
        self.folder.join(format!("{id}.runs"))
    }

    /// Octets uploaded so far.
    pub(crate) async fn offset(&self, id: CampaignId) -> io::Result<u64> {
        match tokio::fs::metadata(self.upload(id)).await {
            Ok(file) => Ok(file.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// Sole access; `None` when somebody else keeps it.
    pub(crate) async fn lock(&self, id: CampaignId) -> Option<Lock> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() >= LOCKS_MAX {
                locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(locks.entry(id).or_default())
        };
        tokio::time::timeout(LOCK_WAIT, lock.lock_owned()).await.ok()
    }

    /// The file to append to.
    pub(crate) async fn append(&self, id: CampaignId, _: &Lock) -> io::Result<File> {
        let file = OpenOptions::new().create(true).append(true).open(self.upload(id)).await?;
        if file.metadata().await?.len() == 0 {
            // A new name must be on the disk before anybody is told what is under it.
            File::open(&self.folder).await?.sync_all().await?;
        }
        Ok(file)
    }

    /// Forgets an upload, not its report.
    pub(crate) async fn remove(&self, id: CampaignId) {
        let _ = tokio::fs::remove_file(self.upload(id)).await;
        let _ = tokio::fs::remove_dir_all(self.workspace(id)).await;
    }

    /// Campaigns of which an upload lies here; reports that are too old go.
    pub(crate) fn sweep(&self) -> io::Result<Vec<CampaignId>> {
        let mut uploads = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".refused.ndjson") {
                let changed = entry.metadata()?.modified()?;
                if SystemTime::now().duration_since(changed).unwrap_or_default() > REPORT_KEPT {
                    std::fs::remove_file(entry.path())?;
                }
            } else if let Some(id) = name.strip_suffix(".ndjson").and_then(|id| id.parse().ok()) {
                uploads.push(id);
            }
        }
        Ok(uploads)
    }
}

/// 16 hexadecimal digits that nobody can guess.
pub(crate) fn random_name() -> io::Result<String> {
    let mut bits = [0; 8];
    SystemRandom::new().fill(&mut bits).map_err(|_| io::Error::other("no randomness"))?;
    Ok(bits.iter().map(|b| format!("{b:02x}")).collect())
}
