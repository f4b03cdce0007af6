//! A server that listens on a port, as those of a topology do: started, killed, paused,
//! started again, asked.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    pub port: u16,
    pub folder: tempfile::TempDir,
    program: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    // Below the ports that the system gives to whoever connects, where a neighbour's
    // connection could take it before the server listens.
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + ((std::process::id() as u16 % 700) * 31 + step) % 21_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Polls until something holds; says what did not.
pub async fn eventually(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        Self::start_program("redis-server", free_port(), args)
    }

    pub fn start_program(program: impl Into<PathBuf>, port: u16, args: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("mp").tempdir().unwrap();
        let mut server = Self {
            port,
            folder,
            program: program.into(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            child: None,
        };
        server.start_again();
        server
    }

    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        // A sentinel's first argument is its configuration, which names its port.
        let is_sentinel = self.args.iter().any(|a| a == "--sentinel");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program).args(&self.args);
        if !is_sentinel {
            command.args(["--save", "", "--bind", "127.0.0.1", "--protected-mode", "no"]);
            command.arg("--dir").arg(self.folder.path());
            if !self.args.iter().any(|a| a == "--port") {
                command.args(["--port", &self.port.to_string()]);
            }
        }
        self.child = Some(command.stdout(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(15),
                "{:?} does not come up",
                self.program
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it where it stands (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> Option<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let answer = async {
            let mut conn = client.get_multiplexed_async_connection().await?;
            let mut cmd = redis::cmd(words[0]);
            words[1..].iter().for_each(|w| {
                cmd.arg(*w);
            });
            cmd.query_async(&mut conn).await
        };
        tokio::time::timeout(Duration::from_secs(2), answer).await.ok()?.ok()
    }

    pub async fn info(&self, name: &str) -> Option<String> {
        let text: String = self.ask(&["INFO", "everything"]).await?;
        text.lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
            .map(|v| v.trim().to_owned())
    }

    pub async fn online_replicas(&self) -> usize {
        let text: String = self.ask(&["INFO", "replication"]).await.unwrap_or_default();
        text.lines().filter(|l| l.starts_with("slave") && l.contains("state=online")).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
