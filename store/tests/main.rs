//! The store against real servers: one program, since each takes as long to build as all of them.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[path = "support/ask.rs"]
mod ask;
mod backlog;
mod backup;
mod conformance;
mod failover;
mod fair;
mod files;
mod full;
mod gates;
mod holds;
mod levels;
mod listings;
mod lost_end;
mod operators;
mod pace;
mod quota;
mod returns;
mod secured;
mod settle_together;
mod support;
mod tls_reports;
mod topologies;
