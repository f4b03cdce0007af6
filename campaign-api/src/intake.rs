//! The trip of a campaign's recipients: from the staged file, which holds what somebody
//! uploaded, to the queue, where they are accepted. Who may ask for it, and what becomes
//! of the campaign afterwards, is not here.
//!
//! Sorting by (shard, domain, address) does three things at once: it finds duplicates
//! without a set in memory, it brings a domain's recipients together, and it makes every
//! run of the same file cut the same chunks. So a close that was cut off is simply done
//! again: chunks that are there already answer `already`.

mod blocks;
mod chunks;
mod enqueue;
mod form;
mod line;
mod report;
mod rows;
mod runs;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail::CampaignId;
use store::StoreError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use enqueue::{Queue, Ready};
pub use form::{Fault, Form, Reason};

use chunks::{Cutter, Group};
use report::Report;
use runs::Merge;

/// Groups of chunks between the merge and the queue: the next is cut and packed while one
/// is on its way, and no more wait in memory.
const GROUPS_WAITING: usize = 1;

/// What is to be taken in, and where.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose recipients.
    pub campaign: CampaignId,
    /// Whose suppression list holds.
    pub tenant: String,
    /// The campaign's priority; 0 goes first.
    pub priority: u8,
    /// What a recipient must look like.
    pub form: Form,
    /// The staged file: NDJSON.
    pub staged: PathBuf,
    /// A folder for runs; emptied before and after.
    pub workspace: PathBuf,
    /// Where the report of refused lines goes.
    pub report: PathBuf,
    /// Refused lines that the report keeps.
    pub report_lines_max: usize,
    /// Memory for sorting, in octets.
    pub memory: usize,
}

/// What was found in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Lines that were not empty.
    pub lines: u64,
    /// Lines refused, duplicates among them.
    pub refused: u64,
    /// Lines refused because their address had come before.
    pub duplicates: u64,
    /// Recipients accepted, with those that are suppressed.
    pub recipients: u64,
}

/// Why recipients could not be taken in. Doing it again is exact in every case.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The staging disk.
    #[error("cannot {what} {path:?}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The queue does not answer, or cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger is behind and the outbox nearly full.
    #[error("the outbox is nearly full: recipients wait until the ledger has caught up")]
    OutboxFull,
    /// The queue misses chunks that it had confirmed.
    #[error("shard {0} has lost chunks that it had stored; they are stored again")]
    Gap(mail::ShardId),
    /// The process ends.
    #[error("stopped in the middle; it goes on from the beginning")]
    Stopped,
}

impl IntakeError {
    pub(crate) fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Disk { what, path, source }
    }
}

/// Takes a campaign's staged recipients into the queue: parse, sort, de-duplicate, cut,
/// look up suppressions, enqueue. The same file gives the same chunks every time.
///
/// # Errors
/// When the disk, the queue or the process fails; see [`IntakeError`].
pub async fn take_in<Q: Queue>(
    order: &Order,
    queue: &Q,
    stop: &CancellationToken,
) -> Result<Totals, IntakeError> {
    let order = Arc::new(order.clone());
    let (sender, groups) = mpsc::channel(GROUPS_WAITING);
    let sorting = tokio::task::spawn_blocking({
        let (order, stop) = (Arc::clone(&order), stop.clone());
        move || sort_and_cut(&order, &stop, &sender)
    });
    // When the queue fails the receiver goes, and with it the sorting ends.
    let queued = enqueue::all(&order, queue, groups, stop).await;
    let sorted = sorting.await.unwrap_or(Err(IntakeError::Stopped));
    let _ = std::fs::remove_dir_all(&order.workspace);
    queued?;
    sorted
}

/// The part on disk: what `enqueue` then takes out of the channel.
fn sort_and_cut(
    order: &Order,
    stop: &CancellationToken,
    groups: &mpsc::Sender<Group>,
) -> Result<Totals, IntakeError> {
    make_empty(&order.workspace)?;
    let report = Report::create(&order.report, order.report_lines_max)?;
    let parsed = blocks::parse(order, &report, stop)?;
    let mut totals = Totals { lines: parsed.lines, ..Totals::default() };
    let mut merge = Merge::open(parsed.runs, &order.workspace, order.memory)?;
    let mut cutter = Cutter::new(|group| groups.blocking_send(group).is_ok());
    let mut previous = rows::Previous::default();
    while let Some(row) = merge.next()? {
        if let Some(first) = previous.same_address(row) {
            totals.duplicates += 1;
            report.refuse(row.line(), &Fault::duplicate(first), row.folded().as_bytes())?;
            continue;
        }
        totals.recipients += 1;
        if !cutter.push(row) {
            return Err(IntakeError::Stopped);
        }
    }
    if !cutter.finish() {
        return Err(IntakeError::Stopped);
    }
    totals.refused = report.finish()?;
    Ok(totals)
}

fn make_empty(folder: &Path) -> Result<(), IntakeError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(IntakeError::disk("empty", folder)(e));
        }
        _ => {}
    }
    std::fs::create_dir_all(folder).map_err(IntakeError::disk("make", folder))
}
