//! What a power cut leaves of an append-only file: its length at the last completed fsync.
//!
//! `strace` writes down every write and every fsync of the server, in all its threads. A
//! write belongs to what is safe when it had come back before an fsync of the same file was
//! called that itself came back: what is written while an fsync runs may or may not be on
//! the disk, and a cut must be the worst that can be. So the safe length is the length that
//! the file had when the last completed fsync was called.
//!
//! What was in the file when the watch began counts as safe: nobody had written for a while.
//! Lengths are summed up from the file's length when the trace began, and the sum is
//! compared with the file at the end: if a write had escaped the trace the two would
//! differ, and there is no cut without it ([`Trace::safe_length`]).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;

/// Attaching takes milliseconds; a refusal says so at once.
const ATTACHES_WITHIN: Duration = Duration::from_secs(10);
/// After the death of the server its tracer has only to write its last lines.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// A server under observation.
#[derive(Debug)]
pub(crate) struct Watched {
    strace: Child,
    _listening: AbortOnDropHandle<()>,
    trace: PathBuf,
    file: PathBuf,
    length: u64,
}

impl Watched {
    /// Watches the server's writes to its append-only file. Must begin while nobody writes:
    /// the file's length before and after attaching is compared.
    ///
    /// # Errors
    /// When strace cannot be attached, or the file grew meanwhile.
    pub(crate) async fn attach(pid: u32, file: &Path, trace: &Path) -> Result<Self> {
        let length = std::fs::metadata(file)?.len();
        let mut strace = Command::new("strace")
            .args([
                "-f",
                "-ttt",
                "-y",
                "-s",
                "0",
                "-e",
                "trace=write,writev,pwrite64,fdatasync,fsync,ftruncate",
            ])
            .arg("-o")
            .arg(trace)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start strace; `ops/install.sh --tests` installs it")?;
        let told = strace.stderr.take().context("strace without its words")?;
        let mut lines = BufReader::new(told).lines();
        let first = tokio::time::timeout(ATTACHES_WITHIN, lines.next_line()).await;
        let first = first.context("strace does not attach")??.unwrap_or_default();
        ensure!(first.contains("attached"), "strace: {first}");
        // Its later words must go somewhere, or it would stop at a full pipe.
        let rest = async move { while let Ok(Some(_)) = lines.next_line().await {} };
        let listening = AbortOnDropHandle::new(tokio::spawn(rest));
        let now = std::fs::metadata(file)?.len();
        ensure!(now == length, "{file:?} grew from {length} to {now} while strace was attached");
        let (trace, file) = (trace.to_owned(), file.to_owned());
        Ok(Self { strace, _listening: listening, trace, file, length })
    }

    /// Once the server is dead: cuts its file to what a power cut would have left. Answers
    /// how many octets that took away.
    ///
    /// # Errors
    /// When the trace does not add up to the file.
    pub(crate) async fn cut(mut self) -> Result<u64> {
        let ended = tokio::time::timeout(ENDS_WITHIN, self.strace.wait()).await;
        ended.context("strace outlives what it watched")??;
        let text = std::fs::read_to_string(&self.trace)?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let trace = Trace::read(&text, &name, self.length)?;
        let file = std::fs::File::options().write(true).open(&self.file)?;
        let found = file.metadata()?.len();
        let safe = trace.safe_length(found)?;
        file.set_len(safe)?;
        file.sync_all()?;
        Ok(found - safe)
    }
}

/// What the system calls of a trace did to one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    /// As the calls that came back leave it.
    length: u64,
    /// At the last completed fsync.
    safe: u64,
    /// Asked for by a write that never came back: the server died in it.
    in_flight: u64,
    fsyncs: u64,
}

/// A call that has not come back.
enum Pending {
    Write(u64),
    /// The length when it was called.
    Sync(u64),
    Truncate(u64),
}

impl Trace {
    /// Reads the lines of `strace -f -ttt -y`: `PID TIME CALL(FD<PATH>, …) = RESULT`, or the
    /// same in two halves, `… <unfinished ...>` and `<... CALL resumed>…) = RESULT`.
    fn read(text: &str, file_name: &str, length: u64) -> Result<Self> {
        let mut trace = Self { length, safe: length, ..Self::default() };
        let mut pending: HashMap<&str, Pending> = HashMap::new();
        let is_ours = |call: &str| {
            let path = call.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
            path.is_some_and(|(path, _)| path.rsplit('/').next() == Some(file_name))
        };
        for line in text.lines() {
            let mut parts = line.splitn(2, ' ');
            let (Some(thread), Some(rest)) = (parts.next(), parts.next()) else { continue };
            let Some((_time, call)) = rest.trim_start().split_once(' ') else { continue };
            if call.starts_with("<... ") {
                let Some(begun) = pending.remove(thread) else { continue };
                trace.came_back(begun, result(call));
            } else if is_ours(call) {
                let begun = trace.begun(call).with_context(|| format!("strace line {line:?}"))?;
                if call.ends_with("<unfinished ...>") {
                    pending.insert(thread, begun);
                } else {
                    trace.came_back(begun, result(call));
                }
            }
        }
        for begun in pending.into_values() {
            if let Pending::Write(octets) = begun {
                trace.in_flight += octets;
            }
        }
        Ok(trace)
    }

    fn begun(&self, call: &str) -> Result<Pending> {
        let name = call.split('(').next().unwrap_or_default();
        // The last argument, with whatever follows it.
        let last = || {
            let arguments = call.split(" <unfinished").next().unwrap_or(call);
            let arguments = arguments.rsplit_once(") ").map_or(arguments, |(before, _)| before);
            let number = arguments.rsplit(", ").next().unwrap_or_default().trim_end_matches(')');
            number.parse::<u64>().with_context(|| format!("{number:?} is no number"))
        };
        Ok(match name {
            "write" => Pending::Write(last()?),
            "fdatasync" | "fsync" => Pending::Sync(self.length),
            "ftruncate" => Pending::Truncate(last()?),
            other => bail!("the server writes its file with {other}, which is not accounted for"),
        })
    }

    fn came_back(&mut self, begun: Pending, result: Option<u64>) {
        match (begun, result) {
            (Pending::Write(_), Some(written)) => self.length += written,
            (Pending::Sync(length), Some(_)) => {
                self.safe = self.safe.max(length);
                self.fsyncs += 1;
            }
            (Pending::Truncate(length), Some(_)) => {
                self.length = length;
                self.safe = self.safe.min(length);
            }
            // `= ?`: the process died in the call. What the write did is not known.
            (Pending::Write(octets), None) => self.in_flight += octets,
            (Pending::Sync(_) | Pending::Truncate(_), None) => {}
        }
    }

    /// The safe length, when the trace explains the file as it was found.
    fn safe_length(&self, found: u64) -> Result<u64> {
        let explained = found >= self.length && found <= self.length + self.in_flight;
        ensure!(
            explained,
            "the trace adds up to {} octets (and {} in flight), and the file has {found}",
            self.length,
            self.in_flight
        );
        Ok(self.safe)
    }
}

/// The number after `= `; nothing for `?` and for an error.
fn result(call: &str) -> Option<u64> {
    let (_, result) = call.rsplit_once(" = ")?;
    result.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AOF: &str = "appendonly.aof.1.incr.aof";

    fn read(text: &str) -> Trace {
        Trace::read(text, AOF, 100).expect("a trace")
    }

    #[test]
    fn the_safe_length_is_that_at_the_call_of_the_last_completed_fsync() {
        let trace = read(
            "7 1.0 write(8</q/appendonly.aof.1.incr.aof>, \"\"..., 50) = 50\n\
             7 1.1 fdatasync(8</q/appendonly.aof.1.incr.aof>) = 0\n\
             7 1.2 write(8</q/appendonly.aof.1.incr.aof>, \"\"..., 20) = 20\n\
             7 1.3 +++ killed by SIGKILL +++\n",
        );
        assert_eq!((trace.length, trace.safe), (170, 150));
        assert_eq!(trace.safe_length(170).expect("explained"), 150);
    }

    #[test]
    fn what_is_written_while_an_fsync_runs_is_not_safe_by_it() {
        let trace = read(
            "7 1.0 write(8</q/appendonly.aof.1.incr.aof>, \"\"..., 50) = 50\n\
             9 1.1 fdatasync(8</q/appendonly.aof.1.incr.aof> <unfinished ...>\n\
             7 1.2 write(8</q/appendonly.aof.1.incr.aof>, \"\"..., 20) = 20\n\
             9 1.3 <... fdatasync resumed>)         = 0\n",
        );
        assert_eq!((trace.length, trace.safe), (170, 150));
    }

    #[test]
    fn an_fsync_that_never_came_back_makes_nothing_safe() {
        let trace = read(
            "7 1.0 fdatasync(8</q/appendonly.aof.1.incr.aof>) = 0\n\
             7 1.1 write(8</q/appendonly.aof.1.incr.aof>, \"\"..., 50) = 50\n\
             7 1.2 fdatasync(8</q/appendonly.aof.1.incr.aof>) = ?\n\
             7 1.3 +++ killed by SIGKILL +++\n",
        );
        assert_eq!((trace.length, trace.safe, trace.fsyncs), (150, 100, 1));
        let failed = read(
            "7 1.2 fdatasync(8</q/appendonly.aof.1.incr.aof>) = -1 EIO (Input/output error)\n",
        );
        assert_eq!(failed.fsyncs, 0);
        assert_eq!(failed.safe_length(100).expect("explained"), 100);
    }

    #[test]
    fn a_write_cut_off_by_the_kill_may_be_there_in_any_part() {
        let trace = read(
            "7 1.0 fdatasync(8</q/appendonly.aof.1.incr.aof>) = 0\n\
             7 1.1 write(8</q/appendonly.aof.1.incr.aof>, \"\"..., 50 <unfinished ...>\n\
             7 1.2 <... write resumed>)             = ?\n\
             7 1.3 +++ killed by SIGKILL +++\n",
        );
        assert_eq!((trace.length, trace.in_flight), (100, 50));
        for found in [100, 130, 150] {
            assert_eq!(trace.safe_length(found).expect("explained"), 100);
        }
    }

    #[test]
    fn other_files_do_not_count_and_a_missing_write_is_noticed() {
        let trace = read(
            "7 1.0 write(9<socket:[77]>, \"\"..., 50) = 50\n\
             7 1.0 fdatasync(8</q/appendonly.aof.1.incr.aof>) = 0\n\
             7 1.1 write(1</q/appendonly.aof.1.incr.aof.log>, \"\"..., 50) = 50\n",
        );
        assert_eq!(trace.length, 100);
        assert!(trace.safe_length(101).is_err(), "an octet that the trace does not know");
        assert!(trace.safe_length(99).is_err(), "an octet that has gone");
    }
}
