//! A relay, a real Redis and the pretend internet, without the API in front: what was
//! queued arrives or is held, and the queue's accounts agree with the internet's book.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod attachments;
mod dane;
mod flow;
mod holds;
mod orders;
mod smart_hosts;
mod sources;
mod support;
mod tls;
mod tls_reports;
mod unreadable;
mod web;
mod windows;

#[path = "../../../store/tests/support/mod.rs"]
mod redis;
