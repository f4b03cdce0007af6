//! Who owns a data folder, and where its Redis listens: the folder, its lock file, the
//! socket's path and URL.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// `sun_path` of Linux has 108 octets with its final zero; Redis cuts a longer one off.
const SOCKET_PATH_OCTETS_MAX: usize = 107;
/// A process that was just killed takes its Redis along; the next one waits for both.
const PREDECESSOR_ENDS_WITHIN: Duration = Duration::from_secs(3);

const LOCK_FILE: &str = "lock";

/// Held by the one process that runs a Redis on the folder, and by that Redis too: it
/// inherits the locked file as its standard input, so the folder is free only when both
/// have gone.
#[derive(Debug)]
pub(super) struct FolderLock {
    file: File,
    /// The socket's own folder when the data folder's path is too long for one.
    _short: Option<TempDir>,
}

impl FolderLock {
    pub(super) async fn acquire(
        folder: &Path,
        socket: &Path,
        short: Option<TempDir>,
    ) -> anyhow::Result<Self> {
        let path = folder.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).with_context(|| format!("cannot open {path:?}"))?;
        let deadline = Instant::now() + PREDECESSOR_ENDS_WITHIN;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => bail!("cannot lock {path:?}: {e}"),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(50)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let data = folder.parent().unwrap_or(folder);
                    let owner = owner(&path)
                        .map_or("another process".to_owned(), |(pid, _)| format!("process {pid}"));
                    bail!(
                        "data folder {data:?} is in use by {owner}; stop it, or give this one another data_dir"
                    );
                }
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}\n{}", std::process::id(), url_of(socket))?;
        Ok(Self { file, _short: short })
    }

    /// For the server to hold as well.
    pub(super) fn share(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }
}

/// The URL of the private Redis that runs on this data folder at present, for commands
/// beside a running `malleposte up`.
#[must_use]
pub fn running(data_dir: &Path) -> Option<String> {
    let path = data_dir.join("redis").join(LOCK_FILE);
    let file = File::open(&path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => owner(&path).map(|(_, url)| url),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn owner(path: &Path) -> Option<(u32, String)> {
    /// A number and a URL.
    const LOCK_BYTES_MAX: u64 = 8192;
    let mut text = String::new();
    File::open(path).ok()?.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    let (pid, url) = text.split_once('\n')?;
    Some((pid.parse().ok()?, url.trim_end().to_owned()))
}

/// The folder of the server, absolute, for its owner only.
pub(super) fn make_folder(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(data_dir.join("redis"))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot make {folder:?}; choose another data_dir"))?;
    Ok(folder)
}

/// In the folder itself, or in a private temporary one when that path is too long.
pub(super) fn socket_path(folder: &Path) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    let socket = folder.join("redis.sock");
    if socket.as_os_str().len() <= SOCKET_PATH_OCTETS_MAX {
        return Ok((socket, None));
    }
    let short = tempfile::Builder::new().prefix("malleposte-").tempdir()?;
    let socket = short.path().join("redis.sock");
    if socket.as_os_str().len() > SOCKET_PATH_OCTETS_MAX {
        bail!("{socket:?} is too long for a socket; choose a shorter data_dir or TMPDIR");
    }
    Ok((socket, Some(short)))
}

/// Everything outside RFC 3986's unreserved characters is encoded: a folder may be called
/// `a b` or `50%`.
pub(super) fn url_of(socket: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut url = String::from("redis+unix://");
    for &octet in socket.as_os_str().as_bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(octet));
            }
            _ => {
                let _ = write!(url, "%{octet:02X}");
            }
        }
    }
    url
}
