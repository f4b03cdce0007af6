//! One process of the system under test: started, measured from `/proc`, ended. Its
//! children count as it, because the private Redis is one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What a service may take to come up, and to end in good order.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const STOPS_WITHIN: Duration = Duration::from_secs(40);
/// Fields of `/proc/PID/stat` after the name: user and system time of the process, and
/// of the children that it has waited for (proc(5), fields 14 to 17).
const TIMES: std::ops::Range<usize> = 11..15;

pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `PROGRAM --config CONFIG SERVICE`. It dies with the measurement. Its log is
    /// called as its configuration, and goes on where that of a predecessor ended.
    pub(crate) fn start(program: &Path, config: &Path, service: &str) -> Result<Self> {
        let log = config.with_extension("log");
        let stderr = std::fs::File::options().create(true).append(true).open(&log)?;
        let name = config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .arg("--config")
            .arg(config)
            .arg(service)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name} with setpriv; install util-linux"))?;
        Ok(Self { name, child, log })
    }

    /// The first line that it prints.
    pub(crate) async fn first_line(&mut self) -> Result<String> {
        let stdout = self.child.stdout.take().context("its output was read before")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(STARTS_WITHIN, lines.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => Ok(line),
            _ => bail!("{} says nothing:\n{}", self.name, self.last_words()),
        }
    }

    /// Waits until it answers on a page of its own.
    pub(crate) async fn await_page(&mut self, url: &str) -> Result<()> {
        let patience = tokio::time::Instant::now() + STARTS_WITHIN;
        while tokio::time::Instant::now() < patience {
            self.is_well()?;
            if crate::client::page(url).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} does not come up:\n{}", self.name, self.last_words())
    }

    /// Whether it runs.
    pub(crate) fn is_well(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended by itself with {status}:\n{}", self.name, self.last_words())
            }
        }
    }

    /// Processor time that it and its children have used since their start.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.pid()?)
    }

    /// The most memory that it and its children ever had resident, in KiB.
    pub(crate) fn peak_kib(&self) -> Result<u64> {
        self.pids()?.into_iter().map(peak_kib).sum()
    }

    /// `kill -9`: no goodbye, no clean-up.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        send(self.pid()?, signal)
    }

    /// Its only child: of `malleposte redis`, the server.
    pub(crate) fn child(&self) -> Result<u32> {
        let children = self.pids()?;
        children.get(1).copied().with_context(|| format!("{} has no child now", self.name))
    }

    /// What it wrote to its log, and those before it in its place.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end and waits for it.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(STOPS_WITHIN, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("{} ended with {}:\n{}", self.name, status?, self.last_words()),
            Err(_) => bail!("{} does not end on SIGTERM:\n{}", self.name, self.last_words()),
        }
    }

    pub(crate) fn last_words(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    fn pids(&self) -> Result<Vec<u32>> {
        with_children(self.pid()?)
    }
}

/// Processor time that a process and its children have used since their start.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    // A child that ends between the two looks is counted in the next by its parent.
    let of = |child: &u32| if *child == pid { ticks(pid) } else { Ok(ticks(*child).unwrap_or(0)) };
    let ticks: u64 = with_children(pid)?.iter().map(of).sum::<Result<u64>>()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// A process and its children, it first.
fn with_children(pid: u32) -> Result<Vec<u32>> {
    let mut pids = vec![pid];
    // A child belongs to the thread that started it.
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = std::fs::read_to_string(task?.path().join("children"));
        let children = children.context("this kernel does not tell a process's children")?;
        pids.extend(children.split_ascii_whitespace().filter_map(|c| c.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// Sends a signal to a process by its number.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    let process = Pid::from_raw(pid as i32).context("a process without a number")?;
    kill_process(process, signal).with_context(|| format!("cannot signal process {pid}"))
}

fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in parentheses and may hold anything, spaces too.
    let (_, fields) = stat.rsplit_once(')').context("not a stat file")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let times = fields.get(TIMES).context("a stat file that ends early")?;
    times.iter().map(|field| Ok(field.parse::<u64>()?)).sum()
}

/// The most memory that a process ever had resident.
pub(crate) fn peak_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(kib.context("no VmHWM in /proc/PID/status")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        let before = ticks(pid).expect("its stat file");
        let began = std::time::Instant::now();
        let mut sum = 0u64;
        while began.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(ticks(pid).expect("its stat file") > before);
        assert!(peak_kib(pid).expect("its status file") > 500);
    }
}
