//! Ceilings of hours and days: the script does what the model does, and its records are kept.

use mail::Timestamp;
use mail::quota::{Ask, Ceilings, Follows, Quota};
use mail::warmup::Plan;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use store::Store;

use crate::support;

const T0: Timestamp = Timestamp(1_800_000_000_000);

fn follows(name: &str, text: &str) -> Follows {
    let plan = Plan::parse(&format!("title = 'T'\n{text}")).unwrap();
    Follows { name: name.to_owned(), plan }
}

#[derive(Debug, Clone)]
struct Step {
    pause_ms: u64,
    wanted: u64,
    back: u64,
    bad: u64,
    hour: Option<u64>,
    day: Option<u64>,
    /// 0: none.
    plan: usize,
}

fn step() -> impl Strategy<Value = Step> {
    let pause_ms = prop_oneof![0u64..200_000, 0u64..90_000_000, 0u64..4_000_000_000];
    let ceiling = |most| proptest::option::of(0u64..most);
    let numbers = (0u64..40, 0u64..10, 0u64..4, 0usize..3);
    (pause_ms, numbers, ceiling(60), ceiling(300)).prop_map(|(pause_ms, numbers, hour, day)| {
        let (wanted, back, bad, plan) = numbers;
        Step { pause_ms, wanted, back, bad, hour, day, plan }
    })
}

#[test]
fn the_script_does_what_the_model_does() {
    let redis = support::Redis::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(Store::open(&redis.config())).unwrap();
    let plans = [
        follows("hourly", "per = 'hour'\nceilings = [5, 9, 30]"),
        follows("daily", "per = 'day'\nceilings = [8, 200]"),
    ];
    let mut runner = TestRunner::new(Cases { cases: 40, ..Cases::default() });
    let number = std::cell::Cell::new(0);
    let steps = proptest::collection::vec(step(), 1..40);
    let run = runner.run(&steps, |steps| {
        number.set(number.get() + 1);
        let group = format!("provider-{}", number.get());
        let (mut model, mut now) = (Quota::default(), T0);
        for step in steps {
            now = Timestamp(now.0 + step.pause_ms);
            let ask = Ask {
                wanted: step.wanted,
                back: step.back,
                bad: step.bad,
                ceilings: Ceilings { hour: step.hour, day: step.day },
                follows: step.plan.checked_sub(1).map(|n| &plans[n]),
            };
            let told = runtime.block_on(store.take_quota_at(Some(now), "s", &group, &ask));
            prop_assert_eq!(told.unwrap(), model.take(now, &ask), "{:?}", step);
        }
        let kept = runtime.block_on(store.quotas(now)).unwrap();
        let kept = kept.into_iter().find(|record| record.group == group).unwrap();
        prop_assert_eq!((kept.hour, kept.day), model.used(now));
        prop_assert_eq!(kept.progress.as_ref(), model.progress());
        Ok(())
    });
    run.unwrap();
}

#[tokio::test]
async fn a_person_says_which_day_a_source_has_come_to() {
    let redis = support::Redis::start();
    let store = Store::open(&redis.config()).await.unwrap();
    let daily = follows("daily", "per = 'day'\nceilings = [1, 2, 300]");
    assert!(!store.set_warmup_day("s", "gmail", 2).await.unwrap(), "there is no record");
    let ask = Ask { wanted: 500, follows: Some(&daily), ..Ask::default() };
    assert_eq!(store.take_quota("s", "gmail", &ask).await.unwrap().granted, 1);
    assert!(store.set_warmup_day("s", "gmail", 2).await.unwrap());
    let answer = store.take_quota("s", "gmail", &ask).await.unwrap();
    assert_eq!((answer.granted, answer.day), (299, Some(3)), "one of the day went before");
    let no_plan = Ask { wanted: 1, ..Ask::default() };
    store.take_quota("s", "orange", &no_plan).await.unwrap();
    assert!(!store.set_warmup_day("s", "orange", 2).await.unwrap(), "it follows no plan");
}
