//! Mail that comes back.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod doors;
mod mailboxes;
#[path = "../../loadtests/tests/others/mod.rs"]
mod others;
mod replies;
mod returned;
mod smtp;
mod support;
