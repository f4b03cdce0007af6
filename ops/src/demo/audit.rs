//! The two books, side by side: what history says of each recipient, and what truly
//! happened to it at the pretend internet.

use std::collections::HashMap;

use ledger::TraceFilter;
use loadtests::Generator;
use loadtests::internet::End;
use mail::event::EventKind;
use mail::{CampaignId, Category};

use super::platform::Platform;

/// Entries of history read at a time.
const PAGE: usize = 1000;
/// Cases shown of each kind of disagreement.
const SAMPLES_MAX: usize = 5;

/// What our history says of one recipient.
#[derive(Debug, Clone, Default)]
struct Ours {
    end: Option<EventKind>,
    category: Option<Category>,
    returned: Option<Category>,
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
    /// Compares the two books, once history has read everything that the queue told.
    ///
    /// # Errors
    /// When queue or history cannot be read.
    pub async fn make(
        platform: &Platform,
        campaign: CampaignId,
        recipients: &Generator,
    ) -> anyhow::Result<Self> {
        let ours = history(platform, campaign).await?;
        let book = platform.internet.book();
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
        for index in 0..recipients.len() {
            let address = recipients.address(index);
            let taken = book.recipient(&address).map_or(0, |e| e.taken);
            let known = ours.get(&address.to_lowercase()).cloned().unwrap_or_default();
            audit.compare(&address, &known, taken, platform.internet.meant(&address).end);
        }
        Ok(audit)
    }

    fn compare(&mut self, address: &str, ours: &Ours, taken: u16, meant: End) {
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
        let right = match meant {
            End::Delivered => delivered && ours.returned.is_none(),
            End::Returned(category) => delivered && ours.returned == Some(category),
            End::Failed(category) => {
                ours.end == Some(EventKind::Failed) && ours.category == Some(category)
            }
            End::Unreachable(category) => {
                ours.end == Some(EventKind::Expired) && ours.category == Some(category)
            }
        };
        if !right {
            self.misclassified += 1;
            self.sample(format!(
                "{address}: meant {meant:?}; ours {:?} {:?}, returned {:?}",
                ours.end, ours.category, ours.returned
            ));
        }
        if self.story.is_none() && ours.deferred > 1 && ours.returned.is_some() {
            self.story = Some(address.to_owned());
        }
    }

    fn sample(&mut self, words: String) {
        if self.samples.len() < SAMPLES_MAX * 4 {
            self.samples.push(words);
        }
    }
}

/// Everything that history has about the campaign, folded by recipient. Waits until the
/// ledger has read what the queue told.
async fn history(
    platform: &Platform,
    campaign: CampaignId,
) -> anyhow::Result<HashMap<String, Ours>> {
    for _ in 0..300 {
        let mut behind = 0;
        for shard in platform.store.all_shards() {
            behind += platform.store.outbox_len(shard).await?;
        }
        if behind == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let ledger = platform.ledger.clone();
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
