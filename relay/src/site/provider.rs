//! What a site takes from its mailbox provider: the meaning of its answers, and the bounds of its
//! pace, which may change while mail goes on.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use mail::classify::{Finding, Said};
use mail::provider::{Provider, classify_at};

use super::SiteLane;
use crate::delivery::Destination;
use crate::providers::limits;
use crate::relay::Relay;

/// The names that a provider is known by; none of a smart host, whatever it is called.
pub(super) fn hosts(destination: &Destination) -> Box<[Box<str>]> {
    match destination.smart {
        Some(_) => Box::default(),
        None => destination.exchangers.iter().map(|e| e.host.clone()).collect(),
    }
}

impl SiteLane {
    /// What an answer of the site means: its provider's rules are asked before the general ones, and
    /// those that people named where none of them knows it.
    pub(crate) fn classify(&self, said: &Said<'_>) -> Finding {
        let found = classify_at(self.provider().as_deref(), said);
        self.learned.now().upon(said, found)
    }

    /// For how long a provider wants its recipients' attempts to lie apart at least.
    pub(crate) fn retry_least(&self) -> Option<Duration> {
        self.provider()?.bounds.retry_s.map(Duration::from_secs)
    }

    /// The providers were read anew; whether the limits here are others now.
    pub(crate) fn follow_provider(&self, relay: &Relay) -> bool {
        let provider = relay.providers.of_hosts(&self.hosts);
        let limits = limits(&relay.config, self.key.site.as_str(), provider.as_deref());
        *self.provider.write().unwrap_or_else(PoisonError::into_inner) = provider;
        let is_bound = self.pace.bound(limits);
        self.wake.notify_one();
        is_bound
    }

    pub(super) fn provider(&self) -> Option<Arc<Provider>> {
        self.provider.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
