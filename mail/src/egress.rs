//! Which egress source a recipient's mail goes from. A recipient keeps its source over all
//! attempts and relays, because greylists know senders by their address; a source that comes,
//! goes or weighs otherwise moves as few recipients as can be (weighted rendezvous hashing). While
//! a site blocks a source, the next one that the recipient would have sends, but for a probe.

use std::ops::RangeInclusive;

use crate::id::domain_hash;

/// The weight of a source that is given none.
pub const WEIGHT: f64 = 1.0;
/// What a weight may be: with more a source would be all there is, with less it would idle.
pub const WEIGHTS: RangeInclusive<f64> = 0.01..=100.0;

/// How a source stands with one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may send there.
    Fit,
    /// The site blocks it. `probed`: somebody goes to see whether that is over.
    Rests {
        /// Whether somebody waits to probe already.
        probed: bool,
    },
    /// It cannot reach the site for now: no address of its family, its proxy is down.
    Unfit,
}

/// The sources of a pool, by their places, in the order in which a recipient has them: the first
/// is its own, the next ones stand in. Each source is its name and its weight.
#[must_use]
pub fn ranked<'a>(
    sources: impl IntoIterator<Item = (&'a str, f64)>,
    recipient: &str,
) -> Vec<usize> {
    let recipient = mixed(recipient.bytes().fold(domain_hash(""), |hash, byte| {
        // As people write it: the same mailbox in capitals is the same to a greylist.
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3)
    }));
    let score =
        |(place, (name, weight)): (usize, (&str, f64))| (score(name, weight, recipient), place);
    let mut scores: Vec<(f64, usize)> = sources.into_iter().enumerate().map(score).collect();
    scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scores.into_iter().map(|(_, place)| place).collect()
}

/// How long the source would take to come if it came by chance, `weight` times a unit of time:
/// whoever comes first has the recipient, so each has its weight's share, and taking one away
/// changes nothing among the others.
fn score(name: &str, weight: f64, recipient: u64) -> f64 {
    let hash = mixed(domain_hash(name) ^ recipient);
    // In (0, 1), never 0 nor 1: 53 bits are what an f64 holds.
    let chance = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -chance.ln() / weight
}

/// FNV leaves its high bits weak; this makes every bit depend on every other (splitmix64's end).
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Which source of those ranked sends: the first that is fit, or before it one that rests and
/// wants a probe, where the recipient may be one. If none is fit the recipient stays with its own
/// source and waits for it. `None` only when there is no source at all.
#[must_use]
pub fn chosen(
    ranked: &[usize],
    standing: impl Fn(usize) -> Standing,
    may_probe: bool,
) -> Option<usize> {
    let mut resting = None;
    for place in ranked {
        match standing(*place) {
            Standing::Fit => return Some(*place),
            Standing::Rests { probed: false } if may_probe => return Some(*place),
            Standing::Rests { .. } => resting = resting.or(Some(*place)),
            Standing::Unfit => {}
        }
    }
    // A block ends some day; what cannot reach the site at all helps less.
    resting.or(ranked.first().copied())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECIPIENTS: usize = 20_000;

    fn recipients() -> impl Iterator<Item = String> {
        (0..RECIPIENTS).map(|n| format!("user{n}@mail{}.example", n % 7))
    }

    fn first(sources: &[(String, f64)], recipient: &str) -> usize {
        ranked(sources.iter().map(|(name, weight)| (name.as_str(), *weight)), recipient)[0]
    }

    fn pool() -> impl Strategy<Value = Vec<(String, f64)>> {
        let weight = prop_oneof![Just(1.0), 0.2f64..5.0];
        proptest::collection::vec(weight, 1..8).prop_map(|weights| {
            let name = |(n, weight)| (format!("out{n}"), weight);
            weights.into_iter().enumerate().map(name).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn each_source_has_the_share_of_its_weight(pool in pool()) {
            let mut counts = vec![0usize; pool.len()];
            recipients().for_each(|r| counts[first(&pool, &r)] += 1);
            let sum: f64 = pool.iter().map(|(_, weight)| weight).sum();
            for ((_, weight), count) in pool.iter().zip(counts) {
                let share = weight / sum;
                let expected = share * RECIPIENTS as f64;
                // Five standard deviations of a binomial.
                let bound = 5.0 * (expected * (1.0 - share)).sqrt() + 1.0;
                prop_assert!((count as f64 - expected).abs() <= bound, "{count} of {expected}: {pool:?}");
            }
        }

        #[test]
        fn a_source_that_goes_moves_only_its_own_recipients(pool in pool(), gone in any::<prop::sample::Index>()) {
            prop_assume!(pool.len() > 1);
            let gone = gone.index(pool.len());
            let mut rest = pool.clone();
            rest.remove(gone);
            for r in recipients().take(2000) {
                let before = first(&pool, &r);
                if before != gone {
                    prop_assert_eq!(&pool[before].0, &rest[first(&rest, &r)].0);
                }
            }
        }

        #[test]
        fn a_source_that_weighs_more_only_gains(pool in pool(), more in any::<prop::sample::Index>()) {
            let more = more.index(pool.len());
            let mut heavier = pool.clone();
            heavier[more].1 *= 2.0;
            for r in recipients().take(2000) {
                let (before, after) = (first(&pool, &r), first(&heavier, &r));
                prop_assert!(after == before || after == more);
            }
        }

        #[test]
        fn the_order_of_the_configuration_and_capitals_do_not_matter(pool in pool()) {
            let mut turned = pool.clone();
            turned.reverse();
            for r in recipients().take(500) {
                let name = &pool[first(&pool, &r)].0;
                prop_assert_eq!(name, &turned[first(&turned, &r)].0);
                prop_assert_eq!(name, &pool[first(&pool, &r.to_uppercase())].0);
            }
        }
    }

    /// Written down: another hash would send every recipient from another address.
    #[test]
    fn recipients_never_change_their_source() {
        let sources = [("out1", 1.0), ("out2", 1.0), ("out3", 2.0)];
        let of = |r: &str| ranked(sources, r);
        let all = ["ann@example.org", "bob@example.net", "eve@gmail.com"].map(of);
        assert_eq!(all, [[2, 0, 1], [2, 0, 1], [2, 1, 0]]);
    }

    #[test]
    fn who_rests_is_passed_over_but_for_a_probe() {
        use Standing::{Fit, Rests, Unfit};
        let (probed, unprobed) = (Rests { probed: true }, Rests { probed: false });
        let choose = |standings: [Standing; 3], may_probe| {
            chosen(&[2, 0, 1], |place| standings[place], may_probe)
        };
        assert_eq!(choose([Fit, Fit, Fit], true), Some(2));
        assert_eq!(choose([Fit, Fit, unprobed], false), Some(0));
        assert_eq!(choose([Fit, Fit, unprobed], true), Some(2), "the probe");
        assert_eq!(choose([Fit, Fit, probed], true), Some(0));
        assert_eq!(choose([Unfit, Fit, Unfit], true), Some(1));
        assert_eq!(choose([probed, Unfit, Unfit], true), Some(0), "a block ends some day");
        assert_eq!(choose([Unfit, Unfit, Unfit], true), Some(2));
        assert_eq!(choose([probed, probed, probed], false), Some(2), "it keeps its own");
        assert_eq!(chosen(&[], |_| Fit, true), None);
    }
}
