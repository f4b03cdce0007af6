//! A campaign as it is stored.

use std::collections::HashMap;

use mail::gate::Memory;
use mail::queue::CampaignState;
use mail::window::Window;
use mail::{Address, CampaignId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::FileRecord;

mail::words! {
    /// Where a campaign is in its life.
    CampaignStatus {
        /// Created; recipients may be uploaded.
        Draft = "draft",
        /// Uploads are being de-duplicated and queued.
        Closing = "closing",
        /// Recipients accepted; may be started.
        Ready = "ready",
        /// Starts by itself at its time.
        Scheduled = "scheduled",
        /// Sending.
        Running = "running",
        /// Stopped for a while.
        Paused = "paused",
        /// Being emptied.
        Cancelling = "cancelling",
        /// Emptied before its end.
        Cancelled = "cancelled",
        /// Nothing waits any more.
        Finished = "finished",
    }
}

impl CampaignStatus {
    /// Whether nothing can change it any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Cancelled | Self::Finished => true,
            Self::Draft
            | Self::Closing
            | Self::Ready
            | Self::Scheduled
            | Self::Running
            | Self::Paused
            | Self::Cancelling => false,
        }
    }

    /// What the shards should know at this status; `None`: nothing new.
    #[must_use]
    pub fn shard_state(self) -> Option<CampaignState> {
        match self {
            Self::Draft | Self::Closing | Self::Ready | Self::Cancelled | Self::Finished => None,
            Self::Scheduled | Self::Paused => Some(CampaignState::Paused),
            Self::Running => Some(CampaignState::Running),
            Self::Cancelling => Some(CampaignState::Cancelling),
        }
    }
}

/// When a campaign starts once it was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartAt {
    /// At once.
    Now,
    /// At a time.
    At(Timestamp),
}

/// What is sent: everything that all recipients share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TemplateRecord {
    pub from_name: String,
    pub from_address: Address,
    pub reply_to: Option<Address>,
    pub subject: String,
    pub text: Option<String>,
    pub html: Option<String>,
    /// A text part is made from the HTML where there is none. Campaigns from before this was
    /// possible go on without.
    #[serde(default)]
    pub derive_text: bool,
    /// Further header fields, in order.
    pub headers: Vec<(String, String)>,
    /// Merge fields, in the order of a batch's columns.
    pub fields: Vec<String>,
}

fn ordinary_weight() -> f64 {
    mail::share::WEIGHT
}

fn yes() -> bool {
    true
}

/// A campaign's definition. Never changes after creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignRecord {
    /// Whose it is.
    pub tenant: String,
    /// What its owner calls it.
    pub name: String,
    /// What is sent.
    pub template: TemplateRecord,
    /// The egress pool that sends it.
    pub pool: String,
    /// 0 goes first; 1 is ordinary.
    pub priority: u8,
    /// Its part beside others of the same tenant and priority, see [`mail::share::WEIGHTS`].
    #[serde(default = "ordinary_weight")]
    pub weight: f64,
    /// When it starts.
    pub start: StartAt,
    /// Given up this long after acceptance, in seconds; `None`: the relay's default.
    pub lifetime_s: Option<u64>,
    /// The hours in which it may go. Its batches are then of a version that relays from before
    /// send windows do not read, so that none of them can pass over it.
    #[serde(default)]
    pub window: Option<Window>,
    /// Each message goes over verified TLS to servers that promise the same for the way from there
    /// (RFC 8689), or fails. Relays from before do not read such a campaign.
    #[serde(default)]
    pub require_tls: bool,
    /// Whether gates may pause it: bounces and complaints, see [`mail::gate`].
    #[serde(default = "yes")]
    pub gates: bool,
    /// When and by which API key it was created.
    pub created_at: Timestamp,
    /// See `created_at`.
    pub created_by: String,
    /// The id of the request that created it, by which logs of all services tell of it; empty for
    /// campaigns from before there was one.
    #[serde(default)]
    pub request: String,
}

/// A campaign as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Which.
    pub id: CampaignId,
    /// Its definition.
    pub record: CampaignRecord,
    /// What its messages carry; settled when it is no draft any more.
    pub files: Vec<FileRecord>,
    /// Where it is in its life.
    pub status: CampaignStatus,
    /// When the status last changed.
    pub changed_at: Timestamp,
    /// What its gates found; nothing where they found nothing, or a newer program did.
    pub gate: Memory,
    /// Small facts that services keep with it, such as where its uploads are staged.
    pub notes: HashMap<String, String>,
}
