//! `malleposte why`: what a recipient waits for, and when it will go. What binds is looked for in the
//! queue, in the paces and in history; the answer is made of it by `mail::why`.

mod look;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use ledger::{Entry, Ledger};
use mail::event::EventKind;
use mail::plain::Lang;
use mail::provider::Providers;
use mail::queue::End;
use mail::reply::clean_text;
use mail::why::{Reason, Stands, When, put_in_order, render, when};
use mail::{Address, CampaignId, DeliveryId};
use relay::providers;
use serde_json::json;
use store::{CampaignStatus, Rests, Store, Whereabouts};

use super::trace::lang;
use super::{Global, history};
use crate::config::Config;
use crate::wiring::connect;

/// What a recipient or a message waits for, and when it will go
///
/// A message is named by its Message-ID, or by the delivery in it, such as 3-1f.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Why {
    /// The recipient's address, or the Message-ID
    #[arg(value_name = "ADDRESS|MESSAGE-ID")]
    what: String,
    /// In this campaign alone; else in the one that it waits in, or the last one
    #[arg(long)]
    campaign: Option<CampaignId>,
    /// Language of the answer: en or fr
    #[arg(long, default_value = "en", value_parser = lang)]
    lang: Lang,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  malleposte why ann@example.org
  malleposte why ann@example.org --campaign c12 --lang fr
  malleposte why '<3-1f.c12@news.example>'";

/// Whom the question is about.
enum Target {
    Address(Address),
    Delivery(DeliveryId),
}

/// `delivery.campaign@sender` as relays write it, or the delivery alone.
fn message_id(text: &str) -> Option<DeliveryId> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let Some((local, _)) = text.split_once('@') else { return text.parse().ok() };
    let (delivery, campaign) = local.rsplit_once('.')?;
    campaign.parse::<CampaignId>().ok()?;
    delivery.parse().ok()
}

impl Target {
    fn read(text: &str) -> anyhow::Result<Self> {
        if let Some(delivery) = message_id(text) {
            return Ok(Self::Delivery(delivery));
        }
        match text.trim().parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(why) => bail!("{text:?} {why}, and no Message-ID of ours"),
        }
    }
}

/// What history last told of the recipient.
#[derive(Default)]
struct Past {
    address: String,
    campaign: Option<CampaignId>,
    delivery: Option<DeliveryId>,
    last: Option<Entry>,
}

struct Answer {
    address: String,
    campaign: Option<CampaignId>,
    delivery: Option<DeliveryId>,
    stands: Stands,
    reasons: Vec<Reason>,
    when: When,
    /// Since when it stands so, and what was last heard.
    past: Past,
    accepted_at: Option<mail::Timestamp>,
}

impl Why {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = global.read()?;
        let target = Target::read(&self.what)?;
        super::block_on(async move {
            let store = connect(&config).await?;
            let asked = Asked::new(&store, &config)?;
            let answer = asked.answer(&target, self.campaign).await?;
            if self.json {
                println!("{}", as_json(&answer));
            } else {
                print!("{}", as_text(&answer, self.lang));
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Where a recipient stands, as `malleposte why` tells it.
///
/// # Errors
/// When the store or the history does not read, or it is no address.
pub(crate) async fn told_of(store: &Store, config: &Config, what: &str) -> anyhow::Result<String> {
    let asked = Asked::new(store, config)?;
    Ok(as_text(&asked.answer(&Target::read(what)?, None).await?, Lang::En))
}

struct Asked<'a> {
    store: &'a Store,
    config: &'a Config,
    ledger: Option<Ledger>,
    known: Arc<Providers>,
}

impl<'a> Asked<'a> {
    fn new(store: &'a Store, config: &'a Config) -> anyhow::Result<Self> {
        let (ledger, known) = (history(config)?, providers(&config.relay.providers)?);
        Ok(Self { store, config, ledger, known })
    }

    async fn answer(
        &self,
        target: &Target,
        campaign: Option<CampaignId>,
    ) -> anyhow::Result<Answer> {
        let now = super::now();
        let past = self.past(target, campaign)?;
        let found = self.find(target, campaign, &past).await?;
        let waits = found.as_ref().filter(|found| !matches!(found.rests, Rests::Ended(_)));
        let stands = match waits {
            Some(Whereabouts { rests: Rests::InHand, .. }) => Stands::InHand,
            Some(_) => Stands::Waits,
            None => {
                // The queue knows sooner, history for longer.
                let told = || past.last.as_ref().and_then(ended);
                found.as_ref().and_then(end).or_else(told).unwrap_or(Stands::Unknown)
            }
        };
        let mut reasons = match waits {
            Some(found) => self.reasons(found, &past, now).await?,
            None => Vec::new(),
        };
        put_in_order(&mut reasons);
        let address = found.as_ref().map_or_else(|| past.address.clone(), |f| f.address.clone());
        Ok(Answer {
            address,
            campaign: found.as_ref().map(|f| f.lane.campaign).or(past.campaign),
            delivery: found.as_ref().map(|f| f.delivery).or(past.delivery),
            stands,
            when: when(stands, &reasons, now),
            reasons,
            accepted_at: waits.map(|found| found.accepted_at),
            past,
        })
    }

    /// What history last told, of a campaign or of the last one.
    fn past(&self, target: &Target, campaign: Option<CampaignId>) -> anyhow::Result<Past> {
        let address = match target {
            Target::Address(address) => address.folded(),
            Target::Delivery(_) => String::new(),
        };
        let mut past = Past { address, campaign, ..Past::default() };
        let Some(ledger) = &self.ledger else { return Ok(past) };
        let newest = match target {
            Target::Delivery(delivery) => {
                let filter =
                    ledger::TraceFilter { delivery: Some(*delivery), ..Default::default() };
                ledger.newest(&filter)?
            }
            Target::Address(_) => {
                let story = ledger.story(&past.address)?;
                let chapters = story.chapters.into_iter().rev();
                let mut fitting = chapters.filter(|chapter| {
                    chapter.delivery.is_some()
                        && campaign.is_none_or(|c| chapter.campaign == Some(c))
                });
                fitting.next().and_then(|chapter| chapter.entries.into_iter().next_back())
            }
        };
        if let Some(entry) = newest {
            past.campaign = past.campaign.or(entry.event.campaign);
            past.delivery = entry.event.delivery;
            if !entry.event.recipient.is_empty() {
                past.address.clone_from(&entry.event.recipient);
            }
            past.last = Some(entry);
        }
        Ok(past)
    }

    /// The recipient in the queue, in the campaign that is asked about or in any that is not over.
    async fn find(
        &self,
        target: &Target,
        campaign: Option<CampaignId>,
        past: &Past,
    ) -> anyhow::Result<Option<Whereabouts>> {
        let address = match target {
            Target::Delivery(delivery) => return Ok(self.store.find_delivery(*delivery).await?),
            Target::Address(address) => address,
        };
        let mut campaigns: Vec<CampaignId> = match campaign {
            Some(campaign) => vec![campaign],
            None => self.not_over().await?,
        };
        campaigns.extend(past.campaign.filter(|of| !campaigns.contains(of)));
        let mut ended = None;
        for campaign in campaigns {
            match self.store.find_recipient(campaign, address).await? {
                Some(found) if matches!(found.rests, Rests::Ended(_)) => {
                    ended = ended.or(Some(found));
                }
                Some(found) => return Ok(Some(found)),
                None => {}
            }
        }
        Ok(ended)
    }

    /// Campaigns that are not over, the newest first.
    async fn not_over(&self) -> anyhow::Result<Vec<CampaignId>> {
        let mut all: Vec<(CampaignId, CampaignStatus)> = self.store.active_campaigns().await?;
        all.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        Ok(all.into_iter().map(|(id, _)| id).collect())
    }
}

fn end(found: &Whereabouts) -> Option<Stands> {
    match found.rests {
        Rests::Ended(End::Delivered) => Some(Stands::Delivered),
        Rests::Ended(End::Failed) => Some(Stands::Failed),
        Rests::Ended(End::Suppressed) => Some(Stands::Suppressed),
        Rests::Ended(End::Expired) => Some(Stands::Expired),
        Rests::Ended(End::Cancelled) => Some(Stands::Cancelled),
        Rests::Ended(End::SetAside) => Some(Stands::SetAside),
        Rests::Fresh | Rests::Due | Rests::Delayed(_) | Rests::InHand => None,
    }
}

/// How it ended, where an event says so.
fn ended(entry: &Entry) -> Option<Stands> {
    match entry.event.kind {
        EventKind::Delivered
        | EventKind::LateDelivered
        | EventKind::Complained
        | EventKind::Reported
        | EventKind::Unsubscribed => Some(Stands::Delivered),
        EventKind::Failed | EventKind::Returned => Some(Stands::Failed),
        EventKind::Suppressed => Some(Stands::Suppressed),
        EventKind::Expired => Some(Stands::Expired),
        EventKind::Cancelled => Some(Stands::Cancelled),
        EventKind::SetAside => Some(Stands::SetAside),
        EventKind::Accepted
        | EventKind::Deferred
        | EventKind::SuppressionAdded
        | EventKind::SuppressionRemoved
        | EventKind::CampaignChanged
        | EventKind::PaceChanged
        | EventKind::Service
        | EventKind::Ordered
        | EventKind::Restored => None,
    }
}

fn as_text(answer: &Answer, lang: Lang) -> String {
    let mut title = clean_text(&answer.address);
    if let Some(campaign) = answer.campaign {
        title = format!("{title}, {} {campaign}", lang.pick("campaign", "campagne"));
    }
    if let Some(delivery) = answer.delivery {
        title = format!("{title}, {} {delivery}", lang.pick("delivery", "envoi"));
    }
    let mut text = format!("{}\n", title.trim_start_matches(", "));
    if let Some(at) = answer.accepted_at {
        text.push_str(&format!("{} {at}\n", lang.pick("accepted", "accepté")));
    }
    text.push_str(&render(answer.stands, &answer.reasons, &answer.when, lang));
    if let Some(entry) = &answer.past.last {
        let event = &entry.event;
        let reply =
            event.reply.as_ref().map(|reply| format!(": {}", clean_text(&reply.to_string())));
        let what = mail::plain::phrase(event.kind, lang);
        let last = lang.pick("last", "dernier");
        text.push_str(&format!("{last}: {} {what}{}\n", event.at, reply.unwrap_or_default()));
    }
    text
}

fn as_json(answer: &Answer) -> serde_json::Value {
    json!({
        "address": answer.address,
        "campaign": answer.campaign.map(|id| id.to_string()),
        "delivery": answer.delivery.map(|id| id.to_string()),
        "stands": answer.stands,
        "accepted_at": answer.accepted_at.map(|at| at.to_string()),
        "waits_for": answer.reasons,
        "when": answer.when,
        "last": answer.past.last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_by_its_message_id() {
        let delivery: DeliveryId = "3-1f".parse().expect("a delivery");
        for text in ["<3-1f.c12@news.example>", "3-1f.c12@news.example", "3-1f"] {
            assert_eq!(message_id(text), Some(delivery), "{text}");
        }
        for text in ["ann@example.org", "3-1f@news.example", "a.c12@example.org", "x"] {
            assert_eq!(message_id(text), None, "{text}");
        }
        let why = Target::read("nobody").err().expect("refused").to_string();
        assert!(why.starts_with("\"nobody\" ") && why.ends_with("no Message-ID of ours"), "{why}");
    }
}
