//! The program as people and their tools use it.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod bounces;
mod cli;
mod deploy;
mod dkim;
mod heavy_attachments;
mod heavy_backup;
mod heavy_chaos;
mod heavy_console;
mod heavy_demo;
mod heavy_disk;
mod heavy_failover;
mod heavy_fairness;
mod heavy_gates;
mod heavy_hostile;
mod heavy_lists;
mod heavy_load;
mod heavy_logs;
mod heavy_sites;
mod heavy_up;
mod heavy_upgrade;
mod heavy_watch;
mod measurements;
#[path = "../../loadtests/tests/others/mod.rs"]
mod others;
mod providers;
mod support;
mod tls_reports;
#[path = "../../store/tests/topologies/mod.rs"]
mod topologies;
