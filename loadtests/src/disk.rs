//! A small filesystem that can be filled and freed: a disk that is full, for real.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What fills it.
const FILLER: &str = "filler";

/// A tmpfs mounted on a folder. Dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Whether this process may mount.
    pub(crate) fn is_possible() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Makes the folder and mounts a disk of so many MiB there.
    pub(crate) fn mount(folder: &Path, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let size = format!("size={mebibytes}m,mode=0700");
        let options = ["-t", "tmpfs", "-o", &size, "chaos"];
        let output = Command::new("mount").args(options).arg(folder).output();
        let output = output.context("cannot run mount")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mount a small disk on {folder:?}: {told}");
        Ok(Self { folder: folder.to_owned() })
    }

    /// Writes until nothing more fits.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.folder.join(FILLER))?;
        let mut piece = vec![0; 1 << 16];
        while !piece.is_empty() {
            match file.write(&piece) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
                Err(e) => bail!("fill {:?}: {e}", self.folder),
            }
        }
        Ok(())
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.folder.join(FILLER))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may hold a file for a moment longer.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
    }
}

#[cfg(test)]
#[path = "../tests/others/mod.rs"]
mod others;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_and_a_freed_one_does() {
        if !others::is_here(SmallDisk::is_possible(), "root, who alone mounts a disk") {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (at, file) = (folder.path().join("disk"), folder.path().join("disk/file"));
        let disk = SmallDisk::mount(&at, 2).expect("mounted");
        disk.fill().expect("filled");
        let refused = std::fs::write(&file, [1; 5000]).expect_err("it is full");
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        disk.free().expect("freed");
        std::fs::write(&file, [1; 5000]).expect("there is room");
        drop(disk);
        assert!(!file.exists(), "unmounted");
    }
}
