//! The subcommands of `loadtests`: arguments and what they print. No work is done here.

pub mod intake;
pub mod internet;
pub mod recipients;
pub mod throughput;
