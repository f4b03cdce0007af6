//! The subcommands of `loadtests`: arguments and what they print. No work is done here.

pub mod bounces;
pub mod chaos;
pub mod compare;
pub mod console;
pub mod durability;
pub mod fairness;
pub mod figures;
pub mod intake;
pub mod internet;
pub mod ledger;
pub mod load;
pub mod longtail;
pub mod pace;
pub mod queue;
pub mod recipients;
pub mod simulate;
pub mod throughput;
mod under_test;
