//! Mail that comes back: what is it, whose was it, what follows. `returned.rs` tells the
//! trip; `session.rs` speaks SMTP to whoever brings it. What a report means and what
//! becomes of an address is decided in `mail`; nothing here knows a throttle.

mod books;
mod clock;
mod config;
mod desk;
mod error;
mod hop;
mod house;
mod imap;
mod import;
mod listener;
mod lmtp;
mod mailbox;
mod manners;
mod path;
mod replies;
mod returned;
mod session;
mod tenants;
mod tls;
mod trip;
mod whose;
mod wire;

pub use config::{Config, Tls};
pub use error::BounceError;
pub use hop::{Hop, HopError, NextHop, NextHopTls};
pub use imap::{ImapMailbox, ImapTls, Then};
pub use import::{Fate, Importer};
pub use listener::{Bounces, Parts};
pub use replies::Replies;
pub use tls::certificate_ends;
