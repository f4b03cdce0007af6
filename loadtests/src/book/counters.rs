//! Counters of one provider, for displays that look often.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// A reading of one provider's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Messages taken, per recipient.
    pub delivered: u64,
    /// Refusals for now.
    pub deferred: u64,
    /// Refusals for good.
    pub bounced: u64,
    /// Refusals because of a hidden limit; also counted in `deferred` or `bounced`.
    pub limited: u64,
    /// Connections cut by the server on purpose.
    pub hung_up: u64,
    /// Connections accepted since the start.
    pub connections: u64,
    /// Connections that turned to TLS.
    pub encrypted: u64,
    /// Connections open now.
    pub open: i64,
    /// Connections between the final dot and the reply now.
    pub awaiting_reply: i64,
    /// Octets of message bodies received.
    pub octets: u64,
    /// Reports that the bounce processor took.
    pub reports_sent: u64,
    /// Reports waiting to be sent.
    pub reports_waiting: u64,
    /// Reports given up.
    pub reports_lost: u64,
}

macro_rules! counters {
    ($($name:ident: $kind:ty,)*) => {
        /// Live counters of one provider.
        #[derive(Debug, Default)]
        pub struct Counters { $(pub(crate) $name: $kind,)* }

        impl Counters {
            /// All of them now.
            #[must_use]
            pub fn read(&self) -> Live {
                Live { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    delivered: AtomicU64,
    deferred: AtomicU64,
    bounced: AtomicU64,
    limited: AtomicU64,
    hung_up: AtomicU64,
    connections: AtomicU64,
    encrypted: AtomicU64,
    open: AtomicI64,
    awaiting_reply: AtomicI64,
    octets: AtomicU64,
    reports_sent: AtomicU64,
    reports_waiting: AtomicU64,
    reports_lost: AtomicU64,
}

impl Counters {
    pub(crate) fn reports_sent(&self) -> u64 {
        self.reports_sent.load(Relaxed)
    }

    pub(crate) fn reports_waiting(&self) -> u64 {
        self.reports_waiting.load(Relaxed) + self.reports_lost.load(Relaxed)
    }

    /// Counts one up for as long as the guard lives.
    pub(crate) fn during(gauge: &AtomicI64) -> During<'_> {
        gauge.fetch_add(1, Relaxed);
        During(gauge)
    }
}

/// See [`Counters::during`].
pub(crate) struct During<'a>(&'a AtomicI64);

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
