//! The two books, side by side: what history says of each recipient, and what truly
//! happened to it at the pretend internet.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, bail};
use ledger::{Ledger, TraceFilter};
use mail::event::EventKind;
use mail::{CampaignId, Category, Report};
use store::Store;

use crate::generator::Generator;
use crate::internet::{End, Internet, Meant};

/// Entries of history read at a time.
const PAGE: usize = 1000;
/// Disagreements told in words; the rest is only counted.
const SAMPLES_MAX: usize = 20;
/// History holds what the queue told after this at the latest.
const STORED_WITHIN: Duration = Duration::from_secs(30);

/// What is compared: the queue and our history of one platform, and the internet around it.
#[derive(Clone, Copy)]
pub struct Books<'a> {
    /// The queue.
    pub store: &'a Store,
    /// Our history.
    pub ledger: &'a Ledger,
    /// What truly happened.
    pub internet: &'a Internet,
}

/// What our history says of one recipient.
#[derive(Debug, Clone, Default)]
struct Ours {
    end: Option<EventKind>,
    category: Option<Category>,
    returned: Option<Category>,
    reported: Option<Report>,
    deferred: u32,
    unanswered: u32,
}

/// The comparison.
#[derive(Debug, Default)]
pub struct Audit {
    /// Neither delivered, nor failed for a reason, nor waiting; or delivered by our book only.
    pub lost: u64,
    /// Ended with another category than was meant, or with another end.
    pub misclassified: u64,
    /// Copies beyond the first in a mailbox.
    pub duplicates: u64,
    /// Final dots that were not answered, by our own history: a term of the bound.
    pub unanswered: u64,
    /// Recipients refused for now at least once.
    pub deferred: u64,
    /// How many of those came to an end.
    pub deferred_ended: u64,
    /// Rules of good mail that the strict servers found broken.
    pub violations: u64,
    /// Recipients whose Message-ID or return path changed between attempts.
    pub unstable: u64,
    /// A few of the disagreements, in words.
    pub samples: Vec<String>,
    /// A recipient whose story is worth reading.
    pub story: Option<String>,
}

impl Audit {
    /// Compares the two books over these campaigns, which are all that the internet was sent,
    /// once history has read everything that the queue told.
    ///
    /// # Errors
    /// When queue or history cannot be read, or history does not catch up.
    pub async fn make(books: Books<'_>, campaigns: &[(CampaignId, Generator)]) -> Result<Self> {
        books.await_history().await?;
        let book = books.internet.book();
        let summary = book.summary();
        let mut audit = Self {
            duplicates: summary.duplicates,
            violations: summary.violations,
            unstable: summary.unstable,
            ..Self::default()
        };
        for (rule, violation) in book.violations() {
            audit.sample(format!(
                "{rule}: {} times, such as {:?}",
                violation.count,
                violation.samples.first()
            ));
        }
        for (campaign, recipients) in campaigns {
            let ours = books.history(*campaign).await?;
            for index in 0..recipients.len() {
                let address = recipients.address(index);
                let taken = book.recipient(&address).map_or(0, |e| e.taken);
                let known = ours.get(&address.to_lowercase()).cloned().unwrap_or_default();
                audit.compare(&address, &known, taken, books.internet.meant(&address));
            }
        }
        Ok(audit)
    }

    fn compare(&mut self, address: &str, ours: &Ours, taken: u16, meant: Meant) {
        self.unanswered += u64::from(ours.unanswered);
        if ours.deferred > 0 {
            self.deferred += 1;
            self.deferred_ended += u64::from(ours.end.is_some());
        }
        let delivered = ours.end == Some(EventKind::Delivered);
        if ours.end.is_none() || (delivered && taken == 0) {
            self.lost += 1;
            self.sample(format!("lost: {address}: our end {:?}, copies there {taken}", ours.end));
        }
        let right = match meant.end {
            End::Delivered => delivered && ours.returned.is_none(),
            End::Returned(category) => delivered && ours.returned == Some(category),
            End::Failed(category) => {
                ours.end == Some(EventKind::Failed) && ours.category == Some(category)
            }
            End::Unreachable(category) => {
                ours.end == Some(EventKind::Expired) && ours.category == Some(category)
            }
        };
        let as_meant = right && ours.reported == meant.report;
        if !as_meant && !is_overtaken(ours, taken, meant) {
            self.misclassified += 1;
            self.sample(format!(
                "{address}: meant {meant:?}; ours {:?} {:?}, returned {:?}, reported {:?}",
                ours.end, ours.category, ours.returned, ours.reported
            ));
        }
        if self.story.is_none() && ours.deferred > 1 && ours.returned.is_some() {
            self.story = Some(address.to_owned());
        }
    }

    fn sample(&mut self, words: String) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(words);
        }
    }
}

impl Books<'_> {
    /// Recipients by which the accounts of campaigns differ: the queue's counters, history
    /// at the same position, and the states counted one by one. 0 when they balance.
    ///
    /// # Errors
    /// When queue or history cannot be read, or are too far apart to be compared.
    pub async fn imbalance(&self, campaigns: &[CampaignId]) -> Result<u64> {
        let mut audits = Vec::new();
        for shard in self.store.all_shards() {
            audits.push(self.store.audit(shard).await?);
        }
        let mut imbalance = 0;
        for campaign in campaigns {
            let counters = self.store.campaign_counters(*campaign).await?;
            let by_state: u64 = audits.iter().map(|audit| audit.waiting(*campaign)).sum();
            imbalance += counters.imbalance() + counters.waiting.abs_diff(by_state);
        }
        Ok(imbalance + self.disagreement().await?)
    }

    /// Recipients about whom the queue's counters and history disagree at the same position,
    /// once history has read everything that the queue told.
    ///
    /// # Errors
    /// When queue or history cannot be read, or history does not catch up.
    pub async fn disagreement(&self) -> Result<u64> {
        self.await_history().await?;
        let balance = self.ledger.balance(self.store).await?;
        if !balance.uncompared.is_empty() {
            bail!("the accounts of {} shards could not be compared", balance.uncompared.len());
        }
        Ok(balance.imbalance)
    }

    async fn await_history(&self) -> Result<()> {
        let began = tokio::time::Instant::now();
        while began.elapsed() < STORED_WITHIN {
            let mut behind = 0;
            for shard in self.store.all_shards() {
                behind += self.store.outbox_len(shard).await?;
            }
            if behind == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("history has not read what the queue told within {STORED_WITHIN:?}")
    }

    /// Everything that history has about a campaign, folded by recipient.
    async fn history(&self, campaign: CampaignId) -> Result<HashMap<String, Ours>> {
        let ledger = self.ledger.clone();
        tokio::task::spawn_blocking(move || {
            let filter = TraceFilter { campaign: Some(campaign), ..TraceFilter::default() };
            let mut known: HashMap<String, Ours> = HashMap::new();
            let mut cursor = None;
            loop {
                let page = ledger.trace(&filter, PAGE, cursor)?;
                for entry in &page.entries {
                    fold(&mut known, &entry.event, entry.judgement != "refused");
                }
                match page.next {
                    Some(next) => cursor = Some(next),
                    None => return Ok(known),
                }
            }
        })
        .await?
    }
}

/// A copy that we do not know of, because its reply was lost with a connection or a relay,
/// can bring back a report or a complaint that suppresses the address before the next
/// attempt. That attempt is then not made, which spares the recipient a second copy.
fn is_overtaken(ours: &Ours, taken: u16, meant: Meant) -> bool {
    let without_attempt = match ours.end {
        Some(EventKind::Suppressed) => true,
        Some(EventKind::Failed) => ours.category == ours.returned,
        _ => false,
    };
    taken > 0 && meant.report.is_some() && without_attempt
}

/// What the queue refused changed nothing there; an ending without an answer was one all
/// the same.
fn fold(known: &mut HashMap<String, Ours>, event: &mail::Event, is_applied: bool) {
    if event.recipient.is_empty() {
        return;
    }
    let ours = known.entry(event.recipient.to_lowercase()).or_default();
    if event.kind == EventKind::Deferred {
        let past_the_dot = event.phase == Some(mail::Phase::Dot) && event.reply.is_none();
        ours.unanswered += u32::from(past_the_dot);
    }
    if !is_applied {
        return;
    }
    let report = match event.kind {
        EventKind::Returned => Some(Report::Failure),
        EventKind::Complained => Some(Report::Complaint),
        EventKind::Unsubscribed => Some(Report::OptOut),
        EventKind::Reported => Report::from_word(&event.note),
        _ => None,
    };
    ours.reported = ours.reported.or(report);
    match event.kind {
        EventKind::Delivered | EventKind::LateDelivered => ours.end = Some(EventKind::Delivered),
        EventKind::Failed
        | EventKind::Expired
        | EventKind::Suppressed
        | EventKind::Cancelled
        | EventKind::SetAside => {
            ours.end = ours.end.or(Some(event.kind));
            ours.category = ours.category.or(event.category);
        }
        EventKind::Deferred => ours.deferred += 1,
        EventKind::Returned => ours.returned = ours.returned.or(event.category),
        EventKind::Accepted
        | EventKind::Complained
        | EventKind::Reported
        | EventKind::Unsubscribed
        | EventKind::SuppressionAdded
        | EventKind::SuppressionRemoved
        | EventKind::CampaignChanged
        | EventKind::PaceChanged
        | EventKind::Service
        | EventKind::Ordered
        | EventKind::Restored => {}
    }
}
