//! Complaints, which come late and speak of no limit.

use super::*;

fn seen(passed: u32, complaints: u32) -> Observation {
    Observation { window: SECOND, passed, complaints, demand: true, ..Observation::default() }
}

/// Complaints one by one, a second apart; answers the changes.
fn complain(pace: &mut Pace, limits: &Limits, now: &mut Timestamp, times: u32) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..times {
        *now = *now + SECOND;
        changes.extend(pace.observe(limits, *now, &seen(0, 1)));
    }
    changes
}

#[test]
fn too_many_complaints_take_a_third_of_the_rate_once_an_hour() {
    let limits = Limits::default();
    let (mut pace, mut now) = (Pace::new(&limits), T0);
    pace.observe(&limits, now, &Observation { untold: 1000, ..seen(100, 0) });
    let before = pace.rate(&limits, now);
    let changes = complain(&mut pace, &limits, &mut now, 20);
    let cuts: Vec<&Change> = changes.iter().filter(|c| c.why == Why::Complaints).collect();
    assert_eq!(cuts.len(), 1, "{changes:?}");
    // Each counts a little less with every second.
    assert_eq!((cuts[0].refusals, cuts[0].from), (6, before));
    assert!((pace.rate(&limits, now) / before - 0.7).abs() < 1e-6);
    // For an hour it does not rise either.
    for _ in 0..600 {
        now = now + SECOND;
        pace.observe(&limits, now, &seen(before as u32, 0));
    }
    assert!(pace.rate(&limits, now) < 0.71 * before);
    now = now + std::time::Duration::from_secs(3600);
    let again = complain(&mut pace, &limits, &mut now, 20);
    assert!(again.iter().any(|c| c.why == Why::Complaints), "{again:?}");
}

#[test]
fn few_complaints_of_many_messages_and_old_ones_change_nothing() {
    let limits = Limits::default();
    let (mut pace, mut now) = (Pace::new(&limits), T0);
    pace.observe(&limits, now, &Observation { untold: 10_000, ..seen(100, 0) });
    assert!(complain(&mut pace, &limits, &mut now, 20).is_empty(), "20 of 10,100");
    let (mut pace, mut now) = (Pace::new(&limits), T0);
    for _ in 0..8 {
        assert!(complain(&mut pace, &limits, &mut now, 2).iter().all(|c| c.why != Why::Complaints));
        now = now + std::time::Duration::from_secs(2 * 86_400);
    }
}
