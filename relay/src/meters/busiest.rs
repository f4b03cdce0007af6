//! The sites that have a label of their own: those with the most attempts of late. A platform sends
//! to a hundred thousand sites, and a metric with as many values would take more memory than the
//! mail; together the few that are named carry nearly all of it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Sites with a label of their own.
const NAMED: usize = 30;
/// How often it is looked who they are.
const LOOKED: Duration = Duration::from_secs(60);
/// Sites that ever have one in a process's life: what was told once is told for ever.
const EVER: usize = 300;
/// Sites counted between two looks; more than that are among the others.
const COUNTED_MAX: usize = 20_000;

/// What all others are called.
pub(super) const OTHER: &str = "other";

/// Who they are.
#[derive(Debug)]
pub(super) struct Busiest {
    named: HashSet<Box<str>>,
    ever: HashSet<Box<str>>,
    attempts: HashMap<Box<str>, u64>,
    looked: Instant,
}

impl Busiest {
    pub(super) fn new(now: Instant) -> Self {
        Self { named: HashSet::new(), ever: HashSet::new(), attempts: HashMap::new(), looked: now }
    }

    /// Counts an attempt; answers the site's label.
    pub(super) fn label<'s>(&mut self, site: &'s str, now: Instant) -> &'s str {
        if now.duration_since(self.looked) >= LOOKED {
            self.look();
            self.looked = now;
        }
        if let Some(attempts) = self.attempts.get_mut(site) {
            *attempts += 1;
        } else if self.attempts.len() < COUNTED_MAX {
            self.attempts.insert(site.into(), 1);
        }
        // At first whoever comes; then whoever had most.
        if self.named.len() < NAMED && !self.named.contains(site) {
            self.named.insert(site.into());
        }
        if !self.named.contains(site) {
            return OTHER;
        }
        if !self.ever.contains(site) {
            if self.ever.len() >= EVER {
                return OTHER;
            }
            self.ever.insert(site.into());
        }
        site
    }

    fn look(&mut self) {
        let mut attempts: Vec<_> = std::mem::take(&mut self.attempts).into_iter().collect();
        attempts.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        attempts.truncate(NAMED);
        // A site that rests for a minute keeps its label while there is room.
        let kept = std::mem::take(&mut self.named);
        self.named = attempts.into_iter().map(|(site, _)| site).collect();
        for site in kept {
            if self.named.len() >= NAMED {
                break;
            }
            self.named.insert(site);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_have_names_and_there_are_never_many() {
        let begin = Instant::now();
        let mut busiest = Busiest::new(begin);
        let mut labels = HashSet::new();
        for n in 0..1_000 {
            labels.insert(busiest.label(&format!("small-{n}.example"), begin).to_owned());
        }
        assert_eq!(labels.len(), NAMED + 1);
        for _ in 0..5 {
            assert_eq!(busiest.label("large.example", begin), OTHER, "there is no room yet");
        }
        let later = begin + LOOKED;
        assert_eq!(busiest.label("large.example", later), "large.example");
        assert_eq!(busiest.label("small-999.example", later), OTHER);
        let much_later = later + LOOKED;
        assert_eq!(busiest.label("large.example", much_later), "large.example");
        for round in 3..40 {
            for n in 0..100 {
                let site = format!("site-{round}-{n}.example");
                labels.insert(busiest.label(&site, begin + LOOKED * round).to_owned());
            }
        }
        assert!(labels.len() <= EVER + 1, "{} labels", labels.len());
    }
}
