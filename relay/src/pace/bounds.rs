//! The limits of a pace as they are now, and what an operator has fixed of it: edits of the providers
//! and orders change them while mail goes on.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use mail::quota::Ceilings;
use mail::throttle::{Fixed, Limits};

pub(super) struct Bounds {
    limits: RwLock<Limits>,
    fixed: RwLock<Fixed>,
    // Of them, for whoever asks with each message.
    rate_milli_max: AtomicU64,
    connections_max: AtomicU32,
    per_connection_max: AtomicU32,
}

impl Bounds {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            rate_milli_max: AtomicU64::new(in_thousandths(limits.rate_max)),
            connections_max: AtomicU32::new(limits.connections_max),
            per_connection_max: AtomicU32::new(limits.messages_per_connection_max),
            limits: RwLock::new(limits),
            fixed: RwLock::default(),
        }
    }

    pub(super) fn now(&self) -> Limits {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As they are now, but that a hold lasts as long as a rule asks for.
    pub(super) fn holding(&self, hold: Option<Duration>) -> Limits {
        let limits = self.now();
        let hold_s = limits.hold_s.max(hold.map_or(0, |hold| hold.as_secs()));
        Limits { hold_s, hold_max_s: limits.hold_max_s.max(hold_s), ..limits }
    }

    /// Whether they are others than before.
    pub(super) fn set(&self, limits: Limits) -> bool {
        let mut held = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        if *held == limits {
            return false;
        }
        self.rate_milli_max.store(in_thousandths(limits.rate_max), Ordering::Relaxed);
        self.connections_max.store(limits.connections_max, Ordering::Relaxed);
        self.per_connection_max.store(limits.messages_per_connection_max, Ordering::Relaxed);
        *held = limits;
        true
    }

    pub(super) fn ceilings(&self) -> Ceilings {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).ceilings()
    }

    /// What is fixed, as far as the limits let it.
    pub(super) fn fixed(&self) -> Fixed {
        let fixed = *self.fixed.read().unwrap_or_else(PoisonError::into_inner);
        if fixed.is_nothing() { fixed } else { fixed.within(&self.now()) }
    }

    /// Fixes this and nothing else; whether it is another than before.
    pub(super) fn fix(&self, fixed: Fixed) -> bool {
        let mut held = self.fixed.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, fixed) != fixed
    }

    pub(super) fn connections(&self, found: u32) -> u32 {
        found.min(self.connections_max.load(Ordering::Relaxed))
    }

    pub(super) fn per_connection(&self, found: u32) -> u32 {
        let fixed = self.fixed.read().unwrap_or_else(PoisonError::into_inner);
        let number = fixed.messages_per_connection.unwrap_or(found);
        number.min(self.per_connection_max.load(Ordering::Relaxed))
    }

    /// Whether the common rate is one of a time when the limits were others.
    pub(super) fn is_above(&self, rate_milli: u64) -> bool {
        rate_milli > self.rate_milli_max.load(Ordering::Relaxed)
    }
}

pub(super) fn in_thousandths(rate: f64) -> u64 {
    (rate * 1000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_cut_to_the_limits_of_now() {
        let limits = Limits { rate_max: 20.0, connections_max: 5, ..Limits::default() };
        let bounds = Bounds::new(limits.clone());
        assert_eq!((bounds.connections(9), bounds.connections(3)), (5, 3));
        assert!(bounds.is_above(20_001) && !bounds.is_above(20_000));
        assert!(!bounds.set(limits.clone()), "the same limits are no change");
        let tighter = Limits { rate_max: 10.0, messages_per_connection_max: 7, ..limits };
        assert!(bounds.set(tighter.clone()));
        assert_eq!((bounds.per_connection(100), bounds.now()), (7, tighter));
        assert!(bounds.is_above(10_001));
    }

    #[test]
    fn what_is_fixed_holds_within_the_limits_until_it_is_lifted() {
        let limits = Limits { rate_max: 20.0, ..Limits::default() };
        let bounds = Bounds::new(limits.clone());
        let fixed = Fixed { rate: Some(50.0), messages_per_connection: Some(3), connections: None };
        assert!(bounds.fix(fixed) && !bounds.fix(fixed), "the same again is no change");
        assert_eq!((bounds.fixed().rate, bounds.per_connection(100)), (Some(20.0), 3));
        assert!(bounds.fix(Fixed::default()));
        assert_eq!((bounds.fixed(), bounds.per_connection(100)), (Fixed::default(), 100));
    }

    #[test]
    fn a_rule_makes_a_hold_longer_and_never_shorter() {
        let bounds = Bounds::new(Limits::default());
        let holds = |seconds| {
            let limits = bounds.holding(seconds);
            (limits.hold_s, limits.hold_max_s)
        };
        assert_eq!(holds(None), (900, 14_400));
        assert_eq!(holds(Some(Duration::from_secs(60))), (900, 14_400));
        assert_eq!(holds(Some(Duration::from_secs(7200))), (7200, 14_400));
        assert_eq!(holds(Some(Duration::from_secs(86_400))), (86_400, 86_400));
    }
}
