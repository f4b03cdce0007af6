//! Mail that comes back: what is it, whose was it, what follows. `returned.rs` tells the
//! trip; `session.rs` speaks SMTP to whoever brings it. What a report means and what
//! becomes of an address is decided in `mail`; nothing here knows a throttle.

mod clock;
mod config;
mod error;
mod listener;
mod mailbox;
mod path;
mod returned;
mod session;
mod tenants;
mod whose;
mod wire;

pub use config::Config;
pub use error::BounceError;
pub use listener::Bounces;
