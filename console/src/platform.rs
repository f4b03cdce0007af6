//! What the console sees of a platform and does to it. It knows neither Redis nor SQLite: `ops` looks and
//! acts for it, the tests with a platform of paper.

use async_trait::async_trait;
use ledger::{Cursor, StatsAnswer, StatsQuestion, Story, TraceFilter, TracePage};
use mail::alarm::{Alarm, Condition, Silence};
use mail::queue::Counters;
use mail::throttle::{Binding, Fixed};
use mail::{CampaignId, Timestamp};
use serde::Serialize;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What was asked for cannot be: what is wrong, and what would be right.
    #[error("{0}")]
    Refused(String),
    /// There is no such thing.
    #[error("there is no {0}")]
    Absent(String),
    /// History is kept on another host.
    #[error("history is kept on another host")]
    Elsewhere,
    /// Others are asking.
    #[error("history answers others at the moment")]
    Busy,
    /// Something here does not work; it stands in the log.
    #[error("{0}")]
    Broken(String),
}

/// An answer, or why there is none.
pub type Answer<T> = Result<T, Trouble>;

/// What there is to see at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sights {
    /// When it was seen.
    pub at: Timestamp,
    /// The servers of Redis that take writes.
    pub servers: Vec<Server>,
    /// Relays, the silent ones included.
    pub relays: Vec<Relay>,
    /// What waits, by priority, the most urgent first.
    pub waiting: Vec<Waiting>,
    /// How many campaigns are in which state.
    pub campaigns: Vec<(String, u64)>,
    /// Every source at every site, those with the most to do first.
    pub paces: Vec<Pace>,
    /// How full the outbox is of what history has not read yet, 0 to 1.
    pub outbox_fullness: f64,
    /// Returned mail and the like that has not been taken into account yet.
    pub feedback_waiting: u64,
}

/// A server of Redis.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// Its address.
    pub name: String,
    /// Octets that it uses.
    pub memory_bytes: u64,
    /// Octets that it may use; 0: no bound.
    pub memory_max_bytes: u64,
    /// What an answer takes, in milliseconds.
    pub latency_ms: f64,
    /// Whether what it is told reaches its disk.
    pub is_persisting: bool,
}

/// A relay.
#[derive(Debug, Clone, Serialize)]
pub struct Relay {
    /// Its name and its life.
    pub id: String,
    /// The name that it was given.
    pub name: String,
    /// Its host.
    pub host: String,
    /// `live`, `draining` or `silent`.
    pub state: &'static str,
    /// When it was last heard of.
    pub seen_at: Timestamp,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// SMTP connections that it has open.
    pub connections: u32,
    /// Recipients in its hands.
    pub leased: u32,
    /// The part of what it could take that it takes, in hundredths.
    pub budget_percent: u8,
    /// Why it is not all, the strongest cause first.
    pub pressed_by: Vec<String>,
    /// The pools that it sends from.
    pub pools: Vec<String>,
    /// The order by which it is drained.
    pub drain_order: Option<u64>,
}

/// What waits of one priority.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// The priority: 0 goes first.
    pub priority: u8,
    /// Recipients.
    pub recipients: u64,
    /// Seconds since the campaign that began first.
    pub oldest_s: f64,
}

/// A source at a site.
#[derive(Debug, Clone, Serialize)]
pub struct Pace {
    /// The egress source.
    pub source: String,
    /// The site.
    pub site: String,
    /// The provider, where its file is known.
    pub provider: Option<String>,
    /// Messages a second that may go.
    pub rate: f64,
    /// At which it was last refused; 0: never.
    pub rate_refused: f64,
    /// Connections open.
    pub connections: u32,
    /// Connections that may be.
    pub connections_max: u32,
    /// Recipients that wait for it in relays.
    pub waiting: u64,
    /// Whether the site blocks the source.
    pub is_blocked: bool,
    /// Whether an operator has fixed some of it.
    pub is_fixed: bool,
    /// Whether an operator has suspended it.
    pub is_suspended: bool,
    /// What keeps more from going.
    pub binding: Binding,
}

/// All that is known of a source at a site.
#[derive(Debug, Clone, Serialize)]
pub struct SiteSeen {
    /// The pace.
    pub pace: Pace,
    /// Messages over one connection.
    pub messages_per_connection: u32,
    /// The least and the most that the configuration allows, in messages a second.
    pub rate_bounds: (f64, f64),
    /// What the site said when it last blocked the source.
    pub blocked_with: Option<String>,
    /// Until when the source is held.
    pub held_until: Option<Timestamp>,
    /// The orders that concern it.
    pub orders: Vec<OrderSeen>,
    /// What changed, the newest first.
    pub changes: Vec<ChangeSeen>,
}

/// An order that holds.
#[derive(Debug, Clone, Serialize)]
pub struct OrderSeen {
    /// Its number.
    pub id: u64,
    /// What it says.
    pub what: String,
    /// Who gave it.
    pub by: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when, if it ends by itself.
    pub until: Option<Timestamp>,
}

/// A change of a pace.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeSeen {
    /// Its number, by which it can be undone.
    pub number: String,
    /// When.
    pub at: Timestamp,
    /// What changed.
    pub what: String,
    /// The rate after it, where the rate changed.
    pub rate: Option<f64>,
    /// What the site had said.
    pub reply: Option<String>,
}

/// A campaign.
#[derive(Debug, Clone, Serialize)]
pub struct CampaignSeen {
    /// Which.
    pub id: CampaignId,
    /// What its owner calls it.
    pub name: String,
    /// Whose.
    pub tenant: String,
    /// The address of From.
    pub sender: String,
    /// The subject, as a template.
    pub subject: String,
    /// Its state.
    pub status: &'static str,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its accounts.
    pub counters: Counters,
    /// Why it was paused by itself.
    pub paused_because: Option<String>,
    /// What can be done to it now: `pause`, `resume`, `cancel`.
    pub possible: Vec<&'static str>,
}

/// Campaigns of one page.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CampaignPage {
    /// The newest first.
    pub campaigns: Vec<CampaignSeen>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// An address that gets no mail.
#[derive(Debug, Clone, Serialize)]
pub struct SuppressionSeen {
    /// The address.
    pub address: String,
    /// Why.
    pub reason: String,
    /// The category of the failure, if it was one.
    pub category: Option<String>,
    /// Since when.
    pub at: Timestamp,
    /// What proves it.
    pub evidence: String,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

/// Suppressed addresses of one page.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SuppressionPage {
    /// In no order that means anything.
    pub suppressions: Vec<SuppressionSeen>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// What is wrong, and what is silenced.
#[derive(Debug, Clone, Default)]
pub struct AlarmsSeen {
    /// Every alarm, those that are raised first.
    pub alarms: Vec<Alarm>,
    /// Of what nobody is told.
    pub silences: Vec<Silence>,
    /// News that somebody has not taken yet.
    pub untold: u64,
    /// When somebody last looked; 0: never.
    pub looked_at: Timestamp,
    /// Whether anybody is told at all.
    pub is_told: bool,
    /// Now.
    pub at: Timestamp,
}

/// What is done by hand. Each is an order or an event with who and why.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Nothing goes to a site.
    SuspendSite(String),
    /// It goes again.
    ResumeSite(String),
    /// A source's pace at a site is what somebody says.
    FixPace {
        /// The source.
        source: String,
        /// The site.
        site: String,
        /// What is fixed.
        fixed: Fixed,
        /// For how many minutes; for good when it is not said.
        minutes: Option<u64>,
    },
    /// A block by the site is over.
    ReleasePace {
        /// The source.
        source: String,
        /// The site.
        site: String,
    },
    /// A change of a pace is taken back.
    UndoChange {
        /// The source.
        source: String,
        /// The site.
        site: String,
        /// The change's number.
        number: String,
    },
    /// An order holds no more.
    UndoOrder(u64),
    /// A campaign stands still.
    PauseCampaign(CampaignId),
    /// It goes on.
    ResumeCampaign(CampaignId),
    /// Its rest is never sent.
    CancelCampaign(CampaignId),
    /// A relay finishes what it has and takes no more.
    DrainRelay(String),
    /// Nobody is told of something for a while.
    Silence {
        /// The condition; `None`: all of them.
        condition: Option<Condition>,
        /// Which one; empty: all of them.
        subject: String,
        /// For how long.
        minutes: u64,
    },
    /// A silence is over.
    LiftSilence(u64),
    /// An address gets no mail.
    Suppress {
        /// Whose list.
        tenant: String,
        /// The address.
        address: String,
    },
    /// It gets mail again.
    Lift {
        /// Whose list.
        tenant: String,
        /// The address.
        address: String,
    },
}

/// Who does something, and why.
#[derive(Debug, Clone)]
pub struct Hand {
    /// The account.
    pub by: String,
    /// The reason, a line.
    pub why: String,
}

/// A platform, as pages need it.
#[async_trait]
pub trait Platform: Send + Sync + 'static {
    /// What there is to see now.
    async fn sights(&self) -> Answer<std::sync::Arc<Sights>>;
    /// A source at a site.
    async fn site(&self, source: &str, site: &str) -> Answer<SiteSeen>;
    /// Campaigns, the newest first.
    async fn campaigns(&self, cursor: Option<&str>) -> Answer<CampaignPage>;
    /// One campaign.
    async fn campaign(&self, id: CampaignId) -> Answer<CampaignSeen>;
    /// Sums of history.
    async fn stats(&self, question: StatsQuestion) -> Answer<StatsAnswer>;
    /// Entries of history.
    async fn trace(
        &self,
        filter: TraceFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Answer<TracePage>;
    /// Everything that happened to an address.
    async fn story(&self, address: &str) -> Answer<Story>;
    /// A list of suppressed addresses; `address`: whether this one is on it.
    async fn suppressions(
        &self,
        tenant: &str,
        address: Option<&str>,
        cursor: Option<&str>,
    ) -> Answer<SuppressionPage>;
    /// What is wrong.
    async fn alarms(&self) -> Answer<AlarmsSeen>;
    /// Does it.
    async fn act(&self, hand: Hand, deed: Deed) -> Answer<()>;
}
