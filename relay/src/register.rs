//! Which leases this relay believes to hold. Where the queue may believe otherwise, after
//! a lease whose answer was lost or a standing that was, everything else that it has in the
//! relay's name is handed back.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use mail::queue::{Lane, Token};
use mail::{CampaignId, ShardId};

#[derive(Default)]
pub(crate) struct Register {
    held: Mutex<HashMap<(ShardId, Token), Held>>,
    doubted: Mutex<HashSet<ShardId>>,
}

/// What is left of a lease, and whose it is if it came out of a lane that domains share.
struct Held {
    left: usize,
    shared: Option<CampaignId>,
}

impl Register {
    /// A lease of so many recipients was answered.
    pub(crate) fn leased(&self, shard: ShardId, token: Token, count: usize, lane: &Lane) {
        let shared = lane.domain.is_none().then_some(lane.campaign);
        self.lock().insert((shard, token), Held { left: count, shared });
    }

    /// Recipients held out of lanes that domains share, by campaign: where they go is known
    /// only when they are opened, so that no site's room bounds them.
    pub(crate) fn shared(&self) -> HashMap<CampaignId, usize> {
        let mut sums = HashMap::new();
        for held in self.lock().values() {
            if let Some(campaign) = held.shared {
                *sums.entry(campaign).or_default() += held.left;
            }
        }
        sums
    }

    /// So many of each lease were settled.
    pub(crate) fn settled(&self, shard: ShardId, tokens: &[(Token, usize)]) {
        let mut held = self.lock();
        for (token, count) in tokens {
            if let Some(one) = held.get_mut(&(shard, *token)) {
                one.left = one.left.saturating_sub(*count);
                if one.left == 0 {
                    held.remove(&(shard, *token));
                }
            }
        }
    }

    /// The queue has taken back everything in this shard, or will: a relay that comes back
    /// to its old name before anybody has reaped it would keep for ever what nobody works on.
    pub(crate) fn forget(&self, shard: ShardId) {
        self.lock().retain(|(s, _), _| *s != shard);
        self.doubt(shard);
    }

    /// The queue may hold leases in this shard that are not known here.
    pub(crate) fn doubt(&self, shard: ShardId) {
        self.doubted().insert(shard);
    }

    /// Whether there was doubt; now somebody sees to it.
    pub(crate) fn take_doubt(&self, shard: ShardId) -> bool {
        self.doubted().remove(&shard)
    }

    /// The leases held in a shard.
    pub(crate) fn held(&self, shard: ShardId) -> Vec<Token> {
        self.lock().keys().filter(|(s, _)| *s == shard).map(|(_, t)| *t).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(ShardId, Token), Held>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn doubted(&self) -> std::sync::MutexGuard<'_, HashSet<ShardId>> {
        self.doubted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_loss_nothing_is_held_and_the_queue_is_asked_once() {
        let register = Register::default();
        let (lost, kept) = (ShardId(3), ShardId(4));
        let lane: Lane = "c1/*".parse().expect("a lane");
        register.leased(lost, Token(1), 10, &lane);
        register.leased(kept, Token(2), 10, &lane);
        assert_eq!(register.shared()[&lane.campaign], 20);
        register.forget(lost);
        register.settled(kept, &[(Token(2), 3)]);
        assert_eq!(register.shared()[&lane.campaign], 7);
        assert!(register.held(lost).is_empty() && register.held(kept) == [Token(2)]);
        assert!(register.take_doubt(lost) && !register.take_doubt(lost));
        assert!(!register.take_doubt(kept));
    }
}
