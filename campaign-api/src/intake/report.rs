//! The report of refused lines: NDJSON with line, reason, sentence and the beginning of
//! what was refused. It keeps a bounded number and counts all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::IntakeError;
use super::form::{Fault, Reason};

/// Characters quoted of a line.
const QUOTE_CHARS: usize = 100;

pub(super) struct Report {
    path: PathBuf,
    kept_max: usize,
    open: Mutex<Open>,
}

struct Open {
    file: BufWriter<File>,
    kept: usize,
    refused: BTreeMap<Reason, u64>,
}

#[derive(Serialize)]
struct Entry<'a> {
    line: u64,
    reason: Reason,
    detail: &'a str,
    quote: &'a str,
}

impl Report {
    /// Two threads and the merge write to it.
    pub(super) fn create(path: &Path, kept_max: usize) -> Result<Self, IntakeError> {
        let draft = draft(path);
        let file = File::create(&draft).map_err(IntakeError::disk("create", &draft))?;
        let open = Open { file: BufWriter::new(file), kept: 0, refused: BTreeMap::new() };
        Ok(Self { path: path.to_owned(), kept_max, open: Mutex::new(open) })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refuse(&self, line: u64, fault: &Fault, bytes: &[u8]) -> Result<(), IntakeError> {
        let mut open = self.open();
        *open.refused.entry(fault.reason).or_default() += 1;
        if open.kept == self.kept_max {
            return Ok(());
        }
        open.kept += 1;
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTE_CHARS * 4)]);
        let quote: String = start.trim().chars().take(QUOTE_CHARS).collect();
        let entry = Entry { line, reason: fault.reason, detail: &fault.detail, quote: &quote };
        let written = serde_json::to_writer(&mut open.file, &entry).map_err(std::io::Error::from);
        written
            .and_then(|()| open.file.write_all(b"\n"))
            .map_err(IntakeError::disk("write", &self.path))
    }

    /// Puts the kept lines in order and the report in its place; answers how many lines were
    /// refused in all.
    pub(super) fn finish(self) -> Result<u64, IntakeError> {
        let failed = || IntakeError::disk("write", &self.path);
        let mut open = self.open();
        open.file.flush().map_err(failed())?;
        let draft = draft(&self.path);
        let text = std::fs::read_to_string(&draft).map_err(failed())?;
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_by_key(|line| line_number(line));
        let mut file = BufWriter::new(File::create(&draft).map_err(failed())?);
        for line in lines {
            writeln!(file, "{line}").map_err(failed())?;
        }
        file.into_inner().map_err(|e| failed()(e.into_error()))?.sync_data().map_err(failed())?;
        std::fs::rename(&draft, &self.path).map_err(failed())?;
        for (reason, count) in &open.refused {
            metrics::counter!("malleposte_api_recipients_refused_total", "reason" => reason.as_str())
                .increment(*count);
        }
        Ok(open.refused.values().sum())
    }
}

fn draft(path: &Path) -> PathBuf {
    path.with_extension("draft")
}

/// Entries begin `{"line":12,`.
fn line_number(entry: &str) -> u64 {
    let digits = entry.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(',').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
