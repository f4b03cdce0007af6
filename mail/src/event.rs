//! Events: what happened, once and for all. Every trip emits them, the ledger
//! reads them. An event is flat, so that history is a table; what a kind does not
//! know stays empty. New fields go to the end: a reader from before leaves them,
//! a reader from after fills in the default.

use serde::{Deserialize, Serialize};

use crate::category::{Category, Hygiene, Phase, Scope};
use crate::id::{CampaignId, DeliveryId};
use crate::reply::Reply;
use crate::time::Timestamp;

crate::words! {
    /// What an event tells. The first group moves the accounts.
    EventKind {
        /// `count` recipients of a campaign are in the queue.
        Accepted = "accepted",
        /// The destination took the message.
        Delivered = "delivered",
        /// A permanent failure of an attempt.
        Failed = "failed",
        /// Not sent: the address is on a suppression list.
        Suppressed = "suppressed",
        /// Not sent in time.
        Expired = "expired",
        /// Not sent: the campaign was cancelled.
        Cancelled = "cancelled",
        /// Cannot be sent and cannot be judged: kept for an operator.
        SetAside = "set-aside",
        /// An attempt failed for now; it goes again at `next_at`.
        Deferred = "deferred",
        /// A delivery that was settled after its lease had gone to another relay:
        /// the recipient may have it twice.
        LateDelivered = "late-delivered",
        /// A failure that came by mail, after the destination had taken the message.
        Returned = "returned",
        /// The recipient reported it as spam.
        Complained = "complained",
        /// Any other mail that came back, named in `note`.
        Reported = "reported",
        /// The recipient asked for no more.
        Unsubscribed = "unsubscribed",
        /// The address went on a suppression list.
        SuppressionAdded = "suppression-added",
        /// The address left a suppression list.
        SuppressionRemoved = "suppression-removed",
        /// A campaign changed its state; `note` says to which and by whom.
        CampaignChanged = "campaign-changed",
        /// The pace at a site changed; `note` holds from, to and why. Without a site: what the load of
        /// its host leaves to the relay that says it.
        PaceChanged = "pace-changed",
        /// A service started or ended; `note` says which.
        Service = "service",
        /// An operator ordered something; `note` says what, who and why.
        Ordered = "ordered",
        /// `count` recipients that were set aside wait again; `note` says by whom and why.
        Restored = "restored",
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// What it tells.
    pub kind: EventKind,
    /// When, by the clock of the service that says it.
    pub at: Timestamp,
    /// The campaign it concerns.
    pub campaign: Option<CampaignId>,
    /// The delivery it concerns; for `accepted` the first of `count`.
    pub delivery: Option<DeliveryId>,
    /// The recipient's address as it is written on the wire.
    pub recipient: String,
    /// How many recipients it speaks of.
    pub count: u32,
    /// The number of the attempt, from 1; 0 when there was none.
    pub attempt: u16,
    /// The service that says it: a relay's name, `api`, `bounces`.
    pub service: String,
    /// The egress source.
    pub source: String,
    /// The site.
    pub site: String,
    /// The mail exchanger spoken to: `host [address]`.
    pub mx: String,
    /// Where in the conversation.
    pub phase: Option<Phase>,
    /// What the other side said.
    pub reply: Option<Reply>,
    /// What it means.
    pub category: Option<Category>,
    /// What it does to the address.
    pub hygiene: Option<Hygiene>,
    /// Who should change behaviour.
    pub scope: Option<Scope>,
    /// The rule that decided.
    pub rule: String,
    /// The size of the message on the wire, in octets.
    pub bytes: u32,
    /// How long the attempt took, in milliseconds.
    pub elapsed_ms: u32,
    /// How long after its acceptance, in milliseconds.
    pub age_ms: u64,
    /// TLS version, cipher, and what the certificate is worth: `dane` where the domain's DNS vouches
    /// for it, `mta-sts` where a known authority does and the domain's policy wants that,
    /// `verified` where a known authority gave it to the server's name, else `unverified`. `plain`
    /// where TLS was offered and failed and the mail went without; `failed` where it did not go;
    /// empty where none was offered.
    pub tls: String,
    /// When it goes again.
    pub next_at: Option<Timestamp>,
    /// Anything else worth telling, in plain words.
    pub note: String,
}

impl Default for Event {
    fn default() -> Self {
        Self::new(EventKind::Service, Timestamp(0))
    }
}

impl EventKind {
    /// Whether version 0.1.0 knows it. A frame with another kind is of a later version, so
    /// that an older ledger leaves it to a newer one.
    #[must_use]
    pub fn is_first(self) -> bool {
        !matches!(self, Self::Ordered | Self::Restored)
    }
}

impl Event {
    /// An event that knows only what and when, about one recipient or none.
    #[must_use]
    pub fn new(kind: EventKind, at: Timestamp) -> Self {
        Self {
            kind,
            at,
            campaign: None,
            delivery: None,
            recipient: String::new(),
            count: 1,
            attempt: 0,
            service: String::new(),
            source: String::new(),
            site: String::new(),
            mx: String::new(),
            phase: None,
            reply: None,
            category: None,
            hygiene: None,
            scope: None,
            rule: String::new(),
            bytes: 0,
            elapsed_ms: 0,
            age_ms: 0,
            tls: String::new(),
            next_at: None,
            note: String::new(),
        }
    }
}
