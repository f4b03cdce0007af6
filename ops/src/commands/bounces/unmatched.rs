//! `malleposte bounces unmatched`: reports that came and name no delivery of ours, or nobody whom
//! one went to. They lie in the folder `.Unmatched` of the mailbox on the bounce processor's host.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bounce_processor::{Fate, Importer};
use clap::{Args, Subcommand};
use mail::returned::{self, Returned};
use serde_json::json;

use super::ended;
use crate::commands::{Global, block_on};
use crate::wiring::{self, Keys, connect};

/// Reports that could not be placed, on the host of the bounce processor
///
/// A report reaches a list only when it proves which message it is about, and names the address that
/// this message went to. All others are kept here: forged ones, those of other systems, those that
/// were forwarded and name a stranger.
#[derive(Debug, Args)]
pub(super) struct Unmatched {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One JSON object a line and report
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print one, as it came
    Show {
        /// Its name in the list, or the beginning of it
        name: String,
    },
    /// Try to place them again, after a key or a domain was put back; those that are placed go
    Again,
    /// Throw one away
    Drop {
        /// Its name in the list, or the beginning of it
        name: String,
    },
}

/// A report where it lies.
struct Kept {
    name: String,
    path: PathBuf,
    came: u64,
}

impl Unmatched {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        let folder = config.bounces.mailbox.join(".Unmatched");
        let kept = kept(&folder)?;
        match &self.verb {
            None => self.list(&kept),
            Some(Verb::Show { name }) => {
                let octets = std::fs::read(&the_one(&kept, name)?.path)?;
                ended(io::stdout().lock().write_all(&octets), true)
            }
            Some(Verb::Drop { name }) => {
                std::fs::remove_file(&the_one(&kept, name)?.path)?;
                Ok(ExitCode::SUCCESS)
            }
            Some(Verb::Again) => block_on(async {
                let store = connect(&config).await?;
                let parts = wiring::bounce_parts(&config, &store, &Keys::open(&config)?)?;
                again(&Importer::open(&config.bounces, parts)?, &kept).await
            }),
        }
    }

    fn list(&self, kept: &[Kept]) -> anyhow::Result<ExitCode> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut is_all_read = true;
        let mut tell = |report: &Kept| match std::fs::read(&report.path) {
            Ok(octets) => {
                let returned = returned::parse(&octets);
                let line = if self.json {
                    as_json(&report.name, &returned)
                } else {
                    text(&report.name, &returned)
                };
                writeln!(out, "{line}")
            }
            Err(error) => {
                is_all_read = false;
                eprintln!("{}: cannot be read: {error}", report.name);
                Ok(())
            }
        };
        let written = kept.iter().try_for_each(&mut tell);
        let written = match kept {
            [] if !self.json => written.and_then(|()| writeln!(out, "No report is unmatched.")),
            _ => written,
        };
        ended(written.and_then(|()| out.flush()), is_all_read)
    }
}

/// The reports, the oldest first.
fn kept(folder: &Path) -> anyhow::Result<Vec<Kept>> {
    if !folder.exists() {
        bail!(
            "there is no {}: run this on the bounce processor's host, or name its folder with --data-dir",
            folder.display()
        );
    }
    let mut kept = Vec::new();
    for part in ["new", "cur"] {
        let part = folder.join(part);
        if !part.exists() {
            continue;
        }
        let entries = std::fs::read_dir(&part).with_context(|| part.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.split(['.', ':']).take(2).collect::<Vec<_>>().join(".");
            // The moment when it came stands first in its name, in seconds.
            let came = name.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(u64::MAX);
            kept.push(Kept { name, path, came });
        }
    }
    kept.sort_by(|a, b| (a.came, a.name.len(), &a.name).cmp(&(b.came, b.name.len(), &b.name)));
    Ok(kept)
}

fn the_one<'k>(kept: &'k [Kept], name: &str) -> anyhow::Result<&'k Kept> {
    if let Some(exact) = kept.iter().find(|report| report.name == name) {
        return Ok(exact);
    }
    let mut fitting = kept.iter().filter(|report| report.name.starts_with(name));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            bail!("no unmatched report {name:?}; `malleposte bounces unmatched` lists them")
        }
        (Some(_), Some(_)) => bail!("{name:?} is the beginning of more than one"),
    }
}

async fn again(importer: &Importer, kept: &[Kept]) -> anyhow::Result<ExitCode> {
    let mut placed = 0;
    for report in kept {
        let octets = std::fs::read(&report.path).with_context(|| report.name.clone())?;
        if let (_, Fate::Placed) = importer.take(&octets).await? {
            std::fs::remove_file(&report.path)?;
            placed += 1;
        }
    }
    println!("{placed} of {} are placed.", kept.len());
    Ok(ExitCode::SUCCESS)
}

/// Whom it names, and what it says of the first of them.
fn named(returned: &Returned) -> (Vec<&str>, Option<&returned::FailedRecipient>) {
    let of_failures = returned.failures.iter().filter_map(|failure| failure.recipient.as_deref());
    let of_feedback = returned.feedback.iter().flat_map(|f| &f.recipients).map(String::as_str);
    (of_failures.chain(of_feedback).collect(), returned.failures.first())
}

fn as_json(name: &str, returned: &Returned) -> String {
    let (recipients, first) = named(returned);
    json!({
        "name": name,
        "kind": returned.kind,
        "recipients": recipients,
        "category": first.map(|failure| failure.finding.category),
        "diagnostic": first.map(|failure| &failure.diagnostic),
        "message_id": returned.original.message_id,
        "from": returned.from,
        "subject": returned.subject,
    })
    .to_string()
}

fn text(name: &str, returned: &Returned) -> String {
    let (recipients, first) = named(returned);
    let whom = if recipients.is_empty() { "nobody".to_owned() } else { recipients.join(", ") };
    let category = first.map_or(String::new(), |failure| format!(" {}", failure.finding.category));
    let said = first.map_or(returned.subject.as_str(), |failure| failure.diagnostic.as_str());
    let from = returned.from.as_deref().unwrap_or("-");
    let line = format!("{name}  {}{category} of {whom}, from {from}: {said}", returned.kind);
    mail::reply::clean_text(&line)
}
