//! What the process takes, and what is left of its disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use metrics::gauge;
use metrics_process::Collector;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until `stop`.
///
/// # Errors
/// None: what the kernel does not tell is left out.
pub(super) async fn tell(
    data_dir: PathBuf,
    history: PathBuf,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let collector = Collector::default();
    collector.describe();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        collector.collect();
        watched(&data_dir, &history).into_iter().for_each(disk);
    }
    Ok(())
}

/// A file system, in octets.
pub(crate) struct Disk {
    pub(crate) all: u64,
    pub(crate) free: u64,
}

impl Disk {
    /// The one that a folder is in.
    ///
    /// # Errors
    /// When there is no such folder.
    pub(crate) fn of(folder: &Path) -> std::io::Result<Self> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(Self { all: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize })
    }
}

/// The folders whose disks this host must not lose: of the data, and of the history where that lies on
/// another disk.
pub(crate) fn watched<'f>(data_dir: &'f Path, history: &'f Path) -> Vec<&'f Path> {
    let device = |folder: &Path| std::fs::metadata(folder).map(|found| found.dev()).ok();
    let devices = device(data_dir).zip(device(history));
    let is_other = devices.is_some_and(|(one, other)| one != other);
    [Some(data_dir), Some(history).filter(|_| is_other)].into_iter().flatten().collect()
}

/// The folder may not be made yet: then the one that it will be in.
fn disk(folder: &Path) {
    let there = folder.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
    let Ok(Disk { all, free }) = Disk::of(there) else { return };
    let name = folder.display().to_string();
    gauge!("malleposte_disk_free_bytes", "folder" => name.clone()).set(free as f64);
    gauge!("malleposte_disk_bytes", "folder" => name).set(all as f64);
}
