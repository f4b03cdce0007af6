//! The program under test: where it is, its commands run to their end, and what every
//! platform of it needs before a campaign can be made.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::internet::Internet;

/// The program under test.
#[derive(Debug, Clone)]
pub struct Program {
    /// The `malleposte` executable.
    pub path: PathBuf,
    /// Where it keeps its data, in a folder that is removed afterwards; the system's temporary
    /// folder when it is not given. The disk below it is part of what is measured.
    pub folder: Option<PathBuf>,
}

impl Program {
    /// The one given, or `malleposte` beside this executable.
    ///
    /// # Errors
    /// When it is not there.
    pub fn find(given: Option<PathBuf>, folder: Option<PathBuf>) -> Result<Self> {
        let path = match given {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("malleposte"),
        };
        ensure!(
            path.is_file(),
            "{path:?} is not there: build it with `cargo build --release -p ops`, or name it with --program"
        );
        Ok(Self { path, folder })
    }

    /// A folder of its own for one run.
    pub(crate) fn folder_for(&self, prefix: &str) -> Result<tempfile::TempDir> {
        let mut named = tempfile::Builder::new();
        named.prefix(prefix);
        Ok(match &self.folder {
            Some(parent) => named.tempdir_in(parent)?,
            None => named.tempdir()?,
        })
    }
}

/// A port that nobody has at this moment.
pub(crate) fn free_port(at: Ipv4Addr) -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((at, 0))?.local_addr()?)
}

/// Runs a command of the program to its end; answers what it prints.
pub(crate) async fn ask(program: &Path, config: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new(program).arg("--config").arg(config).args(words).output().await?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "malleposte {}: {told}", words.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// A sender domain with its key, and the record that proves it in the pretend DNS.
pub(crate) async fn make_sender(
    program: &Path,
    config: &Path,
    internet: &Internet,
    domain: &str,
    tenant: &str,
) -> Result<()> {
    make_sender_with(program, config, internet, &[domain, "--tenant", tenant]).await
}

/// The same with what `dkim add` is to be told.
pub(crate) async fn make_sender_with(
    program: &Path,
    config: &Path,
    internet: &Internet,
    words: &[&str],
) -> Result<()> {
    let told = ask(program, config, &[&["dkim", "add"], words].concat()).await?;
    let record = told.lines().find_map(|line| line.split_once(". TXT "));
    let (name, strings) = record.context("`dkim add` prints no TXT record")?;
    // Strings of 255 octets at most, in quotes, that belong together (RFC 1035, 3.3).
    let text: String = strings.split('"').skip(1).step_by(2).collect();
    internet.zone().add_txt(name, &text);
    Ok(())
}
