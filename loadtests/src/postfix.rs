//! A Postfix of its own, out of Debian's package: configuration, queue and processes in a folder
//! that goes away with it. To see what a message costs it, and whether it takes ours. It starts
//! as root alone; nothing of the host's Postfix is touched.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};

use crate::process::{cpu_of, send};

const PROGRAMS: &str = "/usr/lib/postfix/sbin";
/// What it may take to come up, and to end.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// The services that such a Postfix needs, without a chroot: name, type, command, and how many
/// processes at most (`-` for Postfix's own limit). See master(5).
const SERVICES: &[(&str, &str, &str, &str)] = &[
    ("cleanup", "unix", "cleanup", "0"),
    ("qmgr", "unix", "qmgr", "1"),
    ("tlsmgr", "unix", "tlsmgr", "1"),
    ("rewrite", "unix", "trivial-rewrite", "-"),
    ("bounce", "unix", "bounce", "0"),
    ("defer", "unix", "bounce", "0"),
    ("trace", "unix", "bounce", "0"),
    ("verify", "unix", "verify", "1"),
    ("proxymap", "unix", "proxymap", "-"),
    ("smtp", "unix", "smtp", "-"),
    ("relay", "unix", "smtp", "-"),
    ("error", "unix", "error", "-"),
    ("retry", "unix", "error", "-"),
    ("discard", "unix", "discard", "-"),
    ("virtual", "unix", "virtual", "-"),
    ("anvil", "unix", "anvil", "1"),
    ("scache", "unix", "scache", "1"),
    ("postlog", "unix-dgram", "postlogd", "1"),
];

const PUBLIC: &[&str] = &["cleanup", "qmgr", "postlog"];

/// A Postfix that runs.
#[derive(Debug)]
pub struct Postfix {
    folder: tempfile::TempDir,
    master: Child,
    address: SocketAddr,
}

impl Postfix {
    /// Whether the package is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new(PROGRAMS).join("master").is_file()
    }

    /// Starts one that listens at the address, with these lines in its `main.cf` besides what it
    /// needs, and waits until it does.
    ///
    /// # Errors
    /// When it is not installed, this is not root, or it does not come up.
    pub async fn start(folder: tempfile::TempDir, address: SocketAddr, main: &str) -> Result<Self> {
        ensure!(Self::is_installed(), "postfix is not installed: apt-get install postfix");
        ensure!(rustix::process::geteuid().is_root(), "postfix starts as root alone");
        let root = folder.path();
        // Its processes, which are not root, pass through here.
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o755))?;
        let settings = root.join("etc");
        for name in ["etc", "queue", "data"] {
            std::fs::create_dir(root.join(name))?;
        }
        own(&root.join("data"), "postfix").await?;
        std::fs::write(settings.join("main.cf"), main_cf(root, main))?;
        std::fs::write(settings.join("master.cf"), master_cf(address))?;
        // Makes the folders of the queue.
        run("/usr/sbin/postfix", &["-c", &settings.to_string_lossy(), "check"]).await?;
        let master = Command::new(Path::new(PROGRAMS).join("master"))
            .arg("-c")
            .arg(&settings)
            // In the foreground.
            .arg("-d")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start postfix's master")?;
        let mut postfix = Self { folder, master, address };
        postfix.await_port().await?;
        Ok(postfix)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its folder: `etc`, `queue`, `data`, and whatever its settings make it write.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Processor time of all its processes since its start, those that have ended among them.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(self.master.id().context("postfix has ended")?)
    }

    /// What it wrote to its log, when its settings name `log` in its folder as `maillog_file`.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// Ends it and waits for it.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> Result<()> {
        send(self.master.id().context("postfix has ended")?, rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(STOPS_WITHIN, self.master.wait()).await;
        ended.context("postfix does not end")??;
        Ok(())
    }

    async fn await_port(&mut self) -> Result<()> {
        let patience = tokio::time::Instant::now() + STARTS_WITHIN;
        while tokio::time::Instant::now() < patience {
            if let Some(status) = self.master.try_wait()? {
                bail!("postfix ended by itself with {status}:\n{}", self.log());
            }
            if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("postfix does not come up:\n{}", self.log())
    }
}

fn main_cf(root: &Path, more: &str) -> String {
    let root = root.display();
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {root}/queue\n\
         data_directory = {root}/data\n\
         command_directory = /usr/sbin\n\
         daemon_directory = {PROGRAMS}\n\
         mail_owner = postfix\n\
         setgid_group = postdrop\n\
         myhostname = mx.postfix.example\n\
         mydestination =\n\
         mynetworks = 127.0.0.0/8\n\
         alias_maps =\n\
         alias_database =\n\
         local_recipient_maps =\n\
         inet_interfaces = all\n\
         smtpd_peername_lookup = no\n\
         biff = no\n\
         {more}\n"
    )
}

fn master_cf(address: SocketAddr) -> String {
    let mut text = format!("{address} inet n - n - - smtpd\n");
    for (name, kind, command, most) in SERVICES {
        // Whoever is spoken to from outside has its socket among the public ones.
        let private = if PUBLIC.contains(name) { "n" } else { "-" };
        // And who writes mailboxes becomes their owners.
        let unprivileged = if *name == "virtual" { "n" } else { "-" };
        text.push_str(&format!("{name} {kind} {private} {unprivileged} n - {most} {command}\n"));
    }
    text
}

async fn own(path: &Path, user: &str) -> Result<()> {
    run("chown", &[user, &path.to_string_lossy()]).await
}

async fn run(program: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output().await?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {told}", words.join(" "));
    Ok(())
}
