//! A real Redis for one test: a child on a unix socket in a folder of its own, ended
//! with the test. And what tests put into it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test files that each use a part"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mail::Timestamp;
use store::{CampaignRecord, StartAt, TemplateRecord};

pub struct Redis {
    child: Child,
    folder: tempfile::TempDir,
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "no"])
    }

    pub fn start_with(extra: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("mp").tempdir().unwrap();
        let mut redis = Self { child: Self::spawn(folder.path(), extra), folder };
        redis.wait();
        redis
    }

    fn spawn(folder: &std::path::Path, extra: &[&str]) -> Child {
        let server = ["redis-server", "valkey-server"]
            .into_iter()
            .find(|s| Command::new(s).arg("--version").stdout(Stdio::null()).status().is_ok())
            .expect("install redis-server: the queue's tests need a real one");
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", server, "--port", "0", "--save", ""])
            .arg("--unixsocket")
            .arg(folder.join("redis.sock"))
            .arg("--dir")
            .arg(folder)
            .args(extra)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Until it answers: it listens before it has loaded what it had.
    fn wait(&mut self) {
        let start = Instant::now();
        let socket = self.folder.path().join("redis.sock");
        while !answers(&socket).is_ok_and(|answer| answer == *b"+PONG") {
            assert!(start.elapsed() < Duration::from_secs(10), "redis does not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}/redis.sock", self.folder.path().display())
    }

    pub fn config(&self) -> store::Config {
        store::Config { url: self.url(), shards: 4, ..store::Config::default() }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let _ = std::fs::remove_file(self.folder.path().join("redis.sock"));
    }

    pub fn restart(&mut self, extra: &[&str]) {
        self.child = Self::spawn(self.folder.path(), extra);
        self.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(socket: &std::path::Path) -> std::io::Result<[u8; 5]> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    std::io::Write::write_all(&mut stream, b"PING\r\n")?;
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut stream, &mut answer)?;
    Ok(answer)
}

/// A campaign of nobody in particular.
pub fn campaign() -> CampaignRecord {
    let template = TemplateRecord {
        from_name: "Acme".into(),
        from_address: "news@example.com".parse().unwrap(),
        reply_to: None,
        subject: "News".into(),
        text: Some("Hello".into()),
        html: None,
        derive_text: false,
        headers: Vec::new(),
        fields: Vec::new(),
    };
    CampaignRecord {
        tenant: "acme".into(),
        name: "November".into(),
        template,
        pool: "default".into(),
        priority: 1,
        weight: mail::share::WEIGHT,
        start: StartAt::Now,
        lifetime_s: None,
        window: None,
        require_tls: false,
        gates: true,
        created_at: Timestamp(1),
        created_by: "test".into(),
        request: String::new(),
    }
}
