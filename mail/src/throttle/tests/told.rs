//! What is told adds up to what is; and what operators do to a pace.

use super::*;

const FIXED_RATE: Fixed =
    Fixed { rate: Some(5.0), connections: None, messages_per_connection: None };

/// A step: how long after the one before it, what was seen, and what stood or was done.
#[derive(Debug, Clone)]
enum Step {
    Seen(Observation),
    SeenUnder(Observation, Fixed),
    OtherLimits(Limits),
    Released,
    Undone(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let fixed = (
        proptest::option::of(0.2..900.0f64),
        proptest::option::of(1..40u32),
        proptest::option::of(1..900u32),
    );
    let fixed = fixed.prop_map(|(rate, connections, messages_per_connection)| Fixed {
        rate,
        connections,
        messages_per_connection,
    });
    let limits =
        (1.0..300.0f64, 5..60u32, 1..1500u32).prop_map(|(rate_max, most, carried)| Limits {
            rate_max: rate_max + 10.0,
            connections_max: most,
            messages_per_connection_max: carried,
            ..Limits::default()
        });
    prop_oneof![
        8 => observation().prop_map(Step::Seen),
        2 => (observation(), fixed).prop_map(|(seen, fixed)| Step::SeenUnder(seen, fixed)),
        1 => limits.prop_map(Step::OtherLimits),
        1 => Just(Step::Released),
        1 => any::<usize>().prop_map(Step::Undone),
    ]
}

proptest! {
    /// Changes read back from their text and folded give the state.
    #[test]
    fn what_is_told_adds_up_to_the_state(
        steps in proptest::collection::vec((0..100_000u64, step()), 1..150),
    ) {
        let mut limits = Limits::default();
        let mut pace = Pace::new(&limits);
        let mut told = pace.told();
        let (mut now, mut all) = (T0, Vec::<Change>::new());
        for (pause, step) in steps {
            now = now + Duration::from_millis(pause * pause / 10_000);
            let changes = match step {
                Step::Seen(seen) => pace.observe(&limits, now, &seen),
                Step::SeenUnder(seen, fixed) => {
                    pace.observe_under(&fixed.within(&limits), &limits, now, &seen)
                }
                Step::OtherLimits(others) => {
                    limits = others;
                    continue;
                }
                Step::Released => pace.release(&limits, now),
                Step::Undone(_) if all.is_empty() => continue,
                Step::Undone(at) => {
                    let at = at % all.len();
                    pace.undo(&all[at], &limits, now).unwrap_or_default()
                }
            };
            for change in changes {
                let read: Change = change.to_string().parse().expect("reads back");
                prop_assert_eq!(read, change);
                told.take(&read);
                all.push(read);
            }
            prop_assert_eq!(told, pace.told());
        }
    }

    /// What is fixed is afterwards what it was, whatever is seen meanwhile.
    #[test]
    fn what_is_fixed_learns_nothing(
        before in proptest::collection::vec(observation(), 0..30),
        under in proptest::collection::vec(observation(), 1..60),
    ) {
        let limits = Limits::default();
        let (mut pace, mut now) = (Pace::new(&limits), T0);
        for seen in before {
            now = now + SECOND;
            pace.observe(&limits, now, &seen);
        }
        let found = pace.told();
        let fixed = Fixed { connections: Some(3), messages_per_connection: Some(7), ..FIXED_RATE };
        for seen in under {
            now = now + SECOND;
            let changes = pace.observe_under(&fixed, &limits, now, &seen);
            prop_assert!(changes.iter().all(|change| change.what == Dimension::Hold));
            let held = pace.hold_until().is_some();
            let expected = if held { pace.rate(&limits, now) } else { 5.0 };
            prop_assert_eq!(fixed.rate_of(&pace, &limits, now), expected);
        }
        prop_assert_eq!(Told { hold: None, ..pace.told() }, Told { hold: None, ..found });
    }
}

fn blocked() -> (Limits, Pace, Timestamp) {
    let limits = Limits::default();
    let mut pace = Pace::new(&limits);
    let blocks = Observation { window: SECOND, blocks: 4, ..Observation::default() };
    pace.observe(&limits, T0, &blocks);
    assert!(pace.hold_until().is_some());
    (limits, pace, T0 + SECOND)
}

#[test]
fn a_block_that_is_lifted_by_hand_starts_as_after_a_probe() {
    let (limits, mut pace, now) = blocked();
    let changes: Vec<String> = pace.release(&limits, now).iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        ["the block is lifted by hand: the source is used here again", "rate 10.0 → 2.5: released",]
    );
    assert_eq!((pace.hold_until(), pace.rate(&limits, now)), (None, 2.5));
    assert_eq!(pace.release(&limits, now), []);
}

#[test]
fn a_cut_is_undone_once_and_what_the_site_said_then_is_forgotten() {
    let limits = Limits::default();
    let mut pace = Pace::new(&limits);
    let refused =
        Observation { window: SECOND, passed: 40, rate_refusals: 5, ..Observation::default() };
    let cut = pace.observe(&limits, T0, &refused)[0];
    assert_eq!((cut.what, cut.why, cut.from), (Dimension::Rate, Why::TooFast, 10.0));
    let now = T0 + SECOND;
    let undone = pace.undo(&cut, &limits, now).expect("undone");
    assert_eq!((undone[0].to, pace.rate(&limits, now)), (10.0, 10.0));
    assert_eq!(pace.undo(&cut, &limits, now), Err(NotUndone::AsBefore(Dimension::Rate, 10.0)));
    let back = pace.undo(&undone[0], &limits, now).expect("the undoing is a change, too");
    assert_eq!(back[0].to, cut.to);
    let slow = Limits { rate_max: 9.0, rate_start: 9.0, ..limits };
    let why = pace.undo(&cut, &slow, now).expect_err("refused").to_string();
    assert_eq!(why, "rate was 10 before that change, which the limits do not allow any more");
}

#[test]
fn blocks_are_not_put_back() {
    let (limits, mut pace, now) = blocked();
    let ended = pace.clone().release(&limits, now)[0];
    assert_eq!(pace.undo(&ended, &limits, now), Err(NotUndone::HoldEnded));
    let began: Change =
        "the site blocks the source (4 of 4 answers): but for probes it rests here \
                         for 900 s, until 2023-11-14T22:28:20.000Z"
            .parse()
            .expect("a change");
    assert_eq!(pace.undo(&began, &limits, now).expect("lifted").len(), 2);
    assert_eq!(pace.undo(&began, &limits, now), Err(NotUndone::NotHeld));
}
