//! The resolver that all services share: where a domain's mail goes, what addresses a
//! host has, and what a negative answer means. Which host is tried, and whether a
//! private address may be, is for the caller.

mod answer;
mod cache;
mod config;
mod dane;
mod resolver;
mod special;

pub use config::{Config, ConfigError, Dnssec, Family};
pub use dane::{Dane, Tlsa};
pub use resolver::{Exchanger, NoAddresses, Resolver, Route, Txt};
pub use special::is_public;
