//! The settings of the loop between a host's load and its relay.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Signal;

/// From where on the figures of a host are pressure, and what that may take of a relay's budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the relay takes less while its host is under pressure. Other relays take the rest.
    pub enabled: bool,
    /// What is left of the budget at full pressure, 0.01 to 1. Never nothing: a host that is always
    /// full would never send, and a pressure that is measured wrongly would stop everything.
    pub floor: f64,
    /// Milliseconds by which a timer is late at the 99th percentile of three seconds. Where this is
    /// more than some tens, answers of servers wait for the relay.
    pub event_loop_from_ms: f64,
    /// See `event_loop_from_ms`.
    pub event_loop_full_ms: f64,
    /// Milliseconds until Redis has renewed the leases.
    pub store_from_ms: f64,
    /// See `store_from_ms`. Leases are lost at five seconds.
    pub store_full_ms: f64,
    /// Part of `store.outbox_max` that waits for the ledger, 0 to 1. When all of it waits, nothing is
    /// leased at all.
    pub outbox_from: f64,
    /// See `outbox_from`.
    pub outbox_full: f64,
    /// Part of the memory that is used, 0 to 1: of this service's limit (cgroup), or of the host.
    pub memory_from: f64,
    /// See `memory_from`.
    pub memory_full: f64,
    /// Part of all processors that others than this platform's programs take, 0 to 1; counted only
    /// while no processor is idle. A relay that fills its host by itself is busy and not overloaded.
    /// Takes half of the budget at most: one that is kept waiting is told so by its event loop.
    pub processor_from: f64,
    /// See `processor_from`.
    pub processor_full: f64,
    /// Part of the time in which something waits for memory (PSI `some`), 0 to 1.
    pub memory_stall_from: f64,
    /// See `memory_stall_from`.
    pub memory_stall_full: f64,
    /// Part of the time in which everything waits for disks (PSI `full`), 0 to 1. Takes half of the
    /// budget at most: the relay itself writes to none.
    pub disk_stall_from: f64,
    /// See `disk_stall_from`.
    pub disk_stall_full: f64,
    /// Part of the DNS questions of ten seconds that got no answer or SERVFAIL, 0 to 1. Takes half of
    /// the budget at most.
    pub dns_from: f64,
    /// See `dns_from`.
    pub dns_full: f64,
    /// Records of returned mail that wait to be taken by a relay; beyond 10,000 none is kept. Takes
    /// half of the budget at most.
    pub feedback_from: f64,
    /// See `feedback_from`.
    pub feedback_full: f64,
    /// Where the kernel's figures are: another place where the host's /proc is mounted elsewhere.
    pub proc_folder: PathBuf,
    /// Where control groups are.
    pub cgroup_folder: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            floor: 0.1,
            event_loop_from_ms: 50.0,
            event_loop_full_ms: 300.0,
            store_from_ms: 150.0,
            store_full_ms: 1500.0,
            outbox_from: 0.5,
            outbox_full: 0.95,
            memory_from: 0.95,
            memory_full: 0.99,
            processor_from: 0.6,
            processor_full: 0.85,
            memory_stall_from: 0.1,
            memory_stall_full: 0.5,
            disk_stall_from: 0.7,
            disk_stall_full: 1.0,
            dns_from: 0.5,
            dns_full: 1.0,
            feedback_from: 1000.0,
            feedback_full: 8000.0,
            proc_folder: "/proc".into(),
            cgroup_folder: "/sys/fs/cgroup".into(),
        }
    }
}

/// Why such settings cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing, or more than all.
    #[error(
        "floor {0} must lie between 0.01 and 1: it is the part of the budget that always stays"
    )]
    Floor(f64),
    /// Not two values in their order.
    #[error(
        "{name}_from{unit} {from} and {name}_full{unit} {full} must rise from above 0 to {most}, \
         and may not be equal"
    )]
    Band {
        /// Which figure.
        name: &'static str,
        /// The end of its keys.
        unit: &'static str,
        /// Where pressure begins.
        from: f64,
        /// Where it is full.
        full: f64,
        /// The highest value that makes sense.
        most: f64,
    },
}

impl Config {
    /// From which value on a figure is a pressure, and at which value it is full.
    #[must_use]
    pub fn band(&self, signal: Signal) -> (f64, f64) {
        match signal {
            Signal::EventLoop => (self.event_loop_from_ms, self.event_loop_full_ms),
            Signal::Store => (self.store_from_ms, self.store_full_ms),
            Signal::Outbox => (self.outbox_from, self.outbox_full),
            Signal::Memory => (self.memory_from, self.memory_full),
            Signal::Processor => (self.processor_from, self.processor_full),
            Signal::MemoryStall => (self.memory_stall_from, self.memory_stall_full),
            Signal::DiskStall => (self.disk_stall_from, self.disk_stall_full),
            Signal::Dns => (self.dns_from, self.dns_full),
            Signal::Feedback => (self.feedback_from, self.feedback_full),
        }
    }

    /// Whether the loop can work with these settings.
    ///
    /// # Errors
    /// The first one that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(0.01..=1.0).contains(&self.floor) {
            return Err(ConfigError::Floor(self.floor));
        }
        for signal in Signal::ALL {
            let (from, full) = self.band(*signal);
            let (name, unit, most) = limits(*signal);
            if !(from > 0.0 && from < full && full <= most) {
                return Err(ConfigError::Band { name, unit, from, full, most });
            }
        }
        Ok(())
    }
}

/// How a figure's keys are called, and the highest value that makes sense.
fn limits(signal: Signal) -> (&'static str, &'static str, f64) {
    match signal {
        // Redis and the connections to it give up long before a minute.
        Signal::EventLoop => ("event_loop", "_ms", 60_000.0),
        Signal::Store => ("store", "_ms", 60_000.0),
        Signal::Outbox => ("outbox", "", 1.0),
        Signal::Memory => ("memory", "", 1.0),
        Signal::Processor => ("processor", "", 1.0),
        Signal::MemoryStall => ("memory_stall", "", 1.0),
        Signal::DiskStall => ("disk_stall", "", 1.0),
        Signal::Dns => ("dns", "", 1.0),
        Signal::Feedback => ("feedback", "", 10_000.0),
    }
}
