//! The relay worker. `delivery` tells its trip: lease → resolve → site → permit →
//! render → sign → SMTP → reply → outcome → settle. Nothing here knows how a campaign
//! was submitted, and nothing waits on this host's disk.
// Tasks that hold an HTTPS client (hyper with HTTP/2) nest types deeper than the usual 128.
#![recursion_limit = "256"]

mod batches;
mod catalog;
mod composing;
mod config;
mod connector;
mod delivery;
mod demand;
mod egress;
mod files;
mod heart;
mod holds;
mod hops;
mod insight;
mod job;
mod lanes;
mod leaser;
mod load;
mod meters;
mod opening;
mod pace;
mod placing;
mod providers;
mod reach;
mod register;
mod relay;
mod rests;
mod rulings;
mod schedules;
mod settler;
mod shares;
mod signers;
mod site;
pub mod smtp;
mod tls_reports;
pub mod tokens;
mod unconnected;
mod verdict;
mod waiting;

pub use config::{
    Auth, Config, ConfigError, HopTls, OAuth, Route, SiteRules, SmartHost, Source, Tenant,
    TlsReports, warmup_plans,
};
pub use insight::{
    Deed, Hand, Insight, NotDone, by_hand, insight, insights, insights_at, insights_of, limits_at,
    look_at_ceilings,
};
pub use providers::{ProvidersError, provider_files, providers};
pub use relay::{Parts, run, send_tls_reports};
pub use rests::{Rest, rests};
