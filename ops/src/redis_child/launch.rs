//! Finding and starting the server, and hearing what it says. When to start it again is
//! decided in the module above.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::lock::FolderLock;
use super::{Config, Fsync, Health, ask, explain};

/// What is kept of the server's log to explain its end.
const LAST_LINES_MAX: usize = 40;
/// A log line of Redis is short; one that is not comes from something else.
const LINE_BYTES_MAX: usize = 4096;
/// The signal that leaves no time for a last word (POSIX gives it this number).
const SIGKILL: i32 = 9;

type Lines = Arc<Mutex<VecDeque<String>>>;

/// Starts servers, from a thread that lives as long as itself. The kernel's "kill me when
/// my parent dies" means the thread that forked, not the process: a thread of the
/// runtime may end earlier and would take Redis along.
#[derive(Debug)]
pub(super) struct Launcher {
    binary: PathBuf,
    setpriv: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) socket: PathBuf,
    fsync: Fsync,
    thread: mpsc::Sender<Order>,
}

struct Order {
    command: Command,
    runtime: tokio::runtime::Handle,
    reply: oneshot::Sender<std::io::Result<Child>>,
}

impl Launcher {
    pub(super) fn new(
        binary: PathBuf,
        folder: PathBuf,
        socket: PathBuf,
        fsync: Fsync,
    ) -> anyhow::Result<Self> {
        let setpriv = in_path("setpriv")
            .context("no `setpriv` in PATH: install it with `apt-get install util-linux`")?;
        let (thread, orders) = mpsc::channel::<Order>();
        std::thread::Builder::new().name("redis-parent".to_owned()).spawn(move || {
            for mut order in orders {
                let _runtime = order.runtime.enter();
                // A reply that nobody waits for drops the child, which kills it.
                let _ = order.reply.send(order.command.spawn());
            }
        })?;
        Ok(Self { binary, setpriv, folder, socket, fsync, thread })
    }

    pub(super) async fn launch(&self, lock: &FolderLock) -> anyhow::Result<Server> {
        // Left behind by a killed server; Redis would refuse to bind.
        match std::fs::remove_file(&self.socket) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                bail!("cannot remove the old socket {:?}: {e}", self.socket)
            }
            Ok(()) | Err(_) => {}
        }
        let mut command = self.command();
        command.stdin(lock.share()?);
        let (reply, spawned) = oneshot::channel();
        let order = Order { command, runtime: tokio::runtime::Handle::current(), reply };
        self.thread.send(order).map_err(|_| anyhow!("the thread that starts Redis has ended"))?;
        let child = spawned.await.context("the thread that starts Redis has ended")?;
        let child = child.with_context(|| format!("cannot start {:?}", self.setpriv))?;
        Server::listening_to(child)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.setpriv);
        // KILL, not TERM: it must go even when it hangs in a script or on a disk, and
        // whatever it has answered is on disk already.
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.binary);
        command.args(["--port", "0", "--unixsocketperm", "700", "--unixsocket"]).arg(&self.socket);
        command.args(["--appendonly", "yes", "--appendfsync", self.fsync.as_str()]);
        command.args(["--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no"]);
        // To us, not to a file: on a full disk the reason would be lost.
        command.args(["--logfile", "", "--loglevel", "notice", "--dir", "."]);
        command.current_dir(&self.folder);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C at the terminal is for us; Redis is told last.
        command.process_group(0);
        command
    }
}

/// One running server process and the end of its log.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pid: u32,
    lines: Lines,
    readers: Vec<AbortOnDropHandle<()>>,
}

impl Server {
    fn listening_to(mut child: Child) -> anyhow::Result<Self> {
        let pid = child.id().context("the server ended before it began")?;
        let lines = Lines::default();
        let out = child.stdout.take().map(|pipe| tokio::spawn(hear(pipe, Arc::clone(&lines))));
        let err = child.stderr.take().map(|pipe| tokio::spawn(hear(pipe, Arc::clone(&lines))));
        let readers = out.into_iter().chain(err).map(AbortOnDropHandle::new).collect();
        Ok(Self { child, pid, lines, readers })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end of the server and says how and why it came. May be dropped and
    /// called again.
    pub(super) async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        while let Some(reader) = self.readers.last_mut() {
            // A grandchild (an AOF rewrite) may hold the pipe a little longer.
            let _ = tokio::time::timeout(Duration::from_secs(1), reader).await;
            self.readers.pop();
        }
        match status {
            Ok(status) if status.signal() == Some(SIGKILL) => {
                "was killed, by somebody or by the kernel for want of memory".to_owned()
            }
            Ok(status) => format!("ended ({status}): {}", self.last_words()),
            Err(e) => format!("cannot be waited for: {e}"),
        }
    }

    pub(super) fn last_words(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        explain::explain(lines.iter().map(String::as_str))
    }

    /// SIGTERM, the orderly end.
    pub(super) fn terminate(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        // While the child is not waited for, its number belongs to nobody else.
        let alive = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = alive.and_then(Pid::from_raw)
            && let Err(e) = kill_process(pid, Signal::TERM)
        {
            tracing::warn!("cannot ask private Redis to stop: {e}");
        }
    }

    pub(super) async fn kill(&mut self) {
        // Fails when it has ended already, which is what is wanted.
        let _ = self.child.kill().await;
    }
}

/// Keeps the last lines and passes each on at debug. Ends with the pipe.
async fn hear(pipe: impl AsyncRead + Unpin, lines: Lines) {
    let mut reader = BufReader::with_capacity(LINE_BYTES_MAX, pipe);
    let mut raw = Vec::new();
    loop {
        raw.clear();
        let (used, whole) = match reader.fill_buf().await {
            Ok([]) | Err(_) => return,
            Ok(buffer) => match buffer.iter().position(|&b| b == b'\n') {
                Some(end) => (end + 1, end),
                // A piece of an endless line counts as a line.
                None => (buffer.len(), buffer.len()),
            },
        };
        raw.extend_from_slice(&reader.buffer()[..whole]);
        reader.consume(used);
        let line = String::from_utf8_lossy(&raw).trim().to_owned();
        tracing::debug!(target: "redis", "{line}");
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

pub(super) fn find_server(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(binary) = &config.server_binary {
        // A bare name is looked for in PATH, like any command.
        let found = match binary.components().count() {
            1 => binary.to_str().and_then(in_path),
            _ => is_program(binary).then(|| binary.clone()),
        };
        return found
            .with_context(|| format!("`redis.server_binary`: {binary:?} is not a program"));
    }
    in_path("redis-server").or_else(|| in_path("valkey-server")).context(
        "no redis-server or valkey-server in PATH: install one with `apt-get install redis-server`",
    )
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

pub(super) async fn ping(socket: &Path) -> anyhow::Result<Health> {
    let answer = ask(socket, "PING").await?;
    match answer.as_str() {
        "+PONG" => Ok(Health::Ready),
        loading if loading.starts_with("-LOADING") => Ok(Health::Loading),
        refusal if refusal.starts_with('-') => Ok(Health::Refusing(refusal[1..].to_owned())),
        other => bail!("{other:?} is no answer of Redis"),
    }
}
