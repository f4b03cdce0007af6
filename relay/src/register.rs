//! Which leases this relay believes to hold. After a lease whose answer was lost,
//! everything else that the queue has in its name is handed back.

use std::collections::HashMap;
use std::sync::Mutex;

use mail::ShardId;
use mail::queue::Token;

#[derive(Default)]
pub(crate) struct Register(Mutex<HashMap<(ShardId, Token), usize>>);

impl Register {
    /// A lease of so many recipients was answered.
    pub(crate) fn leased(&self, shard: ShardId, token: Token, count: usize) {
        self.lock().insert((shard, token), count);
    }

    /// So many of each lease were settled.
    pub(crate) fn settled(&self, shard: ShardId, tokens: &[(Token, usize)]) {
        let mut held = self.lock();
        for (token, count) in tokens {
            if let Some(left) = held.get_mut(&(shard, *token)) {
                *left = left.saturating_sub(*count);
                if *left == 0 {
                    held.remove(&(shard, *token));
                }
            }
        }
    }

    /// The queue has taken back everything in this shard.
    pub(crate) fn forget(&self, shard: ShardId) {
        self.lock().retain(|(s, _), _| *s != shard);
    }

    /// The leases held in a shard.
    pub(crate) fn held(&self, shard: ShardId) -> Vec<Token> {
        self.lock().keys().filter(|(s, _)| *s == shard).map(|(_, t)| *t).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(ShardId, Token), usize>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
