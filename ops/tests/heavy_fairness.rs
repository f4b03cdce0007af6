//! Fair share with the real program: two relays, one large tenant, small ones of different
//! weights, an urgent campaign in the middle. The bounds are those of docs/PACE.md.

use loadtests::bench::{FairWish, Program, Tail, fairness, longtail};

fn program() -> Program {
    Program { path: env!("CARGO_BIN_EXE_malleposte").into(), folder: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_large_tenant_leaves_small_ones_their_share_and_an_urgent_one_goes_first() {
    let wish = FairWish {
        relays: 2,
        rate: 400.0,
        big: 50_000,
        smalls: 30,
        small: 200,
        weights: vec![1.0, 1.0, 2.0],
        urgent: 400,
        seed: 5,
    };
    let fair = fairness(&program(), &wish).await.expect("a measurement");
    assert!(fair.share_ratio <= 1.2, "{fair:?}");
    assert!(fair.small_p99_wait_s <= fair.bound_s, "{fair:?}");
    assert!(
        fair.urgent_s.is_some_and(|took| took <= fair.urgent_bound_s.unwrap_or(0.0)),
        "{fair:?}"
    );
    assert!(fair.alone_used >= 0.95, "the large one does not get what is left: {fair:?}");
    assert_eq!(fair.duplicates, 0, "{fair:?}");
}

/// More recipients than a relay has hands for: what waits in the queue meanwhile is there again
/// before its flow has nothing left.
#[tokio::test(flavor = "multi_thread")]
async fn heavy_who_waits_in_the_queue_comes_before_their_flow_runs_dry() {
    let wish = FairWish {
        relays: 1,
        rate: 1000.0,
        big: 50_000,
        smalls: 50,
        small: 220,
        weights: vec![],
        urgent: 0,
        seed: 1,
    };
    let fair = fairness(&program(), &wish).await.expect("a measurement");
    assert!(fair.share_ratio <= 1.2, "{fair:?}");
    assert!(fair.small_p99_wait_s <= fair.bound_s, "{fair:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_site_for_each_recipient_leaves_nothing_behind() {
    let run = longtail(&program(), Tail::OwnSites, 3_000).await.expect("a measurement");
    assert_eq!((run.recipients, run.paces_listed), (3_000, 0), "{run:?}");
    // What is left is what any campaign leaves; a record of 500 octets for each site would show.
    assert!(run.redis_after < run.redis_before + 1_000_000, "{run:?}");
}
