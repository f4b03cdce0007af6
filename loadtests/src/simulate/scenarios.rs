//! What is simulated.

use super::provider::{Count, Hidden, Shape};

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
}

impl Scenario {
    fn new(name: impl Into<String>, shape: Shape, seconds: f64) -> Self {
        Self { name: name.into(), hidden: Hidden::new(shape), seconds, idle: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Hidden)) -> Self {
        change(&mut self.hidden);
        self
    }

    /// The least and the most that the provider ever takes in a second.
    pub(super) fn known(&self) -> (f64, f64) {
        let at = |n: u32| self.hidden.shape.at(f64::from(n) * self.seconds / 1000.0);
        let rates = (0..1000).map(at);
        rates.fold((f64::INFINITY, 0.0), |(low, high), rate| (low.min(rate), high.max(rate)))
    }
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
    all
}
