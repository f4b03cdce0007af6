//! What the process takes, and what is left of its disk.

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
pub(super) async fn tell(data_dir: PathBuf, stop: CancellationToken) -> anyhow::Result<()> {
    let collector = Collector::default();
    collector.describe();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        collector.collect();
        disk(&data_dir);
    }
    Ok(())
}

/// The folder may not be made yet: then the one that it will be in.
fn disk(folder: &Path) {
    let there = folder.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(there) else { return };
    let name = folder.display().to_string();
    let bytes = |blocks: u64| (blocks * stat.f_frsize) as f64;
    gauge!("malleposte_disk_free_bytes", "folder" => name.clone()).set(bytes(stat.f_bavail));
    gauge!("malleposte_disk_bytes", "folder" => name).set(bytes(stat.f_blocks));
}
