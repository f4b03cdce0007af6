//! Sending back what comes back: reports wait their time, then a few connections carry
//! them to the bounce processor, again and again until it has taken them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail::{Report, Timestamp};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::fate::Fate;
use super::report;
use super::world::HostId;
use crate::book::counters::count;
use crate::mix;

/// Reports that may wait at the same time; more are given up and counted as lost.
const WAITING_MAX: usize = 500_000;

/// Reports over one connection.
const PER_CONNECTION_MAX: usize = 100;

/// How long the bounce processor may take for any answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a sender without work looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A report to be written and sent.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) report: Report,
    pub(super) fate: Fate,
    pub(super) host: HostId,
    pub(super) recipient: String,
    pub(super) return_path: String,
    pub(super) client: IpAddr,
    pub(super) headers: Vec<u8>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    tries: u32,
    job: Job,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// Reports on their way.
#[derive(Debug)]
pub(super) struct Returns {
    waiting: Mutex<BinaryHeap<Reverse<Due>>>,
    to: watch::Sender<Option<SocketAddr>>,
    /// Ways to write that the bounce processor has been spoken to in.
    spoken: Mutex<BTreeSet<u16>>,
}

/// What became of one report.
enum Fared {
    Taken,
    Refused,
    NotNow,
}

impl Returns {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::default(), to: watch::Sender::new(None), spoken: Mutex::default() }
    }

    pub(super) fn set_destination(&self, to: Option<SocketAddr>) {
        self.to.send_replace(to);
    }

    pub(super) fn spoken(&self) -> usize {
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn push(&self, due: Due) -> bool {
        let mut waiting = self.lock();
        let room = waiting.len() < WAITING_MAX;
        if room {
            waiting.push(Reverse(due));
        }
        room
    }

    fn take_due(&self) -> Option<Due> {
        let mut waiting = self.lock();
        let due = waiting.peek().is_some_and(|Reverse(first)| first.at <= Instant::now());
        due.then(|| waiting.pop().map(|Reverse(first)| first)).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Due>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a report on its way. A report without a return path has nowhere to go
/// (RFC 5321, 4.5.5).
pub(super) fn schedule(shared: &Shared, job: Job) {
    if job.return_path.is_empty() {
        return;
    }
    let returns = &shared.world.scenario.returns;
    let share = mix::share(mix::of_text(shared.world.scenario.seed, 51, &job.recipient));
    let delay_ms = returns.delay_ms + (returns.spread_ms as f64 * share) as u64;
    let counters = shared.counters_of(job.host);
    count(&counters.reports_waiting);
    let host = job.host;
    let due = Due { at: Instant::now() + Duration::from_millis(delay_ms), tries: 0, job };
    if !shared.returns.push(due) {
        lose(shared, host);
    }
}

fn lose(shared: &Shared, host: HostId) {
    let counters = shared.counters_of(host);
    counters.reports_waiting.fetch_sub(1, Relaxed);
    count(&counters.reports_lost);
}

/// One sender's life: until `stop`.
pub(super) async fn carry(shared: Arc<Shared>, stop: CancellationToken) {
    let mut to = shared.returns.to.subscribe();
    loop {
        let known = async { to.wait_for(Option::is_some).await.ok().and_then(|to| *to) };
        let destination = tokio::select! {
            known = known => known,
            () = stop.cancelled() => return,
        };
        let Some(destination) = destination else { return };
        let Some(first) = shared.returns.take_due() else {
            tokio::select! {
                () = sleep(LOOK_AGAIN) => continue,
                () = stop.cancelled() => return,
            }
        };
        tokio::select! {
            () = trip(&shared, destination, first) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// One connection: as many reports as are due, until something goes wrong.
async fn trip(shared: &Shared, destination: SocketAddr, first: Due) {
    let mut due = Some(first);
    let mut line = match Line::open(destination).await {
        Ok(line) => line,
        Err(_) => return again(shared, due.take()),
    };
    for _ in 0..PER_CONNECTION_MAX {
        let Some(now) = due.take().or_else(|| shared.returns.take_due()) else { break };
        let (sender, letter) = report::compose(&now.job, &shared.world, clock());
        match line.send(&sender, &now.job.return_path, &letter).await {
            Ok(Fared::Taken) => taken(shared, &now.job),
            Ok(Fared::Refused) => lose(shared, now.job.host),
            Ok(Fared::NotNow) | Err(_) => return again(shared, Some(now)),
        }
    }
    // Whether the farewell is heard makes no difference.
    let _polite = line.command("QUIT").await;
}

fn taken(shared: &Shared, job: &Job) {
    let counters = shared.counters_of(job.host);
    counters.reports_waiting.fetch_sub(1, Relaxed);
    count(&counters.reports_sent);
    shared.book.reported(&job.recipient, job.report);
    if let Fate::Written(written) = job.fate {
        let mut spoken = shared.returns.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        spoken.insert(written.dialect());
    }
}

fn again(shared: &Shared, due: Option<Due>) {
    let Some(due) = due else { return };
    let tries = due.tries + 1;
    let host = due.job.host;
    let wait = Duration::from_millis(250) * 2u32.pow(tries.min(5));
    let later = Due { at: Instant::now() + wait, tries, ..due };
    if tries >= shared.world.scenario.returns.tries || !shared.returns.push(later) {
        lose(shared, host);
    }
}

fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A client's side of SMTP, just enough to hand in a report.
struct Line(BufStream<TcpStream>);

impl Line {
    async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(to)).await??;
        stream.set_nodelay(true)?;
        let mut line = Self(BufStream::new(stream));
        let banner = line.reply().await?;
        let hello = line.command("EHLO mx.pretend.test").await?;
        if banner >= 300 || hello >= 300 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(line)
    }

    async fn send(&mut self, from: &str, to: &str, letter: &[u8]) -> io::Result<Fared> {
        for command in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"), "DATA".to_owned()]
        {
            match self.command(&command).await? {
                0..400 => {}
                400..500 => return Ok(Fared::NotNow),
                _ => {
                    self.command("RSET").await?;
                    return Ok(Fared::Refused);
                }
            }
        }
        for line in letter.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                self.0.write_all(b".").await?;
            }
            self.0.write_all(line).await?;
        }
        Ok(match self.command(".").await? {
            0..300 => Fared::Taken,
            300..500 => Fared::NotNow,
            _ => Fared::Refused,
        })
    }

    async fn command(&mut self, command: &str) -> io::Result<u16> {
        self.0.write_all(command.as_bytes()).await?;
        self.0.write_all(b"\r\n").await?;
        timeout(PATIENCE, self.0.flush()).await??;
        self.reply().await
    }

    async fn reply(&mut self) -> io::Result<u16> {
        loop {
            let mut line = String::new();
            if timeout(PATIENCE, self.0.read_line(&mut line)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                let code = line.get(..3).and_then(|code| code.parse().ok());
                return code.ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
        }
    }
}
