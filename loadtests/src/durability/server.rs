//! One Redis or Valkey server of a durability trial: started, watched, killed, its power
//! cut, started again, made a replica or a primary.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::fsync::Watched;
use crate::process;
use crate::program::free_port;

const COMES_UP_WITHIN: Duration = Duration::from_secs(20);
/// A server may write between two looks at its file; then attaching is tried again.
const ATTACH_TRIES: usize = 5;

pub(super) struct Server {
    binary: PathBuf,
    folder: PathBuf,
    fsync: &'static str,
    address: SocketAddr,
    child: Child,
    watched: Option<Watched>,
}

impl Server {
    pub(super) async fn start(binary: &Path, folder: &Path, fsync: &'static str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let address = free_port(Ipv4Addr::LOCALHOST)?;
        let child = spawn(binary, folder, fsync, address)?;
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let server = Self { binary, folder, fsync, address, child, watched: None };
        server.await_answer("PING", |answer| answer.starts_with("+PONG")).await?;
        Ok(server)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Follows a primary, and has all of it.
    pub(super) async fn follow(&self, primary: &Self) -> Result<()> {
        let (host, port) = (primary.address.ip(), primary.address.port());
        self.ask(&format!("REPLICAOF {host} {port}")).await?;
        let is_up = |info: &str| {
            info.contains("master_link_status:up") && !info.contains("master_sync_in_progress:1")
        };
        self.await_answer("INFO replication", is_up).await?;
        // A replica begins its append-only file anew; what is written before is not in it.
        let is_written = |info: &str| {
            info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
        };
        self.await_answer("INFO persistence", is_written).await
    }

    /// Follows nobody any more.
    pub(super) async fn promote(&self) -> Result<()> {
        let answer = self.ask("REPLICAOF NO ONE").await?;
        ensure!(answer.starts_with("+OK"), "the replica is not promoted: {answer}");
        Ok(())
    }

    /// Writes down from now on what reaches the disk.
    pub(super) async fn watch(&mut self) -> Result<()> {
        let (trace, pid) = (self.folder.join("strace.txt"), self.pid()?);
        for _ in 1..ATTACH_TRIES {
            if let Ok(watched) = Watched::attach(pid, &self.file()?, &trace).await {
                self.watched = Some(watched);
                return Ok(());
            }
        }
        self.watched = Some(Watched::attach(pid, &self.file()?, &trace).await?);
        Ok(())
    }

    pub(super) fn kill(&self) -> Result<()> {
        process::send(self.pid()?, Signal::KILL)
    }

    /// After a kill: takes from its file what was not on the disk; answers the octets.
    pub(super) async fn cut(&mut self) -> Result<u64> {
        self.child.wait().await?;
        self.watched.take().context("nobody watches the server")?.cut().await
    }

    pub(super) async fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.binary, &self.folder, self.fsync, self.address)?;
        self.await_answer("PING", |answer| answer.starts_with("+PONG")).await
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// The newest append-only file: a server makes another with each rewrite.
    fn file(&self) -> Result<PathBuf> {
        let mut newest = None;
        for entry in std::fs::read_dir(self.folder.join("appendonlydir"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.strip_suffix(".incr.aof").and_then(|n| n.rsplit('.').next());
            if let Some(number) = number.and_then(|n| n.parse::<u64>().ok()) {
                newest = newest.max(Some((number, path)));
            }
        }
        Ok(newest.context("the server has no append-only file")?.1)
    }

    async fn await_answer(&self, command: &str, is_it: impl Fn(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + COMES_UP_WITHIN;
        let mut last = String::new();
        while Instant::now() < deadline {
            match self.ask(command).await {
                Ok(answer) if is_it(&answer) => return Ok(()),
                Ok(answer) => last = answer,
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{:?} does not come up: {command} is answered {last:?}", self.folder)
    }

    /// One command in the inline form; the answer's lines until its end.
    async fn ask(&self, command: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let Some(length) = line.trim_end().strip_prefix('$') else { return Ok(line) };
        let mut body = vec![0; length.parse()?];
        reader.read_exact(&mut body).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

fn spawn(binary: &Path, folder: &Path, fsync: &str, address: SocketAddr) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("server.log"))?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(binary)
        .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--appendonly", "yes", "--appendfsync", fsync, "--save", ""])
        .args(["--repl-diskless-sync-delay", "0", "--dir", "."])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {binary:?} with setpriv; install util-linux"))
}
