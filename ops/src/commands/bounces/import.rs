//! `malleposte bounces import`: mail that lies somewhere already, as if it had been brought.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bounce_processor::{BounceError, Fate, Importer};
use clap::Args;
use futures_util::{StreamExt, stream};
use mail::Report;
use serde_json::json;

use super::ended;
use super::files::{Mails, walk};
use crate::commands::{Global, block_on};
use crate::wiring::{self, Keys, connect};

/// Do what follows from mail that lies in files: Maildirs, mboxes, single mails, standard input
///
/// Failures, complaints and unsubscriptions that prove which message they are about are weighed and
/// counted as if they had been brought to the port; to import them again changes nothing. All else is
/// told and stays where it lies: nothing is moved, deleted or kept. A folder is read with all that is
/// below it, a file that begins with a `From ` line as an mbox, `-` is standard input.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Mails, mboxes, or folders of them
    #[arg(value_name = "FILE|FOLDER", required = true)]
    paths: Vec<PathBuf>,
    /// One JSON object a line and mail
    #[arg(long)]
    json: bool,
}

/// Mails under way at the same time.
const TOGETHER: usize = 32;

/// A mail and its name: its file, and its number there where the file is an mbox.
type Named = (String, io::Result<Vec<u8>>);

impl Import {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        block_on(async {
            let store = connect(&config).await?;
            let parts = wiring::bounce_parts(&config, &store, &Keys::open(&config)?)?;
            let importer = Importer::open(&config.bounces, parts)?;
            self.import(&importer).await
        })
    }

    async fn import(&self, importer: &Importer) -> anyhow::Result<ExitCode> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut sum = Sum::default();
        let files = self.files();
        let mails = files.iter().flat_map(|(name, path)| named(name, path));
        let mut done = stream::iter(mails)
            .map(|(name, mail)| async move {
                let done = match mail {
                    Ok(octets) => importer.take(&octets).await.map_err(Undone::Store),
                    Err(error) => Err(Undone::Unread(error)),
                };
                (name, done)
            })
            .buffered(TOGETHER);
        while let Some((name, done)) = done.next().await {
            sum.add(&done);
            let written = self.tell(&mut out, &name, &done);
            if let Err(error) = written {
                return ended(Err(error), true);
            }
            // Without a store nothing will do any better.
            if let Err(Undone::Store(error)) = done {
                out.flush()?;
                return Err(anyhow::Error::new(error).context(format!(
                    "{name} and what comes after it is not imported; import it again"
                )));
            }
        }
        let written = if self.json { Ok(()) } else { writeln!(out, "{sum}") };
        ended(written.and_then(|()| out.flush()), sum.unread == 0)
    }

    /// All files with their names.
    fn files(&self) -> Vec<(String, PathBuf)> {
        let mut files = Vec::new();
        for path in &self.paths {
            let mut each = |name: &str, file: &Path| {
                let is_root = file == path.as_path();
                let name =
                    if is_root { name.to_owned() } else { path.join(name).display().to_string() };
                files.push((name, file.to_owned()));
                Ok(())
            };
            // It only collects, and cannot fail.
            let _ = walk(path, path, &mut each);
        }
        files
    }

    fn tell(
        &self,
        out: &mut impl Write,
        name: &str,
        done: &Result<(Report, Fate), Undone>,
    ) -> io::Result<()> {
        match done {
            Ok((kind, fate)) if self.json => {
                writeln!(out, "{}", json!({ "mail": name, "kind": kind, "fate": word(*fate) }))
            }
            Ok((_, Fate::Placed)) => Ok(()),
            Ok((kind, fate)) => writeln!(out, "{name}: {kind}: {}", said(*fate)),
            Err(error) if self.json => {
                writeln!(out, "{}", json!({ "mail": name, "error": error.to_string() }))
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                Ok(())
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error("cannot be read: {0}")]
    Unread(io::Error),
    #[error(transparent)]
    Store(BounceError),
}

/// The mails of a file, read one after the other.
fn named(name: &str, path: &Path) -> Box<dyn Iterator<Item = Named>> {
    let name = name.to_owned();
    match Mails::open(path) {
        Err(error) => Box::new(std::iter::once((name, Err(error)))),
        Ok(mails) => Box::new(mails.zip(1..).map(move |(mail, at): (_, u64)| match at {
            1 => (name.clone(), mail),
            at => (format!("{name}:{at}"), mail),
        })),
    }
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Placed => "placed",
        Fate::Unmatched => "unmatched",
        Fate::Answer => "answer",
        Fate::ForPeople => "for-people",
    }
}

fn said(fate: Fate) -> &'static str {
    match fate {
        Fate::Placed => "placed",
        Fate::Unmatched => "it does not prove which message it is about",
        Fate::Answer => "an answer of a person",
        Fate::ForPeople => "for a person to read",
    }
}

/// What came of all of them.
#[derive(Default)]
struct Sum {
    mails: u64,
    placed: BTreeMap<&'static str, u64>,
    unmatched: u64,
    answers: u64,
    for_people: u64,
    unread: u64,
}

impl Sum {
    fn add(&mut self, done: &Result<(Report, Fate), Undone>) {
        self.mails += 1;
        match done {
            Ok((kind, Fate::Placed)) => *self.placed.entry(kind.as_str()).or_default() += 1,
            Ok((_, Fate::Unmatched)) => self.unmatched += 1,
            Ok((_, Fate::Answer)) => self.answers += 1,
            Ok((_, Fate::ForPeople)) => self.for_people += 1,
            Err(_) => self.unread += 1,
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let placed: Vec<String> =
            self.placed.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        let placed = if placed.is_empty() { "none".to_owned() } else { placed.join(", ") };
        write!(
            f,
            "{} mails; placed: {placed}; {} unmatched, {} answers of people, {} for people to read, \
             {} unreadable",
            self.mails, self.unmatched, self.answers, self.for_people, self.unread
        )
    }
}
