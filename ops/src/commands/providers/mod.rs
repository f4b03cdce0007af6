//! `malleposte providers`: what is known of mailbox providers, checked, written out to be edited,
//! and asked what it makes of a reply. Nothing runs for it; only files are read.

mod as_json;
mod tell;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use mail::Phase;
use mail::classify::Said;
use mail::provider::{Provider, Providers, classify_at, shipped_files};
use relay::{provider_files, providers};

use super::Global;
use tell::Heard;

/// Mailbox providers: their exchangers, limits and replies
///
/// What is built in holds unless relay.providers names a folder: a file there of the name of a
/// built-in one replaces it, any other is added, and `off = true` does without one. Relays look
/// at the folder while they run; a faulty edit is refused and what was before stays.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  malleposte providers                               all of them, with where each starts
  malleposte providers show gmail                    its limits, their sources, its rules
  malleposte providers classify --at gmail.com \"421 4.7.28 unusual rate of mail, your DKIM domain\"
  malleposte providers export /etc/malleposte/providers gmail
  malleposte providers check /etc/malleposte/providers";

#[derive(Debug, Subcommand)]
enum Verb {
    /// All of them (the default)
    List,
    /// One of them: its limits with their sources, and its rules
    Show {
        /// Its name, a domain of its, one of its exchangers or a site
        #[arg(value_name = "PROVIDER")]
        which: String,
    },
    /// Say what is wrong with the files of a folder; every rule is held against its examples
    Check {
        /// The folder [default: relay.providers]
        folder: Option<PathBuf>,
    },
    /// Write built-in files to a folder, to be edited; none that is there is overwritten
    Export {
        /// The folder; made if it is missing
        folder: PathBuf,
        /// These alone [default: all]
        #[arg(value_name = "PROVIDER")]
        names: Vec<String>,
    },
    /// What a reply means there, which rule says so, and what follows
    Classify {
        /// The reply, as the server gave it: 421 4.7.28 …
        reply: String,
        /// Where it was given: a provider, a domain, an exchanger or a site
        #[arg(long, visible_aliases = ["mx", "site"], value_name = "NAME")]
        at: String,
        /// What it was the answer to: connect, banner, ehlo, tls, mail, rcpt, data or dot
        #[arg(long, default_value = "rcpt", value_parser = phase)]
        phase: Phase,
    },
}

pub(super) fn phase(word: &str) -> Result<Phase, String> {
    Phase::from_word(word).ok_or_else(|| {
        let all: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        format!("{word:?} is none of {}", all.join(", "))
    })
}

impl Command {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let json = self.json;
        match self.verb.unwrap_or(Verb::List) {
            Verb::Check { folder: Some(folder) } => check(&folder, json),
            Verb::Check { folder: None } => check(&global.read()?.relay.providers, json),
            Verb::Export { folder, names } => export(&folder, &names),
            verb => {
                let config = global.read()?;
                let known = providers(&config.relay.providers)?;
                let text = match &verb {
                    Verb::Show { which } => {
                        let provider = find(&known, which)?;
                        let limits = provider.bounds.narrow(&config.relay.pace);
                        match json {
                            true => as_json::provider(provider, &limits).to_string(),
                            false => tell::provider(provider, &limits),
                        }
                    }
                    Verb::Classify { reply, at, phase } => {
                        let heard = heard(&known, reply, at, *phase)?;
                        match json {
                            true => as_json::heard(&heard).to_string(),
                            false => tell::heard(&heard),
                        }
                    }
                    Verb::List | Verb::Check { .. } | Verb::Export { .. } => match json {
                        true => as_json::list(&known, &config.relay.pace).to_string(),
                        false => tell::list(&known, &config.relay.pace),
                    },
                };
                println!("{}", text.trim_end());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn find<'a>(known: &'a Providers, which: &str) -> anyhow::Result<&'a Arc<Provider>> {
    known.find(which).with_context(|| {
        format!("no provider is known by {which:?}; `malleposte providers` lists them")
    })
}

fn heard<'a>(
    known: &'a Providers,
    reply: &'a str,
    at: &str,
    phase: Phase,
) -> anyhow::Result<Heard<'a>> {
    let said = Said::from_line(phase, reply);
    if said.code.is_none() {
        bail!("{reply:?} is no reply: give it as the server did, such as \"421 4.7.0 slow down\"");
    }
    let provider = known.find(at);
    let finding = classify_at(provider.map(AsRef::as_ref), &said);
    let rule = provider.and_then(|provider| provider.rule(&said));
    Ok(Heard { provider, rule, finding })
}

fn check(folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let known = match providers(folder) {
        Ok(known) => known,
        Err(relay::ProvidersError::Wrong { faults, .. }) if json => {
            println!("{}", as_json::faults(&faults));
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => bail!("{error}"),
    };
    let own = if folder.as_os_str().is_empty() { 0 } else { provider_files(folder)?.len() };
    match json {
        true => println!("{}", as_json::checked(&known, own)),
        false => println!("{}", tell::checked(&known, folder, own)),
    }
    Ok(ExitCode::SUCCESS)
}

fn export(folder: &Path, names: &[String]) -> anyhow::Result<ExitCode> {
    let all = shipped_files();
    if let Some(stranger) = names.iter().find(|name| all.iter().all(|file| file.name != **name)) {
        let known: Vec<&str> = all.iter().map(|file| file.name.as_str()).collect();
        bail!("{stranger:?} is not built in; built in are {}", known.join(", "));
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (mut written, mut kept) = (0, 0);
    for file in all.iter().filter(|file| names.is_empty() || names.contains(&file.name)) {
        let path = folder.join(format!("{}.toml", file.name));
        match std::fs::File::create_new(&path) {
            Ok(mut new) => {
                std::io::Write::write_all(&mut new, file.text.as_bytes())
                    .with_context(|| format!("cannot write {}", path.display()))?;
                written += 1;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                eprintln!("{} is there already and stays as it is", path.display());
                kept += 1;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot write {}", path.display()));
            }
        }
    }
    println!("{written} written to {}, {kept} left as they are", folder.display());
    println!("relay.providers = {:?} makes relays use them", folder.display().to_string());
    Ok(ExitCode::SUCCESS)
}
