//! A relay whose host others take, with the real program: its ceiling falls, comes back when they
//! stop, and nothing is lost. Directions only: `loadtests load` measures.

use loadtests::bench::{LoadWish, Machine, Program, load};

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_relay_whose_host_others_take_takes_less_and_recovers() {
    let program = Program { path: env!("CARGO_BIN_EXE_malleposte").into(), folder: None };
    let wish = LoadWish {
        rate: 40.0,
        threads: 2 * Machine::here().cpus,
        before_s: 8,
        stress_s: 20,
        urgent: 2,
        seed: 7,
    };
    let run = load(&program, &wish).await.expect("a measurement");
    assert!(run.fell_after_s.is_some(), "the ceiling did not lose a third: {run:?}");
    assert!(run.went_during < run.went_before, "{run:?}");
    assert!(run.recovered_after_s.is_some_and(|after| after <= 20.0), "{run:?}");
    assert_eq!((run.urgent_lost, run.sessions_lost, run.duplicates), (0, 0, 0), "{run:?}");
}
