//! What is simulated.

use mail::quota::{Ceilings, Follows};
use mail::warmup::Plan;

use super::provider::{Count, Hidden, Shape};

const DAY_S: f64 = 86_400.0;

/// A provider and how long it is sent to.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name in tables.
    pub name: String,
    /// What the provider hides.
    pub hidden: Hidden,
    /// Seconds of virtual time.
    pub seconds: f64,
    /// From and to when there is nothing to send.
    pub idle: Option<(f64, f64)>,
    /// What our relays know beforehand of hours and days.
    pub known: Known,
}

/// Ceilings of hours and days, and the plan that the source follows.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Those of the provider.
    pub ceilings: Ceilings,
    /// The plan.
    pub follows: Option<Follows>,
}

impl Known {
    /// A plan that doubles each day, for three days.
    fn warm_up() -> Self {
        let text = "title = 'Doubles'\nper = 'day'\nceilings = [1000, 2000, 4000]";
        let plan = Plan::parse(text).expect("a plan");
        let follows = Some(Follows { name: "doubles".to_owned(), plan });
        Self { ceilings: Ceilings::default(), follows }
    }

    /// Whether there is anything.
    pub(super) fn is_any(&self) -> bool {
        self.ceilings.are_any() || self.follows.is_some()
    }
}

impl Scenario {
    fn new(name: impl Into<String>, shape: Shape, seconds: f64) -> Self {
        let (hidden, known) = (Hidden::new(shape), Known::default());
        Self { name: name.into(), hidden, seconds, idle: None, known }
    }

    fn with(mut self, change: impl FnOnce(&mut Hidden)) -> Self {
        change(&mut self.hidden);
        self
    }

    /// Whether it takes days: who is not told of a cap runs into it all that time.
    #[must_use]
    pub fn is_of_days(&self) -> bool {
        self.hidden.cap.is_some_and(|(_, period)| period >= DAY_S)
    }

    /// The least and the most that the provider ever takes in a second.
    pub(super) fn extremes(&self) -> (f64, f64) {
        let at = |n: u32| self.hidden.shape.at(f64::from(n) * self.seconds / 1000.0);
        let rates = (0..1000).map(at);
        rates.fold((f64::INFINITY, 0.0), |(low, high), rate| (low.min(rate), high.max(rate)))
    }
}

/// Providers that count by hours and days.
fn capped() -> [Scenario; 5] {
    let plain = |name, days| Scenario::new(name, Shape::Constant(20.0), days * DAY_S);
    let by = |most, period| move |h: &mut Hidden| h.cap = Some((most, period));
    let ceilings = |hour, day| Known { ceilings: Ceilings { hour, day }, follows: None };
    [
        plain("daily cap", 2.0).with(by(50_000, DAY_S)),
        Scenario {
            known: ceilings(None, Some(50_000)),
            ..plain("daily cap, known", 2.0).with(by(50_000, DAY_S))
        },
        plain("hourly cap", 0.25).with(by(3000, DAY_S / 24.0)),
        Scenario {
            known: ceilings(Some(3000), None),
            ..plain("hourly cap, known", 0.25).with(by(3000, DAY_S / 24.0))
        },
        Scenario {
            known: Known::warm_up(),
            ..plain("warm-up", 3.0).with(by(1000, DAY_S)).with(|h| h.cap_grows = 2.0)
        },
    ]
}

/// All of them.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for limit in [2.0, 5.0, 20.0, 100.0, 500.0] {
        all.push(Scenario::new(format!("constant {limit}"), Shape::Constant(limit), 1800.0));
    }
    let constant = || Shape::Constant(50.0);
    all.extend([
        Scenario::new("windows of a minute", constant(), 1800.0)
            .with(|h| h.count = Count::Windows(60.0)),
        Scenario::new("noise", constant(), 1800.0).with(|h| {
            h.wavers = 0.05;
            h.false_alarms = 2;
        }),
        Scenario {
            idle: Some((900.0, 910.0)),
            ..Scenario::new("ten seconds idle", constant(), 1800.0)
        },
        Scenario::new("step up", Shape::Step(50.0, 200.0, 900.0), 1800.0),
        Scenario::new("step down", Shape::Step(200.0, 50.0, 900.0), 1800.0),
        Scenario::new("step up from 5", Shape::Step(5.0, 15.0, 900.0), 1800.0),
        Scenario::new("step down to 5", Shape::Step(15.0, 5.0, 900.0), 1800.0),
        Scenario::new("ramp", Shape::Ramp(20.0, 120.0, 900.0), 3600.0),
        Scenario::new("sawtooth", Shape::Sawtooth(20.0, 80.0, 600.0), 3600.0),
        Scenario::new("day and night", Shape::DayNight(10.0, 4.0), 3.0 * 86_400.0),
        Scenario::new("greylisting", constant(), 1800.0).with(|h| h.greylists = true),
        Scenario::new("20 a connection, 5 connections", constant(), 1800.0).with(|h| {
            h.per_connection = 20;
            h.connections = 5;
        }),
        Scenario::new("blocks", constant(), 3600.0).with(|h| h.blocks = Some((60, 600.0))),
        Scenario::new("reputation", constant(), 3600.0).with(|h| h.grudge = 0.002),
    ]);
    all.extend(capped());
    all
}
