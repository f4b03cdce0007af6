//! The words and the decisions of a mail relay.
//!
//! What is absent here is the point: no async runtime, no clock, no randomness,
//! no socket, no store, no log. Whatever depends on the time or on chance takes
//! `now` or a seed as an argument and returns what to do next, so that it can be
//! run a million times a second in a test.

pub mod address;
pub mod alarm;
pub mod category;
pub mod classify;
pub mod egress;
pub mod event;
pub mod gate;
pub mod guide;
pub mod holds;
pub mod hygiene;
pub mod id;
pub mod links;
pub mod load;
pub mod orders;
pub mod particular;
pub mod plain;
pub mod provider;
pub mod queue;
pub mod quota;
pub mod reply;
pub mod retry;
pub mod returned;
pub mod route;
pub mod share;
pub mod site;
pub mod sts;
pub mod throttle;
pub mod time;
pub mod tlsrpt;
pub mod unknown;
pub mod unsubscribe;
pub mod verp;
pub mod warmup;
pub mod why;
pub mod window;

pub use address::{Address, Domain};
pub use category::{Category, Hygiene, Phase, Report, Scope};
pub use event::Event;
pub use id::{CampaignId, DeliveryId, ShardId};
pub use reply::{EnhancedStatus, Reply};
pub use site::Site;
pub use time::Timestamp;
