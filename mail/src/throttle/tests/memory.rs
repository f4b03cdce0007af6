//! What is known from before, and what is done where nothing passes.

use super::*;

#[test]
fn where_nothing_passes_single_probes_go_and_the_first_that_passes_ends_it() {
    let limits = Limits::default();
    let mut pace = Pace::new(&limits);
    pace.set_rate(50.0);
    let refused =
        |n| Observation { window: SECOND, rate_refusals: n, demand: true, ..Default::default() };
    pace.observe(&limits, T0, &refused(12));
    assert_eq!(pace.rate(&limits, T0), 2.0);
    // After ten minutes one a minute.
    let late = T0 + SECOND * 600;
    pace.observe(&limits, late, &refused(1));
    assert!((pace.rate(&limits, late) - 1.0 / 60.0).abs() < 1e-6, "below the least rate");
    let much_later = late + SECOND * 86_400;
    let mut day = pace.clone();
    day.observe(&limits, much_later, &refused(1));
    assert!((day.rate(&limits, much_later) - 1.0 / 600.0).abs() < 1e-6);
    let passed = Observation { window: SECOND, passed: 1, ..Default::default() };
    let changes = pace.observe(&limits, late + SECOND, &passed);
    assert_eq!(changes[0].why, Why::ProbePassed);
    assert!(pace.rate(&limits, late) > 10.0, "{}", pace.rate(&limits, late));
}

#[test]
fn after_a_silence_it_begins_lower_and_is_soon_back() {
    let mut world = World::new(100.0, 1000);
    world.seconds(300);
    let before = world.rate();
    for (silence, part) in [(800, 1.0), (1000, 0.5), (7 * 3600, 0.25), (25 * 3600, 0.125)] {
        world.now = world.now + SECOND * silence;
        world.pace.observe(&world.limits, world.now, &Observation::default());
        let rate = world.rate();
        assert!((rate / before / part - 1.0).abs() < 0.12, "{silence}: {before} → {rate}");
        world.seconds(60);
        assert!(world.rate() > 0.9 * 100.0 * 0.95, "{silence}: {}", world.rate());
    }
}

#[test]
fn what_an_hour_took_on_two_days_is_known_on_the_third() {
    let mut world = World::new(50.0, 1000);
    let until = |world: &mut World, hour: u64| {
        while world.now.secs() / 3600 % 24 != hour {
            world.second();
        }
    };
    let mut refused = [0; 3];
    for refused in &mut refused {
        until(&mut world, 12);
        world.provider.limit = 10.0;
        let before = world.refused;
        world.seconds(60);
        *refused = world.refused - before;
        until(&mut world, 13);
        world.provider.limit = 50.0;
        world.seconds(300);
        assert!(world.rate() > 45.0, "{}", world.rate());
        until(&mut world, 11);
    }
    assert!(refused[2] * 5 < refused[1].min(refused[0]), "{refused:?}");
}
