//! Connections cut by the server on purpose: at which step, how often.

use super::Session;
use crate::book::counters::count;
use crate::mix;

/// Attempts with one recipient that may be cut on purpose.
const CUTS_MAX: u16 = 3;

/// The steps at which a connection can be cut, as purposes for the dice.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    Connect = 40,
    Banner,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Body,
    Dot,
}

impl Session {
    fn odds(&self, cut: Cut) -> f64 {
        let h = &self.host().manner.hangups;
        match cut {
            Cut::Connect => h.connect,
            Cut::Banner => h.banner,
            Cut::Ehlo => h.ehlo,
            Cut::Mail => h.mail,
            Cut::Rcpt => h.rcpt,
            Cut::Data => h.data,
            Cut::Body => h.body,
            Cut::Dot => h.dot,
        }
    }

    /// A share that depends on this connection's number and a purpose.
    pub(super) fn chance(&self, purpose: u64) -> f64 {
        mix::share(mix::of_number(self.shared.world.scenario.seed, purpose, self.serial))
    }

    pub(super) fn cut_by_chance(&self, cut: Cut) -> bool {
        let odds = self.odds(cut);
        let cuts = odds > 0.0 && self.chance(cut as u64) < odds;
        if cuts {
            count(&self.counters().hung_up);
        }
        cuts
    }

    pub(super) fn cut_recipient(&self, cut: Cut, to: &str, attempt: u16) -> bool {
        let odds = self.odds(cut);
        if odds <= 0.0 || attempt > CUTS_MAX {
            return false;
        }
        let purpose = cut as u64 + 100 * u64::from(attempt);
        let cuts = mix::share(mix::of_text(self.shared.world.scenario.seed, purpose, to)) < odds;
        if cuts {
            count(&self.counters().hung_up);
        }
        cuts
    }
}
