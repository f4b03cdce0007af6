//! Chaos: real campaigns through real processes, one of which dies, sleeps, is cut off or
//! finds its disk full, and both books compared at the end. What happens is in `loadtests`;
//! `loadtests chaos --seed S` replays a run that failed.

use loadtests::chaos::{Fault, Report, Which, chaos};
use loadtests::program::Program;

use crate::others::is_here;

/// Runs: each kind of fault comes at least twice.
const RUNS: usize = 30;
/// The last of the series that are tried until one is not disturbed.
const RUNS_UNDISTURBED: u64 = 5;
/// At a time: most of the time a run waits.
const JOBS: usize = 3;

fn run(which: &Which) -> Report {
    let program = Program { path: env!("CARGO_BIN_EXE_malleposte").into(), folder: None };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(chaos(&program, which, JOBS, |outcome| {
        if outcome.broken.is_empty() {
            eprintln!("{} {}: {:.1} s", outcome.seed, outcome.fault, outcome.seconds);
        } else {
            eprintln!("{outcome:#?}");
        }
    }));
    let report = report.unwrap();
    eprintln!("{report:#?}");
    is_here(report.left_out.is_empty(), "root, who alone mounts a disk that can be full");
    report
}

#[test]
fn heavy_chaos_whatever_dies_nothing_is_lost_and_what_is_sent_twice_is_within_the_bound() {
    let report = run(&Which::Dealt { runs: RUNS, base: 1, only: Vec::new() });
    assert!(
        report.failed_seeds.is_empty(),
        "`loadtests chaos --seed S`: {:?}",
        report.failed_seeds
    );
    assert!(report.recipients >= RUNS as u64 * 5_000);
    for fault in Fault::ALL {
        let count = report.faults.get(fault.as_str()).copied().unwrap_or(0);
        assert!(count >= 2 || report.left_out.contains(fault), "{fault}: {count} runs");
    }
    assert_eq!((report.lost, report.imbalance), (0, 0));
    assert!(report.duplicates <= report.duplicate_bound);
    assert!(report.takeovers >= 4 && report.takeover_p99_s <= 10.0);
}

/// At the durability `always` a Redis that dies, however it comes back, allows no duplicate at
/// all but those whose final dot the destination left unanswered. A machine that holds a relay up
/// for longer than a lease allows others, and counts them: then it is another run's turn.
#[test]
fn heavy_chaos_redis_alone_dies_and_nothing_is_sent_twice_for_it() {
    for base in 2..=RUNS_UNDISTURBED {
        let only = vec![Fault::RedisKilled, Fault::RedisRestarted, Fault::RedisCut];
        let report = run(&Which::Dealt { runs: 3, base, only });
        assert!(
            report.failed_seeds.is_empty(),
            "`loadtests chaos --seed S`: {:?}",
            report.failed_seeds
        );
        let terms = report.duplicate_terms;
        assert_eq!(terms.not_durable, 0, "{terms:?}");
        if terms.unsettled == 0 {
            assert!(report.duplicates <= terms.unanswered, "{report:?}");
            return;
        }
        eprintln!("a relay was held up for longer than a lease: again with other seeds");
    }
    panic!("this machine never lets a relay renew in time");
}
