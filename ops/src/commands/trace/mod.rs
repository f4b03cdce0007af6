//! `malleposte trace ADDRESS`: everything that happened to a recipient, in order; or, by any other
//! criterion, what happened of late.

mod list;

use std::process::ExitCode;

use clap::Args;
use ledger::{Cursor, Entry, Story, TraceWish, render_story};
use mail::Address;
use mail::plain::{Lang, explain_told};
use serde_json::{Value, json};

use super::criteria::Criteria;
use super::{Global, history, no_history, now};

/// Tell a recipient's story: each attempt, each answer, what it means and what was done. By other
/// criteria, or by a part of an address: what happened, the newest first
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Trace {
    /// The recipient's address, or a part of it
    address: Option<String>,
    /// What happened: delivered, failed, deferred, returned, complained …
    #[arg(long)]
    kind: Option<String>,
    /// A part of the site's name
    #[arg(long)]
    site: Option<String>,
    /// A part of a reply or a note, whatever its case
    #[arg(long)]
    text: Option<String>,
    /// From when on: 24h, 7d ago, today, 2026-11-01, or a whole moment
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    #[command(flatten)]
    criteria: Criteria,
    /// So many entries; 0: all
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Go on where an earlier answer ended
    #[arg(long, value_name = "PLACE")]
    after: Option<Cursor>,
    /// Language of the explanations: en or fr
    #[arg(long, default_value = "en", value_parser = lang)]
    lang: Lang,
    /// JSON instead of text: of a story one object, else one a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  malleposte trace ann@example.org                   the whole story of a recipient
  malleposte trace ann@example.org --lang fr         in French
  malleposte trace martin                            all whose address has this in it
  malleposte trace --site gmail --category reputation-block --since 7d
  malleposte trace --campaign c12 --kind failed --limit 0 --json > failed.ndjson
  malleposte trace --text \"over quota\"";

pub(super) fn lang(word: &str) -> Result<Lang, String> {
    Lang::from_word(word).ok_or_else(|| format!("{word:?} is neither en nor fr"))
}

impl Trace {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        let (is_json, lang, place) = (self.json, self.lang, (self.limit, self.after));
        let wish = self.wish();
        anyhow::ensure!(
            !is_empty(&wish),
            "name an address, or a criterion such as --campaign; see --help"
        );
        let story = story(&wish);
        let filter = wish.filter(now())?;
        let ledger = history(&config)?.ok_or_else(|| no_history(&config))?;
        let Some(address) = story else {
            list::print(&ledger, &filter, place, (is_json, lang))?;
            return Ok(ExitCode::SUCCESS);
        };
        let story = ledger.story(&address)?;
        match is_json {
            true => println!("{}", as_json(&story, lang)),
            false => print!("{}", render_story(&story, lang)),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn wish(self) -> TraceWish {
        let Criteria { tenant, sender, campaign, relay, source, domain, category, until } =
            self.criteria;
        TraceWish {
            address: self.address,
            domain,
            tenant,
            sender,
            campaign,
            kind: self.kind,
            category,
            site: self.site,
            source,
            relay,
            text: self.text,
            since: self.since,
            until,
        }
    }
}

fn is_empty(wish: &TraceWish) -> bool {
    *wish == TraceWish::default()
}

/// The address of whom a whole story is asked: one that is whole, and nothing else.
fn story(wish: &TraceWish) -> Option<String> {
    let address = wish.address.clone().filter(|address| address.parse::<Address>().is_ok())?;
    let rest = TraceWish { address: None, ..wish.clone() };
    is_empty(&rest).then_some(address)
}

/// The story as programs read it, each entry with its sentences where it has any.
fn as_json(story: &Story, lang: Lang) -> Value {
    let told = |entry: &Entry| {
        let mut told = json!(entry);
        told["explanation"] = json!(explain_told(&entry.event, lang));
        told
    };
    let chapters = story.chapters.iter().map(|chapter| {
        let entries: Vec<Value> = chapter.entries.iter().map(told).collect();
        json!({ "campaign": chapter.campaign, "delivery": chapter.delivery, "entries": entries })
    });
    let chapters: Vec<Value> = chapters.collect();
    json!({ "address": story.address, "chapters": chapters, "is_cut": story.is_cut })
}

#[cfg(test)]
mod tests {
    use ledger::Chapter;
    use mail::event::EventKind;
    use mail::{Category, Event, Reply, Timestamp};

    use super::*;

    #[test]
    fn what_is_given_to_programs_is_the_story_and_its_sentences() {
        let event = Event {
            category: Some(Category::MailboxFull),
            reply: Reply::parse("552 5.2.2 mailbox full, quota of 1 GB"),
            ..Event::new(EventKind::Failed, Timestamp(0))
        };
        let entry = Entry { cursor: "2026-11.1".parse().unwrap(), event, judgement: String::new() };
        let chapter = Chapter { campaign: None, delivery: None, entries: vec![entry] };
        let story = Story { address: "a@b.example".into(), chapters: vec![chapter], is_cut: false };
        let mut told = as_json(&story, Lang::Fr);
        let entry = told["chapters"][0]["entries"][0].as_object_mut().unwrap();
        let explanation = entry.remove("explanation").unwrap();
        assert_eq!(explanation["what"], "La boîte est pleine : son quota de 1 Go est atteint.");
        assert_eq!(told, json!(story));
    }
}
