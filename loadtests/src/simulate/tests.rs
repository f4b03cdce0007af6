//! What the pace must reach, in virtual time.

use super::*;

fn named(words: &str) -> Vec<Scenario> {
    scenarios().into_iter().filter(|s| s.name.contains(words)).collect()
}

fn ours(scenario: &Scenario, relays: usize) -> Score {
    run(scenario, Which::Ours, relays, 1).score
}

/// A rate that does not move: nine tenths and more of it used, hardly anything refused, found within
/// three minutes, shared evenly, by one relay or many.
#[test]
fn a_constant_limit_is_found_and_used() {
    for scenario in named("constant").iter().chain(&named("noise")).chain(&named("idle")) {
        for relays in [1, 4, 16] {
            let score = ours(scenario, relays);
            let said = format!("{}, {relays} relays: {score:?}", scenario.name);
            assert!(score.converged_s.is_some_and(|s| s <= 180.0), "{said}");
            assert!(score.utilisation >= 0.92 && score.refused <= 0.01, "{said}");
            assert!(score.jain >= 0.98, "{said}");
        }
    }
}

#[test]
fn under_noise_and_after_idling_no_window_is_a_tenth_over_the_limit() {
    for scenario in named("noise").iter().chain(&named("idle")) {
        for relays in [1, 4, 16] {
            let score = ours(scenario, relays);
            assert!(score.overshoot <= 1.1, "{}, {relays} relays: {score:?}", scenario.name);
        }
    }
}

#[test]
fn after_a_step_it_is_settled_within_two_minutes() {
    for scenario in named("step") {
        for relays in [1, 4, 16] {
            let score = ours(&scenario, relays);
            let said = format!("{}, {relays} relays: {score:?}", scenario.name);
            assert!(score.settled_s.is_some_and(|s| s <= 120.0), "{said}");
            assert!(score.utilisation >= 0.92 && score.refused <= 0.01, "{said}");
        }
    }
}

/// What is not known of a day or an hour is found out without much being refused; what is known is
/// kept from the first window on.
#[test]
fn caps_of_hours_and_days_are_used_and_kept() {
    for scenario in named("cap").iter().chain(&named("warm-up")) {
        for relays in [1, 4] {
            let run = run(scenario, Which::Ours, relays, 1);
            let said = format!("{}, {relays} relays: {:?}", scenario.name, run.score);
            assert!(run.score.utilisation >= 0.92, "{said}");
            let Some((caps, period)) = scenario.hidden.caps(scenario.seconds) else { continue };
            if !scenario.known.is_any() {
                // Its probes find the next hour; of a day's messages they are next to nothing.
                assert!(
                    run.score.refused <= if scenario.is_of_days() { 0.01 } else { 0.05 },
                    "{said}"
                );
                continue;
            }
            let passed: Vec<u32> = run.seconds.iter().map(|(_, sent, no)| sent - no).collect();
            let all: u32 = passed[..period].iter().sum();
            assert!(f64::from(all) <= caps[0], "{said}: {all} in the first");
            assert!(run.score.refused <= 0.01, "{said}");
        }
    }
}

/// Nobody is better at both, and nobody who is refused as seldom uses more.
#[test]
fn no_other_policy_is_better() {
    for scenario in scenarios().iter().filter(|s| s.seconds <= 3600.0) {
        let best = ours(scenario, 1);
        assert!(best.refused <= 0.01, "{}: {best:?}", scenario.name);
        for which in Which::ALL.into_iter().filter(|which| *which != Which::Ours) {
            let other = run(scenario, which, 1, 1).score;
            let said = format!("{}, {}: {other:?} against {best:?}", scenario.name, which.as_str());
            let at_both = other.utilisation > best.utilisation && other.refused < best.refused;
            assert!(!at_both, "{said}");
            assert!(other.refused > 0.01 || other.utilisation <= best.utilisation, "{said}");
        }
    }
}

#[test]
fn the_same_seed_replays() {
    let scenario = &named("noise")[0];
    let (first, again) = (run(scenario, Which::Ours, 4, 7), run(scenario, Which::Ours, 4, 7));
    assert!(first.seconds == again.seconds && first.changes == again.changes);
    assert!(run(scenario, Which::Ours, 4, 8).seconds != first.seconds);
}

#[test]
fn a_picture_shows_the_limit_and_everybody() {
    let scenario = &named("constant 20")[0];
    let (ours, low) = (run(scenario, Which::Ours, 1, 1), run(scenario, Which::FixedLow, 1, 1));
    let svg = picture(scenario, &[(Which::Ours, &ours), (Which::FixedLow, &low)]).expect("drawn");
    for words in ["<svg", "hidden limit", "ours", "fixed, too low", "messages a second"] {
        assert!(svg.contains(words), "{words}");
    }
}
