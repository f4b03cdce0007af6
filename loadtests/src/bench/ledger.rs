//! What it costs to keep history, how large it becomes, and how fast it answers.

use std::path::Path;
use std::time::{Duration, Instant};

use ::ledger::{Config, Facts, GroupBy, Ledger, ShardFrames, StatsQuestion, TraceFilter};
use anyhow::{Context, Result};
use mail::event::EventKind;
use mail::queue::Judgement;
use mail::{
    CampaignId, Category, DeliveryId, Event, Hygiene, Phase, Reply, Scope, ShardId, Timestamp,
};
use serde::Serialize;
use store::{OutboxFrame, Settled};

use super::SHARDS;
use super::bounces::own_cpu;
use crate::generator::Generator;
use crate::mix::Dice;

/// 2026-11-10, 08:00: the campaigns begin.
const FIRST_MS: u64 = 1_794_297_600_000;
/// They go on for ten hours, whatever their size.
const SPAN_MS: u64 = 10 * 3_600_000;
/// A list is written to so often in the time.
const CAMPAIGNS_OF_A_LIST: u64 = 4;
/// Lists.
const LISTS: u64 = 5;
/// Outcomes that a relay settles at once in a shard.
const SETTLED_AT_ONCE: usize = 100;
/// Frames that the ledger takes at once while there is more to read.
const FRAMES_A_PAGE: usize = 200;
/// A question is asked so often; the middle answer counts.
const ASKED: usize = 5;

/// What history cost, and how it answers.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// Events stored.
    pub events: u64,
    /// Events in a second of one processor's time, from events in memory to files on disk.
    pub events_per_cpu_s: f64,
    /// Octets on the disk for each.
    pub bytes_per_event: f64,
    /// Milliseconds to the first page of a trace: the slowest of several questions.
    pub trace_ms: f64,
    /// Milliseconds for a statistic: the slowest of several questions.
    pub stats_ms: f64,
    /// Each question with its milliseconds.
    pub questions: Vec<(String, f64)>,
}

/// Writes the history of so many events to a folder and asks it.
///
/// # Errors
/// When it cannot be written or does not answer.
pub fn history(folder: &Path, events: u64) -> Result<History> {
    let config = Config { folder: folder.join("ledger"), ..Config::default() };
    let ledger = Ledger::open(&config)?;
    let mut writer = ledger.writer()?;
    let mut stream = Stream::new(events);
    for campaign in 0..=LISTS * CAMPAIGNS_OF_A_LIST {
        let facts = Facts {
            tenant: format!("tenant-{}", campaign % LISTS),
            name: format!("Campaign {campaign}"),
            sender: format!("news@shop-{}.example", campaign % LISTS),
        };
        writer.learn(CampaignId(1 + campaign), facts);
    }
    let (mut spent, mut stored) = (Duration::ZERO, 0);
    while let Some(parts) = stream.page() {
        let before = own_cpu()?;
        stored += writer.write(&parts)?.events;
        spent += own_cpu()?.saturating_sub(before);
    }
    drop(writer);
    let octets = size(&config.folder)?;
    let mut questions = Vec::new();
    let (trace_ms, stats_ms) = ask(&ledger, &stream.recipients, &mut questions)?;
    Ok(History {
        events: stored,
        events_per_cpu_s: (stored as f64 / spent.as_secs_f64()).round(),
        bytes_per_event: (octets as f64 / stored as f64 * 10.0).round() / 10.0,
        trace_ms,
        stats_ms,
        questions,
    })
}

fn size(folder: &Path) -> Result<u64> {
    let entries = std::fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

fn ask(
    ledger: &Ledger,
    recipients: &Generator,
    told: &mut Vec<(String, f64)>,
) -> Result<(f64, f64)> {
    let address = recipients.address(recipients.len() / 3);
    let (local, domain) = address.split_once('@').context("an address")?;
    let text = |text: &str| Some(text.to_owned());
    let any = TraceFilter::default();
    let traces = [
        ("an address", TraceFilter { address: text(&address), ..any.clone() }),
        ("a part of an address", TraceFilter { address: text(&local[1..]), ..any.clone() }),
        ("a part of many addresses", TraceFilter { address: text("MARTIN"), ..any.clone() }),
        ("a part of none", TraceFilter { address: text("nobody.is.called.so"), ..any.clone() }),
        ("a domain", TraceFilter { domain: text(domain), ..any.clone() }),
        ("a campaign", TraceFilter { campaign: Some(CampaignId(2)), ..any.clone() }),
        ("a category", TraceFilter { category: Some(Category::MailboxFull), ..any.clone() }),
        ("what happened", TraceFilter { kind: Some(EventKind::Failed), ..any.clone() }),
        ("a part of a reply", TraceFilter { text: text("over QUOTA"), ..any.clone() }),
        ("a part of no reply", TraceFilter { text: text("nobody says so"), ..any.clone() }),
        ("a sender", TraceFilter { sender: text("shop-3"), ..any.clone() }),
        (
            "an hour",
            TraceFilter {
                since: Some(Timestamp(FIRST_MS + SPAN_MS / 2)),
                until: Some(Timestamp(FIRST_MS + SPAN_MS / 2 + 3_600_000)),
                ..any
            },
        ),
    ];
    let mut slowest = (0.0_f64, 0.0_f64);
    for (name, filter) in traces {
        let ms = middle(|| ledger.trace(&filter, 50, None).map(|page| page.entries.len()))?;
        slowest.0 = slowest.0.max(ms);
        told.push((format!("trace by {name}"), ms));
    }
    let day = StatsQuestion::between(Timestamp(FIRST_MS), Timestamp(FIRST_MS + SPAN_MS));
    let stats = [
        ("category", StatsQuestion { by: vec![GroupBy::Category], ..day.clone() }),
        ("campaign", StatsQuestion { by: vec![GroupBy::Campaign], ..day.clone() }),
        (
            "relay and source",
            StatsQuestion { by: vec![GroupBy::Relay, GroupBy::Source], ..day.clone() },
        ),
        ("domain", StatsQuestion { by: vec![GroupBy::Domain], ..day.clone() }),
        ("site", StatsQuestion { by: vec![GroupBy::Site], ..day.clone() }),
        ("minute", StatsQuestion { by: vec![GroupBy::Minute], ..day.clone() }),
        (
            "category of a domain",
            StatsQuestion { by: vec![GroupBy::Category], domain: text(domain), ..day },
        ),
    ];
    for (name, question) in stats {
        let ms = middle(|| ledger.stats(&question).map(|answer| answer.rows.len()))?;
        slowest.1 = slowest.1.max(ms);
        told.push((format!("statistics by {name}"), ms));
    }
    Ok(slowest)
}

fn middle<E: Into<anyhow::Error>>(question: impl Fn() -> Result<usize, E>) -> Result<f64> {
    let mut took = Vec::new();
    for _ in 0..ASKED {
        let began = Instant::now();
        question().map_err(Into::into)?;
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok((took[ASKED / 2] * 10.0).round() / 10.0)
}

/// The events of some campaigns, as the queue tells them.
struct Stream {
    recipients: Generator,
    next: u64,
    written: u64,
    wanted: u64,
    dice: Dice,
    frame: u64,
    /// Put off once, and what becomes of them.
    later: Vec<Event>,
}

impl Stream {
    fn new(events: u64) -> Self {
        Self {
            recipients: Generator::new(7, (events / CAMPAIGNS_OF_A_LIST).max(LISTS)),
            next: 0,
            written: 0,
            wanted: events,
            dice: Dice::new(7),
            frame: 0,
            later: Vec::new(),
        }
    }

    /// What the ledger reads in one round; `None` when there are as many events as were wanted.
    fn page(&mut self) -> Option<Vec<ShardFrames>> {
        if self.written >= self.wanted {
            return None;
        }
        let mut parts: Vec<ShardFrames> = Vec::new();
        for _ in 0..FRAMES_A_PAGE {
            let shard = ShardId((self.frame % u64::from(SHARDS)) as u16);
            let at =
                FIRST_MS + (SPAN_MS as f64 * (self.written as f64 / self.wanted as f64)) as u64;
            let events = self.settled(shard, at);
            self.written += events.len() as u64;
            let applied = |event| Settled { event, judgement: Judgement::Applied };
            let frame = OutboxFrame {
                position: format!("{at}-{}", self.frame).parse().ok()?,
                events: Ok(events.into_iter().map(applied).collect()),
                raw: Vec::new(),
            };
            self.frame += 1;
            match parts.iter_mut().find(|part| part.shard == shard) {
                Some(part) => part.frames.push(frame),
                None => parts.push(ShardFrames { shard, frames: vec![frame] }),
            }
        }
        Some(parts)
    }

    fn settled(&mut self, shard: ShardId, at: u64) -> Vec<Event> {
        let mut events = Vec::with_capacity(SETTLED_AT_ONCE + 1);
        while events.len() < SETTLED_AT_ONCE {
            let retried = self.later.pop_if(|event| event.at.0 + 600_000 < at);
            if let Some(event) = retried {
                events.push(Event { at: Timestamp(at), attempt: 2, age_ms: 600_000, ..event });
                continue;
            }
            // List after list, then all of them again.
            let index = self.next;
            let list = self.recipients.len().div_ceil(LISTS);
            let campaign = CampaignId(1 + index / list);
            self.next += 1;
            let delivery = DeliveryId { shard, seq: index };
            if index.is_multiple_of(200) {
                events.push(Event {
                    campaign: Some(campaign),
                    delivery: Some(delivery),
                    count: 200,
                    service: "api".to_owned(),
                    ..Event::new(EventKind::Accepted, Timestamp(at))
                });
            }
            let recipient = self.recipients.address(index % self.recipients.len());
            let event = self.attempt(recipient, campaign, delivery, at);
            self.outcome(event, &mut events);
        }
        events
    }

    fn attempt(
        &mut self,
        recipient: String,
        campaign: CampaignId,
        delivery: DeliveryId,
        at: u64,
    ) -> Event {
        let domain = recipient.rsplit_once('@').map_or("", |(_, domain)| domain);
        let hash = crate::mix::of_text(7, 77, domain);
        // Half of the small domains have a server of their own, the others are hosted.
        let site = match hash % 2 {
            0 => format!("mx.{domain}"),
            _ => format!("mx.hoster-{}.example", hash % 500),
        };
        Event {
            campaign: Some(campaign),
            delivery: Some(delivery),
            attempt: 1,
            service: format!("relay-{}", 1 + self.dice.below(2)),
            source: format!("out-{}", 1 + self.dice.below(2)),
            mx: format!("{site} [192.0.2.{}]", hash % 250),
            site,
            recipient,
            phase: Some(Phase::Dot),
            reply: Reply::parse("250 2.0.0 Ok"),
            bytes: 40_000 + self.dice.below(4_000) as u32,
            elapsed_ms: 100 + self.dice.below(900) as u32,
            age_ms: self.dice.below(1_200_000),
            tls: "TLSv1.3 TLS_AES_256_GCM_SHA384 verified".to_owned(),
            ..Event::new(EventKind::Delivered, Timestamp(at))
        }
    }

    fn outcome(&mut self, event: Event, events: &mut Vec<Event>) {
        let refused = |event: Event, kind, category, line: &str, hygiene| Event {
            kind,
            category: Some(category),
            phase: Some(Phase::Rcpt),
            reply: Reply::parse(line),
            hygiene: Some(hygiene),
            scope: Some(Scope::Recipient),
            rule: category.as_str().to_owned(),
            bytes: 0,
            ..event
        };
        match self.dice.below(100) {
            0..=7 => {
                self.later.push(event.clone());
                let line = "450 4.2.0 Greylisted, come back later";
                let kind = EventKind::Deferred;
                let put_off = refused(event, kind, Category::Greylisted, line, Hygiene::None);
                let next_at = Some(Timestamp(put_off.at.0 + 600_000));
                events.push(Event { next_at, ..put_off });
            }
            8..=11 => {
                // Many servers name the recipient in their replies.
                let line = format!("550 5.1.1 <{}>: user unknown", event.recipient);
                let (kind, hygiene) = (EventKind::Failed, Hygiene::Suppress);
                events.push(refused(event, kind, Category::NoMailbox, &line, hygiene));
            }
            12 => {
                let line = "552 5.2.2 mailbox is over quota";
                let (kind, hygiene) = (EventKind::Failed, Hygiene::Count);
                events.push(refused(event, kind, Category::MailboxFull, line, hygiene));
            }
            _ => events.push(event),
        }
    }
}
