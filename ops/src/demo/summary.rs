//! What the demo came to: the numbers, and whether they are good.

use std::fmt;
use std::time::Duration;

use ledger::render_story;
use loadtests::Audit;
use mail::CampaignId;
use mail::plain::Lang;
use serde::Serialize;

use super::kill::Kill;
use super::platform::Platform;
use crate::commands::{told_of, told_of_the_busiest};

/// The part of a campaign that must arrive.
const DELIVERED_MIN: f64 = 0.8;
/// A dead relay's recipients must be others' within this many seconds.
const TAKEOVER_MAX_S: f64 = 10.0;

/// The demo's result.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Recipients in the queue after the upload was closed.
    pub accepted: u64,
    /// Taken by their destination.
    pub delivered: u64,
    /// Refused for good.
    pub failed: u64,
    /// Not sent: suppressed.
    pub suppressed: u64,
    /// Not sent in time.
    pub expired: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Unreadable.
    pub set_aside: u64,
    /// Still waiting.
    pub waiting: u64,
    /// Recipients by which queue, history and states differ.
    pub imbalance: u64,
    /// In neither book, or delivered by ours alone.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Copies beyond the first that the stated bound allows.
    pub duplicate_bound: u64,
    /// Recipients whose end is not the one that was meant.
    pub misclassified: u64,
    /// Ways to write in which mail came back.
    pub dialects: usize,
    /// From the kill until everything that the relay held was free for the other.
    pub takeover_seconds: f64,
    /// The whole demo.
    pub seconds: f64,
    /// Failures that came by mail after a delivery.
    pub returned: u64,
    /// Complaints.
    pub complained: u64,
    /// Recipients that were put off at least once.
    pub deferred_recipients: u64,
    /// Of those, how many came to an end.
    pub deferred_ended: u64,
    /// Connections of the killed relay between the final dot and the reply.
    pub killed_past_the_dot: u64,
    /// Rules of good mail that strict servers found broken.
    pub violations: u64,
    /// Recipients whose Message-ID or return path changed between attempts.
    pub unstable: u64,
    /// Level of durability.
    pub durability: &'static str,
    /// Disagreements, in words.
    pub disagreements: Vec<String>,
    #[serde(skip)]
    story: Option<String>,
    #[serde(skip)]
    why: Option<String>,
    #[serde(skip)]
    site: Option<String>,
}

impl Summary {
    pub(super) async fn new(
        platform: &Platform,
        campaign: CampaignId,
        audit: &Audit,
        kill: Option<&Kill>,
        took: Duration,
    ) -> anyhow::Result<Self> {
        let n = platform.store.campaign_counters(campaign).await?;
        let imbalance = platform.books().imbalance(&[campaign]).await?;
        let ledger = platform.ledger.clone();
        let story = match audit.story.clone() {
            Some(address) => Some(
                tokio::task::spawn_blocking(move || ledger.story(&address))
                    .await?
                    .map(|story| render_story(&story, Lang::En))?,
            ),
            None => None,
        };
        let (store, config) = (&platform.store, &platform.config);
        let why = match &audit.story {
            Some(address) => Some(told_of(store, config, address).await?),
            None => None,
        };
        let site = told_of_the_busiest(store, config).await?;
        Ok(Self {
            accepted: n.accepted,
            delivered: n.delivered,
            failed: n.failed,
            suppressed: n.suppressed,
            expired: n.expired,
            cancelled: n.cancelled,
            set_aside: n.set_aside,
            waiting: n.waiting,
            imbalance,
            lost: audit.lost,
            duplicates: audit.duplicates,
            duplicate_bound: kill.map_or(0, Kill::duplicates_max) + audit.unanswered,
            misclassified: audit.misclassified,
            dialects: platform.internet.dialects_spoken(),
            takeover_seconds: kill.map_or(0.0, |k| round(k.takeover)),
            seconds: round(took),
            returned: n.returned,
            complained: n.complained,
            deferred_recipients: audit.deferred,
            deferred_ended: audit.deferred_ended,
            killed_past_the_dot: kill.map_or(0, |k| k.past_the_dot as u64),
            violations: audit.violations,
            unstable: audit.unstable,
            durability: platform.store.durability().as_str(),
            disagreements: audit.samples.clone(),
            story,
            why,
            site,
        })
    }

    /// Whether everything is as it must be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdicts().iter().all(|(good, _)| *good)
    }

    fn verdicts(&self) -> Vec<(bool, String)> {
        let share = self.delivered as f64 / self.accepted.max(1) as f64;
        vec![
            (self.waiting == 0, format!("nothing waits ({})", self.waiting)),
            (
                self.imbalance == 0,
                format!("accounts balance, counted three ways (off by {})", self.imbalance),
            ),
            (self.lost == 0, format!("nothing is lost ({})", self.lost)),
            (
                self.duplicates <= self.duplicate_bound,
                format!(
                    "{} sent twice, {} allowed by the bound",
                    self.duplicates, self.duplicate_bound
                ),
            ),
            (share >= DELIVERED_MIN, format!("{:.1} % delivered", share * 100.0)),
            (
                self.deferred_ended == self.deferred_recipients,
                format!(
                    "{} put off, {} of them to their end",
                    self.deferred_recipients, self.deferred_ended
                ),
            ),
            (
                self.misclassified == 0,
                format!(
                    "every end is the one that was meant ({} are not), told in {} ways to write",
                    self.misclassified, self.dialects
                ),
            ),
            (
                self.violations == 0 && self.unstable == 0,
                format!(
                    "every message passed the strict servers ({} did not)",
                    self.violations + self.unstable
                ),
            ),
            (
                self.takeover_seconds > 0.0 && self.takeover_seconds <= TAKEOVER_MAX_S,
                format!(
                    "kill -9 with {} connections past the final dot, taken over in {:.1} s",
                    self.killed_past_the_dot, self.takeover_seconds
                ),
            ),
        ]
    }
}

fn round(d: Duration) -> f64 {
    (d.as_secs_f64() * 10.0).round() / 10.0
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{} recipients in {:.1} s, at durability `{}`\n",
            self.accepted, self.seconds, self.durability
        )?;
        writeln!(
            f,
            "  {} delivered, {} failed, {} expired, {} suppressed; {} came back later, {} complained\n",
            self.delivered,
            self.failed,
            self.expired,
            self.suppressed,
            self.returned,
            self.complained
        )?;
        for (good, words) in self.verdicts() {
            writeln!(f, "  {} {words}", if good { "✓" } else { "✗" })?;
        }
        for words in &self.disagreements {
            writeln!(f, "    {words}")?;
        }
        if let Some(story) = &self.story {
            writeln!(
                f,
                "\nOne story out of {}, as `malleposte trace ADDRESS` tells it:\n\n{story}",
                self.accepted
            )?;
        }
        if let Some(why) = &self.why {
            writeln!(f, "Where it stands, as `malleposte why ADDRESS` tells it:\n\n{why}")?;
        }
        if let Some(site) = &self.site {
            writeln!(f, "One pace, as `malleposte site show SITE` tells it:\n\n{site}")?;
        }
        Ok(())
    }
}
