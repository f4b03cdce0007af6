//! The API over real sockets, on a real Redis, with DNS of our own.
#![allow(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]
#![allow(unreachable_pub, reason = "a test program has no outside; `support` is shared")]

#[path = "../../../store/tests/support/mod.rs"]
mod redis;
mod support;

mod attachments;
mod bad_input;
mod campaigns;
mod docs;
mod gates;
mod history;
mod intake;
mod life;
mod lists;
mod unsubscribe;
mod uploads;
