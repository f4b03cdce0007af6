//! `malleposte bounces learn`: what servers say that no rule knows, named by a person once.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use ledger::{Ledger, TraceFilter};
use mail::event::EventKind;
use mail::provider::RuleBook;
use mail::unknown::{Cluster, Clusters, is_by_number};
use mail::{Category, Event};
use serde_json::json;
use store::{LEARNED_BOOK, LearnedRules, Store};

use super::ended;
use crate::commands::{Global, block_on, history, no_history, now};
use crate::wiring::connect;

/// What servers say that no rule knows; name it once, and it is known
///
/// Texts of history that differ only in names and numbers are one. A text that was named is known to
/// every relay and bounce processor within half a minute: from then on, and only where no rule of the
/// program knows better.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Learn {
    /// The text that is named, by its name in the list
    #[arg(requires = "category")]
    id: Option<String>,
    /// What it means: a category of docs/BOUNCES.md
    #[arg(long, value_parser = category, requires = "id")]
    category: Option<Category>,
    /// The words to know it by, in place of the longest piece that stays the same; ` .. ` stands for
    /// anything within a sentence
    #[arg(long, requires = "id")]
    words: Option<String>,
    /// Who says so
    #[arg(long, default_value = "", requires = "id")]
    by: String,
    /// How far back history is looked at
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    days: u64,
    /// Also texts with a status that decided, such as 5.2.0
    #[arg(long)]
    numbers: bool,
    /// The rules that were named, as TOML
    #[arg(long, conflicts_with_all = ["id", "forget"])]
    rules: bool,
    /// Forget what was named, by its name in the list
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    forget: Option<String>,
    /// One JSON object a line and text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  malleposte bounces learn                                     what no rule knows, the most frequent first
  malleposte bounces learn 1a2b3c4d --category mailbox-full    from now on this is a full mailbox
  malleposte bounces learn --rules                             what was named so far
  malleposte bounces learn --forget 1a2b3c4d";

/// Stands in a rule's words for anything within a sentence.
const GAP: &str = " .. ";
/// Entries of history on one page.
const PAGE: usize = 1_000;
/// Lines that are printed for people.
const SHOWN_MAX: usize = 50;

fn category(word: &str) -> Result<Category, String> {
    Category::from_word(word).ok_or_else(|| format!("{word:?} is none of those in docs/BOUNCES.md"))
}

impl Learn {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        if self.rules || self.forget.is_some() {
            return block_on(async {
                let store = connect(&config).await?;
                match &self.forget {
                    None => {
                        print!("{}", store.learned_rules().await?.text);
                        Ok(ExitCode::SUCCESS)
                    }
                    Some(id) => forget(&store, id).await,
                }
            });
        }
        let Some(ledger) = history(&config)? else { return Err(no_history(&config)) };
        let clusters = self.clusters(&ledger)?;
        let Some((id, category)) = self.id.as_ref().zip(self.category) else {
            return self.list(&clusters);
        };
        let cluster = clusters.iter().find(|cluster| cluster.id == *id).with_context(|| {
            format!(
                "no text {id:?} in the last {} days; `malleposte bounces learn` lists them",
                self.days
            )
        })?;
        let rule = self.rule(cluster, category)?;
        block_on(async {
            let store = connect(&config).await?;
            name(&store, &rule).await?;
            println!("{} times {:?} is {category} from now on.", cluster.count, cluster.shape);
            Ok(ExitCode::SUCCESS)
        })
    }

    fn clusters(&self, ledger: &Ledger) -> anyhow::Result<Vec<Cluster>> {
        let since = now() - Duration::from_secs(self.days.saturating_mul(86_400));
        let mut clusters = Clusters::default();
        // Most of what is put off is known: only what is not is looked for there.
        let looks = [
            (EventKind::Failed, None),
            (EventKind::Returned, None),
            (EventKind::Deferred, Some(Category::Undetermined)),
        ];
        for (kind, category) in looks {
            let filter = TraceFilter {
                kind: Some(kind),
                category,
                since: Some(since),
                ..TraceFilter::default()
            };
            let mut cursor = None;
            loop {
                let page = ledger.trace(&filter, PAGE, cursor)?;
                for entry in &page.entries {
                    if let Some(said) = self.said(&entry.event) {
                        let domain = entry.event.recipient.rsplit_once('@');
                        clusters.add(&said, domain.map_or("", |(_, domain)| domain));
                    }
                }
                match page.next {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
        }
        Ok(clusters.by_count())
    }

    /// What was said, if no words decided what it means.
    fn said(&self, event: &Event) -> Option<String> {
        let is_by_status = event.rule.starts_with("status-");
        if !is_by_number(&event.rule) || (is_by_status && !self.numbers) {
            return None;
        }
        let said = event.reply.as_ref().map_or_else(|| event.note.clone(), ToString::to_string);
        (!said.is_empty()).then_some(said)
    }

    fn list(&self, clusters: &[Cluster]) -> anyhow::Result<ExitCode> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut tell = || {
            if self.json {
                for Cluster { id, shape, words, count, domains, example } in clusters {
                    let line = json!({
                        "id": id, "shape": shape, "words": words, "count": count,
                        "domains": domains, "example": example,
                    });
                    writeln!(out, "{line}")?;
                }
                return out.flush();
            }
            if clusters.is_empty() {
                writeln!(out, "Whatever was said in the last {} days is known.", self.days)?;
            }
            for cluster in clusters.iter().take(SHOWN_MAX) {
                let domains: Vec<&str> = cluster.domains.iter().map(String::as_str).collect();
                writeln!(out, "{}  {:>6}  {}", cluster.id, cluster.count, cluster.example)?;
                writeln!(out, "                  at {}", domains.join(", "))?;
            }
            let more = clusters.len().saturating_sub(SHOWN_MAX);
            if more > 0 {
                writeln!(out, "and {more} more, with --json")?;
            }
            out.flush()
        };
        ended(tell(), true)
    }

    /// The rule, as it is written.
    fn rule(&self, cluster: &Cluster, category: Category) -> anyhow::Result<String> {
        let words = match &self.words {
            None => cluster.words.clone(),
            Some(given) => given.split(GAP).map(mail::classify::fold).collect::<Vec<_>>().join(GAP),
        };
        if words.is_empty() {
            bail!(
                "{:?} has no words long enough to know it by: give some with --words",
                cluster.shape
            );
        }
        let who = if self.by.is_empty() { "at the command line" } else { self.by.as_str() };
        let source = format!("{who}, {}", now());
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let rule = format!(
            "[[rule]]\nid = {}\ncategory = {}\nany = [{}]\nsource = {}\nmatches = [{}]\n",
            quoted(&cluster.id),
            quoted(category.as_str()),
            quoted(&words),
            quoted(&source),
            quoted(&cluster.example),
        );
        // It must claim what it was made of.
        RuleBook::read(LEARNED_BOOK, &rule)?;
        Ok(rule)
    }
}

async fn name(store: &Store, rule: &str) -> anyhow::Result<()> {
    loop {
        let before = store.learned_rules().await?;
        let text = if before.text.is_empty() {
            rule.to_owned()
        } else {
            format!("{}\n{rule}", before.text)
        };
        // Beside the others, too: two of one name, or one that hides another.
        RuleBook::read(LEARNED_BOOK, &text)?;
        if store.replace_learned_rules(&before, &LearnedRules { text }).await? {
            return Ok(());
        }
    }
}

async fn forget(store: &Store, id: &str) -> anyhow::Result<ExitCode> {
    loop {
        let before = store.learned_rules().await?;
        let head = format!("id = {}\n", toml::Value::from(id));
        let (kept, gone): (Vec<&str>, Vec<&str>) = before
            .text
            .split("[[rule]]\n")
            .filter(|rule| !rule.trim().is_empty())
            .partition(|rule| !rule.starts_with(&head));
        if gone.is_empty() {
            bail!("no rule {id:?}; `malleposte bounces learn --rules` prints them");
        }
        let text: String = kept.iter().map(|rule| format!("[[rule]]\n{rule}")).collect();
        if store.replace_learned_rules(&before, &LearnedRules { text }).await? {
            println!("{id} is forgotten.");
            return Ok(ExitCode::SUCCESS);
        }
    }
}
