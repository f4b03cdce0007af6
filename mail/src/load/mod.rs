//! The load of a relay's own host: from what is measured there to the budget that the relay
//! takes mail by, and to the messages that a budget lets it take. What is measured, and how, is
//! the relay's; the clock is handed in.
//!
//! A [`Sample`] has figures, of which each may be missing. A [`Config`] says from which value on
//! a figure is a pressure, and at which it is full. [`Budget`] turns the strongest pressure into
//! one number. [`Ability`] knows what the relay manages when it is well, and a [`Purse`] spends
//! the part of it that the budget leaves.

mod ability;
mod budget;
mod config;
mod purse;
mod signal;
#[cfg(test)]
mod tests;

pub use ability::Ability;
pub use budget::Budget;
pub use config::{Config, ConfigError};
pub use purse::{Purse, is_urgent, within};
pub use signal::{Cause, Sample, Signal};
