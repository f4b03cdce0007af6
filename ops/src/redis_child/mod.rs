//! The private Redis of `malleposte up`: started on a unix socket in the data folder,
//! brought back when it dies, ended last. How queues use it is the store's business.

mod explain;
mod launch;
mod lock;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use launch::{Launcher, Server};
use lock::{FolderLock, socket_path, url_of};

pub use lock::running;

/// Less than this after its start, a death counts as one more of the same.
const STEADY_AFTER: Duration = Duration::from_secs(30);
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// For binding the socket and answering at all. Loading a large AOF is not part of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// SIGTERM makes Redis write and sync what it holds; after this it is killed, which at
/// `always` loses nothing that was answered.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// For whoever waits for `supervise`: longer than its own patience, so that it is the one
/// who tells.
pub const STOP_GRACE: Duration = Duration::from_secs(15);

/// The private Redis that `malleposte up` starts for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The server's program. When not set, `redis-server` and then `valkey-server` are
    /// looked for in PATH.
    #[schemars(extend("examples" = ["/usr/bin/valkey-server"]))]
    pub server_binary: Option<PathBuf>,
    /// When an answer is on disk: `always` before it is given, so that nothing accepted is
    /// ever lost and nothing is sent twice for it; `everysec` within about a second, which
    /// is faster on slow disks.
    pub appendfsync: Fsync,
}

/// When an answer is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Before the answer.
    #[default]
    Always,
    /// Within about a second.
    Everysec,
}

impl Fsync {
    /// Redis's own word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
        }
    }
}

impl Config {
    pub(crate) fn warning(&self) -> Option<String> {
        launch::find_server(self).err().map(|e| format!("`malleposte up`: {e}"))
    }
}

/// A running private Redis. Dropped without `stop`, it is killed.
#[derive(Debug)]
pub struct RedisChild {
    launcher: Launcher,
    server: Server,
    pid: Arc<AtomicU32>,
    /// Kept to the end: it is what makes the data folder ours.
    lock: FolderLock,
}

impl RedisChild {
    /// Starts the server on the data folder and waits until it answers, however long it
    /// reads its AOF.
    ///
    /// # Errors
    /// No server installed, a data folder in use by another process, or a server that
    /// ends at once, with its reason.
    pub async fn start(config: &Config, data_dir: &Path) -> anyhow::Result<Self> {
        let binary = launch::find_server(config)?;
        let folder = lock::make_folder(data_dir)?;
        let (socket, short) = socket_path(&folder)?;
        let lock = FolderLock::acquire(&folder, &socket, short).await?;
        let launcher = Launcher::new(binary, folder, socket, config.appendfsync)?;
        let mut server = launcher.launch(&lock).await?;
        if let Err(error) = wait_until_ready(&mut server, &launcher).await {
            server.kill().await;
            return Err(error);
        }
        let pid = Arc::new(AtomicU32::new(server.pid()));
        tracing::info!(pid = server.pid(), socket = %launcher.socket.display(), "private Redis is up");
        Ok(Self { launcher, server, pid, lock })
    }

    /// Where clients reach it: `redis+unix:///…`. Stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        url_of(&self.launcher.socket)
    }

    /// The process id of the present server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// The process id of whatever server is the present one, also while `supervise` runs.
    #[must_use]
    pub fn pid_cell(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.pid)
    }

    /// Brings the server back whenever it dies, until `shutdown` is cancelled; then stops
    /// it. Never gives up: a full disk is emptied some time.
    ///
    /// # Errors
    /// The server could not be stopped in an orderly way.
    pub async fn supervise(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut back_off = BACK_OFF_MIN;
        let mut since = Instant::now();
        loop {
            let ended = tokio::select! {
                () = shutdown.cancelled() => return self.stop().await,
                ended = self.server.ended() => ended,
            };
            self.pid.store(0, Ordering::Relaxed);
            if since.elapsed() > STEADY_AFTER {
                back_off = BACK_OFF_MIN;
            }
            tracing::error!("private Redis {ended}; starting it again in {back_off:?}");
            let back = shutdown.run_until_cancelled(self.bring_back(&mut back_off)).await;
            if back.is_none() {
                return self.stop().await;
            }
            since = Instant::now();
        }
    }

    async fn bring_back(&mut self, back_off: &mut Duration) {
        loop {
            sleep(*back_off).await;
            *back_off = (*back_off * 2).min(BACK_OFF_MAX);
            metrics::counter!("malleposte_redis_restarts_total").increment(1);
            match self.launch_again().await {
                Ok(()) => break,
                Err(e) => tracing::error!("{e:#}; trying again in {back_off:?}"),
            }
        }
        self.pid.store(self.server.pid(), Ordering::Relaxed);
        tracing::warn!(pid = self.server.pid(), "private Redis is back");
    }

    async fn launch_again(&mut self) -> anyhow::Result<()> {
        self.server.kill().await;
        self.server = self.launcher.launch(&self.lock).await?;
        wait_until_ready(&mut self.server, &self.launcher).await
    }

    /// Asks the server to write what it holds and end, and waits for it.
    ///
    /// # Errors
    /// It did not end in time and was killed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.server.terminate();
        if tokio::time::timeout(STOP_WITHIN, self.server.ended()).await.is_err() {
            self.server.kill().await;
            bail!("private Redis did not stop within {STOP_WITHIN:?} and was killed");
        }
        let _ = std::fs::remove_file(&self.launcher.socket);
        tracing::info!("private Redis has stopped");
        Ok(())
    }
}

/// What the server says to PING.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Ready,
    Loading,
    /// Alive, and refusing: its words.
    Refusing(String),
}

async fn wait_until_ready(server: &mut Server, launcher: &Launcher) -> anyhow::Result<()> {
    let mut deadline = Instant::now() + ANSWER_WITHIN;
    let mut told = false;
    loop {
        let pause = tokio::select! {
            ended = server.ended() => bail!("private Redis {ended}"),
            health = launch::ping(&launcher.socket) => match health {
                Ok(Health::Ready) => return Ok(()),
                Ok(Health::Loading) => {
                    deadline = Instant::now() + ANSWER_WITHIN;
                    if !told {
                        tracing::info!("private Redis is reading its data");
                    }
                    told = true;
                    Duration::from_millis(100)
                }
                // MISCONF: the disk was full the last time it wrote. It is up, and says
                // the same to everybody who writes until there is room again.
                Ok(Health::Refusing(words)) => {
                    tracing::error!("private Redis is up and refuses to write: {words}");
                    return Ok(());
                }
                Err(_) => Duration::from_millis(10),
            },
        };
        if Instant::now() > deadline {
            bail!("private Redis did not answer within {ANSWER_WITHIN:?}: {}", server.last_words());
        }
        sleep(pause).await;
    }
}

impl RedisChild {
    /// The folder that holds the server's data, for messages.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.launcher.folder
    }
}

/// One command in Redis's inline form and the first line of its answer.
async fn ask(socket: &Path, command: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    /// An answer to PING is a word, an error a sentence.
    const ANSWER_BYTES_MAX: u64 = 4096;
    let talk = async {
        let mut stream = tokio::net::UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).await?;
        anyhow::Ok(line.trim_end().to_owned())
    };
    tokio::time::timeout(Duration::from_secs(2), talk).await.context("no answer within 2 s")?
}
