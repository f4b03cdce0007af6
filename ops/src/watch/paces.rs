//! Paces looked at in turn. A platform knows a hundred thousand of them, and to read all every few
//! seconds would cost Redis more than the mail; those with the most to do are looked at each time.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use mail::Site;
use store::Store;

use crate::commands::{Desk, PaceSeen};

/// Read in one look.
const LOOKED_AT: usize = 500;
/// Of those, the ones that had the most to do when they were last looked at.
const BUSIEST: usize = 100;
/// Where there are more than can be read in one look, the list of them is read so much more rarely.
const LISTED_EVERY: u32 = 30;

/// A source and a site.
type Key = (String, Site);

/// All that are known, as they were when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Paces {
    listed: Vec<Key>,
    seen: HashMap<Key, PaceSeen>,
    next: usize,
    looks: u32,
}

impl Paces {
    /// Looks at some; answers all, those with the most to do first.
    pub(super) async fn look(&mut self, desk: &Desk, store: &Store) -> Result<Vec<PaceSeen>> {
        if self.listed.len() <= LOOKED_AT || self.looks.is_multiple_of(LISTED_EVERY) {
            self.list(store.paces().await?);
        }
        self.looks = self.looks.wrapping_add(1);
        let turn = self.turn();
        let found = desk.seen(turn.clone()).await?;
        turn.iter().for_each(|gone| drop(self.seen.remove(gone)));
        let keyed = found.into_iter().map(|pace| ((pace.source.clone(), pace.site.clone()), pace));
        self.seen.extend(keyed);
        Ok(self.by_work().into_iter().cloned().collect())
    }

    fn list(&mut self, listed: Vec<Key>) {
        let there: HashSet<&Key> = listed.iter().collect();
        self.seen.retain(|key, _| there.contains(key));
        self.listed = listed;
    }

    /// Whose turn it is: all where they are few; else the busiest, and some of the others.
    fn turn(&mut self) -> Vec<Key> {
        let all = self.listed.len();
        if all <= LOOKED_AT {
            return self.listed.clone();
        }
        let key = |pace: &&PaceSeen| (pace.source.clone(), pace.site.clone());
        let mut turn: Vec<Key> = self.by_work().iter().take(BUSIEST).map(key).collect();
        let others = LOOKED_AT - turn.len();
        turn.extend((0..others).map(|n| self.listed[(self.next + n) % all].clone()));
        self.next = (self.next + others) % all;
        turn
    }

    fn by_work(&self) -> Vec<&PaceSeen> {
        let mut paces: Vec<&PaceSeen> = self.seen.values().collect();
        let is_at_work = |pace: &PaceSeen| pace.waiting > 0 || pace.connections > 0;
        paces.sort_by(|a, b| {
            let by_rate = b.rate.total_cmp(&a.rate);
            let by_name = || (&a.source, &a.site).cmp(&(&b.source, &b.site));
            is_at_work(b).cmp(&is_at_work(a)).then(by_rate).then_with(by_name)
        });
        paces
    }
}

#[cfg(test)]
mod tests {
    use mail::throttle::Binding;

    use super::*;

    fn key(n: usize) -> Key {
        ("one".to_owned(), Site::from_name(&format!("mx{n}.example")))
    }

    fn pace(n: usize, waiting: u64) -> PaceSeen {
        let (source, site) = key(n);
        PaceSeen {
            source,
            site,
            rate: n as f64,
            rate_refused: 0.0,
            connections: 0,
            connections_max: 1,
            waiting,
            is_blocked: false,
            provider: None,
            is_fixed: false,
            is_suspended: false,
            binding: Binding::Nothing,
        }
    }

    #[test]
    fn all_have_their_turn_and_those_at_work_each_time() {
        let mut paces = Paces::default();
        paces.list((0..3_000).map(key).collect());
        paces.seen.insert(key(7), pace(7, 5));
        paces.seen.insert(key(2_999), pace(2_999, 0));
        assert_eq!(paces.by_work()[0].waiting, 5, "work comes before a high rate");
        let (mut looked_at, mut turns) = (HashSet::new(), 0);
        while looked_at.len() < 3_000 {
            let turn = paces.turn();
            assert!(turn.len() <= LOOKED_AT && turn.contains(&key(7)));
            looked_at.extend(turn);
            turns += 1;
            assert!(turns <= 8, "{} of 3000 after {turns} turns", looked_at.len());
        }
        paces.list((0..20).map(key).collect());
        assert_eq!(paces.turn().len(), 20);
        assert!(!paces.seen.contains_key(&key(2_999)), "it has no record any more");
    }
}
