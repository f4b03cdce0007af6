//! The dialogue with servers.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod fuzzed;
#[path = "../../loadtests/tests/others/mod.rs"]
mod others;
mod smtp;
