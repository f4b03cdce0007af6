//! The queue of one shard as a state machine: its commands, their answers, and
//! an in-memory model of both. docs/QUEUE.md is the table that this follows; the
//! Redis scripts in `store` are the same machine, and one suite drives the two.
//! What is absent: any opinion about which lane should be served next.

mod model;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use model::Model;

use crate::address::Domain;
use crate::id::CampaignId;
use crate::time::Timestamp;

/// Recipients in one batch, at most. Large enough that a batch costs little, small
/// enough that its state is cheap to rewrite with every settle.
pub const BATCH_RECIPIENTS_MAX: u16 = 500;

/// Leases of one batch at a time: slots are bytes from 16 up.
pub const SLOTS_MAX: u8 = 239;

/// How long a lease lives without a renewal. Two missed renewals are weather, five are a death.
pub const LEASE_PERIOD: Duration = Duration::from_secs(5);

/// Leases taken back from a dead relay by one renewal, so that a script stays short.
pub const REAP_LEASES_MAX: usize = 50;

/// Due groups made ready by one renewal.
pub const PROMOTE_GROUPS_MAX: usize = 200;

/// One campaign's recipients for one domain, or for all small domains of the shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The campaign.
    pub campaign: CampaignId,
    /// The domain; `None` is the lane that small domains share.
    pub domain: Option<Domain>,
}

/// `c12/gmail.com` or `c12/*`.
impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, "{}/{domain}", self.campaign),
            None => write!(f, "{}/*", self.campaign),
        }
    }
}

/// A text that is not a lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a lane")]
pub struct LaneError(String);

impl FromStr for Lane {
    type Err = LaneError;
    fn from_str(text: &str) -> Result<Self, LaneError> {
        let parse = || {
            let (campaign, domain) = text.split_once('/')?;
            let domain = match domain {
                "*" => None,
                name => Some(name.parse().ok()?),
            };
            Some(Self { campaign: campaign.parse().ok()?, domain })
        };
        parse().ok_or_else(|| LaneError(text.chars().take(80).collect()))
    }
}

crate::words! {
    /// What a shard knows of a campaign: whether its lanes may be leased.
    CampaignState {
        /// Accepted, not started.
        Held = "held",
        /// Sending.
        Running = "running",
        /// Stopped by somebody for a while.
        Paused = "paused",
        /// Being emptied: relays lease in order to settle as cancelled.
        Cancelling = "cancelling",
    }
}

impl CampaignState {
    /// Whether its lanes belong in the ready index.
    #[must_use]
    pub fn is_leasable(self) -> bool {
        matches!(self, Self::Running | Self::Cancelling)
    }
}

/// A lease's number in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Token(pub u64);

/// A batch, named by the sequence number of its first recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BatchId(pub u64);

/// Where a recipient stands, as the byte in its batch's state says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never leased.
    Fresh,
    /// Its turn has come again.
    Retry,
    /// Waits for a time.
    Delayed,
    /// At rest.
    Done(End),
    /// Held by the lease in this slot of its batch.
    Leased(u8),
}

/// How a recipient came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// The destination took it.
    Delivered,
    /// Refused for good.
    Failed,
    /// On a suppression list.
    Suppressed,
    /// Too old.
    Expired,
    /// The campaign was cancelled.
    Cancelled,
    /// Nobody could read it.
    SetAside,
}

impl End {
    /// Every end, in the order of its byte.
    pub const ALL: [Self; 6] = [
        Self::Delivered,
        Self::Failed,
        Self::Suppressed,
        Self::Expired,
        Self::Cancelled,
        Self::SetAside,
    ];
}

const SLOT_BASE: u8 = 16;
const END_BASE: u8 = 4;

impl State {
    /// The byte of the state; docs/QUEUE.md has the table.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Fresh => 0,
            Self::Retry => 1,
            Self::Delayed => 2,
            Self::Done(end) => END_BASE + end as u8,
            Self::Leased(slot) => SLOT_BASE + slot,
        }
    }

    /// The state of a byte; `None` for a byte that means nothing.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Fresh),
            1 => Some(Self::Retry),
            2 => Some(Self::Delayed),
            4..=9 => Some(Self::Done(End::ALL[usize::from(byte - END_BASE)])),
            16.. => Some(Self::Leased(byte - SLOT_BASE)),
            _ => None,
        }
    }
}

/// What a relay says happened to a recipient that it had leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    End(End),
    /// An attempt failed for now; not again before `due`.
    Deferred {
        /// Rounded up by the retry schedule, so that many share one time.
        due: Timestamp,
    },
    /// Not tried, and no use in trying before `due`: its site is at rest.
    Waits {
        /// Rounded up, as above.
        due: Timestamp,
    },
    /// Untouched: as if it had not been leased.
    Back,
}

impl Outcome {
    /// One letter on the wire to the script.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::End(End::Delivered) => 'd',
            Self::End(End::Failed) => 'f',
            Self::End(End::Suppressed) => 's',
            Self::End(End::Expired) => 'x',
            Self::End(End::Cancelled) => 'c',
            Self::End(End::SetAside) => 'q',
            Self::Deferred { .. } => 'r',
            Self::Waits { .. } => 'w',
            Self::Back => 'b',
        }
    }

    /// Whether there is something to tell: an event goes with it.
    #[must_use]
    pub fn is_told(self) -> bool {
        matches!(self, Self::End(_) | Self::Deferred { .. })
    }
}

/// What became of one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It counts.
    Applied,
    /// A delivery by a relay that had lost the lease to another: it counts, and
    /// the other may send a second time.
    Late,
    /// A delivery of what was at rest already: a duplicate.
    Twice,
    /// It does not count: the recipient is another's, or at rest.
    Refused,
}

impl Judgement {
    /// The letter beside the frame of events.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Applied => 'a',
            Self::Late => 'l',
            Self::Twice => 't',
            Self::Refused => 'r',
        }
    }

    /// The judgement of a letter.
    #[must_use]
    pub fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'a' => Some(Self::Applied),
            b'l' => Some(Self::Late),
            b't' => Some(Self::Twice),
            b'r' => Some(Self::Refused),
            _ => None,
        }
    }
}

/// A batch of a campaign put into a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueue {
    /// Where it goes; the lane names the campaign.
    pub lane: Lane,
    /// The number of this chunk in this campaign and shard, from 0.
    pub chunk: u64,
    /// Its name: the sequence number of its first recipient.
    pub batch: BatchId,
    /// Recipients in it, 1 to [`BATCH_RECIPIENTS_MAX`].
    pub count: u16,
    /// Indices of those that are suppressed already, ascending.
    pub suppressed: Vec<u16>,
    /// 0 goes first.
    pub priority: u8,
}

/// What became of an enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It waits, and is counted.
    Stored,
    /// This chunk is there already.
    Already,
    /// Chunks before it are missing.
    Gap,
    /// The outbox is nearly full: try again when the ledger has caught up.
    OutboxFull,
}

/// Whether a relay is still known to the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its leases are its own.
    Known,
    /// Its deadline has passed: it holds nothing any more.
    Lost,
}

/// A range of a batch that a relay may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The lease.
    pub token: Token,
    /// Its slot in the batch.
    pub slot: u8,
    /// The batch.
    pub batch: BatchId,
    /// The lane that it was taken from.
    pub lane: Lane,
    /// Recipients in the whole batch.
    pub count: u16,
    /// Whether the campaign is being cancelled: settle, do not send.
    pub cancelling: bool,
    /// Index and attempts so far of each recipient, ascending by index.
    pub items: Vec<(u16, u8)>,
}

/// The outcomes of one lease, or some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// The lease.
    pub token: Token,
    /// Its slot.
    pub slot: u8,
    /// Its batch.
    pub batch: BatchId,
    /// The batch's lane and size, as the lease gave them: a Redis that came back with an
    /// older memory may have forgotten that the batch was ever leased.
    pub lane: Lane,
    /// See `lane`.
    pub count: u16,
    /// Index and outcome, ascending by index, each index once.
    pub outcomes: Vec<(u16, Outcome)>,
    /// Why those are set aside that are, for the list that operators see.
    pub reason: String,
    /// The version of a record that no relay reads, where that is the reason; otherwise 0.
    pub newer: u8,
    /// Those that failed or expired because the address is dead, ascending: counted for the gates,
    /// and no part of the accounts.
    pub dead: Vec<u16>,
}

impl Leased {
    /// A settle of this lease: index and outcome, ascending by index, none of them set aside.
    #[must_use]
    pub fn settle(&self, outcomes: Vec<(u16, Outcome)>) -> Settle {
        Settle {
            token: self.token,
            slot: self.slot,
            batch: self.batch,
            lane: self.lane.clone(),
            count: self.count,
            outcomes,
            reason: String::new(),
            newer: 0,
            dead: Vec::new(),
        }
    }
}

/// Recipients of a batch that nobody could send, as operators see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The batch.
    pub batch: BatchId,
    /// Its lane.
    pub lane: String,
    /// Why; the first reason that was given.
    pub reason: String,
    /// The version of a record that no relay read, where that was the reason; otherwise 0.
    pub newer: u8,
    /// Since when.
    pub at: Timestamp,
    /// How many.
    pub count: u32,
}

/// A shard's part of a campaign's accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Counters {
    pub accepted: u64,
    pub delivered: u64,
    pub failed: u64,
    pub suppressed: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub set_aside: u64,
    /// Not at rest yet.
    pub waiting: u64,
    /// Attempts that ended in a deferral.
    pub deferrals: u64,
    /// Deliveries settled after the lease had gone to another relay.
    pub late: u64,
    /// Deliveries of what was at rest already.
    pub duplicates: u64,
    /// Failures that came by mail after a delivery.
    pub returned: u64,
    /// Complaints after a delivery.
    pub complained: u64,
}

impl Counters {
    /// How far the accounts are from balancing; 0 when they do.
    #[must_use]
    pub fn imbalance(&self) -> u64 {
        let parts = self.delivered
            + self.failed
            + self.suppressed
            + self.expired
            + self.cancelled
            + self.set_aside
            + self.waiting;
        self.accepted.abs_diff(parts)
    }

    /// The sum of two parts.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            failed: self.failed + other.failed,
            suppressed: self.suppressed + other.suppressed,
            expired: self.expired + other.expired,
            cancelled: self.cancelled + other.cancelled,
            set_aside: self.set_aside + other.set_aside,
            waiting: self.waiting + other.waiting,
            deferrals: self.deferrals + other.deferrals,
            late: self.late + other.late,
            duplicates: self.duplicates + other.duplicates,
            returned: self.returned + other.returned,
            complained: self.complained + other.complained,
        }
    }

    pub(crate) fn end_mut(&mut self, end: End) -> &mut u64 {
        match end {
            End::Delivered => &mut self.delivered,
            End::Failed => &mut self.failed,
            End::Suppressed => &mut self.suppressed,
            End::Expired => &mut self.expired,
            End::Cancelled => &mut self.cancelled,
            End::SetAside => &mut self.set_aside,
        }
    }
}
