//! `malleposte trace ADDRESS`: everything that happened to a recipient, in order.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use ledger::{Entry, Story, render_story};
use mail::Address;
use mail::plain::{Lang, explain_told};
use serde_json::{Value, json};

use super::{Global, history, no_history};

/// Tell a recipient's story: each attempt, each answer, what it means and what was done
#[derive(Debug, Args)]
pub(super) struct Trace {
    /// The recipient's address
    address: String,
    /// Language of the explanations: en or fr
    #[arg(long, default_value = "en", value_parser = lang)]
    lang: Lang,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn lang(word: &str) -> Result<Lang, String> {
    Lang::from_word(word).ok_or_else(|| format!("{word:?} is neither en nor fr"))
}

impl Trace {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        if let Err(error) = self.address.parse::<Address>() {
            bail!("{:?} {error}", self.address);
        }
        let ledger = history(&config)?.ok_or_else(|| no_history(&config))?;
        let story = ledger.story(&self.address)?;
        if self.json {
            println!("{}", as_json(&story, self.lang));
        } else {
            print!("{}", render_story(&story, self.lang));
        }
        Ok(ExitCode::SUCCESS)
    }
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
