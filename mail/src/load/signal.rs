//! What is measured of a host, and what a figure that is too high means in words.

use std::fmt;

use super::Config;

crate::category::words! {
    /// What is measured.
    Signal {
        /// Milliseconds that a timer of the event loop was late, at the 99th percentile.
        EventLoop = "event-loop",
        /// Milliseconds until Redis answered.
        Store = "store",
        /// How full the fullest outbox is, 0 to 1: the ledger is behind.
        Outbox = "outbox",
        /// Part of the memory that is used, 0 to 1.
        Memory = "memory",
        /// Part of all processors that others take while none is idle, 0 to 1.
        Processor = "processor",
        /// Part of the time in which somebody waited for memory, 0 to 1.
        MemoryStall = "memory-stall",
        /// Part of the time in which everybody waited for a disk, 0 to 1.
        DiskStall = "disk-stall",
        /// Part of the DNS questions that failed, 0 to 1.
        Dns = "dns",
        /// Records of returned mail that no relay has taken yet.
        Feedback = "feedback",
    }
}

impl Signal {
    /// Whether it tells by itself that work is late, so that the budget falls at once. The others
    /// only confirm: a host may be busy and well.
    #[must_use]
    pub fn leads(self) -> bool {
        matches!(self, Self::EventLoop | Self::Store | Self::Outbox | Self::Memory)
    }

    /// How much of the budget it may take, 0 to 1. What says little about this host's own strength
    /// takes half: what DNS has answered before can be sent to, a relay needs no disk, and whether
    /// it comes to its processor is told by its event loop.
    pub(super) fn depth(self) -> f64 {
        match self {
            Self::EventLoop | Self::Store | Self::Outbox | Self::Memory | Self::MemoryStall => 1.0,
            Self::Processor | Self::DiskStall | Self::Dns | Self::Feedback => 0.5,
        }
    }
}

/// What was measured at one time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample([Option<f64>; Signal::ALL.len()]);

impl Sample {
    /// Adds a figure. One that is no number, or below 0, is left out, as if it could not be read.
    #[must_use]
    pub fn with(mut self, signal: Signal, value: impl Into<Option<f64>>) -> Self {
        self.0[signal as usize] = value.into().filter(|v: &f64| v.is_finite() && *v >= 0.0);
        self
    }

    /// A figure, if it is known.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<f64> {
        self.0[signal as usize]
    }

    /// What is too high, the strongest first.
    #[must_use]
    pub fn causes(&self, config: &Config) -> Vec<Cause> {
        let cause = |signal: &Signal| {
            let value = self.get(*signal)?;
            let (from, full) = config.band(*signal);
            let pressure = ((value - from) / (full - from)).clamp(0.0, 1.0) * signal.depth();
            (pressure > 0.0).then_some(Cause { signal: *signal, value, from, pressure })
        };
        let mut causes: Vec<Cause> = Signal::ALL.iter().filter_map(cause).collect();
        causes.sort_by(|a, b| b.pressure.total_cmp(&a.pressure));
        causes
    }
}

/// A figure that is too high.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cause {
    /// Which one.
    pub signal: Signal,
    /// What was measured.
    pub value: f64,
    /// From where on it is too high.
    pub from: f64,
    /// The part of the budget that it takes, above 0 to 1.
    pub pressure: f64,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, from) = (self.value, self.from);
        let (part, from_part) = (value * 100.0, from * 100.0);
        match self.signal {
            Signal::EventLoop => write!(f, "event loop {value:.0} ms late at p99 (over {from:.0})"),
            Signal::Store => write!(f, "redis answers after {value:.0} ms (over {from:.0})"),
            Signal::Outbox => {
                write!(f, "ledger behind: an outbox is {part:.0} % full (over {from_part:.0} %)")
            }
            Signal::Memory => write!(f, "memory {part:.0} % used (over {from_part:.0} %)"),
            Signal::Processor => write!(
                f,
                "no processor idle, others take {part:.0} % of them (over {from_part:.0} %)"
            ),
            Signal::MemoryStall => {
                write!(f, "work waits for memory {part:.0} % of the time (over {from_part:.0} %)")
            }
            Signal::DiskStall => {
                write!(
                    f,
                    "all work waits for disks {part:.0} % of the time (over {from_part:.0} %)"
                )
            }
            Signal::Dns => {
                write!(f, "{part:.0} % of DNS questions fail (over {from_part:.0} %)")
            }
            Signal::Feedback => {
                write!(f, "{value:.0} records of returned mail wait (over {from:.0})")
            }
        }
    }
}
