//! Recipients out of the lanes that domains share: where they go is known only when their
//! domains have been looked up, and until then no site's room bounds them. So few are leased
//! ahead, each flow its part, and whoever comes later does not stand behind thousands of look-ups.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mail::CampaignId;

/// Recipients whose sites are being found at a time.
pub(crate) const ROOM: usize = 1000;

/// How many of each campaign are being placed.
#[derive(Clone, Default)]
pub(crate) struct Placing(Arc<Mutex<HashMap<CampaignId, usize>>>);

/// One lease's part; what of it was never placed is over when this is dropped.
pub(crate) struct Placed {
    placing: Placing,
    campaign: CampaignId,
    left: AtomicUsize,
}

impl Placing {
    pub(crate) fn begin(&self, campaign: CampaignId, count: usize) -> Placed {
        *self.lock().entry(campaign).or_default() += count;
        Placed { placing: self.clone(), campaign, left: AtomicUsize::new(count) }
    }

    pub(crate) fn by_campaign(&self) -> HashMap<CampaignId, usize> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CampaignId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Placed {
    /// So many have found their site, or their end.
    pub(crate) fn placed(&self, count: usize) {
        let count = count.min(self.left.load(Ordering::Relaxed));
        self.left.fetch_sub(count, Ordering::Relaxed);
        let mut placing = self.placing.lock();
        if let Some(left) = placing.get_mut(&self.campaign) {
            *left = left.saturating_sub(count);
            if *left == 0 {
                placing.remove(&self.campaign);
            }
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.placed(self.left.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_placed_or_dropped_makes_room() {
        let placing = Placing::default();
        let (a, b) = (CampaignId(1), CampaignId(2));
        let first = placing.begin(a, 10);
        let second = placing.begin(a, 5);
        let other = placing.begin(b, 3);
        first.placed(4);
        second.placed(9);
        assert_eq!(placing.by_campaign(), HashMap::from([(a, 6), (b, 3)]));
        drop((first, second, other));
        assert!(placing.by_campaign().is_empty());
    }
}
