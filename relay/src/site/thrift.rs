//! What a site's driver asks for while the load of this host leaves less than all: a part of this
//! relay's part of the pace, and no more than what all sites together may have. The urgent ones
//! are asked for as long as there is anything at all.

use mail::load::{is_urgent, within};
use mail::share::Demand;
use store::StoreError;

use super::SiteLane;
use crate::pace::Refill;
use crate::relay::{Relay, lock};

/// What was taken out of both purses.
#[derive(Debug, Default)]
pub(super) struct Afforded {
    urgent: u32,
    others: u32,
    /// There is a bound, and more waits than may be asked for.
    pub(super) is_less: bool,
    is_bound: bool,
}

impl SiteLane {
    /// Reduces what waits to what may be asked for.
    pub(super) fn afford(&self, relay: &Relay, flows: &mut Vec<Demand>) -> Afforded {
        let load = &relay.load;
        let budget = load.budget();
        if budget >= 1.0 {
            return Afforded::default();
        }
        let sum = |urgent: bool| -> u32 {
            let of_class = flows.iter().filter(|flow| is_urgent(flow.priority) == urgent);
            of_class.map(|flow| flow.waiting).sum()
        };
        let (urgent_wanted, others_wanted) = (sum(true), sum(false));
        let part = self.pace.own_part() * budget;
        let urgent = load.take(urgent_wanted, true);
        let here = lock(&self.purse).take(load.now(), part, others_wanted, false);
        let others = load.take(here, false);
        lock(&self.purse).give_back(here - others);
        let is_less = urgent < urgent_wanted || others < others_wanted;
        if is_less {
            self.pace.hold_back();
            *flows = within(flows, urgent, others);
        }
        Afforded { urgent, others, is_less, is_bound: true }
    }

    /// What was asked for and not granted is there for others.
    pub(super) fn reckon(
        &self,
        relay: &Relay,
        afforded: &Afforded,
        asked: &Result<Option<Refill>, StoreError>,
    ) {
        if !afforded.is_bound {
            return;
        }
        let granted = match asked {
            Ok(Some(refill)) => refill.granted.iter().map(|(_, n)| n).sum(),
            Ok(None) | Err(_) => 0,
        };
        let unused = (afforded.urgent + afforded.others).saturating_sub(granted);
        relay.load.give_back(unused);
        lock(&self.purse).give_back(unused.min(afforded.others));
    }
}
