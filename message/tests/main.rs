//! Messages as they are sent.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod dkim;
mod files;
#[path = "../../loadtests/tests/others/mod.rs"]
mod others;
mod render;
mod tlsrpt;
mod verifier;
