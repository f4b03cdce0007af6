//! `malleposte bounces`: the bounce processor, and what it makes of mail and replies.

mod classify;
mod files;
mod guide;
mod import;
mod learn;
mod parse;
mod unmatched;

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mail::classify::Finding;
use mail::plain::Explained;

use super::{Global, serving};

/// Run one bounce processor against the platform's Redis; or see what it makes of a mail or a reply
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Bounces {
    #[command(subcommand)]
    verb: Option<Verb>,
}

const EXAMPLES: &str = "\
Examples:
  malleposte bounces                              the service: returned mail is taken and weighed
  malleposte bounces parse mail.eml               what a mail is, and whom it concerns
  malleposte bounces parse --json Maildir/cur     the same of every file of a folder, one line each
  malleposte bounces import Maildir old.mbox      what lies in files, as if it had been brought
  malleposte bounces unmatched                    reports that name no delivery of ours
  malleposte bounces learn                        what no rule knows; name it once, and it is known
  echo '{\"stage\":\"rcpt\",\"reply\":\"550 5.1.1 no such user\"}' | malleposte bounces classify --json
  malleposte bounces guide --format html          every reason and what to do about it, for senders of campaigns";

#[derive(Debug, Subcommand)]
enum Verb {
    Parse(parse::Parse),
    Classify(classify::Classify),
    Guide(guide::Guide),
    Import(import::Import),
    Learn(learn::Learn),
    Unmatched(unmatched::Unmatched),
}

impl Bounces {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self.verb {
            None => serving::bounces(global),
            Some(Verb::Parse(parse)) => parse.run(),
            Some(Verb::Classify(classify)) => classify.run(global),
            Some(Verb::Guide(guide)) => guide.run(global),
            Some(Verb::Import(import)) => import.run(global),
            Some(Verb::Learn(learn)) => learn.run(global),
            Some(Verb::Unmatched(unmatched)) => unmatched.run(global),
        }
    }
}

/// What follows from a finding, and the same in plain words.
fn meaning(finding: &Finding, plain: &Explained) -> [String; 2] {
    let Finding { category, permanence, rule, confidence, hygiene, scope, .. } = finding;
    let follows = format!(
        "{category} ({permanence}), by {rule} at {confidence} %; the address: {hygiene}; concerns the {scope}"
    );
    [follows, format!("{} {}", plain.what, plain.todo)]
}

/// How a command ends that prints as it goes. Whoever reads its output may have seen enough.
pub(super) fn ended(written: io::Result<()>, is_all_good: bool) -> anyhow::Result<ExitCode> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ if is_all_good => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}
