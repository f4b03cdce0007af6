//! Who waits for the greeting. A client that is not known waits a moment, and is turned away if it
//! talks before it was greeted, as only programs do that send junk (RFC 5321, 3.1 lets the server
//! speak first); one that behaved badly of late waits longer. Whoever brought mail is let in at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long manners are remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Clients that are remembered: some hundred kilobytes.
const CLIENTS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It brought mail that was taken.
    Polite,
    /// It talked nonsense, or before it was greeted.
    Impolite,
}

/// What is known of clients.
#[derive(Debug)]
pub(crate) struct Manners {
    known: Mutex<HashMap<IpAddr, (Manner, Instant)>>,
    stranger: Duration,
    impolite: Duration,
}

impl Manners {
    /// With what strangers and the impolite wait.
    pub(crate) fn new(stranger: Duration, impolite: Duration) -> Self {
        Self { known: Mutex::default(), stranger, impolite }
    }

    /// How long this one waits for the greeting.
    pub(crate) fn wait(&self, client: IpAddr) -> Duration {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&client).filter(|(_, at)| at.elapsed() < REMEMBERED) {
            Some((Manner::Polite, _)) => Duration::ZERO,
            Some((Manner::Impolite, _)) => self.impolite,
            None => self.stranger,
        }
    }

    pub(crate) fn note(&self, client: IpAddr, manner: Manner) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CLIENTS_MAX {
            known.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if known.len() >= CLIENTS_MAX {
            known.clear();
        }
        known.insert(client, (manner, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_behaves_waits_less_and_who_does_not_waits_longer() {
        let (stranger, impolite) = (Duration::from_millis(300), Duration::from_secs(5));
        let manners = Manners::new(stranger, impolite);
        let client = |n: u32| IpAddr::from(n.to_be_bytes());
        assert_eq!(manners.wait(client(1)), stranger);
        manners.note(client(1), Manner::Polite);
        manners.note(client(2), Manner::Impolite);
        assert_eq!(manners.wait(client(1)), Duration::ZERO);
        assert_eq!(manners.wait(client(2)), impolite);
        manners.note(client(1), Manner::Impolite);
        assert_eq!(manners.wait(client(1)), impolite);
        for n in 0..=CLIENTS_MAX as u32 {
            manners.note(client(n), Manner::Polite);
        }
        assert!(manners.known.lock().unwrap().len() <= CLIENTS_MAX);
    }
}
