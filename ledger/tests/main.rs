//! History against a real Redis.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod run;
mod story;
#[path = "../../store/tests/support/mod.rs"]
mod support;
