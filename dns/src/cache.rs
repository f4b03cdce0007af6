//! A bounded memory with expiry. Two generations stand in for the order of use: what
//! is used moves to the young one, and when that is full the old one is forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) struct Cache<V> {
    generations: Mutex<Generations<V>>,
    young_max: usize,
}

struct Generations<V> {
    young: HashMap<Box<str>, (Instant, V)>,
    old: HashMap<Box<str>, (Instant, V)>,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: Mutex::new(generations), young_max: (entries_max / 2).max(1) }
    }

    pub(crate) fn get(&self, name: &str, now: Instant) -> Option<V> {
        let mut both = self.lock();
        if let Some((until, value)) = both.young.get(name) {
            return (now < *until).then(|| value.clone());
        }
        let (key, (until, value)) = both.old.remove_entry(name)?;
        if now >= until {
            return None;
        }
        self.put(&mut both, key, until, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&self, name: &str, until: Instant, value: V) {
        let mut both = self.lock();
        both.old.remove(name);
        self.put(&mut both, name.into(), until, value);
    }

    fn put(&self, both: &mut Generations<V>, name: Box<str>, until: Instant, value: V) {
        if both.young.len() >= self.young_max && !both.young.contains_key(&name) {
            both.old = std::mem::take(&mut both.young);
        }
        both.young.insert(name, (until, value));
    }

    /// A panic elsewhere leaves a map that is still a map.
    fn lock(&self) -> MutexGuard<'_, Generations<V>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_used_stays_and_the_size_is_bounded() {
        let (cache, now) = (Cache::new(100), Instant::now());
        let until = now + Duration::from_secs(60);
        cache.insert("used", until, 0);
        for i in 0..1000 {
            cache.insert(&format!("d{i}"), until, i);
            assert_eq!(cache.get("used", now), Some(0), "{i}");
        }
        let both = cache.lock();
        assert!(both.young.len() + both.old.len() <= 100);
        drop(both);
        assert_eq!(cache.get("d0", now), None);
        assert_eq!(cache.get("d999", now), Some(999));
        assert_eq!(cache.get("d999", until), None);
    }
}
