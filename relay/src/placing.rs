//! Recipients out of the lanes that domains share: where they go is known only when their
//! domains have been looked up, and until then no site's room bounds them. So few are leased
//! ahead, each flow its part, and whoever comes later does not stand behind thousands of look-ups.
//! And where most of a flow live at a site whose room is full, which is found out when they
//! have been leased, it is not all leased and put back over and over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mail::CampaignId;

/// Recipients whose sites are being found at a time.
pub(crate) const ROOM: usize = 1000;
/// For each one that could stay so many more may be leased …
const LEASED_PER_KEPT: f64 = 2.0;
/// … and so many a second besides, in search of those that live elsewhere.
const SEARCHED_PER_S: f64 = 2000.0;

/// How many of each campaign are being placed, and how many more may be.
#[derive(Clone, Default)]
pub(crate) struct Placing(Arc<Mutex<HashMap<CampaignId, Search>>>);

struct Search {
    placing: usize,
    /// Recipients that may be leased; below zero after a lease of more.
    credit: f64,
    credited_at: Instant,
}

/// One lease's part; what of it was never placed is over when this is dropped.
pub(crate) struct Placed {
    placing: Placing,
    campaign: CampaignId,
    left: AtomicUsize,
}

impl Placing {
    pub(crate) fn begin(&self, campaign: CampaignId, count: usize) -> Placed {
        let mut searches = self.lock();
        let search = searches.entry(campaign).or_insert_with(|| Search::new(Instant::now()));
        search.placing += count;
        search.credit -= count as f64;
        drop(searches);
        Placed { placing: self.clone(), campaign, left: AtomicUsize::new(count) }
    }

    pub(crate) fn by_campaign(&self) -> HashMap<CampaignId, usize> {
        let mut searches = self.lock();
        let now = Instant::now();
        searches.retain(|_, search| search.placing > 0 || !search.is_rested(now));
        searches.iter().map(|(campaign, search)| (*campaign, search.placing)).collect()
    }

    /// Whether more of a campaign may be leased from lanes that domains share.
    pub(crate) fn may_lease(&self, campaign: CampaignId) -> bool {
        self.lock().get_mut(&campaign).is_none_or(|search| search.may_lease(Instant::now()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CampaignId, Search>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Search {
    fn new(now: Instant) -> Self {
        Self { placing: 0, credit: ROOM as f64, credited_at: now }
    }

    fn may_lease(&mut self, now: Instant) -> bool {
        self.earn(now, 0);
        self.credit > 0.0
    }

    /// Whether it is as if it had never begun.
    fn is_rested(&mut self, now: Instant) -> bool {
        self.earn(now, 0);
        self.credit >= ROOM as f64
    }

    fn earn(&mut self, now: Instant, kept: usize) {
        let passed = now.saturating_duration_since(self.credited_at).as_secs_f64();
        let earned = kept as f64 * LEASED_PER_KEPT + passed * SEARCHED_PER_S;
        self.credit = (self.credit + earned).min(ROOM as f64);
        self.credited_at = now;
    }
}

impl Placed {
    /// So many have found their site, or their end; of them so many could stay there.
    pub(crate) fn placed(&self, count: usize, kept: usize) {
        let count = count.min(self.left.load(Ordering::Relaxed));
        self.left.fetch_sub(count, Ordering::Relaxed);
        if let Some(search) = self.placing.lock().get_mut(&self.campaign) {
            search.placing = search.placing.saturating_sub(count);
            search.earn(Instant::now(), kept);
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.placed(self.left.load(Ordering::Relaxed), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_placed_or_dropped_makes_room() {
        let placing = Placing::default();
        let (a, b) = (CampaignId(1), CampaignId(2));
        let first = placing.begin(a, 10);
        let second = placing.begin(a, 5);
        let other = placing.begin(b, 3);
        first.placed(4, 4);
        second.placed(9, 9);
        assert_eq!(placing.by_campaign(), HashMap::from([(a, 6), (b, 3)]));
        drop((first, second, other));
        assert!(placing.by_campaign().values().all(|placing| *placing == 0));
    }

    /// Recipients leased in ten seconds, a lease at a time, of which a part could stay.
    fn leased(kept: f64) -> usize {
        const ROUND: Duration = Duration::from_millis(20);
        let start = Instant::now();
        let mut search = Search::new(start);
        let mut leased = 0;
        for round in 0..500 {
            let now = start + ROUND * round;
            if search.may_lease(now) {
                search.credit -= ROOM as f64;
                search.earn(now, (ROOM as f64 * kept) as usize);
                leased += ROOM;
            }
        }
        leased
    }

    #[test]
    fn a_flow_is_searched_slower_the_fewer_could_stay() {
        assert_eq!(leased(1.0), 500 * ROOM, "nothing holds it up");
        assert_eq!(leased(0.5), 500 * ROOM);
        assert!((40..=43).contains(&(leased(0.25) / ROOM)));
        assert!((20..=22).contains(&(leased(0.0) / ROOM)), "2000 a second, and what was there");
    }

    #[test]
    fn who_rests_is_forgotten() {
        let placing = Placing::default();
        drop(placing.begin(CampaignId(1), 10));
        std::thread::sleep(Duration::from_millis(20));
        assert!(placing.by_campaign().is_empty());
    }
}
