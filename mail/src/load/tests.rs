//! The promises of the budget, whatever is measured and whatever the clock does.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::CampaignId;
use crate::share::{Demand, Weight};

const LOOK: Duration = Duration::from_millis(250);

/// A budget that is looked at four times a second.
struct Watched {
    budget: Budget,
    now: Duration,
}

impl Watched {
    fn new() -> Self {
        Self { budget: Budget::new(Config::default()), now: Duration::from_secs(100) }
    }

    fn look(&mut self, sample: &Sample) -> f64 {
        self.now += LOOK;
        self.budget.observe(self.now, sample)
    }

    /// The levels of so many seconds.
    fn run(&mut self, seconds: u32, sample: &Sample) -> Vec<f64> {
        (0..seconds * 4).map(|_| self.look(sample)).collect()
    }
}

fn one(signal: Signal, value: f64) -> Sample {
    Sample::default().with(signal, value)
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let figure = prop_oneof![
        4 => Just(None),
        4 => (0.0f64..1.2).prop_map(Some),
        2 => (0.0f64..20_000.0).prop_map(Some),
        1 => Just(Some(f64::NAN)),
        1 => Just(Some(f64::INFINITY)),
        1 => Just(Some(-5.0)),
    ];
    proptest::collection::vec(figure, Signal::ALL.len()).prop_map(|figures| {
        let each = Signal::ALL.iter().zip(figures);
        each.fold(Sample::default(), |sample, (signal, value)| sample.with(*signal, value))
    })
}

#[test]
fn what_leads_cuts_at_once_and_what_confirms_takes_seconds() {
    let mut led = Watched::new();
    led.look(&Sample::default());
    assert!(led.look(&one(Signal::EventLoop, 300.0)) <= 0.1 + 1e-9);
    let mut confirmed = Watched::new();
    confirmed.look(&Sample::default());
    let levels = confirmed.run(6, &one(Signal::Processor, 0.9));
    assert!(levels[0] > 0.9 && levels[4] > 0.6, "{levels:?}");
    assert!(levels[23] <= 0.55 + 1e-9, "{levels:?}");
}

#[test]
fn the_causes_are_told_the_strongest_first_with_their_evidence() {
    let mut watched = Watched::new();
    let sample = one(Signal::EventLoop, 84.4).with(Signal::Outbox, 0.9).with(Signal::Dns, 0.2);
    watched.look(&sample);
    let told: Vec<String> = watched.budget.causes().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "ledger behind: an outbox is 90 % full (over 50 %)",
            "event loop 84 ms late at p99 (over 50)"
        ]
    );
}

#[test]
fn what_says_little_about_the_host_takes_half_at_most() {
    for signal in [Signal::Processor, Signal::Dns, Signal::DiskStall, Signal::Feedback] {
        let mut watched = Watched::new();
        let levels = watched.run(20, &one(signal, 10_000.0));
        assert!((0.5..0.6).contains(levels.last().unwrap()), "{signal}: {levels:?}");
    }
}

/// The relay's own work makes the event loop late, and what is seen of it is two seconds old.
#[test]
fn a_relay_that_slows_itself_down_finds_its_place_and_stays_there() {
    for steepness in [100.0, 400.0, 1000.0] {
        let mut watched = Watched::new();
        let mut late = vec![0.0];
        let mut levels = Vec::new();
        for _ in 0..480 {
            let seen = late.iter().rev().take(8).copied().fold(0.0, f64::max);
            let level = watched.look(&one(Signal::EventLoop, seen));
            levels.push(level);
            late.push(20.0 + steepness * (1.3 * level - 0.8).max(0.0));
        }
        let settled = &levels[240..];
        let (low, high) =
            settled.iter().fold((1.0, 0.0), |(l, h): (f64, f64), x| (l.min(*x), h.max(*x)));
        assert!(high - low <= 0.25, "{steepness}: {low} to {high}");
        assert!(low >= 0.35 && high <= 0.95, "{steepness}: {low} to {high}");
    }
}

#[test]
fn absurd_settings_are_refused_in_words() {
    let refused = |adjust: &dyn Fn(&mut Config)| {
        let mut config = Config::default();
        adjust(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert_eq!(Config::default().check(), Ok(()));
    for floor in [0.0, 1.5, -0.1, f64::NAN] {
        let told = refused(&|config| config.floor = floor);
        assert!(told.starts_with(&format!("floor {floor} must lie between 0.01 and 1")), "{told}");
    }
    assert_eq!(
        refused(&|config| config.event_loop_from_ms = 400.0),
        "event_loop_from_ms 400 and event_loop_full_ms 300 must rise from above 0 to 60000, and may \
         not be equal"
    );
    assert!(refused(&|config| config.memory_full = 1.2).starts_with("memory_from 0.95 and"));
    assert!(refused(&|config| config.dns_from = config.dns_full).contains("may not be equal"));
    assert!(refused(&|config| config.outbox_from = f64::NAN).starts_with("outbox_from NaN"));
    assert!(refused(&|config| config.store_from_ms = 0.0).starts_with("store_from_ms 0 and"));
}

#[test]
fn what_a_relay_manages_is_learnt_while_it_is_well_and_fades_slowly() {
    let mut ability = Ability::new(100.0);
    let mut now = Duration::ZERO;
    let mut run = |ability: &mut Ability, seconds: u32, rate: u64, budget: f64, held_back: bool| {
        for _ in 0..seconds * 4 {
            now += LOOK;
            ability.observe(now, rate / 4, budget, held_back);
        }
        ability.able()
    };
    assert_eq!(run(&mut ability, 10, 40, 1.0, false), 100.0, "any host manages so much");
    let able = run(&mut ability, 10, 2000, 1.0, false);
    assert!((1900.0..2001.0).contains(&able), "{able}");
    let pressed = run(&mut ability, 60, 400, 0.2, true);
    assert_eq!(pressed, able, "what goes under pressure says nothing about it");
    let tried = run(&mut ability, 10, 1700, 0.85, true);
    assert!(tried > able * 1.5, "{tried}");
    assert_eq!(run(&mut ability, 10, 1700, 0.85, false), tried, "nothing was held back");
    let mut fresh = Ability::new(100.0);
    let found = run(&mut fresh, 10, 100, 0.97, true);
    assert!(found > 4000.0, "a relay that is nearly well must not be kept by ignorance: {found}");
    let faded = run(&mut ability, 600, 0, 1.0, false);
    assert!((tried * 0.45..tried * 0.55).contains(&faded), "{faded} of {tried}");
}

#[test]
fn urgent_ones_find_something_when_the_others_have_taken_everything() {
    let mut purse = Purse::default();
    let mut now = Duration::ZERO;
    for _ in 0..50 {
        now += Duration::from_millis(10);
        purse.take(now, 100.0, 1000, false);
    }
    assert_eq!(purse.take(now, 100.0, 90, true), 90);
    assert_eq!(purse.take(now, 100.0, 1000, false), 0, "they wait until it has come");
    assert!(purse.take(now, 100.0, 1000, true) <= 15);
    now += Duration::from_secs(2);
    assert!(purse.take(now, 100.0, 1000, false) > 10);
}

#[test]
fn what_is_asked_for_goes_by_class_and_then_by_weight() {
    let flow = |campaign, priority, of_campaign, waiting| Demand {
        campaign: CampaignId(campaign),
        priority,
        weight: Weight { of_campaign, ..Weight::default() },
        waiting,
    };
    let flows =
        [flow(1, 1, 1.0, 100), flow(2, 1, 3.0, 100), flow(3, 0, 1.0, 7), flow(4, 2, 1.0, 9)];
    let of = |urgent, others| {
        let within = within(&flows, urgent, others);
        within.iter().map(|f| (f.campaign.0, f.waiting)).collect::<Vec<_>>()
    };
    assert_eq!(of(7, 40), [(3, 7), (1, 10), (2, 30)]);
    assert_eq!(of(5, 0), [(3, 5)]);
    assert_eq!(of(7, 205), [(3, 7), (1, 100), (2, 100), (4, 5)]);
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds_whatever_is_measured_and_whatever_the_clock_does(
        steps in proptest::collection::vec((any_sample(), 0u64..10_000_000), 1..200),
        floor in 0.01f64..=1.0,
    ) {
        let config = Config { floor, ..Config::default() };
        let mut budget = Budget::new(config);
        for (sample, millis) in steps {
            let level = budget.observe(Duration::from_millis(millis), &sample);
            prop_assert!((floor - 1e-9..=1.0).contains(&level), "{level}");
        }
    }

    /// Under one and the same pressure it goes one way, and not further than it has to.
    #[test]
    fn under_constant_pressure_it_comes_to_rest_without_turning_back(
        before in proptest::collection::vec(any_sample(), 0..60),
        constant in any_sample(),
    ) {
        let mut watched = Watched::new();
        for sample in &before {
            watched.look(sample);
        }
        let levels = watched.run(15, &constant);
        let falls = levels.windows(2).all(|pair| pair[1] <= pair[0]);
        let rises = levels.windows(2).all(|pair| pair[1] >= pair[0]);
        prop_assert!(falls || rises, "{levels:?}");
        let pressure = watched.budget.causes().first().map_or(0.0, |cause| cause.pressure);
        let target = 1.0 - 0.9 * pressure;
        let last = levels.last().unwrap();
        prop_assert!(*last <= target + 1e-9 && *last >= target - 0.05 - 1e-9, "{last} of {target}");
    }

    #[test]
    fn when_the_pressure_is_over_all_of_it_is_back_within_fifteen_seconds(
        before in proptest::collection::vec(any_sample(), 1..200),
    ) {
        let mut watched = Watched::new();
        for sample in &before {
            watched.look(sample);
        }
        let levels = watched.run(12, &Sample::default());
        prop_assert_eq!(*levels.last().unwrap(), 1.0);
    }

    /// Back, and ahead by years: it changes by no more than a second's worth.
    #[test]
    fn a_clock_that_jumps_does_no_harm(
        jumps in proptest::collection::vec(0u64..100_000_000_000, 1..50),
    ) {
        let mut watched = Watched::new();
        watched.run(2, &one(Signal::Memory, 1.0));
        let mut level = watched.budget.level();
        for jump in jumps {
            let next = watched.budget.observe(Duration::from_millis(jump), &Sample::default());
            prop_assert!(next >= level && next <= level + 0.15 + 1e-9, "{level} to {next}");
            level = next;
        }
    }

    #[test]
    fn one_bad_figure_of_those_that_confirm_changes_little(value in 0.0f64..1e9) {
        for signal in Signal::ALL.iter().filter(|signal| !signal.leads()) {
            let mut watched = Watched::new();
            watched.run(5, &Sample::default());
            let level = watched.look(&one(*signal, value));
            prop_assert!(level > 0.9, "{}: {}", signal, level);
            let after = watched.run(3, &Sample::default());
            prop_assert_eq!(*after.last().unwrap(), 1.0);
        }
    }

    /// Those who are not urgent never get more than has come, and what is saved up at first.
    #[test]
    fn a_purse_gives_no_more_than_comes(
        rate in 0.1f64..5000.0,
        asks in proptest::collection::vec((0u64..500, 0u32..1000, any::<bool>()), 1..200),
    ) {
        let (mut purse, mut now, mut taken) = (Purse::default(), Duration::ZERO, 0u64);
        for (wait, wanted, urgent) in asks {
            now += Duration::from_millis(wait);
            let got = purse.take(now, rate, wanted, urgent);
            prop_assert!(got <= wanted);
            taken += u64::from(got);
            let came = rate * now.as_secs_f64() + rate * 0.4 + 1.0;
            // The urgent ones may have a second more.
            prop_assert!(taken as f64 <= came + rate + 1e-6, "{} of {}", taken, came);
        }
    }

    /// Whoever asks ten times a second gets all that comes.
    #[test]
    fn a_purse_is_spent_by_one_who_asks_often(rate in 1.0f64..5000.0) {
        let (mut purse, mut now, mut taken) = (Purse::default(), Duration::ZERO, 0.0);
        for _ in 0..300 {
            now += Duration::from_millis(110);
            taken += f64::from(purse.take(now, rate, 100_000, false));
        }
        let came = rate * now.as_secs_f64();
        prop_assert!(taken >= came * 0.95 - 2.0, "{} of {}", taken, came);
    }
}
