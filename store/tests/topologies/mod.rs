//! Whole topologies of real servers for one test: a primary with replicas and sentinels,
//! a cluster, and traffic over them that remembers what was acknowledged.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test files that each use a part"
)]

pub mod cluster;
pub mod sentinel;
pub mod server;
pub mod traffic;
