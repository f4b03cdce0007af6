//! `malleposte bounces parse`: what mails are and what they say, file by file, without a store.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use mail::particular::Failure;
use mail::plain::{Lang, explain_failure, explain_report};
use mail::reply::clean_text;
use mail::returned::{self, FailedRecipient, Returned};
use serde_json::{Value, json};

use super::files::walk;
use super::{ended, meaning};
use crate::commands::trace::lang;

/// What a mail is, whom it concerns and what follows, as the bounce processor sees it
///
/// Nothing is written anywhere and no list is touched. A file is one mail; of a folder every file
/// below it is read, in the order of their names, links left out; `-` is standard input. A file that
/// cannot be read has a line that says so, and the others go on.
#[derive(Debug, Args)]
pub(super) struct Parse {
    /// Mails, or folders of them
    #[arg(value_name = "FILE|FOLDER", required = true)]
    paths: Vec<PathBuf>,
    /// One JSON object a line and file
    #[arg(long)]
    json: bool,
    /// Language of the explanations: en or fr
    #[arg(long, default_value = "en", value_parser = lang)]
    lang: Lang,
}

/// More than is looked at of any mail.
const READ_OCTETS_MAX: u64 = 2 << 20;

impl Parse {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut is_all_read = true;
        let mut each = |name: &str, path: &Path| {
            let line = match read(path) {
                Ok(octets) => self.told(name, &returned::parse(&octets)),
                Err(error) => {
                    is_all_read = false;
                    eprintln!("{name}: cannot be read: {error}");
                    self.unread(name, &error)
                }
            };
            out.write_all(line.as_bytes())
        };
        let done = self.paths.iter().try_for_each(|path| walk(path, path, &mut each));
        ended(done.and_then(|()| out.flush()), is_all_read)
    }

    fn told(&self, name: &str, returned: &Returned) -> String {
        if self.json {
            format!("{}\n", as_json(name, returned, self.lang))
        } else {
            self.text(name, returned)
        }
    }

    fn unread(&self, name: &str, error: &io::Error) -> String {
        if !self.json {
            return String::new();
        }
        let line = json!({
            "file": name, "kind": "other", "failures": [], "error": format!("cannot be read: {error}"),
        });
        format!("{line}\n")
    }

    fn text(&self, name: &str, returned: &Returned) -> String {
        let mut text = format!("{name}: {}\n", returned.kind);
        let mut line = |content: String| {
            let _infallible = writeln!(text, "  {content}");
        };
        if !returned.subject.is_empty() {
            line(format!("subject: {}", clean_text(&returned.subject)));
        }
        if returned.failures.is_empty() {
            let plain = explain_report(returned.kind, self.lang);
            line(format!("{} {}", plain.what, plain.todo));
        }
        for failure in &returned.failures {
            line(whom(failure, self.lang));
            if !failure.diagnostic.is_empty() {
                line(format!("  said: {}", clean_text(&failure.diagnostic)));
            }
            let plain = explain_failure(&Failure::returned(failure), self.lang);
            for said in meaning(&failure.finding, &plain) {
                line(format!("  {said}"));
            }
        }
        text
    }
}

/// The recipient and how it stands.
fn whom(failure: &FailedRecipient, lang: Lang) -> String {
    let nobody = lang.pick("a recipient that is not named", "un destinataire non nommé");
    let recipient = failure.recipient.as_deref().map(clean_text);
    let numbers =
        [failure.code.map(|code| code.to_string()), failure.status.map(|s| s.to_string())];
    let numbers: Vec<String> = numbers.into_iter().flatten().collect();
    let recipient = recipient.unwrap_or_else(|| nobody.to_owned());
    format!("{recipient}: {} {}", failure.action, numbers.join(" ")).trim_end().to_owned()
}

/// The mail as programs read it.
fn as_json(name: &str, returned: &Returned, lang: Lang) -> Value {
    let failures: Vec<Value> =
        returned.failures.iter().map(|failure| failure_json(failure, lang)).collect();
    let original = &returned.original;
    json!({
        "file": name,
        "kind": returned.kind,
        "failures": failures,
        "feedback": returned.feedback,
        "message_id": original.message_id,
        "from": returned.from,
        "subject": returned.subject,
    })
}

fn failure_json(failure: &FailedRecipient, lang: Lang) -> Value {
    let finding = &failure.finding;
    json!({
        "recipient": failure.recipient,
        "final_recipient": failure.final_recipient,
        "action": failure.action,
        "code": failure.code,
        "status": failure.status.map(|status| status.to_string()),
        "category": finding.category,
        "permanence": finding.permanence,
        "hygiene": finding.hygiene,
        "scope": finding.scope,
        "rule": finding.rule,
        "confidence": finding.confidence,
        "diagnostic": failure.diagnostic,
        "explanation": explain_failure(&Failure::returned(failure), lang),
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(READ_OCTETS_MAX).read_to_end(&mut octets)
    } else {
        File::open(path)?.take(READ_OCTETS_MAX).read_to_end(&mut octets)
    };
    read.map(|_| octets)
}
