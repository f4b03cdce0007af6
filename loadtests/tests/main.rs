//! The pretend internet, and the relay in it.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod durability;
mod internet;
mod others;
mod peers;
#[path = "../../store/tests/support/mod.rs"]
mod redis;
mod relay;
