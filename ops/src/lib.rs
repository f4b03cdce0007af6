//! The frame of the `malleposte` executable: its command line, configuration, keys and
//! private Redis, and what runs around services. The services are crates of their own.

pub mod backup;
pub mod commands;
pub mod config;
mod console;
pub mod demo;
pub mod redis_child;
pub mod run;
pub mod secrets;
pub mod watch;
pub mod wiring;
